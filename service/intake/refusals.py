"""What was refused in the name of a source: the first thing to know when one is being connected."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

UNSIGNED: Final = "unsigned"
"""The headers of a signature are missing, or not of their form."""
SIGNATURE: Final = "signature"
"""No secret of the source made the signature."""
SECRET: Final = "secret"  # noqa: S105  # a code, not one
"""The secret that was sent is none of the source, or none was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """How often it was refused since this process began, when last, and why then (a stable code)."""

    count: int = 0
    last_at: datetime | None = None
    reason: str = ""


class Refusals:
    """Counts by source. It is told of sources that there are alone, so that strangers fill nothing."""

    def __init__(self) -> None:
        self._refused: dict[str, Refused] = {}

    def note(self, source: str, reason: str, *, now: datetime) -> None:
        """Count one more."""
        self._refused[source] = Refused(self.of(source).count + 1, now, reason)

    def of(self, source: str) -> Refused:
        """Return what was refused."""
        return self._refused.get(source, Refused())
