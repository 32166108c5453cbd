"""Claiming jobs on PostgreSQL, and hearing of new ones and of deliveries."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final

import asyncpg

from storage.database.bell import Bell
from storage.database.postgres.commit import DELIVERIES_CHANNEL
from storage.database.postgres.server import LOST, Db, Server
from storage.errors import StorageError
from storage.rows import JobRow
from storage.tables import TABLES

_COLUMNS: Final = tuple(column.name for column in TABLES[JobRow].columns)
# One kind and state at a time, so that a backlog of one hides no job of another and no index is left.
_DUE: Final = (
    "SELECT due.id, due.run_at FROM unnest($1::text[]) AS wanted(kind) CROSS JOIN LATERAL ("
    "SELECT id, run_at FROM jobs WHERE jobs.kind = wanted.kind AND state = '{}' AND {} "
    "ORDER BY run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED) AS due"
)
_ALL_DUE: Final = " UNION ALL ".join(
    _DUE.format(state, when)
    for state, when in (
        ("queued", "run_at <= $2"),
        ("queued", "run_at > $5"),
        ("claimed", "claimed_until <= $2"),
        ("claimed", "claimed_until > $5"),
    )
)
_DAY: Final = 24 * 3600 * 1_000_000
_CLAIM: Final = (
    f"WITH due AS MATERIALIZED ({_ALL_DUE}), "  # noqa: S608  # our own words
    "first AS MATERIALIZED (SELECT id FROM due ORDER BY run_at, id LIMIT $4) "
    "UPDATE jobs SET state = 'claimed', claimed_until = $3, attempts = attempts + 1 "
    f"FROM first WHERE jobs.id = first.id RETURNING {', '.join(f'jobs.{name}' for name in _COLUMNS)}"
)
_AGAIN_SECONDS: Final = 1.0


async def claim(
    db: Db, kinds: Collection[str], *, now: int, lease: int, limit: int
) -> Sequence[JobRow]:
    """Claim jobs that are due, oldest first, until ``now + lease``."""
    # Told twice because a connection was lost, it may claim more; those wait for the end of their lease.
    given = (sorted(set(kinds)), now, now + lease, limit, now + _DAY)
    found = await db.fetch(_CLAIM, *given)
    jobs = [JobRow(**dict(zip(_COLUMNS, values, strict=True))) for values in found]
    return sorted(jobs, key=attrgetter("run_at", "id"))


async def announce_deliveries(db: Db) -> None:
    """Tell every process that deliveries wait."""
    await db.execute(f"NOTIFY {DELIVERIES_CHANNEL}")


async def listen(server: Server, bells: Mapping[str, Bell]) -> None:
    """Ring the bell of each channel on which something is told, until cancelled.

    While the server is lost nothing is heard, and work is polled.
    """
    while True:
        with suppress(StorageError, *LOST, asyncpg.PostgresError):
            await _heard(server, bells)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _heard(server: Server, bells: Mapping[str, Bell]) -> None:
    db: Any = await server.connect()
    ended = asyncio.Event()
    try:
        db.add_termination_listener(lambda _: ended.set())
        for channel in bells:
            await db.add_listener(channel, lambda *told: bells[told[2]].ring())
        await ended.wait()
    finally:
        db.terminate()
