"""Jobs as people see them: what waits, what runs, and what failed for good and can be tried again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from service.archive.remarks import settle_attention
from service.domain.actor import Actor
from service.domain.errors import ContradictionError, NotFoundError, UnavailableError
from service.domain.ids import parse_id
from service.domain.permission import Permission, require_permission
from service.domain.times import from_microseconds, to_microseconds
from storage.errors import StaleError
from storage.ports import Put, Store, Write
from storage.rows import AttentionRow, JobRow

MAX_JOBS = 200
JOB_DEAD = "job_dead"
"""The reason under which a job that failed for good needs attention."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that is not done. ``last_error`` is a code, None while nothing went wrong; ``run_at`` is when it is due."""

    id: str
    kind: str
    subject: str
    state: JobState
    run_at: datetime
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Jobs:
    """The use cases of the list of jobs."""

    store: Store

    async def find(
        self, *, actor: Actor, state: JobState | None = None, limit: int = MAX_JOBS
    ) -> Sequence[Job]:
        """Return jobs that are not done, those that are or were due longest first.

        Raises:
            NotPermittedError: The actor may not read the list.
        """
        require_permission(actor, Permission.READ_ATTENTION)
        where = {} if state is None else {"state": state.value}
        rows = await self.store.find(
            JobRow, where, order=("run_at",), limit=min(limit, MAX_JOBS)
        )
        return [_job(row) for row in rows]

    async def count(self, *, actor: Actor) -> dict[JobState, int]:
        """Return how many jobs there are in each state.

        Raises:
            NotPermittedError: The actor may not read the list.
        """
        require_permission(actor, Permission.READ_ATTENTION)
        return {
            state: await self.store.count(JobRow, {"state": state.value}) for state in JobState
        }

    async def retry(self, job_id: str, *, actor: Actor, now: datetime) -> Job:
        """Let a dead job begin anew, and settle what was raised about it.

        Raises:
            NotPermittedError: The actor may not settle items.
            NotFoundError: There is no such job; it may be done.
            ContradictionError: It is not dead, so it is tried by itself.
            UnavailableError: The item about it was changed at the same moment.
        """
        require_permission(actor, Permission.SETTLE_ATTENTION)
        rows = await self.store.find(JobRow, {"id": parse_id("jb", job_id)})
        if not rows:
            raise NotFoundError("no such job")
        if rows[0].state != JobState.DEAD:
            raise ContradictionError("this job is not dead; it is tried again by itself")
        again = replace(
            rows[0], state=JobState.QUEUED.value, run_at=to_microseconds(now), attempts=0
        )
        settled = await self._settled(again.subject, actor=actor, now=now)
        try:
            await self.store.commit([Put(again), *settled])
        except StaleError as error:
            raise UnavailableError(f"{job_id} was changed by somebody else") from error
        return _job(again)

    async def retry_about(self, subject: str, *, actor: Actor, now: datetime) -> bool:
        """Let every dead job about ``subject`` begin anew, as ``retry`` does; tell whether there was one.

        Raises:
            NotPermittedError: The actor may not settle items.
            UnavailableError: The item about it was changed at the same moment.
        """
        require_permission(actor, Permission.SETTLE_ATTENTION)
        where = {"subject": subject, "state": JobState.DEAD.value}
        rows = await self.store.find(JobRow, where)
        for row in rows:
            await self.retry(row.id, actor=actor, now=now)
        return bool(rows)

    async def _settled(self, subject: str, *, actor: Actor, now: datetime) -> list[Write]:
        items = await self.store.find(
            AttentionRow, {"about": subject, "reason": JOB_DEAD, "state": "open"}
        )
        return [
            write for item in items for write in settle_attention(item, actor=actor.id, now=now)
        ]


def _job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        state=JobState(row.state),
        run_at=from_microseconds(row.run_at),
        attempts=row.attempts,
        last_error=row.last_error,
    )
