"""Group commit: while one commit syncs, what comes meanwhile gathers into the next."""
# ruff: noqa: D102  # the ports say what the methods promise

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Generic, Self, TypeVar

from storage.errors import BrokenError, StorageError, UnavailableError
from storage.ports import Change, Condition, KeyStore, Lookup, Store
from storage.rows import JobRow, KeyRow, Row
from storage.waiting import settled

R = TypeVar("R", bound=Row)
T = TypeVar("T")

MOST_TOGETHER: Final = 256
"""So many callers share one commit at the most; it bounds how long the last of them waits."""


class Group(Generic[T]):
    """Hands what many callers bring to one function, several at a time, one call after the other."""

    def __init__(
        self, together: Callable[[list[T]], Awaitable[Sequence[Exception | None]]]
    ) -> None:
        self._together = together
        self._waiting: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._filled = asyncio.Event()
        self._is_closing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serve callers inside the block; on leaving it, finish what was brought."""
        worker = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._is_closing = True
            self._filled.set()
            await settled(worker)

    async def bring(self, item: T) -> None:
        """Return when ``item`` is done, or raise what its own outcome is.

        A caller that is cancelled while waiting takes its item back, unless it is being done.
        """
        if self._is_closing:
            raise UnavailableError("closing")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        self._filled.set()
        await done

    async def _run(self) -> None:
        while not (self._is_closing and not self._waiting):
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                batch = [
                    self._waiting.popleft()
                    for _ in range(min(len(self._waiting), MOST_TOGETHER))
                ]
                await self._serve([(item, done) for item, done in batch if not done.done()])

    async def _serve(self, batch: list[tuple[T, asyncio.Future[None]]]) -> None:
        if not batch:
            return
        try:
            outcomes = await self._together([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  # it is raised to each caller, and the next batch goes on
            outcomes = [_again(error) for _ in batch]
        for (_, done), outcome in zip(batch, outcomes, strict=True):
            if done.done():
                continue
            if outcome is None:
                done.set_result(None)
            else:
                done.set_exception(outcome)


def _again(error: Exception) -> Exception:
    """Give each caller an error of its own, for each adds its own traceback."""
    copy = type(error)(*error.args)
    copy.__cause__ = error
    return copy


class GroupCommit:
    """A `storage.ports.Store` whose ``commit`` shares its durable step with others that come at the same time."""

    def __init__(self, store: Store, group: Group[Change]) -> None:
        self._store = store
        self._group = group

    @classmethod
    @asynccontextmanager
    async def opened(cls, store: Store) -> AsyncIterator[Self]:
        """Wrap ``store``; on leaving the block, what was asked for is finished first."""
        async with Group(store.commit_each).running() as group:
            yield cls(store, group)

    async def commit(self, change: Change) -> None:
        await self._group.bring(change)

    async def commit_each(self, changes: Sequence[Change]) -> Sequence[StorageError | None]:
        return await self._store.commit_each(changes)

    async def find(
        self,
        table: type[R],
        where: Mapping[str, Condition],
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Sequence[R]:
        return await self._store.find(table, where, order=order, limit=limit)

    async def lookup(self, query: Lookup) -> Sequence[str]:
        return await self._store.lookup(query)

    async def count(self, table: type[Row], where: Mapping[str, Condition]) -> int:
        return await self._store.count(table, where)

    async def claim_jobs(
        self, kinds: Collection[str], *, now: int, lease: int, limit: int
    ) -> Sequence[JobRow]:
        return await self._store.claim_jobs(kinds, now=now, lease=lease, limit=limit)

    async def wait_for_jobs(self, seconds: float) -> None:
        await self._store.wait_for_jobs(seconds)


class GroupKeys:
    """A `storage.ports.KeyStore` whose ``put_keys`` shares its durable step likewise."""

    def __init__(self, keys: KeyStore, group: Group[Sequence[KeyRow]]) -> None:
        self._keys = keys
        self._group = group

    @classmethod
    @asynccontextmanager
    async def opened(cls, keys: KeyStore) -> AsyncIterator[Self]:
        """Wrap ``keys``; on leaving the block, what was asked for is finished first."""

        async def put(batch: list[Sequence[KeyRow]]) -> Sequence[Exception | None]:
            return await _put_each(keys, batch)

        async with Group(put).running() as group:
            yield cls(keys, group)

    async def put_keys(self, rows: Sequence[KeyRow]) -> None:
        await self._group.bring(rows)

    async def get_keys(self, ids: Collection[str]) -> Mapping[str, KeyRow]:
        return await self._keys.get_keys(ids)

    async def find_keys(
        self, wrapped_by: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[KeyRow]:
        return await self._keys.find_keys(wrapped_by, after=after, limit=limit)

    async def count_keys(self) -> Mapping[str, int]:
        return await self._keys.count_keys()

    async def replace_keys(self, rows: Sequence[KeyRow]) -> None:
        await self._keys.replace_keys(rows)

    async def destroy_keys(self, ids: Collection[str]) -> None:
        await self._keys.destroy_keys(ids)


async def _put_each(
    keys: KeyStore, batch: Sequence[Sequence[KeyRow]]
) -> Sequence[StorageError | None]:
    """Put all rows together; where that is refused, those of each caller for themselves."""
    try:
        await keys.put_keys([row for rows in batch for row in rows])
    except (UnavailableError, BrokenError):
        raise
    except StorageError as error:
        if len(batch) == 1:
            return [error]
    else:
        return [None] * len(batch)
    return [(await _put_each(keys, [rows]))[0] for rows in batch]
