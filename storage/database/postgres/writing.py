"""Writing many rows with one statement: the columns go as arrays, so its text is the same however many there are."""

from collections.abc import Callable, Collection, Iterator, Sequence
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import (
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy import cast as typed
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.sql import ClauseElement

from storage.database.postgres.server import Db
from storage.database.sorting import Item, require_versions, stale
from storage.database.statements import Statements
from storage.errors import StaleError
from storage.ports import Add, Put, Remove, Replace, Require, Write
from storage.rows import Row
from storage.tables import TABLES


class Writing:
    """Carries out runs of writes of one kind on one table."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def write(
        self, db: Db, table: type[Row], kind: type[Write], items: Sequence[Item]
    ) -> None:
        """Carry ``items`` out in order.

        A row that is required stays as it is until the transaction ends: who would change it waits.

        Raises:
            StaleError: A row that is replaced or required has another version, or is gone.
            asyncpg.PostgresError: A row was refused. Some may have been written: the caller rolls back.
        """
        if kind is Remove:
            columns = list(zip(*items, strict=True))
            await self._run(db, table, kind, columns)
            return
        if kind is Require:
            await self._require(db, table, set(cast("Sequence[tuple[object, ...]]", items)))
            return
        rows = cast("Sequence[Row]", items)
        # One statement cannot write a row twice.
        for some in [rows] if kind is Add else _distinct(rows):
            names = [column.name for column in TABLES[table].columns]
            columns = [tuple(map(attrgetter(name), some)) for name in names]
            done = await self._run(db, table, kind, columns)
            if kind is Replace and int(done.rpartition(" ")[2]) != len(some):
                raise StaleError(stale(table, some))

    async def _require(
        self, db: Db, table: type[Row], wanted: Collection[tuple[object, ...]]
    ) -> None:
        described = TABLES[table]
        statement = self._statements.once(
            (Require, table), lambda: _require(described, table.KEY)
        )
        found = await db.fetch(statement.sql, *zip(*wanted, strict=True))
        if len(found) != len(wanted):
            raise StaleError(stale(table))

    async def _run(
        self, db: Db, table: type[Row], kind: type[Write], columns: Sequence[Sequence[object]]
    ) -> str:
        described = TABLES[table]
        build = _BUILDERS[kind]
        statement = self._statements.once((kind, table), lambda: build(described, table.KEY))
        return await db.execute(statement.sql, *columns)


def _distinct(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Split rows, in order, so that no part has two of one key."""
    key_of = attrgetter(*rows[0].KEY)
    part: dict[object, Row] = {}
    for row in rows:
        if key_of(row) in part:
            yield list(part.values())
            part = {}
        part[key_of(row)] = row
    yield list(part.values())


def _given(table: Table, names: Sequence[str]) -> Any:  # noqa: ANN401  # the library types it no closer
    arrays = [typed(bindparam(f"given_{name}"), ARRAY(table.c[name].type)) for name in names]
    return func.unnest(*arrays).table_valued(*names, name="given").render_derived()


def _add(table: Table, _: Sequence[str]) -> Any:  # noqa: ANN401  # as above
    names = [column.name for column in table.columns]
    given = _given(table, names)
    rows: Select[Any] = select(*(given.c[name] for name in names))
    return insert(table).from_select(names, rows)


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
    names = [column.name for column in table.columns]
    given = _given(table, names)
    return (
        update(table)
        .values({name: given.c[name] for name in names if name not in key})
        .where(
            *(table.c[name] == given.c[name] for name in key),
            table.c.version == given.c.version - literal_column("1"),
        )
    )


def _remove(table: Table, key: Sequence[str]) -> ClauseElement:
    given = _given(table, key)
    return delete(table).where(*(table.c[name] == given.c[name] for name in key))


def _require(table: Table, key: Sequence[str]) -> ClauseElement:
    require_versions(table)
    names = (*key, "version")
    given = _given(table, names)
    return (
        select(table.c.version)
        .join(given, and_(*(table.c[name] == given.c[name] for name in names)))
        .with_for_update(read=True, of=table)
    )


_BUILDERS: dict[type[Write], Callable[[Table, Sequence[str]], ClauseElement]] = {
    Add: _add,
    Put: _put,
    Replace: _replace,
    Remove: _remove,
}
