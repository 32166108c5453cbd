"""Jobs: work beside requests that survives a crash, is tried again with growing pauses, and never fails in silence.

A job is claimed under a short lease that is renewed while it runs, so that what a killed worker left is soon done by
another. Handlers may therefore run twice, also at once, and must come to the same result.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Final

from service.archive.jobs import JOB_DEAD
from service.archive.remarks import raise_attention
from service.domain.errors import ArchiveError, TamperedError
from service.domain.fetching import FetchError
from service.domain.times import to_microseconds
from service.keys.errors import KeysUnavailableError
from storage.errors import StaleError, StorageError
from storage.ports import Change, Put, Remove, Store
from storage.rows import JobRow

PAUSES: Final = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
"""How long a job waits after its first failure, its second, and so on. The failure after the last pause is the end."""

_ABANDONED: Final = "abandoned"
_LEASE: Final = timedelta(minutes=2)
_RENEW_EVERY: Final = timedelta(seconds=30)
_POLL_EVERY: Final = timedelta(seconds=1)
_RELEASE_SECONDS: Final = 2.0
_BURY_ATTEMPTS: Final = 8
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_log: Final = logging.getLogger("taltio")

Handler = Callable[[str, datetime], Awaitable[None]]
"""Does the work for a subject. It returns when there is nothing left to do, and raises when it is to be tried again."""

Bury = Callable[[JobRow, datetime], Awaitable[Change | None]]
"""Returns what is stored when a job failed for good, whose ``last_error`` says why: the job as it is given, which is
dead, or its removal, and what belongs to it. None: nothing was left to be done."""


def is_lasting(error: Exception, attempts: int) -> bool:
    """Tell whether trying again is of no use: altered bytes stay altered, however often one looks."""
    del attempts
    return isinstance(error, TamperedError)


async def raise_dead(dead: JobRow, now: datetime) -> Change:
    """Let a dead job wait for a person."""
    raised = raise_attention(JOB_DEAD, about=dead.subject, source=None, actor="system", now=now)
    return [Put(dead), *raised]


def _no_pause(error: Exception) -> timedelta:
    del error
    return timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How long the jobs of a kind are tried, and what is done when they failed for good.

    Attributes:
        pauses: Between one attempt and the next; the failure after the last of them is the end.
        spread: Each pause is longer by up to this share of it, at random: what failed together comes back apart.
        at_least: Tells for how long to wait after a failure, where that is longer.
        is_final: Tells whether a failure, of so many attempts, is the end before that.
        bury: What is stored then.
    """

    pauses: Sequence[timedelta] = PAUSES
    spread: float = 0.0
    at_least: Callable[[Exception], timedelta] = _no_pause
    is_final: Callable[[Exception, int], bool] = is_lasting
    bury: Bury = raise_dead


@dataclass(frozen=True, slots=True)
class Kind:
    """How the jobs of a kind are done: by what, for how long at the most, how many at a time, and how they end."""

    handler: Handler
    limit: timedelta = timedelta(hours=1)
    concurrency: int = 1
    ending: Ending = field(default_factory=Ending)


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Does the jobs of the kinds that it knows. Others wait for a worker that knows them."""

    store: Store
    kinds: Mapping[str, Kind]
    clock: Callable[[], datetime]
    poll_every: timedelta = _POLL_EVERY
    chance: Callable[[], float] = SystemRandom().random
    """A number from 0 to 1, each time another."""

    async def run(self) -> None:
        """Do jobs as they fall due, until cancelled; what runs then is released, for the next worker to begin anew."""
        running: dict[asyncio.Task[None], str] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                running = {task: kind for task, kind in running.items() if not task.done()}
                # The oldest of those kinds alone that have a place, so that none holds up another.
                busy = Counter(running.values())
                free = [
                    name for name, kind in self.kinds.items() if busy[name] < kind.concurrency
                ]
                claimed = await self._claim_patiently(free)
                for job in claimed:
                    running[group.create_task(self._do_patiently(job))] = job.kind
                if not claimed:
                    seconds = self.poll_every.total_seconds()
                    news = group.create_task(self.store.wait_for_jobs(seconds))
                    await asyncio.wait({news, *running}, return_when=asyncio.FIRST_COMPLETED)
                    news.cancel()

    async def _claim_patiently(self, names: Sequence[str]) -> Sequence[JobRow]:
        try:
            return await self._claim(names)
        except StorageError as error:
            _log.warning("jobs.unavailable", extra={"code": code_of(error)})
            return ()

    async def _do_patiently(self, job: JobRow) -> None:
        try:
            await self._do(job)
        except StorageError as error:
            _log.warning("jobs.unavailable", extra={"kind": job.kind, "code": code_of(error)})

    async def run_one(self, name: str) -> bool:
        """Do the oldest due job of a kind; tell whether there was one.

        Raises:
            storage.errors.StorageError: Jobs cannot be claimed or settled now. The lease runs out, and it is due again.
        """
        claimed = await self._claim([name])
        for job in claimed:
            await self._do(job)
        return bool(claimed)

    async def _claim(self, names: Sequence[str]) -> Sequence[JobRow]:
        return await self.store.claim_jobs(
            names,
            now=to_microseconds(self.clock()),
            lease=_LEASE // timedelta(microseconds=1),
            limit=1,
        )

    async def _do(self, job: JobRow) -> None:
        ending = self.kinds[job.kind].ending
        if job.attempts > len(ending.pauses) + 1:
            # Whoever had it before never came back to say so: it may be the job that takes workers down.
            await self._end(job, _ABANDONED)
            return
        try:
            await self._handle(job, self.kinds[job.kind])
        except asyncio.CancelledError:
            await self._release(job)
            raise
        except KeysUnavailableError as error:
            await self._postpone(job, error.code)
        except Exception as error:  # noqa: BLE001  # whatever one job raises is that job's outcome, and it is told
            code = code_of(error)
            extra = {"job": job.id, "kind": job.kind, "subject": job.subject, "code": code}
            is_ours = isinstance(error, ArchiveError | StorageError | TimeoutError)
            _log.warning("job.failed", extra=extra, exc_info=None if is_ours else error)
            if job.attempts > len(ending.pauses) or ending.is_final(error, job.attempts):
                await self._end(job, code)
            else:
                await self._put_off(job, code, at_least=ending.at_least(error))
        else:
            # What was begun anew meanwhile is not done with this.
            if await self._is_ours(job):
                await self.store.commit([Remove(JobRow, (job.id,))])

    async def _handle(self, job: JobRow, kind: Kind) -> None:
        """Do the work while the lease is renewed. On return nothing renews it, or the job would come back."""
        renewing = asyncio.create_task(self._renew(job))
        try:
            async with asyncio.timeout(kind.limit.total_seconds()):
                await kind.handler(job.subject, self.clock())
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _put_off(self, job: JobRow, code: str, *, at_least: timedelta) -> None:
        """Put a failed job back for later, unless it was begun anew meanwhile, or removed."""
        if not await self._is_ours(job):
            return
        ending = self.kinds[job.kind].ending
        pause = max(ending.pauses[job.attempts - 1], at_least)
        pause *= 1 + ending.spread * self.chance()
        due = to_microseconds(self.clock() + pause)
        later = replace(job, state="queued", claimed_until=0, run_at=due, last_error=code)
        await self.store.commit([Put(later)])

    async def _end(self, job: JobRow, code: str) -> None:
        """Put a job before a person that failed for good."""
        try:
            await self._bury(replace(job, state="dead", claimed_until=0, last_error=code))
        except KeysUnavailableError as error:
            await self._postpone(job, error.code)

    async def _bury(self, dead: JobRow) -> None:
        """Store that a job failed for good with all that belongs to it; where something changes meanwhile, again."""
        for attempt in range(_BURY_ATTEMPTS):
            change = await self.kinds[dead.kind].ending.bury(dead, self.clock())
            # Looked at after what the change is about was read: what was begun anew before that is not buried, and
            # what is begun anew later makes the change stale.
            if not await self._is_ours(dead):
                return
            try:
                await self.store.commit(
                    [Remove(JobRow, (dead.id,))] if change is None else change
                )
            except StaleError:
                if attempt + 1 == _BURY_ATTEMPTS:
                    raise
                continue
            if change is not None:
                extra = {"job": dead.id, "kind": dead.kind, "code": dead.last_error}
                _log.error("job.dead", extra=extra)
            return

    async def _postpone(self, job: JobRow, code: str) -> None:
        """Put a job back for which the keys were away; the attempt does not count."""
        due = to_microseconds(self.clock() + PAUSES[0])
        waiting = replace(job, state="queued", claimed_until=0, run_at=due, last_error=code)
        await self.store.commit([Put(replace(waiting, attempts=job.attempts - 1))])

    async def _release(self, job: JobRow) -> None:
        """Give back what a worker that stops has begun; the attempt does not count."""
        freed = replace(job, state="queued", claimed_until=0, attempts=job.attempts - 1)
        # Where this fails, the lease runs out by itself.
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self.store.commit([Put(freed)])

    async def _is_ours(self, job: JobRow) -> bool:
        claimed = {"id": job.id, "attempts": job.attempts, "state": "claimed"}
        return bool(await self.store.find(JobRow, claimed))

    async def _renew(self, job: JobRow) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY.total_seconds())
            until = to_microseconds(self.clock() + _LEASE)
            with suppress(StorageError):
                if await self._is_ours(job):
                    await self.store.commit([Put(replace(job, claimed_until=until))])


def code_of(error: Exception) -> str:
    """Return a stable code for what went wrong; never anything of its text."""
    if isinstance(error, FetchError):
        return error.fault.value
    if isinstance(error, ArchiveError):
        return error.code
    if isinstance(error, StorageError):
        name = type(error).__name__.removesuffix("Error")
        return _WORD.sub("_", name).lower()
    return "timed_out" if isinstance(error, TimeoutError) else "internal_error"
