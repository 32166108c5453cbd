"""A bar for long work: on a terminal it is drawn, elsewhere a line now and then tells how far it is."""

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

_WIDTH = 30
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 10.0


@dataclass(slots=True)
class Progress:
    """Draws how many of how many are done. Called with the two numbers."""

    what: str
    out: TextIO = field(default_factory=lambda: sys.stderr)
    _begun: float = field(default_factory=time.monotonic)
    _drawn: float = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        """Draw ``done`` of ``total``, at the most ten times a second."""
        now = time.monotonic()
        pause = _REDRAW_SECONDS if self.out.isatty() else _LINE_SECONDS
        if done < total and now - self._drawn < pause:
            return
        self._drawn = now
        share = done / total if total else 1.0
        rate = done / max(now - self._begun, 1e-6)
        text = f"{self.what}: {done:,} of {total:,} ({share:.0%}), {rate:,.0f}/s"
        if not self.out.isatty():
            print(text, file=self.out)
            return
        bar = ("█" * round(share * _WIDTH)).ljust(_WIDTH, "·")
        end = "\n" if done >= total else ""
        print(f"\r{bar} {text}\x1b[K", end=end, file=self.out, flush=True)
