"""Vacuuming: as near as PostgreSQL comes to overwriting what was removed.

A row that was removed or replaced stays in its page until it is vacuumed. After that nothing leads to it, and its room
goes to the next row that fits; its bytes stay in the file until that row comes, or the page is cut off at the end of
the file. So a table that is not large is written anew, into a file that holds only what is there. The write-ahead log,
standbys and backups keep what they have; so do old versions of the planner's statistics, which may have quoted search
tokens, but neither keys nor what is sealed (see the first revisions).
"""

import asyncio
from typing import Final

import asyncpg

from storage.database.postgres.locks import Lock
from storage.database.postgres.server import LOST, Db, Server, translated
from storage.errors import UnavailableError

SCRUB_SECONDS: Final = 1800.0
"""So long all tables may take: their indexes are read whole where something was removed."""
READERS_SECONDS: Final = 5.0
"""So long those are waited for who read what was, write, or scrub."""
REMADE_BYTES: Final = 128 * 1024 * 1024
"""A table up to this size is written anew, which keeps everybody else from it for a second or two."""

_ASK_EVERY: Final = 0.05
_NOW: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
# Whoever has a snapshot, or writes, since before then keeps removed rows alive. Those of other roles are not seen here.
_OLDER: Final = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
    "AND greatest(age(backend_xmin), age(backend_xid)) > age($1::text::xid8::xid))"
)
# One at a time. The lock ends with the connection. Who waited for it in one statement would
# keep removed rows alive.
_ALONE: Final = f"SELECT NOT pg_try_advisory_lock({Lock.SCRUBBING.keys})"
# From the log nothing is ever removed.
_TABLES: Final = (
    "SELECT format('%I.%I', schemaname, tablename) AS named, "
    "pg_table_size(format('%I.%I', schemaname, tablename)::regclass) <= $1 AS is_remade "
    "FROM pg_catalog.pg_tables "
    "WHERE schemaname = current_schema() AND tablename NOT IN ('log', 'log_about') "
    "ORDER BY tablename"
)
# Who waits for a table alone keeps everybody after it waiting too, so that is not for long.
_SHORTLY: Final = "SET lock_timeout = '500ms'"


async def scrub(server: Server) -> None:
    """Vacuum every table of the schema, and its indexes, of everything that was removed before the call.

    Raises:
        UnavailableError: Somebody keeps reading what was, holds a table, or the server is lost.
    """
    db = await server.connect(statement_seconds=SCRUB_SECONDS)
    try:
        await _outlast(db, _ALONE)
        ((now,),) = await db.fetch(_NOW)
        await _outlast(db, _OLDER, now)
        tables = await db.fetch(_TABLES, REMADE_BYTES)
        large = [named for named, is_remade in tables if not is_remade]
        if large:
            await db.execute(f"VACUUM (INDEX_CLEANUP ON, ANALYZE) {', '.join(large)}")
        await db.execute(_SHORTLY)
        for named, is_remade in tables:
            if is_remade:
                await db.execute(f"VACUUM (FULL, ANALYZE) {named}")
    except (*LOST, asyncpg.PostgresError) as error:
        raise translated(error) from None
    finally:
        db.terminate()


async def _outlast(db: Db, is_somebody: str, *values: object) -> None:
    """Return when nobody is in the way any more."""
    loop = asyncio.get_running_loop()
    until = loop.time() + READERS_SECONDS
    while True:
        ((is_there,),) = await db.fetch(is_somebody, *values)
        if not is_there:
            return
        if loop.time() > until:
            raise UnavailableError("PostgreSQL: somebody keeps reading; try again")
        await asyncio.sleep(_ASK_EVERY)
