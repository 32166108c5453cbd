"""Transactions that survive a power cut once they return, on the writer's connection and thread."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from storage.database.connection import translated
from storage.errors import BrokenError, StorageError, UnavailableError
from storage.soundness import Soundness

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
CHECKPOINT_ROWS: Final = 2000
LONGEST_BYTES: Final = 64 * 1024 * 1024
"""A write-ahead log longer than the first, with so many rows since the last time, or longer than the longest, is
carried over into the database before the next commit. Its length alone does not tell how much that would be: the file
keeps it, up to the longest, when the log begins again at its start.
"""
CHECKPOINTING: Final = ("wal_autocheckpoint=0", f"journal_size_limit={LONGEST_BYTES}")
"""The settings of a connection whose checkpoints are made here."""


class Durable:
    """Begins, commits and rolls back; after a failure that leaves durability in doubt, never again."""

    def __init__(self, path: Path, soundness: Soundness) -> None:
        self._path = path
        self._soundness = soundness
        self._rows_carried = 0

    @contextmanager
    def transaction(self, db: sqlite3.Connection) -> Iterator[None]:
        """Commit what the block does, durably; or nothing of it, if it or the commit fails.

        Raises:
            UnavailableError: Nothing was stored.
            BrokenError: It may or may not be stored, and nothing more will be.
        """
        self._soundness.require()
        try:
            self._checkpoint(db)
            # IMMEDIATE takes the write lock now, while the wait for other writers still applies.
            db.execute("BEGIN IMMEDIATE")
            yield
        except sqlite3.Error as error:
            raise self._failed(db, translated(error, self._path)) from error
        except BaseException:
            self._roll_back(db)
            raise
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            failure = translated(error, self._path, is_committing=True)
            raise self._failed(db, failure) from error

    def empty_log(self, db: sqlite3.Connection) -> None:
        """Carry the whole write-ahead log over into the database, and cut it to nothing.

        Raises:
            UnavailableError: Somebody keeps reading what is in it.
            BrokenError: It may or may not be carried over, and nothing more will be stored.
        """
        self._soundness.require()
        try:
            busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise self._failed(db, translated(error, self._path)) from error
        if busy:
            raise UnavailableError(f"{self._path.name}: somebody keeps reading; try again")

    def _checkpoint(self, db: sqlite3.Connection) -> None:
        """Carry a long write-ahead log over into the database.

        SQLite would do so by itself after a commit, and would keep a failed sync to itself.
        """
        with suppress(FileNotFoundError):
            length = os.stat(f"{self._path}-wal").st_size  # noqa: PTH116  # on each commit
            has_many = db.total_changes - self._rows_carried >= CHECKPOINT_ROWS
            if length > LONGEST_BYTES or (length > CHECKPOINT_BYTES and has_many):
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._rows_carried = db.total_changes

    def _failed(self, db: sqlite3.Connection, failure: StorageError) -> StorageError:
        if isinstance(failure, BrokenError):
            self._soundness.lose(failure)
        self._roll_back(db)
        return BrokenError(*failure.args) if self._soundness.is_lost else failure

    def _roll_back(self, db: sqlite3.Connection) -> None:
        if db.in_transaction:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        if db.in_transaction:
            self._soundness.lose(
                BrokenError(f"{self._path.name}: a transaction cannot be rolled back")
            )
