"""The archive's rows and its log in PostgreSQL."""
# ruff: noqa: D102  # the ports say what the methods promise

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from operator import attrgetter
from typing import Any, Final, Self, TypeVar

from sqlalchemy.dialects import postgresql

from storage.database.bell import Bell
from storage.database.lookup import Asking, is_one_statement, looking_up
from storage.database.postgres.commit import (
    DELIVERIES_CHANNEL,
    JOBS_CHANNEL,
    Commits,
    forget_old_marks,
)
from storage.database.postgres.jobs import announce_deliveries, claim, listen
from storage.database.postgres.schema import is_there, prepare
from storage.database.postgres.scrubbing import scrub
from storage.database.postgres.server import Db, Server, Session
from storage.database.postgres.writing import Writing
from storage.database.statements import Statement, Statements, portions_of_marks, shape_of
from storage.errors import StorageError
from storage.migrations import ARCHIVE
from storage.ports import Change, Condition, Lookup, Span, StoredEntry
from storage.rows import JobRow, Row
from storage.waiting import settled

T = TypeVar("T")
R = TypeVar("R", bound=Row)

SCHEMA: Final = "taltio"
READERS: Final = 4
_ONE_MOMENT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresStore:
    """`storage.ports.Store`, `LogStore`, `News` and `Scrub` in a schema, beside other processes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._readers = [Session(server) for _ in range(READERS)]
        self._claims = Session(server)
        # Named parameters become $1, $2 …, as the driver takes them.
        self._statements = Statements(postgresql.dialect(paramstyle="numeric_dollar"))  # type: ignore[no-untyped-call]  # theirs
        self._commits = Commits(server, Writing(self._statements))
        self._bell, self._arrivals = Bell(), Bell()

    @staticmethod
    async def is_there(url: str, *, schema: str = SCHEMA) -> bool:
        """Tell whether there is an archive in the database.

        Raises:
            UnavailableError: It cannot be reached, or holds something else there.
        """
        return await is_there(Server(url, schema), ARCHIVE)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, url: str, *, create: bool, schema: str = SCHEMA, is_restoring: bool = False
    ) -> AsyncIterator[Self]:
        """Open the database, brought up to date, and close it again.

        Raises:
            MissingError: There is none, and ``create`` does not allow to make it.
            UnavailableError: It cannot be reached, is not ours, newer than this program, or not safe.
        """
        server = Server(url, schema, is_restoring=is_restoring)
        await prepare(server, ARCHIVE, create=create)
        store = cls(server)
        await store._claims.run(forget_old_marks)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store._close)
            bells = {JOBS_CHANNEL: store._bell, DELIVERIES_CHANNEL: store._arrivals}
            listening = asyncio.create_task(listen(server, bells))
            stack.push_async_callback(_ended, listening)
            yield store

    async def commit(self, change: Change) -> None:
        (refusal,) = await self.commit_each([change])
        if refusal is not None:
            raise refusal

    async def commit_each(self, changes: Sequence[Change]) -> Sequence[StorageError | None]:
        if not changes:
            return []
        # Cancelled in the middle it would be lost whether it was stored; so it is finished.
        return await settled(self._commits.each(changes))

    async def find(
        self,
        table: type[R],
        where: Mapping[str, Condition],
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Sequence[R]:
        asked = shape_of(_storable(where))
        if asked is None:
            return []
        shape, values = asked
        statement = self._statements.find(table, shape, order, has_limit=limit is not None)
        found = await self._rows(statement, {**values, "limit": limit})
        names = tuple(field.name for field in fields(table))
        return [table(**dict(zip(names, row, strict=True))) for row in found]

    async def lookup(self, query: Lookup) -> Sequence[str]:
        storable = replace(query, where=_storable(query.where))
        asking = partial(looking_up, storable, self._statements)
        is_one = is_one_statement(storable)
        return await self._read(lambda db: _answered(db, asking(), is_one=is_one))

    async def count(self, table: type[Row], where: Mapping[str, Condition]) -> int:
        asked = shape_of(_storable(where))
        if asked is None:
            return 0
        shape, values = asked
        ((number,),) = await self._rows(self._statements.count(table, shape), values)
        return int(number)

    async def claim_jobs(
        self, kinds: Collection[str], *, now: int, lease: int, limit: int
    ) -> Sequence[JobRow]:
        claiming = partial(claim, kinds=kinds, now=now, lease=lease, limit=limit)
        return await settled(self._claims.run(claiming))

    async def wait_for_jobs(self, seconds: float) -> None:
        await self._bell.wait(seconds)

    async def announce_deliveries(self) -> None:
        await self._claims.run(announce_deliveries)

    async def wait_for_deliveries(self, seconds: float) -> None:
        await self._arrivals.wait(seconds)

    async def scrub(self) -> None:
        await scrub(self._server)

    async def log_size(self) -> int:
        ((size,),) = await self._rows(self._statements.log_size(), {})
        return int(size)

    async def log_entries(self, start: int, stop: int) -> Sequence[StoredEntry]:
        given = {"start": start, "stop": stop}
        found = await self._rows(self._statements.log_entries(), given)
        return [StoredEntry(*row) for row in found]

    async def log_about(self, subject: str) -> Sequence[StoredEntry]:
        if "\0" in subject:
            return []
        found = await self._rows(self._statements.log_about(), {"subject": subject})
        return [StoredEntry(*row) for row in found]

    async def log_first(self, marks: Collection[bytes]) -> Mapping[bytes, int]:
        first: dict[bytes, int] = {}
        for some in portions_of_marks(marks):
            first.update(await self._rows(self._statements.log_first(), some))
        return first

    async def _rows(self, statement: Statement, values: Mapping[str, object]) -> list[Any]:
        given = statement.bind(values)
        return await self._read(lambda db: db.fetch(statement.sql, *given))

    async def _read(self, step: Callable[[Db], Awaitable[T]]) -> T:
        """Run ``step`` on the reader that has the least to do."""
        return await min(self._readers, key=attrgetter("waiting")).run(step)

    async def _close(self) -> None:
        await self._commits.close()
        for session in (*self._readers, self._claims):
            await session.drop()


async def _answered(db: Db, asking: Asking[T], *, is_one: bool) -> T:
    """Do what a lookup asks for, all of it at one moment."""
    if not is_one:
        await db.execute(_ONE_MOMENT)
    try:
        rows: list[Any] | None = None
        while True:
            sql, values = next(asking) if rows is None else asking.send(rows)
            rows = await db.fetch(sql, *values)
    except StopIteration as end:
        found: T = end.value
        return found
    finally:
        if not is_one and not db.is_closed():
            await db.execute("ROLLBACK")


def _storable(where: Mapping[str, Condition]) -> Mapping[str, Condition]:
    """Leave out text that no row can have: PostgreSQL stores no NUL, and refuses to compare with one."""
    return {name: _without_nul(condition) for name, condition in where.items()}


def _without_nul(condition: Condition) -> Condition:
    if isinstance(condition, str):
        return [] if "\0" in condition else condition
    if isinstance(condition, list | tuple):
        return [one for one in condition if not (isinstance(one, str) and "\0" in one)]
    if isinstance(condition, Span):
        return Span(_bound(condition.start), _bound(condition.stop))
    return condition


def _bound(value: object) -> object:
    """Return a bound that lies where ``value`` does among texts that have no NUL: right behind what is before it."""
    if isinstance(value, str) and "\0" in value:
        return value.partition("\0")[0] + "\1"
    return value


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
