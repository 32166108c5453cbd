"""What was sent and heard of one opening, kept in step with its row.

What was sent is gathered in memory and stored now and then; what was heard is stored as it is reported. Two
processes may serve the same opening: what either adds counts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from service.archive.coverage import (
    Heard,
    Intervals,
    decide_heard,
    format_intervals,
    merge,
    parse_intervals,
    sent_milliseconds,
    total,
)
from service.archive.targets import Target
from service.domain.errors import NotFoundError, UnavailableError
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StaleError, StorageError
from storage.ports import Append, Replace, Store
from storage.rows import OpeningRow

_MAX_PENDING: Final = 4096
_ATTEMPTS: Final = 4


@dataclass(slots=True, eq=False)
class Track:
    """An opening's row as last seen, and what was sent since.

    ``sent_bytes`` counts repetitions, and what this process sent.
    """

    target: Target
    row: OpeningRow
    sent_bytes: int = 0
    _pending: list[tuple[int, int]] = field(default_factory=list)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def sent(self) -> Intervals:
        """What was sent so far, in bytes of the content."""
        return merge(parse_intervals(self.row.sent), self._pending)

    @property
    def heard(self) -> Intervals:
        """What was heard so far, in milliseconds of the recording."""
        return Heard.parse(self.row.heard, opened_at=self.row.opened_at).intervals

    def note_sent(self, start: int, stop: int) -> None:
        """Note that these bytes of the content have left."""
        self.sent_bytes += stop - start
        self._pending.append((start, stop))
        if len(self._pending) >= _MAX_PENDING:
            self._pending[:] = merge(self._pending)

    async def save(self, store: Store) -> None:
        """Store what was sent. What cannot be stored now is kept for the next time.

        Raises:
            UnavailableError: It could not be stored.
        """
        if self._pending:
            await self._update(store, lambda row: row)

    async def report_heard(self, store: Store, told: Intervals, *, now: datetime) -> Intervals:
        """Take a player's report of what it played (milliseconds); return what counts as heard. It is durable.

        Raises:
            NotFoundError: Nobody knows yet how long the recording is.
            UnavailableError: It could not be stored. Nothing of the report counts.
        """
        duration_ms = self.target.duration_ms
        if duration_ms is None:
            raise NotFoundError(f"{self.target.asked.id} has no known duration yet")

        def with_heard(row: OpeningRow) -> OpeningRow:
            known = Heard.parse(row.heard, opened_at=row.opened_at)
            sent = sent_milliseconds(
                merge(parse_intervals(row.sent), self._pending),
                size_bytes=self.target.object.plain_bytes,
                duration_ms=duration_ms,
            )
            heard = decide_heard(known, told, sent=sent, now=to_microseconds(now))
            return replace(row, heard=heard.format())

        await self._update(store, with_heard)
        return self.heard

    def closed_entry(self, *, now: datetime) -> Append:
        """Return the log entry that sums up what was sent and heard."""
        entry = LogEntry(
            type=EntryType.OPENING_CLOSED,
            at=now,
            actor=self.row.actor_id,
            about=(
                self.row.id,
                self.row.grant_id,
                self.target.asked.id,
                self.row.contact_id,
            ),
            data={
                "sent_bytes": self.sent_bytes,
                "covered_bytes": total(self.sent),
                "heard_ms": total(self.heard),
            },
        )
        return Append(encode_entry(entry), entry.about)

    async def _update(self, store: Store, change: Callable[[OpeningRow], OpeningRow]) -> None:
        async with self._lock:
            for _ in range(_ATTEMPTS):
                pending = tuple(self._pending)
                sent = merge(parse_intervals(self.row.sent), pending)
                row = replace(
                    change(self.row),
                    sent=format_intervals(sent),
                    version=self.row.version + 1,
                )
                try:
                    await store.commit([Replace(row)])
                except StaleError:
                    await self._read_again(store)
                    continue
                except StorageError as error:
                    raise UnavailableError(f"{row.id} could not be stored") from error
                self.row = row
                self._forget(pending)
                return
        raise UnavailableError(f"{self.row.id} keeps changing")

    def _forget(self, stored: tuple[tuple[int, int], ...]) -> None:
        # More may have come while it was stored, or all of it was merged; twice stored is no harm, lost would
        # be.
        if tuple(self._pending[: len(stored)]) == stored:
            del self._pending[: len(stored)]

    async def _read_again(self, store: Store) -> None:
        try:
            rows = await store.find(OpeningRow, {"id": self.row.id})
        except StorageError as error:
            raise UnavailableError(f"{self.row.id} could not be read") from error
        if not rows:
            raise UnavailableError(f"{self.row.id} is gone")
        self.row = rows[0]
