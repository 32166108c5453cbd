"""Replaying: deliveries are understood anew, as after an adapter or a field map was mended.

What was not understood is tried as if it had just come. What was understood amends its contact where that is empty:
nothing that is archived changes, nothing begins another contact, and what differs is put before a person. Doing it
twice, or stopping half-way and going on, comes to the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.access.entries import entry
from service.archive.arrivals import Arrival
from service.archive.jobs import JobState
from service.archive.trials import TRIAL
from service.archive.understand import Understanding
from service.connecting.sources import require_manager
from service.domain.actor import Actor
from service.domain.errors import (
    ContradictionError,
    ErasedError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import new_id, parse_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType
from storage.errors import ConflictError, StaleError
from storage.ports import Add, Condition, Put, Replace, Span, Store, Write
from storage.rows import ContactRow, DeliveryRow, JobRow, ReplayRow

KIND: Final = "replay"
"""The kind of the job that replays what a source delivered; its subject is the source."""
RUNNING, DONE = "running", "done"
_BATCH: Final = 100
_UNTRIED: Final = ("received", "waiting", "failed", TRIAL)


class Scope(StrEnum):
    """Which deliveries of a source are replayed."""

    FAILED = "failed"
    """What was not understood, or waits."""
    TRIAL = "trial"
    """What came before the source was live."""
    ALL = "all"
    """Everything that is still there."""


_STATES: Final[Mapping[Scope, tuple[str, ...]]] = {
    Scope.FAILED: ("failed", "waiting"),
    Scope.TRIAL: (TRIAL,),
    Scope.ALL: (*_UNTRIED, "understood"),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of replaying one delivery: whether it tells something new now, or cannot be understood."""

    is_changed: bool = False
    is_failed: bool = False


@dataclass(frozen=True, slots=True)
class Replays:
    """The use cases of replaying."""

    store: Store
    understanding: Understanding

    async def find(self, source: str) -> ReplayRow | None:
        """Return the last replay of a source, the one that runs included."""
        return next(iter(await self.store.find(ReplayRow, {"source": source})), None)

    async def begin(
        self, source: str, scope: Scope, *, actor: Actor, now: datetime, is_queued: bool = True
    ) -> ReplayRow:
        """Begin to replay; a job does it, unless the caller does (``is_queued`` False), by ``run``.

        Raises:
            NotPermittedError: The actor does not manage sources.
            ContradictionError: One runs already.
        """
        require_manager(actor)
        before = await self.find(source)
        jobs = await self.store.find(JobRow, {"kind": KIND, "subject": source})
        is_at_it = any(job.state != JobState.DEAD for job in jobs)
        if before is not None and before.state == RUNNING and is_at_it:
            raise ContradictionError(f"deliveries of {source} are being replayed already")
        row = ReplayRow(
            source=source,
            version=1 if before is None else before.version + 1,
            scope=scope.value,
            state=RUNNING,
            begun_by=actor.id,
            begun_at=to_microseconds(now),
            finished_at=None,
            total=await self.store.count(DeliveryRow, _where(source, scope, now)),
            done=0,
            changed=0,
            failed=0,
            after="",
        )
        begun = entry(
            EntryType.SOURCE_REPLAYED,
            source,
            actor=actor.id,
            at=now,
            data={"scope": scope.value, "deliveries": row.total},
        )
        writes: list[Write] = [Add(row) if before is None else Replace(row), begun]
        if is_queued:
            # What a dead job of before left is in the way of none.
            writes += [Put(_job(source, now, jobs))]
        try:
            await self.store.commit(writes)
        except (StaleError, ConflictError) as error:
            raise ContradictionError(f"deliveries of {source} are being replayed") from error
        return row

    async def run(
        self,
        source: str,
        now: datetime,
        *,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """Replay what was begun, from where it was left off. As a job, ``source`` is its subject.

        Raises:
            UnavailableError: The keys are not at hand, or somebody else replays; it can be gone on with.
            storage.errors.StorageError: As above.
        """
        row = await self.find(source)
        while row is not None and row.state == RUNNING:
            on_progress(row.done, row.total)
            row = await self._step(row, now=now)
        if row is not None:
            on_progress(row.done, max(row.done, row.total))

    async def replay_one(
        self, source: str, delivery_id: str, *, actor: Actor, now: datetime
    ) -> Result:
        """Replay one delivery of ``source``.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: The source has none of this id, or it is erased.
        """
        require_manager(actor)
        where = {
            "id": parse_id("dl", delivery_id),
            "source": source,
            "state": list(_STATES[Scope.ALL]),
        }
        rows = await self.store.find(DeliveryRow, where)
        if not rows:
            raise NotFoundError("no such delivery")
        replayed = entry(
            EntryType.SOURCE_REPLAYED,
            rows[0].source,
            rows[0].id,
            actor=actor.id,
            at=now,
            data={"scope": "one", "deliveries": 1},
        )
        await self.store.commit([replayed])
        return (await self._replay(rows, now=now))[rows[0].id]

    async def _step(self, row: ReplayRow, *, now: datetime) -> ReplayRow:
        begun_at = row.begun_at
        where = {
            "source": row.source,
            "state": list(_STATES[Scope(row.scope)]),
            "received_at": Span(None, begun_at + 1),
            "id": Span(f"{row.after} " if row.after else None),
        }
        rows = await self.store.find(DeliveryRow, where, order=("id",), limit=_BATCH)
        results = (await self._replay(rows, now=now)).values()
        is_over = len(rows) < _BATCH
        after = replace(
            row,
            version=row.version + 1,
            done=row.done + len(rows),
            changed=row.changed + sum(one.is_changed for one in results),
            failed=row.failed + sum(one.is_failed for one in results),
            after=rows[-1].id if rows else row.after,
            state=DONE if is_over else RUNNING,
            finished_at=to_microseconds(now) if is_over else None,
        )
        try:
            await self.store.commit([Replace(after)])
        except StaleError as error:
            raise UnavailableError(f"{row.source} is replayed by somebody else") from error
        return after

    async def _replay(self, rows: Sequence[DeliveryRow], *, now: datetime) -> dict[str, Result]:
        untried = [row for row in rows if row.state in _UNTRIED]
        await self.understanding.understand_rows(untried, now=now)
        now_are = {
            row.id: row.state
            for row in await self.store.find(DeliveryRow, {"id": [row.id for row in untried]})
        }
        results = {
            row.id: Result(
                is_changed=now_are.get(row.id) == "understood",
                is_failed=now_are.get(row.id) == "failed",
            )
            for row in untried
        }
        for row in rows:
            if row.id not in results:
                results[row.id] = await self._amend(row, now=now)
        return results

    async def _amend(self, row: DeliveryRow, *, now: datetime) -> Result:
        """Let a delivery that was understood amend the contacts that there are of it.

        Raises:
            UnavailableError: The keys are not at hand.
        """
        if row.kind == "recording":
            # Its bytes are with their contact; there is nothing to read in them.
            return Result()
        reading = await self.understanding.read(row, now=now)
        if reading.fault is not None:
            return Result(is_failed=True)
        there = await self._existing(reading.arrivals)
        # Of the delivery nothing changes, so it is not settled again; what was remarked of it was remarked then.
        arrivals = [replace(one, delivery=None, remarks=()) for one in reading.arrivals]
        token_of = self.understanding.interpreter.token_of
        known = [one for one in arrivals if token_of(one.source, one.source_id) in there]
        if not known:
            return Result(is_failed=bool(arrivals))
        interpreter = self.understanding.interpreter
        try:
            outcomes = await interpreter.interpret(known, now=now, is_replay=True)
        except (ErasedError, TamperedError):
            # Erased at this moment, or altered, which verification tells of.
            return Result(is_failed=True)
        versions = {one.contact.id: one.contact.version for one in outcomes if one.contact}
        return Result(
            is_changed=any(versions.get(one.id, 0) > one.version for one in there.values()),
            is_failed=len(known) < len(arrivals),
        )

    async def _existing(self, arrivals: Sequence[Arrival]) -> Mapping[bytes, ContactRow]:
        token_of = self.understanding.interpreter.token_of
        tokens = sorted({token_of(one.source, one.source_id) for one in arrivals})
        rows = await self.store.find(ContactRow, {"source_token": tokens, "state": "kept"})
        return {row.source_token: row for row in rows}


def _where(source: str, scope: Scope, now: datetime) -> Mapping[str, Condition]:
    return {
        "source": source,
        "state": list(_STATES[scope]),
        "received_at": Span(None, to_microseconds(now) + 1),
    }


def _job(source: str, now: datetime, before: Sequence[JobRow]) -> JobRow:
    return JobRow(
        id=before[0].id if before else new_id("jb"),
        kind=KIND,
        subject=source,
        state="queued",
        run_at=to_microseconds(now),
        attempts=0,
        claimed_until=0,
        last_error=None,
    )
