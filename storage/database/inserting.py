"""Inserting many rows with few statements.

The driver lets other threads run while a statement runs, and then waits for its turn again. Once for each row, that
takes longer than the rows do.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

# So many rows a statement may have, largest first: few statements to compile, and few to run.
_TOGETHER: Final = (64, 32, 16, 8, 4, 2, 1)
_VALUES: Final = " VALUES "


def insert_all(
    db: sqlite3.Connection, statement: str, rows: Iterable[Sequence[object]]
) -> None:
    """Insert ``rows`` in order, ``statement`` being the one that inserts a single row.

    Raises:
        sqlite3.Error: A row was refused. Some may have been inserted: the caller rolls back.
    """
    for some in _portions(list(rows)):
        db.execute(_inserting(statement, len(some)), list(chain.from_iterable(some)))


def _portions(rows: Sequence[Sequence[object]]) -> Iterator[Sequence[Sequence[object]]]:
    start = 0
    for size in _TOGETHER:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


@lru_cache(maxsize=1024)
def _inserting(statement: str, count: int) -> str:
    """Return the statement that inserts ``count`` rows."""
    head, values, row = statement.rpartition(_VALUES)
    if not head or not row.startswith("("):
        raise ValueError("the statement does not end with the values of one row")
    return head + values + ", ".join([row] * count)
