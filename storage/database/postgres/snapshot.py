"""Copies of a schema, each of one moment, while others go on writing to it: by ``pg_dump``, and back by ``pg_restore``.

The moment is that of an exported snapshot (postgresql.org/docs/current/functions-admin.html, snapshot synchronization
functions), in which the rows are also counted; so the counts are those of the copy.
"""
# ruff: noqa: D102  # the port says what the methods promise

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import MetaData

from storage.database.postgres.held import connect_patiently, in_our_words, patient_connection
from storage.database.postgres.programs import environment_of, find_program, running
from storage.database.postgres.restoring import CALLED
from storage.database.postgres.schema import MARKER, make_schema, prepare, quoted
from storage.database.postgres.server import Db, Server
from storage.errors import ConflictError, MissingError, UnavailableError
from storage.migrations import History, require_known
from storage.ports import Sink, Snapshot

ENGINE: Final = "postgresql"
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_MAJOR: Final = "SELECT current_setting('server_version_num')::int / 10000"
_SIZE: Final = (
    "SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint FROM pg_catalog.pg_class "
    "WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'"
)


@dataclass(frozen=True, slots=True)
class PostgresSnapshots:
    """`storage.ports.Snapshots` of the schema of ``server``, which holds ``tables``."""

    server: Server = field(repr=False)
    history: History
    tables: MetaData

    @property
    def file_name(self) -> str:
        return f"{self.history.name}.dump"

    @property
    def engine(self) -> str:
        return ENGINE

    def copy_to(
        self, out: Sink, *, folder: Path, on_progress: Callable[[int, int], None]
    ) -> Snapshot:
        del folder  # It streams.
        with asyncio.Runner() as runner:
            db = runner.run(connect_patiently(self.server))
            try:
                return self._copy(runner, db, out, on_progress)
            finally:
                db.terminate()

    def put_back(self, copy: Path, *, check: Callable[[], None]) -> None:
        major = asyncio.run(self._make_room())
        command: list[str | Path] = [
            find_program("pg_restore", major=major),
            *("--format=custom", "--single-transaction", "--exit-on-error", "--no-password"),
            *("--no-owner", "--no-privileges", f"--schema={self.server.schema}"),
            # The empty string is the database that the environment names.
            *("--dbname=", str(copy)),
        ]
        environment = environment_of(self.server.url, called=CALLED)
        with running(command, environment, keeps_output=False) as program:
            program.finish(check=check)
        copy.unlink()
        asyncio.run(self._bring_up_to_date())

    def require_known(self, snapshot: Snapshot) -> None:
        if snapshot.engine != ENGINE:
            raise UnavailableError(
                f"this is a copy of a {snapshot.engine} store, and [storage] names {ENGINE}"
            )
        require_known([snapshot.revision], self.history, "the copy")

    def _copy(
        self,
        runner: asyncio.Runner,
        db: Db,
        out: Sink,
        on_progress: Callable[[int, int], None],
    ) -> Snapshot:
        with in_our_words():
            name, major, about = runner.run(self._begin(db))
        command: list[str | Path] = [
            find_program("pg_dump", major=major),
            *("--format=custom", "--compress=1", "--no-owner", "--no-privileges"),
            *(f"--schema={quoted(self.server.schema)}", f"--snapshot={name}"),
            *("--lock-wait-timeout=60s", "--no-password"),
        ]
        environment = environment_of(self.server.url, called="taltio_backup")
        with running(command, environment, keeps_output=True) as dumping:
            for piece in dumping.read(told=lambda done: on_progress(done, max(done, about))):
                out.write(piece)
            dumping.finish(check=lambda: on_progress(about, about))
        on_progress(about, about)
        with in_our_words():
            return runner.run(self._counted(db))

    async def _begin(self, db: Db) -> tuple[str, int, int]:
        """Begin the moment; return its name, the server's version, and about how much there is to copy."""
        await db.execute(_BEGIN)
        ((name,),) = await db.fetch("SELECT pg_export_snapshot()")
        ((major,),) = await db.fetch(_MAJOR)
        ((about,),) = await db.fetch(_SIZE, quoted(self.server.schema))
        return name, major, about

    async def _counted(self, db: Db) -> Snapshot:
        """Return what the moment holds.

        Raises:
            UnavailableError: It is not what this program would write.
        """
        found = await db.fetch(f"SELECT version_num FROM {self.history.table}")  # noqa: S608  # our own name
        revision = require_known(
            [row[0] for row in found], self.history, f"schema {self.server.schema}"
        )
        rows = {}
        for table in self.tables.tables:
            ((rows[table],),) = await db.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608  # our own names
        return Snapshot(ENGINE, revision, rows)

    async def _make_room(self) -> int:
        """See that the schema is there and empty; return the server's version.

        Raises:
            ConflictError: Something is there. It was kept.
        """
        async with patient_connection(self.server) as db:
            with in_our_words():
                await make_schema(db, self.server.schema)
                ((others,),) = await db.fetch(
                    "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename <> $2",
                    self.server.schema,
                    MARKER,
                )
                if others:
                    raise ConflictError(
                        f"schema {self.server.schema}: there is a store already"
                    )
                ((major,),) = await db.fetch(_MAJOR)
                return int(major)

    async def _bring_up_to_date(self) -> None:
        try:
            await prepare(self.server, self.history, create=False)
        except MissingError as error:
            raise UnavailableError(
                f"this is no copy of a store of kind {self.history.name!r}"
            ) from error
        async with patient_connection(self.server) as db:
            # Without statistics, the first questions would read whole tables.
            with in_our_words():
                await db.execute(f"ANALYZE {', '.join(self.tables.tables)}")
