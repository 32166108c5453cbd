"""How changes are committed on SQLite: all of them in one transaction, on the writer's thread.

First all changes at once, the rows of a table together; when one is refused, each for itself. No table
refers to another, so their order among each other does not matter, only the order within each.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from storage.database.connection import translated
from storage.database.durable import Durable
from storage.database.inserting import insert_all
from storage.database.statements import Statements
from storage.errors import StaleError, StorageError
from storage.ports import Add, Append, Change, Remove, Replace, Require, Write
from storage.rows import Row
from storage.tables import TABLES

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

Item = Row | tuple[object, ...]
Run = tuple[type[Write], list[Item]]


class Commits:
    """Commits changes in durable transactions."""

    def __init__(self, path: Path, durable: Durable, statements: Statements) -> None:
        self._path = path
        self._durable = durable
        self._statements = statements

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
        runs, appended = _sorted(changes)
        for table, of_table in runs.items():
            for kind, items in of_table:
                self._write(db, table, kind, items)
        if appended:
            self._append(db, appended)

    def _write(
        self,
        db: sqlite3.Connection,
        table: type[Row],
        kind: type[Write],
        items: Sequence[Item],
    ) -> None:
        if kind is Remove:
            keys: Any = items
            db.executemany(self._statements.remove(table).sql, keys)
        elif kind is Replace:
            self._replace(db, table, items)
        elif kind is Require:
            self._require(db, table, items)
        elif kind is Add:
            statement = self._statements.add(table)
            insert_all(db, statement.sql, map(attrgetter(*statement.names), items))
        else:
            statement = self._statements.put(table)
            db.executemany(statement.sql, map(attrgetter(*statement.names), items))

    def _replace(
        self, db: sqlite3.Connection, table: type[Row], items: Sequence[object]
    ) -> None:
        statement = self._statements.replace(table)
        values = attrgetter(*(name.removeprefix("key_") for name in statement.names))
        # No cursor is kept. One in the traceback of an error would be freed on whichever thread drops the error, and
        # reset a statement there that the writer's thread may be running: SQLITE_MISUSE.
        replaced = db.executemany(statement.sql, map(values, items)).rowcount
        if replaced != len(items):
            named = TABLES[table].name
            if len(items) == 1:
                named += f" {attrgetter(*table.KEY)(items[0])}"
            raise StaleError(f"{named}: another version is there, or none")

    def _require(self, db: sqlite3.Connection, table: type[Row], items: Sequence[Any]) -> None:
        sql = self._statements.require(table).sql
        for item in items:
            if db.execute(sql, item).fetchone() is None:
                raise StaleError(f"{TABLES[table].name}: another version is there, or none")

    def _append(self, db: sqlite3.Connection, appended: Sequence[Append]) -> None:
        (size,) = db.execute("SELECT ifnull(max(position) + 1, 0) FROM log").fetchone()
        numbered = list(enumerate(appended, size))
        insert_all(
            db,
            "INSERT INTO log (position, entry, leaf, mark) VALUES (?, ?, ?, ?)",
            [
                # The leaf hash of RFC 6962, section 2.1.
                (
                    position,
                    append.entry,
                    hashlib.sha256(b"\0" + append.entry).digest(),
                    append.mark,
                )
                for position, append in numbered
            ],
        )
        insert_all(
            db,
            "INSERT INTO log_about (subject, position) VALUES (?, ?)",
            [
                (subject, position)
                for position, append in numbered
                for subject in dict.fromkeys(append.about)
            ],
        )


def _sorted(changes: Sequence[Change]) -> tuple[dict[type[Row], list[Run]], list[Append]]:
    """Gather the writes by table, in order, with neighbours of one kind together."""
    runs: dict[type[Row], list[Run]] = {}
    appended: list[Append] = []
    for change in changes:
        for write in change:
            kind = type(write)
            if isinstance(write, Append):
                appended.append(write)
                continue
            item: Item
            if isinstance(write, Remove):
                table, item = write.table, write.key
            elif isinstance(write, Require):
                table, item = write.table, (*write.key, write.version)
            else:
                table, item = type(write.row), write.row
            if table not in TABLES:
                raise TypeError(f"there is no table of {table.__name__}")
            of_table = runs.setdefault(table, [])
            if not of_table or of_table[-1][0] is not kind:
                of_table.append((kind, []))
            of_table[-1][1].append(item)
    return runs, appended
