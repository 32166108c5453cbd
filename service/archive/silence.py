"""Unusual silence: a source that brought less in the last hour than it does in such an hour of the week."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.archive.remarks import raise_attention, settle_attention
from service.domain.actor import SYSTEM
from service.domain.silence import WEEKS, is_improbable
from service.domain.times import to_microseconds
from storage.ports import Span, Store
from storage.rows import AttentionRow, ContactRow

SOURCE_SILENT: Final = "source_silent"
"""The reason under which a silence needs attention."""
_HOUR: Final = timedelta(hours=1)
_WEEK: Final = timedelta(weeks=1)
LISTEN_EVERY: Final = timedelta(minutes=10)
GRACE: Final = timedelta(minutes=15)
"""What was handled in an hour may be delivered so long after it."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Looks for silences of ``sources``."""

    store: Store
    sources: Collection[str]

    async def look(self, *, now: datetime) -> Sequence[str]:
        """Look at the last whole hour of each source; return those that are unusually silent.

        A silence is raised once, and settled when the source is heard again as usual.

        Raises:
            storage.errors.StorageError: Not all of it could be done; the next look does.
        """
        end = (now - GRACE).replace(minute=0, second=0, microsecond=0)
        return [one for one in self.sources if await self._is_silent(one, end, now=now)]

    async def _is_silent(self, source: str, end: datetime, *, now: datetime) -> bool:
        before = []
        for weeks in range(1, WEEKS + 1):
            until = end - weeks * _WEEK
            # Weeks before the source was there say nothing of it.
            if await self._count(source, None, until):
                before.append(await self._count(source, until - _HOUR, until))
        count = await self._count(source, end - _HOUR, end)
        silent = is_improbable(count, before)
        where = {"about": source, "reason": SOURCE_SILENT, "state": "open"}
        known = await self.store.find(AttentionRow, where)
        if silent and not known:
            raised = raise_attention(
                SOURCE_SILENT, about=source, source=source, actor=SYSTEM.id, now=now
            )
            await self.store.commit(raised)
        elif count and not silent:
            for item in known:
                await self.store.commit(settle_attention(item, actor=SYSTEM.id, now=now))
        return silent

    async def _count(self, source: str, since: datetime | None, until: datetime) -> int:
        first = None if since is None else to_microseconds(since)
        where = {"source": source, "started_at": Span(first, to_microseconds(until))}
        if since is None:
            return len(await self.store.find(ContactRow, where, limit=1))
        return await self.store.count(ContactRow, where)
