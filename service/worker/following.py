"""A worker follows what other processes take in: it is woken, and understands what is stored and not understood yet.

One worker at a time does so; the others stand by. Two at once would come to the same contacts, for every change is
refused that was decided on a stale reading, but the work would be done twice.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.archive.understand import Understanding
from service.domain.errors import ArchiveError
from storage.errors import StorageError
from storage.ports import News, Turn

LOOK_EVERY: Final = timedelta(seconds=5)
"""What was announced and not heard of is found so soon, and so soon another worker takes over."""
MEET_EVERY: Final = timedelta(seconds=20)
_log: Final = logging.getLogger("taltio")


@dataclass(slots=True)
class Following:
    """Understands what others took in, while it has the turn. ``is_able`` tells whether the keys are at hand."""

    understanding: Understanding
    news: News
    turn: Turn
    clock: Callable[[], datetime]
    is_able: Callable[[], bool]
    look_every: timedelta = LOOK_EVERY
    meet_every: timedelta = MEET_EVERY

    async def run(self) -> None:
        """Look whenever deliveries are announced, and every few seconds, until cancelled."""
        met: datetime | None = None
        while True:
            async with asyncio.TaskGroup() as group:
                # Begun first, so that what is announced while one looks is heard.
                group.create_task(
                    self.news.wait_for_deliveries(self.look_every.total_seconds())
                )
                await asyncio.sleep(0)
                met = await self._look(met)

    async def _look(self, met: datetime | None) -> datetime | None:
        """Understand what waits, if it is this process's turn; return when waiting ones were last met."""
        now = self.clock()
        try:
            if not self.is_able():
                # Another worker may have its keys at hand.
                await self.turn.give_back()
                return met
            if not await self.turn.is_mine():
                return None
            await self.understanding.catch_up(now=now, received_before=None)
            if met is None or not met <= now < met + self.meet_every:
                await self.understanding.meet_waiting(now=now)
                return now
        except (ArchiveError, StorageError) as error:
            _log.warning("interpretation.catch_up_failed", extra={"code": type(error).__name__})
        return met
