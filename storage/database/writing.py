"""Writing rows on SQLite: a row at a time, or many with one statement where the driver can."""

import sqlite3
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import Table, and_, bindparam, delete, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql import ClauseElement, ColumnElement

from storage.database.inserting import insert_all
from storage.database.sorting import Item, require_versions, stale
from storage.database.statements import Statement, Statements
from storage.errors import StaleError
from storage.ports import Add, Put, Remove, Replace, Require, Write
from storage.rows import Row
from storage.tables import TABLES


class Writing:
    """Carries out runs of writes of one kind on one table."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def write(
        self,
        db: sqlite3.Connection,
        table: type[Row],
        kind: type[Write],
        items: Sequence[Item],
    ) -> None:
        """Carry ``items`` out in order.

        Raises:
            StaleError: A row that is replaced or required has another version, or is gone.
            sqlite3.Error: A row was refused. Some may have been written: the caller rolls back.
        """
        statement = self.statement(table, kind)
        # What `sort_writes` gives of the first two kinds is tuples.
        keys = cast("Sequence[tuple[Any, ...]]", items)
        if kind is Require:
            if any(db.execute(statement.sql, key).fetchone() is None for key in keys):
                raise StaleError(stale(table))
        elif kind is Remove:
            db.executemany(statement.sql, keys)
        elif kind is Add:
            insert_all(db, statement.sql, map(attrgetter(*statement.names), items))
        else:
            values = attrgetter(*(name.removeprefix("key_") for name in statement.names))
            # No cursor is kept. One in the traceback of an error would be freed on whichever thread drops the error,
            # and reset a statement there that the writer's thread may be running: SQLITE_MISUSE.
            written = db.executemany(statement.sql, map(values, items)).rowcount
            if kind is Replace and written != len(items):
                raise StaleError(stale(table, items))

    def statement(self, table: type[Row], kind: type[Write]) -> Statement:
        """Return the statement that carries one such write out."""
        described, build = TABLES[table], _BUILDERS[kind]
        return self._statements.once((kind, table), lambda: build(described, table.KEY))


def _add(table: Table, _: Sequence[str]) -> Any:  # noqa: ANN401  # the library types it no closer
    return insert(table).values(
        {column.name: bindparam(column.name) for column in table.columns}
    )


def _put(table: Table, key: Sequence[str]) -> ClauseElement:
    adding = _add(table, key)
    others = {c.name: adding.excluded[c.name] for c in table.columns if c.name not in key}
    done: ClauseElement = (
        adding.on_conflict_do_update(index_elements=key, set_=others)
        if others
        else adding.on_conflict_do_nothing(index_elements=key)
    )
    return done


def _replace(table: Table, key: Sequence[str]) -> ClauseElement:
    require_versions(table)
    values: dict[str, Any] = {
        c.name: bindparam(c.name) for c in table.columns if c.name not in key
    }
    # A parameter may not have the name of a column that is set.
    where = and_(
        *(table.c[name] == bindparam(f"key_{name}") for name in key),
        table.c.version == bindparam("version") - literal_column("1"),
    )
    return update(table).where(where).values(values)


def _remove(table: Table, key: Sequence[str]) -> ClauseElement:
    return delete(table).where(*(_is(table, name) for name in key))


def _require(table: Table, key: Sequence[str]) -> ClauseElement:
    require_versions(table)
    return select(table.c.version).where(*(_is(table, name) for name in (*key, "version")))


def _is(table: Table, name: str) -> ColumnElement[bool]:
    return table.c[name] == bindparam(name)


_BUILDERS: dict[type[Write], Callable[[Table, Sequence[str]], ClauseElement]] = {
    Add: _add,
    Put: _put,
    Replace: _replace,
    Remove: _remove,
    Require: _require,
}
