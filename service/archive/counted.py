"""Counts what stores fail at: the same ports, and a number of each failure beside them.

What callers decide by (something is missing, taken or stale) is no failure of a store and not counted.
"""
# ruff: noqa: D102  # the ports say what the methods promise

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TypeVar

from storage.errors import ConflictError, MissingError, StaleError, StorageError
from storage.ports import (
    BlobReader,
    BlobStore,
    BlobWriter,
    Change,
    Condition,
    KeyStore,
    Lookup,
    Store,
)
from storage.rows import JobRow, KeyRow, Row

R = TypeVar("R", bound=Row)
T = TypeVar("T")
Failures = Counter[tuple[str, str]]
"""How often each store failed, and at what: the class of the error."""


@dataclass(frozen=True, slots=True)
class _Counting:
    """A block whose failures are counted for ``part``."""

    part: str
    failures: Failures

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.count(error)

    def count(self, error: BaseException | None) -> None:
        is_failure = isinstance(error, StorageError)
        if is_failure and not isinstance(error, ConflictError | MissingError | StaleError):
            self.failures[self.part, type(error).__name__] += 1


@dataclass(frozen=True, slots=True)
class CountedStore:
    """A `storage.ports.Store` whose failures are counted as those of the database."""

    store: Store
    failures: Failures
    _counting: _Counting = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_counting", _Counting("database", self.failures))

    async def commit(self, change: Change) -> None:
        with self._counting:
            await self.store.commit(change)

    async def commit_each(self, changes: Sequence[Change]) -> Sequence[StorageError | None]:
        with self._counting:
            ends = await self.store.commit_each(changes)
        for end in ends:
            self._counting.count(end)
        return ends

    async def find(
        self,
        table: type[R],
        where: Mapping[str, Condition],
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Sequence[R]:
        with self._counting:
            return await self.store.find(table, where, order=order, limit=limit)

    async def lookup(self, query: Lookup) -> Sequence[str]:
        with self._counting:
            return await self.store.lookup(query)

    async def count(self, table: type[Row], where: Mapping[str, Condition]) -> int:
        with self._counting:
            return await self.store.count(table, where)

    async def claim_jobs(
        self, kinds: Collection[str], *, now: int, lease: int, limit: int
    ) -> Sequence[JobRow]:
        with self._counting:
            return await self.store.claim_jobs(kinds, now=now, lease=lease, limit=limit)

    async def wait_for_jobs(self, seconds: float) -> None:
        with self._counting:
            await self.store.wait_for_jobs(seconds)


@dataclass(frozen=True, slots=True)
class CountedKeys:
    """A `storage.ports.KeyStore` whose failures are counted."""

    keys: KeyStore
    failures: Failures
    _counting: _Counting = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_counting", _Counting("keys", self.failures))

    async def put_keys(self, rows: Sequence[KeyRow]) -> None:
        with self._counting:
            await self.keys.put_keys(rows)

    async def get_keys(self, ids: Collection[str]) -> Mapping[str, KeyRow]:
        with self._counting:
            return await self.keys.get_keys(ids)

    async def find_keys(
        self, wrapped_by: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[KeyRow]:
        with self._counting:
            return await self.keys.find_keys(wrapped_by, after=after, limit=limit)

    async def count_keys(self) -> Mapping[str, int]:
        with self._counting:
            return await self.keys.count_keys()

    async def replace_keys(self, rows: Sequence[KeyRow]) -> None:
        with self._counting:
            await self.keys.replace_keys(rows)

    async def destroy_keys(self, ids: Collection[str]) -> None:
        with self._counting:
            await self.keys.destroy_keys(ids)


@dataclass(frozen=True, slots=True)
class CountedBlobs:
    """A `storage.ports.BlobStore` whose failures are counted; also those while a blob is written or read."""

    blobs: BlobStore
    failures: Failures
    _counting: _Counting = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_counting", _Counting("blobs", self.failures))

    def create(self, name: str) -> AbstractAsyncContextManager[BlobWriter]:
        return self._within(self.blobs.create(name))

    def open(self, name: str) -> AbstractAsyncContextManager[BlobReader]:
        return self._within(self.blobs.open(name))

    async def remove(self, name: str) -> None:
        with self._counting:
            await self.blobs.remove(name)

    async def names(self) -> AsyncIterator[str]:
        with self._counting:
            async for name in self.blobs.names():
                yield name

    async def find_fault(self) -> str | None:
        with self._counting:
            return await self.blobs.find_fault()

    async def tidy(self, *, begun_before: datetime) -> int:
        with self._counting:
            return await self.blobs.tidy(begun_before=begun_before)

    @asynccontextmanager
    async def _within(self, opening: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        with self._counting:
            async with opening as opened:
                yield opened
