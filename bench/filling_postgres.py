"""The same archives on PostgreSQL, filled with ``COPY``."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import asyncpg

from bench.archives import Archive
from bench.filling import contents
from service.config import PostgresUrl
from storage.database.postgres.keys import SCHEMA as KEYS_SCHEMA
from storage.database.postgres.store import SCHEMA
from storage.rows import KeyRow, Row
from storage.tables import TABLES

_AT_ONCE: Final = 50_000
_KEY_COLUMNS: Final = ("id", "kind", "wrapped_by", "wrapped", "made_at")


def fill_postgres(archive: Archive, *, contacts: int, each: int, whole: int) -> None:
    """Put ``contacts`` in as `bench.filling.fill` does, and let the server gather its statistics.

    Raises:
        TypeError: The archive is on another engine.
    """
    database = archive.config.storage.database
    if not isinstance(database, PostgresUrl):
        raise TypeError("this archive is not on PostgreSQL")
    filling = contents(archive, contacts=contacts, each=each, whole=whole)
    asyncio.run(_copied(database.url, list(filling.tables()), filling.keys()))


async def _copied(
    url: str, tables: list[tuple[type[Row], Iterator[Row]]], keys: Iterator[KeyRow]
) -> None:
    db: Any = await asyncpg.connect(url)
    try:
        for kind, rows in tables:
            table = TABLES[kind]
            names = [column.name for column in table.columns]
            await _copy(db, SCHEMA, table.name, names, map(attrgetter(*names), rows))
        # Numbers that never meet those that the table itself gives.
        values = ((-n, 0, *attrgetter(*_KEY_COLUMNS)(row)) for n, row in enumerate(keys, 1))
        await _copy(db, KEYS_SCHEMA, "keys", ["slot", "room", *_KEY_COLUMNS], values)
        await db.execute("VACUUM ANALYZE")
    finally:
        await db.close()


async def _copy(
    db: Any,  # noqa: ANN401  # the driver declares no types
    schema: str,
    table: str,
    names: list[str],
    values: Iterator[tuple[object, ...]],
) -> None:
    while some := list(islice(values, _AT_ONCE)):
        await db.copy_records_to_table(table, schema_name=schema, columns=names, records=some)
