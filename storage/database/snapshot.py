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
from storage.ports import Snapshot
from storage.syncing import sync_directory

# So much is copied between two looks at whether to stop: 16 MiB.
_PAGES: Final = 4096


@dataclass(frozen=True, slots=True)
class SqliteSnapshots:
    """`storage.ports.Snapshots` of the database at ``path``, which holds ``tables``."""

    path: Path
    history: History
    tables: MetaData

    @property
    def file_name(self) -> str:
        return self.path.name

    def copy_to(self, target: Path, *, on_progress: Callable[[int, int], None]) -> Snapshot:
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

    def put_back(self, copy: Path) -> None:
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
        if snapshot.engine != self.engine:
            raise UnavailableError(
                f"this is a copy of a {snapshot.engine} store, and [storage] names {self.engine}"
            )
        if snapshot.revision > self.history.head:
            raise UnavailableError(
                f"it was written by a newer program (revision {snapshot.revision} of {self.history.name}; this one "
                f"knows {self.history.head} and older); install that version or a newer one"
            )

    @property
    def engine(self) -> str:
        """What the copies are copies of."""
        return "sqlite"

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
        return Snapshot(self.engine, revision, rows)
