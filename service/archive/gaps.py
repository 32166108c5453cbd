"""Gaps: times in which a source may have handled what it could not deliver, until a statement says what it was."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from service.archive.remarks import raise_attention, settle_attention
from service.domain.actor import SYSTEM, Actor
from service.domain.ids import new_id
from service.domain.times import from_microseconds, to_microseconds
from storage.ports import Add, Replace, Store, Write
from storage.rows import AttentionRow, GapRow

SOURCE_GAP: Final = "source_gap"
"""The reason under which a gap needs attention."""
OPEN: Final = "open"
CLOSED: Final = "closed"
TOGETHER_WITHIN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The gaps of sources."""

    store: Store

    async def note(
        self, source: str, *, since: datetime, until: datetime | None, cause: str, now: datetime
    ) -> str:
        """Note a gap, which a person learns of; ``until`` is None while it lasts. Return its id.

        ``cause`` is a stable code, such as ``connection_lost``.
        """
        row = GapRow(
            id=new_id("gp"),
            version=1,
            source=source,
            cause=cause,
            since=to_microseconds(since),
            until=None if until is None else to_microseconds(until),
            state=OPEN,
        )
        raised = raise_attention(
            SOURCE_GAP, about=row.id, source=source, actor=SYSTEM.id, now=now
        )
        await self.store.commit([Add(row), *raised])
        return row.id

    async def note_again(
        self,
        source: str,
        *,
        since: datetime,
        until: datetime | None,
        cause: str,
        now: datetime,
        within: timedelta = TOGETHER_WITHIN,
    ) -> None:
        """Note a gap as part of the open one of its cause, if that ended ``within`` before; else as ``note``.

        So that what happens all day long is looked at once.
        """
        before = to_microseconds(since - within)
        for row in await self.find_open(source):
            if row.cause == cause and row.until is not None and row.until >= before:
                wider = replace(
                    row,
                    version=row.version + 1,
                    since=min(row.since, to_microseconds(since)),
                    until=None if until is None else max(row.until, to_microseconds(until)),
                )
                await self.store.commit([Replace(wider)])
                return
        await self.note(source, since=since, until=until, cause=cause, now=now)

    async def end(self, gap_id: str, *, at: datetime) -> None:
        """Note when a gap ended."""
        for row in await self.store.find(GapRow, {"id": gap_id}):
            if row.until is None:
                ended = replace(row, version=row.version + 1, until=to_microseconds(at))
                await self.store.commit([Replace(ended)])

    async def find_open(self, source: str) -> Sequence[GapRow]:
        """Return the open gaps of a source, oldest first."""
        where = {"source": source, "state": OPEN}
        return sorted(await self.store.find(GapRow, where), key=lambda row: row.since)

    async def close_within(
        self,
        source: str,
        spans: Sequence[tuple[datetime, ...]],
        *,
        actor: Actor,
        now: datetime,
    ) -> int:
        """Close the gaps that lie within ``spans`` (from, until), which were compared; return how many."""
        closed = 0
        for row in await self.find_open(source):
            if row.until is None or not _is_covered(row, spans):
                continue
            done = replace(row, version=row.version + 1, state=CLOSED)
            writes: list[Write] = [Replace(done)]
            where = {"about": row.id, "state": "open"}
            for item in await self.store.find(AttentionRow, where):
                writes += settle_attention(item, actor=actor.id, now=now)
            await self.store.commit(writes)
            closed += 1
        return closed


def _is_covered(row: GapRow, spans: Sequence[tuple[datetime, ...]]) -> bool:
    """Tell whether the spans, one after the other, hold all of the gap."""
    at, until = from_microseconds(row.since), from_microseconds(row.until or row.since)
    for since, end in sorted((one[0], one[1]) for one in spans):
        if since <= at < end:
            at = end
    return at >= until
