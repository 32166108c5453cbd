"""A schema into which a backup is restored: nobody else opens it until everything else is restored as well.

A table in it says so, ``restoring``: from before the first row is there until the archive is whole. Whoever opens the
schema looks for that table first (`storage.database.postgres.schema`). A restore that was killed leaves it, and the
next one removes what it finds and begins anew.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

from storage.database.postgres.held import (
    held_alone,
    in_our_words,
    patient_connection,
)
from storage.database.postgres.locks import Lock
from storage.database.postgres.schema import CHANGING, MARKER, make_schema, quoted
from storage.database.postgres.server import Db, Server, transaction
from storage.errors import ConflictError, UnavailableError

CALLED: Final = "taltio_restoring"
"""What programs that restore into a schema call themselves."""

_THERE: Final = (
    "SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace($1) "
    "AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
)
_TABLES: Final = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = $1"
# A program goes on for a while when the process that started it was killed.
_END_LEFT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND usename = current_user AND application_name = $1"
)
_LOCK: Final = f"SELECT pg_advisory_xact_lock({CHANGING})"


class Claim:
    """One schema of ``server``, for this process to restore into."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @classmethod
    @asynccontextmanager
    async def opened(cls, server: Server) -> AsyncIterator[Self]:
        """Be the only one who restores into the schema inside the block.

        Raises:
            UnavailableError: Somebody else does, or the server cannot be reached.
        """
        async with held_alone(server, Lock.RESTORING) as is_mine:
            if not is_mine:
                raise UnavailableError(
                    f"schema {server.schema}: somebody else restores a backup into it now"
                )
            yield cls(server)

    @property
    def place(self) -> str:
        """Where it is: a URL, in which no password is, and the schema."""
        return f"{self._server.url} {self._server.schema}"

    async def require_empty(self) -> None:
        """Refuse a schema that has something in it, other than what a restore left that was killed.

        Raises:
            ConflictError: Something is there. It was kept.
        """
        async with self._connected() as db:
            await self._require_empty(db)

    async def take(self) -> None:
        """Let nobody else open the schema, which is empty then.

        Raises:
            ConflictError: Something is there by now. It was kept.
        """
        async with self._connected() as db:
            await self._require_empty(db)
            await db.fetch(_END_LEFT, CALLED)
            async with transaction(db, _LOCK):
                await self._require_empty(db)
                await make_schema(db, self._server.schema)
                await db.execute(f"CREATE TABLE IF NOT EXISTS {self._marker} ()")
                await self._drop_tables(db, but=MARKER)

    async def give_up(self) -> None:
        """Remove what was restored, and let the schema be as empty as it was."""
        async with self._connected() as db:
            await db.fetch(_END_LEFT, CALLED)
            async with transaction(db, _LOCK):
                await self._drop_tables(db, but="")

    async def release(self) -> None:
        """Let the schema be opened: what was to be restored is, also outside of it."""
        async with self._connected() as db:
            await db.execute(f"DROP TABLE IF EXISTS {self._marker}")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Db]:
        async with patient_connection(self._server) as db:
            with in_our_words():
                yield db

    @property
    def _marker(self) -> str:
        return f"{quoted(self._server.schema)}.{MARKER}"

    async def _require_empty(self, db: Db) -> None:
        names = {row[0] for row in await db.fetch(_THERE, quoted(self._server.schema))}
        if names and MARKER not in names:
            raise ConflictError(
                f"the schema {self._server.schema} of the database is not empty, and a backup is restored to an empty "
                "place only: let [storage] name an empty database, or drop the schema if nobody needs it"
            )

    async def _drop_tables(self, db: Db, *, but: str) -> None:
        for (name,) in await db.fetch(_TABLES, self._server.schema):
            if name != but:
                await db.execute(
                    f"DROP TABLE {quoted(self._server.schema)}.{quoted(name)} CASCADE"
                )
