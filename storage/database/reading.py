"""Reading all rows of an SQLite file, in portions, to move them elsewhere. Nothing is written."""
# ruff: noqa: D102  # the port says what the methods promise

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from storage.database.connection import Connection, connected, translated
from storage.moving import PORTION_BYTES, PORTION_ROWS, Moved, Values


class SqliteRows:
    """`storage.moving.RowReader` of the database at ``path``."""

    def __init__(self, path: Path, connection: Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def opened(cls, path: Path) -> AsyncIterator[Self]:
        """Open the database, which is there and up to date, and close it again.

        Raises:
            StorageError: It cannot be opened.
        """
        async with connected(path, "query_only=ON") as connection:
            yield cls(path, connection)

    async def count(self, table: Moved) -> int:
        try:
            return await self._connection.run(_count, table)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    async def after(self, table: Moved, key: Values | None) -> Sequence[Values]:
        try:
            return await self._connection.run(_after, table, key)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error


def _count(db: sqlite3.Connection, table: Moved) -> int:
    counted = f'count("{table.present}")' if table.present else "count(*)"
    ((number,),) = db.execute(f'SELECT {counted} FROM "{table.name}"').fetchall()  # noqa: S608  # our own names
    return int(number)


def _after(db: sqlite3.Connection, table: Moved, key: Values | None) -> list[Values]:
    columns, order = _listed(table.columns), _listed(table.key)
    conditions = [f'"{table.present}" IS NOT NULL'] if table.present else []
    if key is not None:
        conditions.append(f"({order}) > ({', '.join('?' * len(key))})")
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    cursor = db.execute(
        f'SELECT {columns} FROM "{table.name}" {where}ORDER BY {order} LIMIT {PORTION_ROWS}',  # noqa: S608  # our own names
        key or (),
    )
    portion: list[Values] = []
    size = 0
    for row in cursor:
        portion.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes | str))
        if size >= PORTION_BYTES:
            break
    # A statement that is left half-way would keep its moment of the database.
    cursor.close()
    return portion


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
