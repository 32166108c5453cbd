"""What crashes leave behind: keys that open nothing are destroyed, blobs and objects that nobody names are reported.

An orphan tells of a crash between two steps, or of a loss of rows; so nothing is removed before a person has looked.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from service.domain.times import to_microseconds
from storage.ports import BlobStore, KeyStore, Span, Store
from storage.rows import DeliveryRow, KeyRow, ObjectRow

UNFINISHED_AFTER: Final = timedelta(days=1)
UNATTACHED_AFTER: Final = timedelta(days=1)
_ATTACHED: Final = ("recording", "mail")
"""The kinds of objects that come to belong to something. A vCon is part of its delivery, and goes with it."""
_SESSION_IDS: Final = "is_"
_BATCH: Final = 500
_NAMED: Final = 10
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class Report:
    """``blobs`` are stored and in no row; ``objects`` were received over a day ago and belong to nothing yet."""

    blobs: tuple[str, ...]
    objects: tuple[str, ...]


@dataclass(slots=True)
class Leftovers:
    """Looks for what nobody names."""

    store: Store
    keys: KeyStore
    blobs: BlobStore
    _suspected: frozenset[str] = field(default_factory=frozenset, repr=False)

    async def report(self, *, now: datetime) -> Report:
        """Tell the operator of orphans. A blob counts from the second look on: the first may meet it on its way in."""
        unnamed = frozenset([name async for name in self._unnamed()])
        blobs, self._suspected = tuple(sorted(unnamed & self._suspected)), unnamed
        cutoff = to_microseconds(now - UNATTACHED_AFTER)
        where = {"owner_id": None, "kind": list(_ATTACHED), "made_at": Span(None, cutoff)}
        rows = await self.store.find(ObjectRow, where, limit=_BATCH)
        objects = tuple(row.id for row in rows)
        if blobs:
            _log.warning(
                "leftovers.blobs", extra={"count": len(blobs), "some": list(blobs[:_NAMED])}
            )
        if objects:
            _log.warning(
                "leftovers.objects",
                extra={"count": len(objects), "some": list(objects[:_NAMED])},
            )
        return Report(blobs, objects)

    async def tidy(self, *, now: datetime) -> int:
        """Remove what blobs that were begun over a day ago and never finished left behind; return how many."""
        removed = await self.blobs.tidy(begun_before=now - UNFINISHED_AFTER)
        if removed:
            _log.info("leftovers.unfinished", extra={"count": removed})
        return removed

    async def _unnamed(self) -> AsyncIterator[str]:
        names: list[str] = []
        async for name in self.blobs.names():
            names.append(name)
            if len(names) == _BATCH:
                for one in await self._without_row(names):
                    yield one
                names = []
        for one in await self._without_row(names):
            yield one

    async def _without_row(self, names: Sequence[str]) -> set[str]:
        known = await self.store.find(ObjectRow, {"id": list(names)})
        return {*names} - {row.id for row in known}

    async def destroy_unused_keys(
        self, epochs: Sequence[int], *, older_than: timedelta, now: datetime
    ) -> int:
        """Destroy intake sessions begun longer ago, with keys of deliveries that are not there; return how many.

        ``older_than`` is longer than deliveries are kept, so what is left then was never acknowledged or is erased.
        """
        begun_before = to_microseconds(now - older_than)
        destroyed = 0
        for epoch in epochs:
            async for session in self._sessions(epoch):
                if session.made_at < begun_before:
                    destroyed += await self._clear(session)
        return destroyed

    async def _sessions(self, epoch: int) -> AsyncIterator[KeyRow]:
        after = _SESSION_IDS
        while rows := await self.keys.find_keys(f"epoch:{epoch}", after=after, limit=_BATCH):
            for row in rows:
                if row.kind == "session":
                    yield row
            if not rows[-1].id.startswith(_SESSION_IDS):
                return
            after = rows[-1].id

    async def _clear(self, session: KeyRow) -> int:
        """Destroy the keys of a session that open nothing, and the session when none is left."""
        after, unused, is_needed = "", list[str](), False
        while rows := await self.keys.find_keys(session.id, after=after, limit=_BATCH):
            where = {"id": [row.id for row in rows]}
            there = {
                row.id
                for row in await self.store.find(DeliveryRow, where)
                if row.state != "erased"
            }
            unused += [row.id for row in rows if row.id not in there]
            is_needed = is_needed or bool(there)
            after = rows[-1].id
        if not is_needed:
            unused.append(session.id)
        if unused:
            await self.keys.destroy_keys(unused)
        return len(unused)
