"""The schema of a PostgreSQL database that holds the tables: that it is there, is ours, and of this program."""

from contextlib import suppress
from io import StringIO
from typing import Any, Final

import asyncpg

from storage.database.postgres.server import LOST, Db, Server, unavailable
from storage.errors import MissingError, UnavailableError
from storage.migrations import History, require_known, script_of

CHANGING: Final = 0x7461_6C74_696F_0001
"""One lock for everybody who makes or changes a schema of ours (an arbitrary constant)."""
MARKER: Final = "restoring"
"""The table that is there while a backup is restored into the schema."""
MOVING: Final = "moving"
"""The table that says which move has the schema, while rows are moved into it: see the module ``receiving``."""


async def is_there(server: Server, history: History) -> bool:
    """Tell whether the schema of ``server`` holds a database of ``history``.

    Raises:
        UnavailableError: The server cannot be reached.
    """
    db = await server.connect()
    try:
        return await _revision(db, server, history) is not None
    except (*LOST, asyncpg.PostgresError) as error:
        raise unavailable(error) from None
    finally:
        db.terminate()


async def prepare(server: Server, history: History, *, create: bool) -> None:
    """Make sure that the schema of ``server`` is at the head of ``history``.

    An older one is brought forward in one transaction; killed meanwhile, it is as it was. Of several processes that
    start at once, one does it and the others wait.

    Raises:
        MissingError: There is none, and ``create`` does not allow to make it.
        UnavailableError: The server cannot be reached, does not keep rows safe, or holds what a newer program wrote.
    """
    db = await server.connect()
    try:
        revision = await _revision(db, server, history)
        if revision is None and not create:
            raise MissingError(f"there is no schema {server.schema!r} with an archive in it")
        if revision != history.head:
            await _upgrade(db, server, history)
    except (*LOST, asyncpg.PostgresError) as error:
        raise unavailable(error) from None
    finally:
        db.terminate()


async def _revision(db: Db, server: Server, history: History) -> str | None:
    """Return the revision of the schema; None where there is nothing of ours.

    Raises:
        UnavailableError: It is not ours, or newer than this program.
    """
    named, marker = (f"{quoted(server.schema)}.{table}" for table in (history.table, MARKER))
    ((there, is_restoring),) = await db.fetch(
        "SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL", named, marker
    )
    if is_restoring and not server.is_restoring:
        raise UnavailableError(
            f"schema {server.schema}: a backup is being restored, or that was stopped: taltio backup restore"
        )
    if not there:
        ((others,),) = await db.fetch(
            "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = $1", server.schema
        )
        if others:
            raise UnavailableError(
                f"schema {server.schema}: is not a Taltio database of kind {history.name!r}"
            )
        return None
    ((is_moving,),) = await db.fetch(
        "SELECT to_regclass($1) IS NOT NULL", f"{quoted(server.schema)}.{MOVING}"
    )
    if is_moving:
        raise UnavailableError(
            f"PostgreSQL, schema {server.schema}: an archive is being moved there, and not all of it has arrived and "
            "been compared; go on with taltio migrate"
        )
    found: list[Any] = await db.fetch(f"SELECT version_num FROM {named}")  # noqa: S608  # our own names
    return require_known([row[0] for row in found], history, f"schema {server.schema}")


async def _upgrade(db: Db, server: Server, history: History) -> None:
    """Carry out the missing revisions, unless somebody else has done so meanwhile."""
    await db.execute("BEGIN")
    try:
        await db.execute("SELECT pg_advisory_xact_lock($1)", CHANGING)
        await make_schema(db, server.schema)
        revision = await _revision(db, server, history)
        if revision != history.head:
            await db.execute(_script(history, revision))
        await db.execute("COMMIT")
    except BaseException:
        with suppress(*LOST, asyncpg.PostgresError):
            await db.execute("ROLLBACK")
        raise


def _script(history: History, revision: str | None) -> str:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # only where there is something to do

    script = StringIO()
    script_of(history, postgresql.dialect(), revision=revision, into=script)  # type: ignore[no-untyped-call]  # theirs
    return script.getvalue()


async def make_schema(db: Db, schema: str) -> None:
    """Make the schema, with the right to create in the database, unless an administrator made it for us."""
    await db.execute(
        f"DO $$ BEGIN IF to_regnamespace('{quoted(schema)}') IS NULL "
        f"THEN CREATE SCHEMA {quoted(schema)}; END IF; END $$"
    )


def quoted(name: str) -> str:
    """Return a name as it stands in a statement."""
    return '"' + name.replace('"', '""') + '"'
