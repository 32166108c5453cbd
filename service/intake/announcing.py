"""Telling the workers that deliveries wait, where this process understands none itself."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from service.archive.receive import Kept
from storage.errors import StorageError
from storage.ports import News

PAUSE_SECONDS: Final = 0.05
"""What comes within so long is announced once."""
_log: Final = logging.getLogger("taltio")


@dataclass(slots=True)
class Announcer:
    """Announces what was kept, beside the requests: no sender waits for it, and nothing is lost when nobody hears."""

    news: News
    _came: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    def offer(self, kept: Kept) -> None:
        """Take note of a kept delivery."""
        if not kept.is_duplicate:
            self._came.set()

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            try:
                await self.news.announce_deliveries()
            except StorageError as error:
                # Workers look by themselves now and again.
                _log.warning("intake.not_announced", extra={"code": type(error).__name__})
            await asyncio.sleep(PAUSE_SECONDS)
