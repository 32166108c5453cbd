"""The key store in a PostgreSQL schema, best of a database of its own.

A destroyed key cannot be read any more once ``destroy_keys`` returns. Its bytes, wrapped, stay for a while in what only
the server's own administrator can read: pages until they are scrubbed, the write-ahead log until that is recycled,
standbys and archives likewise. They open nothing any more once their epoch is destroyed as well.
"""
# ruff: noqa: D102  # the port says what the methods promise

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Self

from storage.database.postgres.locks import Lock
from storage.database.postgres.schema import prepare
from storage.database.postgres.scrubbing import scrub
from storage.database.postgres.server import Db, Server, Session, durably, transaction
from storage.errors import StaleError
from storage.migrations import KEYS
from storage.rows import CLOSED, KeyRow
from storage.waiting import settled

SCHEMA: Final = "taltio_keys"

_COLUMNS: Final = ("id", "kind", "wrapped_by", "wrapped", "made_at")
_NAMED: Final = ", ".join(_COLUMNS)
_GIVEN: Final = (
    f"unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bigint[]) AS given({_NAMED})"
)
_SET: Final = ", ".join(f"{name} = {{0}}.{name}" for name in _COLUMNS[1:])
# There are no slots here, and so no room to remember.
_PUT: Final = (
    f"INSERT INTO keys ({_NAMED}, room) SELECT {_NAMED}, 0 FROM {_GIVEN} "  # noqa: S608  # our own words
    f"ON CONFLICT (id) DO UPDATE SET {_SET.format('excluded')}"
)
_REPLACE: Final = (
    f"UPDATE keys SET {_SET.format('given')} FROM {_GIVEN} WHERE keys.id = given.id"  # noqa: S608  # as above
)
_GET: Final = f"SELECT {_NAMED} FROM keys WHERE id = ANY($1::text[])"  # noqa: S608  # as above
_FIND: Final = (
    f"SELECT {_NAMED} FROM keys WHERE wrapped_by = $1 AND id > $2 ORDER BY id LIMIT $3"  # noqa: S608  # as above
)
_COUNT: Final = (
    "SELECT wrapped_by, count(*) FROM keys WHERE wrapped_by <> '' GROUP BY wrapped_by"
)
_CLOSED: Final = "SELECT id FROM keys WHERE id = ANY($1::text[]) AND kind = $2 LIMIT 1"
_DESTROY: Final = "DELETE FROM keys WHERE id = ANY($1::text[])"
# Whoever stores keys shares the lock, and who closes a wrapper has it alone, so that none slips in beside.
_SHARE: Final = f"SELECT pg_advisory_xact_lock_shared({Lock.WRAPPERS.keys})"
_ALONE: Final = f"SELECT pg_advisory_xact_lock({Lock.WRAPPERS.keys})"


class PostgresKeyStore:
    """`storage.ports.KeyStore` and `Scrub` in a schema, beside other processes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._writer = Session(server)
        self._reader = Session(server)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, url: str, *, create: bool, schema: str = SCHEMA, is_restoring: bool = False
    ) -> AsyncIterator[Self]:
        """Open the key store, brought up to date, and close it again.

        Raises:
            MissingError: There is none, and ``create`` does not allow to make it.
            UnavailableError: It cannot be reached, is not ours, newer than this program, or not safe.
        """
        server = Server(url, schema, is_restoring=is_restoring)
        await prepare(server, KEYS, create=create)
        store = cls(server)
        try:
            yield store
        finally:
            await store._writer.drop()
            await store._reader.drop()

    async def put_keys(self, rows: Sequence[KeyRow]) -> None:
        # Later ones over earlier ones of an id: one statement cannot write a row twice.
        await self._store(_PUT, list({row.id: row for row in rows}.values()))

    async def replace_keys(self, rows: Sequence[KeyRow]) -> None:
        await self._store(_REPLACE, list({row.id: row for row in rows}.values()))

    async def get_keys(self, ids: Collection[str]) -> Mapping[str, KeyRow]:
        found = await self._reader.run(
            lambda db: db.fetch(_GET, [one for one in ids if "\0" not in one])
        )
        return {row[0]: _row(row) for row in found}

    async def find_keys(
        self, wrapped_by: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[KeyRow]:
        found = await self._reader.run(lambda db: db.fetch(_FIND, wrapped_by, after, limit))
        return [_row(row) for row in found]

    async def count_keys(self) -> Mapping[str, int]:
        found = await self._reader.run(lambda db: db.fetch(_COUNT))
        return {wrapped_by: count for wrapped_by, count in found}  # noqa: C416  # records, not pairs

    async def destroy_keys(self, ids: Collection[str]) -> None:
        await settled(self._writer.run(partial(_destroyed, ids=list(ids))))

    async def scrub(self) -> None:
        await scrub(self._server)

    async def _store(self, statement: str, rows: Sequence[KeyRow]) -> None:
        # Done again where the answer is lost. Nobody can have destroyed them meanwhile: no row names them yet.
        await settled(self._writer.run(partial(_stored, statement=statement, rows=rows)))


async def _stored(db: Db, *, statement: str, rows: Sequence[KeyRow]) -> None:
    columns = [[getattr(row, name) for row in rows] for name in _COLUMNS]
    lock = _ALONE if any(row.kind == CLOSED for row in rows) else _SHARE
    async with transaction(db, lock):
        await db.execute(statement, *columns)
        closed = await db.fetch(_CLOSED, list({row.wrapped_by for row in rows}), CLOSED)
        if closed:
            raise StaleError(f"{closed[0][0]} is closed: wrap the key anew")


async def _destroyed(db: Db, *, ids: Sequence[str]) -> None:
    with durably(db):
        await db.execute(_DESTROY, ids)


def _row(values: Sequence[object]) -> KeyRow:
    return KeyRow(**dict(zip(_COLUMNS, values, strict=True)))  # type: ignore[arg-type]  # as the columns are
