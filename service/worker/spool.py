"""A spool: a directory of a source that is looked into every minute."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from service.archive.receive import Kept
from service.worker.files import FileIntake, Found, State, bring_in, find_files

LOOK_EVERY: Final = timedelta(minutes=1)
TAKEN: Final = "taken"
"""The folder of a spool to which files are moved when they are kept."""
_log: Final = logging.getLogger("taltio")


@dataclass(slots=True)
class Spool:
    """Takes files from ``directory`` once they have not changed between two looks: until then somebody writes them."""

    directory: Path
    intake: FileIntake
    clock: Callable[[], datetime]
    offer: Callable[[Kept], None] | None = None
    _seen: Mapping[str, State] = field(default_factory=dict, init=False)
    _left: Mapping[str, State] = field(default_factory=dict, init=False)

    async def look(self, _: datetime) -> None:
        """Keep what is there and whole, and move it; tell of what cannot be kept, once.

        Raises:
            OSError: The directory cannot be read.
            storage.errors.StorageError: The archive takes nothing now.
        """
        taken = self.directory / TAKEN
        found = await asyncio.to_thread(find_files, self.directory, without=taken)
        due = [one for one in found if self._is_due(one)]
        self._seen = {one.name: one.state for one in found}
        # What is there no more may come back.
        self._left = {n: s for n, s in self._left.items() if n in self._seen}
        tally = await bring_in(
            due, self.intake, move_to=taken, clock=self.clock, offer=self.offer
        )
        extra = {"source": self.intake.source}
        if tally.kept or tally.there_already:
            _log.info("spool.taken", extra={**extra, "files": tally.kept + tally.there_already})
        left = [*tally.unknown, *tally.refused]
        if left:
            # Their names may be those of people.
            _log.warning("spool.left", extra={**extra, "files": len(left)})
            self._left = {**self._left, **{name: self._seen[name] for name in left}}

    def _is_due(self, found: Found) -> bool:
        is_settled = self._seen.get(found.name) == found.state
        return is_settled and self._left.get(found.name) != found.state
