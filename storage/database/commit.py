"""How changes are committed on SQLite: all of them in one transaction, on the writer's thread.

First all changes at once, the rows of a table together; when one is refused, each for itself. No table
refers to another, so their order among each other does not matter, only the order within each.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from storage.database.connection import translated
from storage.database.durable import Durable
from storage.database.inserting import insert_all
from storage.database.sorting import leaf_of, sort_writes, subjects_of
from storage.database.writing import Writing
from storage.errors import StaleError, StorageError
from storage.ports import Append, Change

# What can be wrong with one change and leaves the connection whole.
_REFUSED: Final = (
    StaleError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
    TypeError,
    AttributeError,
)


class Commits:
    """Commits changes in durable transactions."""

    def __init__(self, path: Path, durable: Durable, writing: Writing) -> None:
        self._path = path
        self._durable = durable
        self._writing = writing

    def each(
        self, db: sqlite3.Connection, changes: Sequence[Change]
    ) -> list[StorageError | None]:
        """Commit each change whole or not at all, and tell what was refused.

        Raises:
            UnavailableError, BrokenError: As for ``Durable.transaction``.
        """
        with self._durable.transaction(db):
            refusal = self._attempt(db, changes)
            if refusal is None:
                return [None] * len(changes)
            if len(changes) == 1:
                return [refusal]
            return [self._attempt(db, [change]) for change in changes]

    def _attempt(
        self, db: sqlite3.Connection, changes: Sequence[Change]
    ) -> StorageError | None:
        """Carry out all of ``changes``, or none of them and say what was wrong."""
        db.execute("SAVEPOINT attempt")
        try:
            self._carry_out(db, changes)
        except _REFUSED as error:
            db.execute("ROLLBACK TO attempt")
            db.execute("RELEASE attempt")
            return self._refusal(error)
        db.execute("RELEASE attempt")
        return None

    def _refusal(self, error: Exception) -> StorageError:
        if isinstance(error, StorageError):
            return error
        refusal = translated(error, self._path)
        refusal.__cause__ = error
        return refusal

    def _carry_out(self, db: sqlite3.Connection, changes: Sequence[Change]) -> None:
        runs, appended = sort_writes(changes)
        for table, of_table in runs.items():
            for kind, items in of_table:
                self._writing.write(db, table, kind, items)
        if appended:
            self._append(db, appended)

    def _append(self, db: sqlite3.Connection, appended: Sequence[Append]) -> None:
        (size,) = db.execute("SELECT ifnull(max(position) + 1, 0) FROM log").fetchone()
        numbered = list(enumerate(appended, size))
        insert_all(
            db,
            "INSERT INTO log (position, entry, leaf, mark) VALUES (?, ?, ?, ?)",
            [
                (position, append.entry, leaf_of(append), append.mark)
                for position, append in numbered
            ],
        )
        insert_all(
            db,
            "INSERT INTO log_about (subject, position) VALUES (?, ?)",
            [
                (subject, position)
                for position, append in numbered
                for subject in subjects_of(append)
            ],
        )
