"""Moving the rows of one store into another, table by table, in the order of their keys.

Rows go over in portions, each stored whole and in order, so what has arrived of a table is always its beginning: where
to go on is asked of the target, and nothing arrives twice. Text and bytes are ordered byte by byte on every engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, Protocol

from sqlalchemy import Table

from storage.rows import KeyRow
from storage.tables import ARCHIVE, COMMIT_MARKS, KEY_SLOTS, LOG

Values = tuple[object, ...]

PORTION_ROWS: Final = 5_000
PORTION_BYTES: Final = 4 * 1024**2
"""A portion ends with the row that brings it to one of these."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A table whose rows are moved: its columns, and those of them that tell its rows apart.

    Attributes:
        present: A column that is null where there is no row, only a place for one; empty: there are none such.
        given: What the target's row has beside, where the engines differ.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    present: str = ""
    given: Mapping[str, object] = field(default_factory=dict)

    def key_of(self, row: Values) -> Values:
        """Return the key of ``row``."""
        return tuple(row[self.columns.index(name)] for name in self.key)

    def called(self, row: Values) -> str:
        """Return what a person calls the row."""
        key = (value.hex() if isinstance(value, bytes) else value for value in self.key_of(row))
        return f"{self.name} {', '.join(map(str, key))}"


def _whole(table: Table) -> Moved:
    columns = tuple(column.name for column in table.columns)
    return Moved(table.name, columns, tuple(column.name for column in table.primary_key))


LOG_TABLE: Final = _whole(LOG)
# What a writer has committed is a matter between it and its own server.
ROWS: Final = tuple(
    _whole(table) for table in ARCHIVE.tables.values() if table is not COMMIT_MARKS
)
# An empty slot is of use in a file only: see `storage.database.keys`.
KEYS: Final = (
    Moved(
        KEY_SLOTS.name,
        tuple(one.name for one in fields(KeyRow)),
        KeyRow.KEY,
        present="id",
        given={"room": 0},
    ),
)


class RowReader(Protocol):
    """Reads rows as they are stored."""

    async def count(self, table: Moved) -> int:
        """Return how many rows there are."""
        ...

    async def after(self, table: Moved, key: Values | None) -> Sequence[Values]:
        """Return the next portion of rows, in the order of their keys; None begins with the first.

        Raises:
            UnavailableError: They cannot be read.
        """
        ...


class RowTarget(Protocol):
    """Takes rows. Nobody can open it as a store while a move has it."""

    async def find_move(self) -> str | None:
        """Return the id of the move that has it."""
        ...

    async def claim(self, move: str) -> None:
        """Let ``move`` have it, whose tables are made; it stays so whatever ends meanwhile.

        Raises:
            ConflictError: Another move has it, or there are rows in it, or somebody works with it.
        """
        ...

    async def reclaim(self, move: str) -> None:
        """Let ``move``, which released it, have it again as it is now.

        Raises:
            ConflictError: Another move has it, or somebody works with it.
        """
        ...

    async def release(self, move: str) -> None:
        """Let it be opened as a store, if ``move`` has it. On return that survives a power cut."""
        ...

    async def empty(self) -> None:
        """Remove all rows."""
        ...

    async def count(self, table: Moved) -> int:
        """Return how many rows there are."""
        ...

    async def last_key(self, table: Moved) -> Values | None:
        """Return the greatest key; None where there is no row."""
        ...

    async def add(self, table: Moved, rows: Sequence[Values]) -> None:
        """Add ``rows``, in order, all greater than what is there. On return they survive a power cut.

        Raises:
            StorageError: None was added.
        """
        ...

    async def between(
        self, table: Moved, after: Values | None, last: Values, *, limit: int
    ) -> Sequence[Values]:
        """Return at the most ``limit`` rows whose keys are greater than ``after`` and not than ``last``, in order."""
        ...
