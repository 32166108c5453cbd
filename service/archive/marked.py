"""Marks on log entries: nobody writes into the log who only has the database.

Every entry that the archive appends carries a number of its own and a keyed hash of both, made in this one place: no
two marks are alike, and an entry that is put in again, with its mark, stands out by it. What is to be signed is read
through a log that refuses an entry without a mark of its own. So an entry that somebody without the keys writes into
the database is never signed, never anchored, and stops the signing until a person has looked at it.
"""

import hmac
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeVar

from service.crypto.secret import IndexKey
from service.domain.errors import TamperedError
from storage.errors import StorageError
from storage.ports import Append, Change, Condition, LogStore, Lookup, Store, StoredEntry
from storage.rows import JobRow, Row

R = TypeVar("R", bound=Row)

_OWN_BYTES: Final = 16


class Marker:
    """Makes the mark of an entry: a number of 16 bytes, then HMAC-SHA-256 of it and the bytes of the entry.

    The number is 8 random bytes of this marker and a count from 0: unlike any other's, and beside the last one where
    a database keeps marks in order, for which each of random ones would be another place.
    """

    __slots__ = ("_count", "_keyed", "_own")

    def __init__(self, key: IndexKey, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")
        self._own = random(_OWN_BYTES // 2)
        self._count = count()

    def mark(self, entry: bytes) -> bytes:
        """Return a new mark for ``entry``, one that no entry had before."""
        own = self._own + next(self._count).to_bytes(_OWN_BYTES // 2)
        return own + self._keyed_hash(own, entry)

    def bears_mark(self, stored: StoredEntry) -> bool:
        """Tell whether the archive wrote the entry."""
        own, keyed = stored.mark[:_OWN_BYTES], stored.mark[_OWN_BYTES:]
        return hmac.compare_digest(keyed, self._keyed_hash(own, stored.entry))

    def _keyed_hash(self, own: bytes, entry: bytes) -> bytes:
        # Copying the keyed state costs half of setting the key up again.
        keyed = self._keyed.copy()
        keyed.update(own + entry)
        return keyed.digest()


@dataclass(frozen=True, slots=True)
class MarkingStore:
    """A `storage.ports.Store` that marks every entry that is appended through it."""

    store: Store
    marker: Marker = field(repr=False)

    async def commit(self, change: Change) -> None:
        """As the port says."""
        await self.store.commit(self._marked(change))

    async def commit_each(self, changes: Sequence[Change]) -> Sequence[StorageError | None]:
        """As the port says."""
        return await self.store.commit_each([self._marked(change) for change in changes])

    async def find(
        self,
        table: type[R],
        where: Mapping[str, Condition],
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Sequence[R]:
        """As the port says."""
        return await self.store.find(table, where, order=order, limit=limit)

    async def lookup(self, query: Lookup) -> Sequence[str]:
        """As the port says."""
        return await self.store.lookup(query)

    async def count(self, table: type[Row], where: Mapping[str, Condition]) -> int:
        """As the port says."""
        return await self.store.count(table, where)

    async def claim_jobs(
        self, kinds: Collection[str], *, now: int, lease: int, limit: int
    ) -> Sequence[JobRow]:
        """As the port says."""
        return await self.store.claim_jobs(kinds, now=now, lease=lease, limit=limit)

    async def wait_for_jobs(self, seconds: float) -> None:
        """As the port says."""
        await self.store.wait_for_jobs(seconds)

    def _marked(self, change: Change) -> Change:
        return [
            Append(write.entry, write.about, self.marker.mark(write.entry))
            if isinstance(write, Append)
            else write
            for write in change
        ]


@dataclass(frozen=True, slots=True)
class AuthenticLog:
    """A `storage.ports.LogStore` that gives only entries with a mark of their own."""

    log: LogStore
    marker: Marker = field(repr=False)

    async def log_size(self) -> int:
        """As the port says."""
        return await self.log.log_size()

    async def log_entries(self, start: int, stop: int) -> Sequence[StoredEntry]:
        """As the port says.

        Raises:
            TamperedError: An entry was not written by the archive, or was put in again.
        """
        return await self._authentic(await self.log.log_entries(start, stop))

    async def log_about(self, subject: str) -> Sequence[StoredEntry]:
        """As the port says.

        Raises:
            TamperedError: An entry was not written by the archive, or was put in again.
        """
        return await self._authentic(await self.log.log_about(subject))

    async def log_first(self, marks: Collection[bytes]) -> Mapping[bytes, int]:
        """As the port says."""
        return await self.log.log_first(marks)

    async def _authentic(self, entries: Sequence[StoredEntry]) -> Sequence[StoredEntry]:
        for stored in entries:
            if not self.marker.bears_mark(stored):
                raise TamperedError(f"log entry {stored.index} was not written by the archive")
        copies = await find_copies(self.log, entries)
        for index, original in copies.items():
            raise TamperedError(f"log entry {index} is entry {original}, put in again")
        return entries


async def find_copies(log: LogStore, entries: Sequence[StoredEntry]) -> Mapping[int, int]:
    """Return which of ``entries`` bear the mark of an entry before them, by index, each with the index of that one."""
    first = await log.log_first([one.mark for one in entries if one.mark])
    return {
        one.index: first[one.mark]
        for one in entries
        if first.get(one.mark, one.index) < one.index
    }
