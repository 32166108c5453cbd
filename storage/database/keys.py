"""The key store in one SQLite file, from which a destroyed key vanishes.

``secure_delete`` overwrites what is deleted with zeros, but not the copies that SQLite leaves in the unused
part of a page when it balances the tree and moves rows between pages. So no row ever moves: new ones go to
the end, none is deleted and none grows. Destroying a key empties its slot in place; a new key that fits takes the slot.
Then the write-ahead log, the only other file, is cut to nothing.
"""
# ruff: noqa: D102  # the port says what the methods promise

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from storage.database.connection import Connection, connected, translated
from storage.database.durable import CHECKPOINTING, Durable
from storage.database.file import prepare
from storage.database.inserting import insert_all
from storage.errors import StaleError
from storage.migrations import KEYS
from storage.rows import CLOSED, KeyRow
from storage.soundness import Soundness
from storage.waiting import settled

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE: Final = 512

# A longer row lies partly on pages of its own; a shorter one in its slot would then take more of the shared page.
_ON_ONE_PAGE: Final = 3_900

_COLUMNS: Final = "id, kind, wrapped_by, wrapped, made_at"
_SET: Final = "SET id = ?, kind = ?, wrapped_by = ?, wrapped = ?, made_at = ?"
_REPLACE: Final = (
    f"UPDATE keys {_SET} WHERE id = ? AND (room = ? OR room BETWEEN ? AND {_ON_ONE_PAGE})"
)
_REUSE: Final = (
    f"UPDATE keys {_SET} "  # noqa: S608  # our own words
    "WHERE slot = (SELECT slot FROM keys WHERE id IS NULL AND room = ? LIMIT 1)"
)
_APPEND: Final = f"INSERT INTO keys ({_COLUMNS}, room) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608  # our own words
_EMPTY: Final = (
    "UPDATE keys SET id = NULL, kind = NULL, wrapped_by = NULL, wrapped = NULL, made_at = NULL "
    "WHERE id = ?"
)
_TAKEN: Final = "SELECT id FROM keys WHERE id IN (SELECT value FROM json_each(?))"
_HAS_EMPTY: Final = "SELECT 1 FROM keys WHERE id IS NULL LIMIT 1"
_FIND: Final = (
    f"SELECT {_COLUMNS} FROM keys WHERE wrapped_by = ? AND id > ? ORDER BY id LIMIT ?"  # noqa: S608  # our own words
)
_COUNT: Final = (
    "SELECT wrapped_by, count(*) FROM keys WHERE wrapped_by <> '' GROUP BY wrapped_by"
)

_values: Final = attrgetter("id", "kind", "wrapped_by", "wrapped", "made_at")


class SqliteKeyStore:
    """`storage.ports.KeyStore` on an SQLite file of its own."""

    def __init__(
        self, path: Path, writer: Connection, reader: Connection, soundness: Soundness
    ) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._durable = Durable(path, soundness)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, path: Path, *, create: bool, soundness: Soundness | None = None
    ) -> AsyncIterator[Self]:
        """Open the key store at ``path``, brought up to date, and close it again.

        ``soundness`` is shared with the process's other stores; without it, it is for itself.

        Raises:
            MissingError: There is none, and ``create`` does not allow to make it.
            UnavailableError: It is not ours, newer than this program, or on an unfit file system.
        """
        await settled(asyncio.to_thread(prepare, path, KEYS, create=create))
        async with AsyncExitStack() as stack:
            # What SQLite sets aside while it works would be a file of its own.
            opening = connected(path, "secure_delete=ON", "temp_store=MEMORY", *CHECKPOINTING)
            writer = await stack.enter_async_context(opening)
            reader = await stack.enter_async_context(connected(path, "query_only=ON"))
            yield cls(path, writer, reader, soundness or Soundness())

    async def put_keys(self, rows: Sequence[KeyRow]) -> None:
        await self._run(self._writer, self._put, rows)

    async def get_keys(self, ids: Collection[str]) -> Mapping[str, KeyRow]:
        found = await self._run(self._reader, _get, ids)
        return {row.id: row for row in found}

    async def find_keys(
        self, wrapped_by: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[KeyRow]:
        return await self._run(self._reader, _find, wrapped_by, after, limit)

    async def count_keys(self) -> Mapping[str, int]:
        return await self._run(self._reader, _count)

    async def replace_keys(self, rows: Sequence[KeyRow]) -> None:
        await self._run(self._writer, self._replace, rows)

    async def destroy_keys(self, ids: Collection[str]) -> None:
        await self._run(self._writer, self._destroy, ids)

    def _put(self, db: sqlite3.Connection, rows: Sequence[KeyRow]) -> None:
        with self._durable.transaction(db):
            _store_all(db, rows)
            _require_open(db, rows)

    def _replace(self, db: sqlite3.Connection, rows: Sequence[KeyRow]) -> None:
        with self._durable.transaction(db):
            for row in rows:
                if db.execute("SELECT 1 FROM keys WHERE id = ?", (row.id,)).fetchone():
                    _store(db, row)
            _require_open(db, rows)

    def _destroy(self, db: sqlite3.Connection, ids: Iterable[str]) -> None:
        with self._durable.transaction(db):
            db.executemany(_EMPTY, ((key_id,) for key_id in ids))
        # Also when nothing was there any more: an earlier call may have been stopped before this line.
        self._durable.empty_log(db)

    async def _run(
        self,
        connection: Connection,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            return await connection.run(step, *args, **kwargs)
        except (sqlite3.Error, OverflowError, UnicodeError, AttributeError) as error:
            raise translated(error, self._path) from error


def _require_open(db: sqlite3.Connection, rows: Sequence[KeyRow]) -> None:
    """Refuse, and so roll back, what is wrapped by something closed; within the transaction that would store it."""
    wrappers = {row.wrapped_by for row in rows}
    closed = [key.id for key in _get(db, wrappers) if key.kind == CLOSED]
    if closed:
        raise StaleError(f"{closed[0]} is closed: wrap the key anew")


def _store_all(db: sqlite3.Connection, rows: Sequence[KeyRow]) -> None:
    """Put the rows, later ones over earlier ones of an id. Nearly all are new; those need one statement, not four."""
    listed = json.dumps([row.id for row in rows])
    taken = {key_id for (key_id,) in db.execute(_TAKEN, (listed,))}
    has_empty = db.execute(_HAS_EMPTY).fetchone() is not None
    new: dict[str, tuple[object, ...]] = {}
    again: list[KeyRow] = []
    for row in rows:
        if row.id in taken or row.id in new:
            again.append(row)
            continue
        values = (*_values(row), _room(row))
        if has_empty and db.execute(_REUSE, values).rowcount:
            taken.add(row.id)
        else:
            new[row.id] = values
    insert_all(db, _APPEND, new.values())
    for row in again:
        _store(db, row)


def _store(db: sqlite3.Connection, row: KeyRow) -> None:
    """Put ``row`` where its id stands if it fits, else into an empty slot of its size, else at the end."""
    values, room = _values(row), _room(row)
    if db.execute(_REPLACE, (*values, row.id, room, room)).rowcount:
        return
    db.execute(_EMPTY, (row.id,))
    if not db.execute(_REUSE, (*values, room)).rowcount:
        db.execute(_APPEND, (*values, room))


def _room(row: KeyRow) -> int:
    """Count the bytes that a row takes, apart from its place (sqlite.org/fileformat.html, section 2.1)."""
    texts = [text.encode() for text in (row.id, row.kind, row.wrapped_by)]
    lengths = [len(value) for value in (*texts, row.wrapped)]
    codes = sum(((2 * length + 13).bit_length() + 6) // 7 for length in lengths)
    if row.made_at in {0, 1}:
        return sum(lengths) + codes
    needed = (row.made_at.bit_length() + 8) // 8
    return (
        sum(lengths)
        + codes
        + next(size for size in (1, 2, 3, 4, 6, 8, needed) if size >= needed)
    )


def _get(db: sqlite3.Connection, ids: Collection[str]) -> list[KeyRow]:
    rows: list[KeyRow] = []
    left = iter(ids)
    while some := list(islice(left, _AT_ONCE)):
        listed = ", ".join("?" * len(some))
        found = db.execute(f"SELECT {_COLUMNS} FROM keys WHERE id IN ({listed})", some)  # noqa: S608  # question marks
        rows += [_row(values) for values in found]
    return rows


def _find(db: sqlite3.Connection, wrapped_by: str, after: str, limit: int) -> list[KeyRow]:
    return [_row(values) for values in db.execute(_FIND, (wrapped_by, after, limit))]


def _count(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute(_COUNT).fetchall())


def _row(values: tuple[str, str, str, bytes, int]) -> KeyRow:
    key_id, kind, wrapped_by, wrapped, made_at = values
    return KeyRow(id=key_id, kind=kind, wrapped_by=wrapped_by, wrapped=wrapped, made_at=made_at)
