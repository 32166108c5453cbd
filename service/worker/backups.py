"""The daily backup of a running service: made when it is due, tried out at once, and told of when it is late."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from service.archive.remarks import raise_attention, settle_attention
from service.backup.create import BackupMaker
from service.backup.drill import Drill
from service.backup.due import age_of, is_due, is_late
from service.backup.manifest import KEY_FIELD, Kind
from service.backup.places import Places, find_backups, newest_at
from service.backup.working import no_progress
from service.domain.actor import SYSTEM
from service.keys.ring import KeyRing
from storage.errors import StorageError
from storage.ports import Store, Write
from storage.rows import AttentionRow

LOOK_EVERY: Final = timedelta(minutes=5)
FIRST_LOOK: Final = timedelta(seconds=60)
LATE: Final = "backup_late"
UNFIT: Final = "backup_unfit"
ABOUT: Final = "backups"
_log: Final = logging.getLogger("taltio")

OpenMaker = Callable[[], AbstractAsyncContextManager[tuple[BackupMaker, Drill]]]
"""Opens what makes backups and tries them out."""


@dataclass(slots=True)
class DailyBackup:
    """Looks whether a backup is due. Of several services on one database, the one whose ``turn`` it is does."""

    opened: OpenMaker
    turn: Callable[[], AbstractAsyncContextManager[bool]]
    store: Store
    places: Places
    ring: KeyRing = field(repr=False)
    hour: int
    timezone: ZoneInfo
    begun_at: datetime
    is_running: bool = field(default=False, init=False)

    async def run(self, now: datetime) -> None:
        """Make a backup if one is due, and try it out; then tell if the newest one is late.

        Raises:
            ArchiveError, StorageError, OSError: It could not be made. The one before is still there.
        """
        async with self.turn() as is_mine:
            if is_mine:
                await self._look(now)

    async def _look(self, now: datetime) -> None:
        try:
            if is_due(await self.newest(now), now=now, hour=self.hour, timezone=self.timezone):
                await self._make(now)
        finally:
            await self._tell(now)

    async def newest(self, now: datetime) -> datetime | None:
        """Return when the newest backup of the archive was made; None when there is none to be seen.

        One that says that it was made later than ``now``, by a wrong clock, keeps none from being made.
        """
        key = self.ring.index_key(KEY_FIELD)
        try:
            listed = await asyncio.to_thread(find_backups, self.places, Kind.ARCHIVE, key)
        except StorageError:
            return None
        return newest_at(listed, now=now)

    async def late(self, now: datetime) -> str | None:
        """Say that the newest backup is late; None when it is not."""
        newest = await self.newest(now)
        if not is_late(newest, now=now, begun_at=self.begun_at):
            return None
        if newest is None:
            return "there is no backup"
        return f"the newest backup is {age_of(newest, now=now) / 3600:.0f} hours old"

    async def _make(self, now: datetime) -> None:
        self.is_running = True
        try:
            async with self.opened() as (maker, drill):
                made = await maker.create(actor=SYSTEM.id, now=now, progress=no_progress)
                _log.info(
                    "backup.made",
                    extra={"backup": made.manifest.name, "objects": made.copied.new},
                )
                drilled = await drill.run(made.manifest, now=now)
        finally:
            self.is_running = False
        raising: list[Write] = []
        if drilled.verdict.troubles:
            _log.error("backup.unfit", extra={"backup": made.manifest.name})
            raising = raise_attention(UNFIT, about=ABOUT, source=None, actor=SYSTEM.id, now=now)
        await self._set(UNFIT, raising, now=now)

    async def _tell(self, now: datetime) -> None:
        raising: list[Write] = []
        if await self.late(now) is not None:
            raising = raise_attention(LATE, about=ABOUT, source=None, actor=SYSTEM.id, now=now)
        if await self._set(LATE, raising, now=now):
            _log.warning("backup.late")

    async def _set(self, reason: str, raising: Sequence[Write], *, now: datetime) -> bool:
        """Have one open item of ``reason``, or none where there is nothing to raise; tell whether it is new."""
        where = {"about": ABOUT, "reason": reason, "state": "open"}
        rows = await self.store.find(AttentionRow, where)
        if raising and not rows:
            await self.store.commit(raising)
            return True
        if not raising:
            await self._settle(rows, now)
        return False

    async def _settle(self, rows: Sequence[AttentionRow], now: datetime) -> None:
        for row in rows:
            await self.store.commit(settle_attention(row, actor=SYSTEM.id, now=now))
