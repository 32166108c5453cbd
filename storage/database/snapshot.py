"""Copies of an SQLite database, each of one moment, while others go on writing to it."""
# ruff: noqa: D102  # the port says what the methods promise

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import MetaData

from storage.database.connection import connect, translated
from storage.database.file import prepare
from storage.errors import ConflictError, UnavailableError
from storage.migrations import History
from storage.ports import Sink, Snapshot
from storage.syncing import sync_directory

# So much is copied between two looks at whether to stop: 16 MiB.
_PAGES: Final = 4096
_PIECE_BYTES: Final = 1024**2
ENGINE: Final = "sqlite"


@dataclass(frozen=True, slots=True)
class SqliteSnapshots:
    """`storage.ports.Snapshots` of the database at ``path``, which holds ``tables``."""

    path: Path
    history: History
    tables: MetaData

    @property
    def file_name(self) -> str:
        return self.path.name

    @property
    def engine(self) -> str:
        return ENGINE

    def copy_to(
        self, out: Sink, *, folder: Path, on_progress: Callable[[int, int], None]
    ) -> Snapshot:
        target = folder / self.file_name
        snapshot = self._copy(target, on_progress)
        done, total = 0, target.stat().st_size
        with target.open("rb") as copy:
            while piece := copy.read(_PIECE_BYTES):
                on_progress(done, total)
                done += out.write(piece)
        return snapshot

    def _copy(self, target: Path, on_progress: Callable[[int, int], None]) -> Snapshot:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            with (
                closing(connect(self.path, "query_only=ON")) as db,
                closing(connect(target, "synchronous=OFF")) as copy,
            ):
                # Reading first, in a transaction of its own, holds the moment: without it the copying begins anew
                # with each commit of somebody else (sqlite.org/c3ref/backup_finish.html).
                db.execute("BEGIN")
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
                db.backup(
                    copy,
                    pages=_PAGES,
                    progress=lambda _, left, total: on_progress(total - left, total),
                )
                db.execute("ROLLBACK")
                return self._checked(copy)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def put_back(self, copy: Path, *, check: Callable[[], None]) -> None:
        check()
        if self.path.exists():
            raise ConflictError(f"{self.path} is already there")
        try:
            os.link(copy, self.path)
            sync_directory(self.path.parent)
            copy.unlink()
        except OSError as error:
            raise UnavailableError(f"{self.path}: {error.strerror}") from error
        prepare(self.path, self.history, create=False)

    def require_known(self, snapshot: Snapshot) -> None:
        if snapshot.engine != ENGINE:
            raise UnavailableError(
                f"this is a copy of a {snapshot.engine} store, and [storage] names {ENGINE}"
            )
        if snapshot.revision > self.history.head:
            raise UnavailableError(
                f"it was written by a newer program (revision {snapshot.revision} of {self.history.name}; this one "
                f"knows {self.history.head} and older); install that version or a newer one"
            )

    def _checked(self, copy: sqlite3.Connection) -> Snapshot:
        """Return what the copy holds.

        Raises:
            UnavailableError: The database is damaged.
        """
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise UnavailableError(f"{self.path.name} is damaged: taltio verify")
        (revision,) = copy.execute(f"SELECT version_num FROM {self.history.table}").fetchone()  # noqa: S608  # our own name
        rows = {}
        for table in self.tables.tables:
            (rows[table],) = copy.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  # our own names
        return Snapshot(ENGINE, revision, rows)
