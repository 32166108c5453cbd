"""Claiming jobs on SQLite."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Final

from storage.database.durable import Durable
from storage.rows import JobRow
from storage.tables import TABLES

_COLUMNS: Final = tuple(column.name for column in TABLES[JobRow].columns)
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM jobs WHERE kind = :kind AND "  # noqa: S608  # our own names
# One kind at a time, so that a backlog of one hides no job of another and no index is left.
_DUE: Final = (
    f"{_SELECT} state = 'queued' AND run_at <= :now ORDER BY run_at, id LIMIT :limit",
    f"{_SELECT} state = 'queued' AND run_at > :far ORDER BY run_at, id LIMIT :limit",
    f"{_SELECT} state = 'claimed' AND claimed_until <= :now ORDER BY run_at, id LIMIT :limit",
    f"{_SELECT} state = 'claimed' AND claimed_until > :far ORDER BY run_at, id LIMIT :limit",
)
_DAY: Final = 24 * 3600 * 1_000_000
_CLAIM: Final = (
    "UPDATE jobs SET state = 'claimed', claimed_until = ?, attempts = attempts + 1 WHERE id = ?"
)


def claim(
    db: sqlite3.Connection,
    durable: Durable,
    kinds: Collection[str],
    *,
    now: int,
    lease: int,
    limit: int,
) -> Sequence[JobRow]:
    """Claim jobs that are due, oldest first, until ``now + lease``."""
    # Most of the time nothing is due, and then nothing needs to be synced.
    if not _due(db, kinds, now, limit):
        return []
    with durable.transaction(db):
        due = _due(db, kinds, now, limit)
        db.executemany(_CLAIM, [(now + lease, job.id) for job in due])
        return [
            replace(job, state="claimed", claimed_until=now + lease, attempts=job.attempts + 1)
            for job in due
        ]


def _due(db: sqlite3.Connection, kinds: Collection[str], now: int, limit: int) -> list[JobRow]:
    asked: dict[str, int | str] = {"now": now, "far": now + _DAY, "limit": limit}
    found = (
        [
            JobRow(**dict(zip(_COLUMNS, values, strict=True)))
            for values in db.execute(statement, asked | {"kind": kind})
        ]
        for kind in kinds
        for statement in _DUE
    )
    return list(islice(merge(*found, key=attrgetter("run_at", "id")), limit))
