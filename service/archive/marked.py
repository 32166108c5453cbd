"""Marks on log entries: nobody writes into the log who only has the database.

Every entry that the archive appends carries a keyed hash of its bytes, made in this one place. What is to be signed is
read through a log that refuses an entry without its mark, so that an entry written into the database by somebody
without the keys is never signed, never anchored, and stops the signing until a person has looked at it.
"""

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from service.crypto.secret import IndexKey
from service.domain.errors import TamperedError
from storage.errors import StorageError
from storage.ports import Append, Change, Condition, LogStore, Lookup, Store, StoredEntry
from storage.rows import JobRow, Row

R = TypeVar("R", bound=Row)


class Marker:
    """Makes the mark of an entry: HMAC-SHA-256 of its bytes."""

    __slots__ = ("_keyed",)

    def __init__(self, key: IndexKey) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")

    def mark_of(self, entry: bytes) -> bytes:
        """Return the mark of ``entry``."""
        # Copying the keyed state costs half of setting the key up again.
        keyed = self._keyed.copy()
        keyed.update(entry)
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
            Append(write.entry, write.about, self.marker.mark_of(write.entry))
            if isinstance(write, Append)
            else write
            for write in change
        ]


@dataclass(frozen=True, slots=True)
class AuthenticLog:
    """A `storage.ports.LogStore` that gives only entries with their mark."""

    log: LogStore
    marker: Marker = field(repr=False)

    async def log_size(self) -> int:
        """As the port says."""
        return await self.log.log_size()

    async def log_entries(self, start: int, stop: int) -> Sequence[StoredEntry]:
        """As the port says.

        Raises:
            TamperedError: An entry was not written by the archive.
        """
        return self._authentic(await self.log.log_entries(start, stop))

    async def log_about(self, subject: str) -> Sequence[StoredEntry]:
        """As the port says.

        Raises:
            TamperedError: An entry was not written by the archive.
        """
        return self._authentic(await self.log.log_about(subject))

    def _authentic(self, entries: Sequence[StoredEntry]) -> Sequence[StoredEntry]:
        for stored in entries:
            if not hmac.compare_digest(stored.mark, self.marker.mark_of(stored.entry)):
                raise TamperedError(f"log entry {stored.index} was not written by the archive")
        return entries
