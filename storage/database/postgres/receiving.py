"""A schema that rows are moved into. Until the move releases it, nobody opens it as a store."""
# ruff: noqa: D102  # the port says what the methods promise

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, Self, cast

import asyncpg

from storage.database.postgres.locks import Lock
from storage.database.postgres.schema import MOVING, prepare
from storage.database.postgres.server import LOST, Db, Server, Session, transaction, unavailable
from storage.errors import ConflictError
from storage.migrations import History
from storage.moving import Moved, Values
from storage.waiting import settled

# Counting or comparing a large table takes its time.
_STATEMENT_SECONDS: Final = 900.0
_ALONE: Final = f"SELECT pg_advisory_xact_lock({Lock.RECEIVING.keys})"
_FIND: Final = f"SELECT move FROM {MOVING}"  # noqa: S608  # our own name
_IS_THERE: Final = f"SELECT to_regclass('{MOVING}') IS NOT NULL"
_MAKE: Final = f"CREATE TABLE {MOVING} (move text PRIMARY KEY)"
_CLAIM: Final = f"INSERT INTO {MOVING} (move) VALUES ($1)"  # noqa: S608  # as above
_RELEASE: Final = f"DROP TABLE {MOVING}"
# Of other roles only an administrator sees them.
_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name = 'taltio' AND NOT pid = ANY($1::int[])"
)


class _Copying(Protocol):
    async def copy_records_to_table(
        self, table: str, *, records: Sequence[Values], columns: Sequence[str]
    ) -> str: ...


class PostgresReceiving:
    """`storage.moving.RowTarget` in the schema of ``server``, which holds ``tables``."""

    def __init__(self, server: Server, history: History, tables: Sequence[Moved]) -> None:
        self._server = server
        self._history = history
        self._tables = tables
        self._session = Session(server, statement_seconds=_STATEMENT_SECONDS)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, url: str, schema: str, history: History, tables: Sequence[Moved]
    ) -> AsyncIterator[Self]:
        """Close the connection, which is made when needed, on leaving the block."""
        target = cls(Server(url, schema, application="taltio-migrate"), history, tables)
        try:
            yield target
        finally:
            await target._session.drop()

    async def find_move(self) -> str | None:
        return await self._session.run(_find_move)

    async def claim(self, move: str) -> None:
        if await self.find_move() is None:
            await prepare(self._server, self._history, create=True)
        await self._have(move, is_empty=True)

    async def reclaim(self, move: str) -> None:
        await self._have(move, is_empty=False)

    async def _have(self, move: str, *, is_empty: bool) -> None:
        async def step(db: Db) -> None:
            async with transaction(db, _ALONE):
                found = await _find_move(db)
                if found == move:
                    return
                if found is not None:
                    raise ConflictError(f"{self._where}: another move has begun there")
                await self._require_unused(db)
                if is_empty:
                    await self._require_empty(db)
                await db.execute(_MAKE)
                await db.execute(_CLAIM, move)

        await settled(self._session.run(step))

    async def release(self, move: str) -> None:
        async def step(db: Db) -> None:
            async with transaction(db, _ALONE):
                if await _find_move(db) == move:
                    await db.execute(_RELEASE)

        await settled(self._session.run(step))

    async def empty(self) -> None:
        names = ", ".join(f'"{table.name}"' for table in self._tables)
        await settled(self._session.run(lambda db: db.execute(f"TRUNCATE {names}")))

    async def count(self, table: Moved) -> int:
        ((number,),) = await self._session.run(
            lambda db: db.fetch(f'SELECT count(*) FROM "{table.name}"')  # noqa: S608  # our own name
        )
        return int(number)

    async def last_key(self, table: Moved) -> Values | None:
        return await self._session.run(lambda db: _last_key(db, table))

    async def add(self, table: Moved, rows: Sequence[Values]) -> None:
        last = table.key_of(rows[-1])
        given = tuple(table.given.values())

        async def step(db: Db) -> None:
            # Done once more where the answer was lost: then the rows may be there.
            async with transaction(db, _ALONE):
                if await _last_key(db, table) == last:
                    return
                copying = cast("_Copying", db)
                await copying.copy_records_to_table(
                    table.name,
                    records=[row + given for row in rows] if given else rows,
                    columns=(*table.columns, *table.given),
                )

        await settled(self._session.run(step))

    async def between(
        self, table: Moved, after: Values | None, last: Values, *, limit: int
    ) -> Sequence[Values]:
        order, columns = _listed(table.key), _listed(table.columns)
        conditions = [f"({order}) <= ({_places(1, len(last))})"]
        if after is not None:
            conditions.append(f"({order}) > ({_places(1 + len(last), len(after))})")
        sql = (
            f'SELECT {columns} FROM "{table.name}" WHERE {" AND ".join(conditions)} '  # noqa: S608  # our own names
            f"ORDER BY {order} LIMIT {limit}"
        )
        found = await self._session.run(lambda db: db.fetch(sql, *last, *(after or ())))
        return [tuple(row) for row in found]

    @property
    def _where(self) -> str:
        return f"PostgreSQL, schema {self._server.schema}"

    async def _require_unused(self, db: Db) -> None:
        ((own,),) = await db.fetch("SELECT pg_backend_pid()")
        ((others,),) = await db.fetch(_OTHERS, [own])
        if others:
            raise ConflictError(
                f"{self._where}: a service or a command works with the database; stop it first"
            )

    async def _require_empty(self, db: Db) -> None:
        for table in self._tables:
            ((is_used,),) = await db.fetch(f'SELECT EXISTS (SELECT FROM "{table.name}")')  # noqa: S608  # our own name
            if is_used:
                raise ConflictError(
                    f"{self._where}: is not empty: {table.name} has rows, and not of this move. "
                    "Name an empty database"
                )


async def count_others(url: str) -> int:
    """Return how many connections services and commands of this program have to the database.

    Raises:
        UnavailableError: It cannot be asked.
    """
    db = await Server(url, "public", application="taltio-migrate").connect()
    try:
        ((own,),) = await db.fetch("SELECT pg_backend_pid()")
        ((others,),) = await db.fetch(_OTHERS, [own])
    except (*LOST, asyncpg.PostgresError) as error:
        raise unavailable(error) from None
    finally:
        db.terminate()
    return int(others)


async def _find_move(db: Db) -> str | None:
    ((is_there,),) = await db.fetch(_IS_THERE)
    if not is_there:
        return None
    found: list[Any] = await db.fetch(_FIND)
    return str(found[0][0]) if found else None


async def _last_key(db: Db, table: Moved) -> Values | None:
    order = ", ".join(f'"{name}" DESC' for name in table.key)
    found = await db.fetch(
        f'SELECT {_listed(table.key)} FROM "{table.name}" ORDER BY {order} LIMIT 1'  # noqa: S608  # our own names
    )
    return tuple(found[0]) if found else None


def _places(first: int, count: int) -> str:
    return ", ".join(f"${number}" for number in range(first, first + count))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
