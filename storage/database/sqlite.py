"""The archive's rows and its log in one SQLite file."""
# ruff: noqa: D102  # the ports say what the methods promise

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from sqlalchemy.dialects import sqlite

from storage.database.bell import Bell
from storage.database.commit import Commits
from storage.database.connection import Connection, connected, translated
from storage.database.durable import CHECKPOINTING, Durable
from storage.database.file import prepare
from storage.database.jobs import claim
from storage.database.lookup import Asking, is_one_statement, looking_up
from storage.database.statements import Statements, portions_of_marks, shape_of
from storage.database.writing import Writing
from storage.errors import StorageError
from storage.migrations import ARCHIVE
from storage.ports import Add, Change, Condition, Lookup, Put, StoredEntry
from storage.rows import JobRow, Row
from storage.soundness import Soundness
from storage.waiting import settled

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound=Row)

READERS: Final = 2


class SqliteStore:
    """`storage.ports.Store`, `LogStore` and `Scrub` on an SQLite file, beside other processes."""

    def __init__(
        self,
        path: Path,
        writer: Connection,
        readers: Sequence[Connection],
        *,
        soundness: Soundness,
    ) -> None:
        self._path = path
        self._writer = writer
        self._readers = readers
        self._statements = Statements(sqlite.dialect(paramstyle="qmark"))
        self._bell, self._arrivals = Bell(), Bell()
        self._durable = Durable(path, soundness)
        self._commits = Commits(path, self._durable, Writing(self._statements))

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, path: Path, *, create: bool, soundness: Soundness | None = None
    ) -> AsyncIterator[Self]:
        """Open the database at ``path``, brought up to date, and close it again.

        ``soundness`` is shared with the process's other stores; without it, it is for itself.

        Raises:
            MissingError: There is none, and ``create`` does not allow to make it.
            UnavailableError: It is not ours, newer than this program, or on an unfit file system.
        """
        await settled(asyncio.to_thread(prepare, path, ARCHIVE, create=create))
        async with AsyncExitStack() as stack:
            # What is removed is overwritten with zeros.
            writing = connected(path, *CHECKPOINTING, "secure_delete=ON")
            writer = await stack.enter_async_context(writing)
            readers = [
                await stack.enter_async_context(connected(path, "query_only=ON"))
                for _ in range(READERS)
            ]
            yield cls(path, writer, readers, soundness=soundness or Soundness())

    async def commit(self, change: Change) -> None:
        (refusal,) = await self.commit_each([change])
        if refusal is not None:
            raise refusal

    async def commit_each(self, changes: Sequence[Change]) -> Sequence[StorageError | None]:
        outcomes = await self._writer.run(self._commits.each, changes)
        stored = [
            change for change, refusal in zip(changes, outcomes, strict=True) if not refusal
        ]
        if any(
            isinstance(write, Add | Put) and isinstance(write.row, JobRow)
            for change in stored
            for write in change
        ):
            self._bell.ring()
        return outcomes

    async def find(
        self,
        table: type[R],
        where: Mapping[str, Condition],
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Sequence[R]:
        asked = shape_of(where)
        if asked is None:
            return []
        shape, values = asked
        statement = self._statements.find(table, shape, order, has_limit=limit is not None)
        found = await self._read(
            _rows, statement.sql, statement.bind({**values, "limit": limit})
        )
        names = tuple(field.name for field in fields(table))
        return [table(**dict(zip(names, row, strict=True))) for row in found]

    async def lookup(self, query: Lookup) -> Sequence[str]:
        return await self._read(_look_up, query, self._statements)

    async def count(self, table: type[Row], where: Mapping[str, Condition]) -> int:
        asked = shape_of(where)
        if asked is None:
            return 0
        shape, values = asked
        statement = self._statements.count(table, shape)
        ((number,),) = await self._read(_rows, statement.sql, statement.bind(values))
        return int(number)

    async def claim_jobs(
        self, kinds: Collection[str], *, now: int, lease: int, limit: int
    ) -> Sequence[JobRow]:
        try:
            return await self._writer.run(
                claim, self._durable, kinds, now=now, lease=lease, limit=limit
            )
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def announce_deliveries(self) -> None:
        self._arrivals.ring()

    async def wait_for_deliveries(self, seconds: float) -> None:
        await self._arrivals.wait(seconds)

    async def scrub(self) -> None:
        try:
            await self._writer.run(self._durable.empty_log)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def wait_for_jobs(self, seconds: float) -> None:
        await self._bell.wait(seconds)

    async def log_size(self) -> int:
        ((size,),) = await self._read(_rows, self._statements.log_size().sql)
        return int(size)

    async def log_entries(self, start: int, stop: int) -> Sequence[StoredEntry]:
        statement = self._statements.log_entries()
        given = statement.bind({"start": start, "stop": stop})
        return [StoredEntry(*row) for row in await self._read(_rows, statement.sql, given)]

    async def log_about(self, subject: str) -> Sequence[StoredEntry]:
        statement = self._statements.log_about()
        given = statement.bind({"subject": subject})
        return [StoredEntry(*row) for row in await self._read(_rows, statement.sql, given)]

    async def log_first(self, marks: Collection[bytes]) -> Mapping[bytes, int]:
        first: dict[bytes, int] = {}
        statement = self._statements.log_first()
        for some in portions_of_marks(marks):
            first.update(await self._read(_rows, statement.sql, statement.bind(some)))
        return first

    async def _read(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``step`` on the reader that has the least to do."""
        reader = min(self._readers, key=attrgetter("waiting"))
        try:
            return await reader.run(step, *args, **kwargs)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error


def _rows(
    db: sqlite3.Connection, sql: str, values: tuple[object, ...] = ()
) -> list[tuple[Any, ...]]:
    return db.execute(sql, values).fetchall()


def _look_up(db: sqlite3.Connection, query: Lookup, statements: Statements) -> list[str]:
    """Do what a lookup asks for, all of it at one moment."""
    asking = looking_up(query, statements)
    if is_one_statement(query):
        return _answered(db, asking)
    db.execute("BEGIN")
    try:
        return _answered(db, asking)
    finally:
        db.execute("ROLLBACK")


def _answered(db: sqlite3.Connection, asking: Asking[T]) -> T:
    try:
        sql, values = next(asking)
        while True:
            sql, values = asking.send(db.execute(sql, values).fetchall())
    except StopIteration as end:
        found: T = end.value
        return found
