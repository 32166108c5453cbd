"""Vacuuming: as near as PostgreSQL comes to overwriting what was removed.

A row that was removed or replaced stays in its page until it is vacuumed. After that nothing leads to it, and its room
goes to the next row that fits; its bytes stay in the file until that row comes, or the page is cut off at the end of
the file. The write-ahead log, standbys and backups keep what they have.
"""

import asyncio
from typing import Final

import asyncpg

from storage.database.postgres.server import LOST, Db, Server, translated
from storage.errors import UnavailableError

SCRUB_SECONDS: Final = 1800.0
"""So long all tables may take: their indexes are read whole where something was removed."""
READERS_SECONDS: Final = 5.0
"""So long those are waited for who read what was, or write."""

_ASK_EVERY: Final = 0.05
_NOW: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
# Whoever has a snapshot, or writes, since before then keeps removed rows alive. Those of other roles are not seen here.
_OLDER: Final = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
    "AND greatest(age(backend_xmin), age(backend_xid)) > age($1::text::xid8::xid))"
)
_TABLES: Final = (
    "SELECT format('%I.%I', schemaname, tablename) FROM pg_catalog.pg_tables "
    "WHERE schemaname = current_schema() ORDER BY tablename"
)


async def scrub(server: Server) -> None:
    """Vacuum every table of the schema, and its indexes, of everything that was removed before the call.

    Raises:
        UnavailableError: Somebody keeps reading what was, holds a table, or the server is lost.
    """
    db = await server.connect(statement_seconds=SCRUB_SECONDS)
    try:
        await _outlast_readers(db)
        found = await db.fetch(_TABLES)
        await db.execute(f"VACUUM (INDEX_CLEANUP ON) {', '.join(row[0] for row in found)}")
    except (*LOST, asyncpg.PostgresError) as error:
        raise translated(error) from None
    finally:
        db.terminate()


async def _outlast_readers(db: Db) -> None:
    ((now,),) = await db.fetch(_NOW)
    loop = asyncio.get_running_loop()
    until = loop.time() + READERS_SECONDS
    while True:
        ((is_read,),) = await db.fetch(_OLDER, now)
        if not is_read:
            return
        if loop.time() > until:
            raise UnavailableError("PostgreSQL: somebody keeps reading; try again")
        await asyncio.sleep(_ASK_EVERY)
