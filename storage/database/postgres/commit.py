"""How changes are committed on PostgreSQL: many in one transaction, and once, also when the server is lost meanwhile.

First all changes at once, the rows of a table together; when one is refused, each for itself behind a savepoint. The
log comes last: who has its lock numbers entries until the commit, so that there is no gap and no other order.

A server that is lost before it was asked to commit has stored nothing. One that is lost afterwards may have: so each
transaction also leaves its number in the writer's row of ``commit_marks``, and the next connection, of whatever server
takes writes then, reads it before anything is done again. Reading it waits for a transaction that is still under way.
"""

import asyncio
import random
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import asyncpg

from storage.database.postgres.locks import Lock
from storage.database.postgres.server import (
    LOST,
    REFUSED,
    RETRIED,
    Db,
    NotDurableError,
    Server,
    Session,
    durably,
    roll_back,
    translated,
)
from storage.database.postgres.writing import Writing
from storage.database.sorting import leaf_of, sort_writes, subjects_of
from storage.errors import DoubtfulError, StaleError, StorageError, UnavailableError
from storage.ports import Add, Append, Change, Put
from storage.rows import JobRow

JOBS_CHANNEL: Final = "taltio_jobs"
DELIVERIES_CHANNEL: Final = "taltio_deliveries"
DOUBT_SECONDS: Final = 20.0
"""So long a server is sought that can say whether a transaction was committed."""

_ATTEMPTS: Final = 5
_SEEK_EVERY: Final = 0.25
# One lock for each schema, the same in every process (an arbitrary constant and a hash of the name).
_LOCK_LOG: Final = f"SELECT pg_advisory_xact_lock({Lock.LOG.keys})"
_MARK: Final = (
    "INSERT INTO commit_marks (writer, number, marked_at) "
    "VALUES ('{}', {}, (extract(epoch FROM now()) * 1000000)::bigint) "
    "ON CONFLICT (writer) DO UPDATE SET number = greatest(commit_marks.number, excluded.number), "
    "marked_at = excluded.marked_at RETURNING number"
)
_FORGET: Final = "DELETE FROM commit_marks WHERE writer = $1"
_FORGET_OLD: Final = (
    "DELETE FROM commit_marks WHERE marked_at < "
    "(extract(epoch FROM now() - interval '7 days') * 1000000)::bigint"
)
_APPEND: Final = (
    "WITH size AS MATERIALIZED (SELECT coalesce(max(position) + 1, 0) AS position FROM log), "
    "numbered AS (INSERT INTO log (position, entry, leaf, mark) "
    "SELECT size.position + given.place, given.entry, given.leaf, given.mark FROM size, "
    "unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[]) AS given(place, entry, leaf, mark)) "
    "INSERT INTO log_about (subject, position) SELECT given.subject, size.position + given.place "
    "FROM size, unnest($5::text[], $6::bigint[]) AS given(subject, place)"
)

_Outcomes = list[StorageError | None]
_Entry = tuple[bytes, bytes, bytes, tuple[str, ...]]


class _InDoubtError(Exception):
    """The connection was lost at the commit; ``outcomes`` is what the changes came to if it took place."""

    def __init__(self, outcomes: _Outcomes) -> None:
        super().__init__()
        self.outcomes = outcomes


class Commits:
    """Commits changes in durable transactions, one after the other, on a connection of its own."""

    def __init__(self, server: Server, writing: Writing) -> None:
        self.session = Session(server)
        self._writing = writing
        self._writer = secrets.token_hex(16)
        self._number = 0

    async def each(self, changes: Sequence[Change]) -> _Outcomes:
        """Commit each change whole or not at all, and tell what was refused.

        Raises:
            UnavailableError: Nothing was stored.
            DoubtfulError: All of it may be stored, or nothing.
        """
        async with self.session.turn():
            self._number += 1
            for attempt in range(_ATTEMPTS):
                try:
                    return await self._once(changes)
                except _InDoubtError as doubt:
                    if await self._was_committed():
                        return doubt.outcomes
                except (*LOST, *RETRIED) as error:
                    if isinstance(error, LOST):
                        await self.session.lose()
                    if attempt == _ATTEMPTS - 1 or (attempt and isinstance(error, LOST)):
                        raise translated(error) from None
                    # Two that met in a deadlock shall not meet again.
                    await asyncio.sleep(random.uniform(0, 0.02) * attempt)  # noqa: S311  # no secret
                except asyncpg.PostgresError as error:
                    raise translated(error) from None
        raise UnavailableError("PostgreSQL: lost again and again while committing")

    async def close(self) -> None:
        """Leave nothing behind."""
        with suppress(*LOST, asyncpg.PostgresError, StorageError):
            if self._number:
                async with asyncio.timeout(1):
                    await (await self.session.connection()).execute(_FORGET, self._writer)
        await self.session.drop()

    async def _once(self, changes: Sequence[Change]) -> _Outcomes:
        db = await self.session.connection()
        outcomes: _Outcomes = [None] * len(changes)
        await db.execute("BEGIN")
        try:
            try:
                entries = await self._carry_out(db, changes)
            except (StaleError, *REFUSED) as error:
                if len(changes) == 1:
                    await db.execute("ROLLBACK")
                    return [translated(error)]
                await db.execute("ROLLBACK")
                await db.execute("BEGIN")
                outcomes, entries = await self._one_by_one(db, changes)
            # A change of nothing too: only a commit that writes is waited for until the standbys have what came before.
            if changes:
                await self._finish(db, entries)
        except BaseException:
            await roll_back(db)
            raise
        await self._commit(db, outcomes)
        return outcomes

    async def _one_by_one(
        self, db: Db, changes: Sequence[Change]
    ) -> tuple[_Outcomes, list[_Entry]]:
        outcomes: _Outcomes = []
        entries: list[_Entry] = []
        for change in changes:
            await db.execute("SAVEPOINT attempt")
            try:
                entries += await self._carry_out(db, [change])
            except (StaleError, *REFUSED) as error:
                await db.execute("ROLLBACK TO attempt")
                outcomes.append(translated(error))
            else:
                outcomes.append(None)
            await db.execute("RELEASE attempt")
        return outcomes, entries

    async def _carry_out(self, db: Db, changes: Sequence[Change]) -> list[_Entry]:
        """Write the rows, and return the entries that are to be appended once everything else is done."""
        runs, appended = sort_writes(changes)
        entries = [_checked(append) for append in appended]
        for table, of_table in runs.items():
            for kind, items in of_table:
                await self._writing.write(db, table, kind, items)
        if JobRow in runs and any(_is_due(write) for change in changes for write in change):
            await db.execute(f"NOTIFY {JOBS_CHANNEL}")
        return entries

    async def _finish(self, db: Db, entries: Sequence[_Entry]) -> None:
        mark = _MARK.format(self._writer, self._number)
        if not entries:
            await db.execute(mark)
            return
        # Last, for the lock is held until the commit; nothing is waited for behind it. In one message with the mark,
        # but not with what follows: that must see what was committed while this waited.
        await db.execute(f"{mark}; {_LOCK_LOG}")
        texts, leaves, marks, _ = zip(*entries, strict=True)
        about = [(subject, n) for n, entry in enumerate(entries) for subject in entry[3]]
        subjects, places = [subject for subject, _ in about], [place for _, place in about]
        await db.execute(_APPEND, range(len(entries)), texts, leaves, marks, subjects, places)

    async def _commit(self, db: Db, outcomes: _Outcomes) -> None:
        try:
            with durably(db):
                done = await db.execute("COMMIT")
        except asyncio.CancelledError:
            await self.session.drop()
            raise
        except (*LOST, NotDurableError):
            await self.session.lose()
            raise _InDoubtError(outcomes) from None
        if done != "COMMIT":
            raise UnavailableError("PostgreSQL: the transaction had failed")

    async def _was_committed(self) -> bool:
        """Tell whether the transaction took place whose answer was lost, as soon as some server can tell.

        The answer is itself a commit, later than the one that it is about, and so as durable as that.

        Raises:
            DoubtfulError: No server can.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + DOUBT_SECONDS
        while True:
            try:
                db = await self.session.connection()
                with durably(db):
                    ((number,),) = await db.fetch(_MARK.format(self._writer, self._number - 1))
            except (*LOST, *RETRIED, asyncpg.PostgresError, UnavailableError):
                await self.session.lose()
                if loop.time() > until:
                    raise DoubtfulError(
                        "PostgreSQL: lost at a commit, and not found again"
                    ) from None
                await asyncio.sleep(_SEEK_EVERY)
            else:
                return bool(number == self._number)


async def forget_old_marks(db: Db) -> None:
    """Remove the marks of writers that ended without doing so."""
    await db.execute(_FORGET_OLD)


def _checked(append: Append) -> _Entry:
    """Return what is stored of an entry."""
    subjects = subjects_of(append)
    if b"\0" in "".join(subjects).encode():
        raise UnicodeError("a subject cannot be stored")
    return append.entry, leaf_of(append), bytes(append.mark), subjects


def _is_due(write: object) -> bool:
    return (
        isinstance(write, Add | Put)
        and isinstance(write.row, JobRow)
        and write.row.state == "queued"
    )
