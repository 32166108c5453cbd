"""Jobs: work beside requests that survives a crash, is tried again with growing pauses, and never fails in silence.

A job is claimed under a short lease that is renewed while it runs, so that what a killed worker left is soon done by
another. Handlers may therefore run twice, also at once, and must come to the same result.
"""

import asyncio
import logging
import re
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
from storage.ports import Change, Put, Remove, Store, Write
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

Bury = Callable[[str, str, datetime], Awaitable[Change | None]]
"""Returns what is stored when the job about a subject failed for good, by a code; None: nothing was left to be done."""


def is_lasting(error: Exception, attempts: int) -> bool:
    """Tell whether trying again is of no use: altered bytes stay altered, however often one looks."""
    del attempts
    return isinstance(error, TamperedError)


async def _raise_dead(subject: str, code: str, now: datetime) -> Change:
    del code
    return raise_attention(JOB_DEAD, about=subject, source=None, actor="system", now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How long the jobs of a kind are tried, and what is done when they failed for good.

    Attributes:
        pauses: Between one attempt and the next; the failure after the last of them is the end.
        spread: Each pause is longer by up to this share of it, at random: what failed together comes back apart.
        is_final: Tells whether a failure, of so many attempts, is the end before that.
        bury: What is stored then.
    """

    pauses: Sequence[timedelta] = PAUSES
    spread: float = 0.0
    is_final: Callable[[Exception, int], bool] = is_lasting
    bury: Bury = _raise_dead


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
        async with asyncio.TaskGroup() as group:
            for name, kind in self.kinds.items():
                for _ in range(kind.concurrency):
                    group.create_task(self._serve(name))

    async def _serve(self, name: str) -> None:
        while True:
            try:
                is_idle = not await self.run_one(name)
            except StorageError as error:
                _log.warning("jobs.unavailable", extra={"kind": name, "code": code_of(error)})
                is_idle = True
            if is_idle:
                await self.store.wait_for_jobs(self.poll_every.total_seconds())

    async def run_one(self, name: str) -> bool:
        """Do the oldest due job of a kind; tell whether there was one.

        Raises:
            storage.errors.StorageError: Jobs cannot be claimed or settled now. The lease runs out, and it is due again.
        """
        claimed = await self.store.claim_jobs(
            [name],
            now=to_microseconds(self.clock()),
            lease=_LEASE // timedelta(microseconds=1),
            limit=1,
        )
        for job in claimed:
            await self._do(job)
        return bool(claimed)

    async def _do(self, job: JobRow) -> None:
        ending = self.kinds[job.kind].ending
        if job.attempts > len(ending.pauses) + 1:
            # Whoever had it before never came back to say so: it may be the job that takes workers down.
            await self._settle(job, _ABANDONED, is_final=True)
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
            await self._settle(job, code, is_final=ending.is_final(error, job.attempts))
        else:
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

    async def _settle(self, job: JobRow, code: str, *, is_final: bool) -> None:
        """Put a failed job back for later, or, after the last attempt, before a person."""
        if not await self._is_ours(job):
            # Begun anew meanwhile, or removed: what this attempt came to is of no interest any more.
            return
        ending = self.kinds[job.kind].ending
        failed = replace(job, claimed_until=0, last_error=code)
        if not is_final and job.attempts <= len(ending.pauses):
            pause = ending.pauses[job.attempts - 1] * (1 + ending.spread * self.chance())
            due = to_microseconds(self.clock() + pause)
            await self.store.commit([Put(replace(failed, state="queued", run_at=due))])
            return
        try:
            await self._bury(failed, ending, code)
        except KeysUnavailableError as error:
            await self._postpone(job, error.code)

    async def _bury(self, job: JobRow, ending: Ending, code: str) -> None:
        """Store that a job failed for good with all that belongs to it; where something changes meanwhile, again."""
        dead: Write = Put(replace(job, state="dead"))
        for attempt in range(_BURY_ATTEMPTS):
            also = await ending.bury(job.subject, code, self.clock())
            end = Remove(JobRow, (job.id,)) if also is None else dead
            try:
                await self.store.commit([end, *(also or ())])
            except StaleError:
                if attempt + 1 == _BURY_ATTEMPTS:
                    raise
                continue
            if also is not None:
                _log.error("job.dead", extra={"job": job.id, "kind": job.kind, "code": code})
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
