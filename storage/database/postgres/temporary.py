"""Temporary databases beside the archive's, each for one drill, and gone after it: at the latest with the next one."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from storage.database.postgres.held import in_our_words, patient_connection
from storage.database.postgres.locks import Lock
from storage.database.postgres.server import LOST, Db, Server
from storage.errors import StorageError, UnavailableError
from storage.waiting import settled

PREFIX: Final = "taltio_drill_"

# Databases of another archive on the same server, which somebody may be using, are called after another one.
_CALLED: Final = (
    "SELECT $1 || oid || '_' FROM pg_catalog.pg_database WHERE datname = current_database()"
)
_LEFT: Final = (
    "SELECT datname FROM pg_catalog.pg_database WHERE starts_with(datname, $1) "
    "AND pg_get_userbyid(datdba) = current_user"
)
_TAKE: Final = "SELECT pg_try_advisory_lock($1, hashtext($2))"
_GIVE_BACK: Final = "SELECT pg_advisory_unlock($1, hashtext($2))"


@asynccontextmanager
async def temporary_database(url: str) -> AsyncIterator[str]:
    """Make an empty database on the server of ``url`` for the block; yield its URL. Those that somebody left go first.

    Raises:
        UnavailableError: The server cannot be reached, or its role may not make databases.
    """
    async with patient_connection(Server(url, "public")) as db:
        with in_our_words():
            ((prefix,),) = await db.fetch(_CALLED, PREFIX)
            await _drop_left(db, prefix)
            name = f"{prefix}{secrets.token_hex(6)}"
            await db.fetch(_TAKE, Lock.TRYING_OUT, name)
        try:
            with in_our_words():
                await _create(db, name)
            yield url_of(url, name)
        finally:
            await settled(_drop(url, db, name))


def url_of(url: str, database: str) -> str:
    """Return ``url`` with another database, whose name needs no escaping."""
    place, mark, query = url.partition("?")
    return f"{place.rpartition('/')[0]}/{database}{mark}{query}"


async def _create(db: Db, name: str) -> None:
    try:
        await db.execute(
            f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    except asyncpg.InsufficientPrivilegeError:
        raise UnavailableError(
            "PostgreSQL: a backup is tried out in a temporary database, and the role of [storage] database may not "
            "make one; let an administrator say: ALTER ROLE … CREATEDB"
        ) from None


async def _drop_left(db: Db, prefix: str) -> None:
    """Drop what drills left that were killed; nobody holds the lock of those."""
    for (name,) in await db.fetch(_LEFT, prefix):
        ((is_left,),) = await db.fetch(_TAKE, Lock.TRYING_OUT, name)
        if is_left:
            await db.execute(_dropping(name))
            await db.fetch(_GIVE_BACK, Lock.TRYING_OUT, name)


async def _drop(url: str, db: Db, name: str) -> None:
    """Drop the database, on another connection where this one is lost; what cannot be dropped, the next drill finds."""
    with suppress(*LOST, asyncpg.PostgresError):
        await db.execute(_dropping(name))
        return
    with suppress(*LOST, asyncpg.PostgresError, StorageError):
        async with patient_connection(Server(url, "public")) as other:
            await other.execute(_dropping(name))


def _dropping(name: str) -> str:
    return f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
