"""Relinking after an import, which survives a crash: a job that is stored with each batch of customers.

Whoever imports links again at once and removes the job. Where that is cut short, the job is due a moment later for the
worker, and the next import does it before anything else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from service.archive.link import Linking
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from storage.ports import Remove, Store
from storage.rows import ContactTokenRow, CustomerRow, CustomerTokenRow, JobRow, LinkRow

KIND: Final = "relink"
"""The kind of the jobs that link again what the customers of one batch concern."""

BATCH: Final = 1000
# By then whoever imports has done it, or never will.
_DUE_AFTER: Final = timedelta(minutes=5)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Relinking:
    """Links contacts again when customers have changed."""

    store: Store
    linking: Linking

    async def relink_tokens(self, tokens: Iterable[bytes], *, actor: str, now: datetime) -> int:
        """Decide again about the contacts that have one of ``tokens``; return how many changed."""
        relinked = 0
        for some in in_batches(sorted(tokens), BATCH):
            found = await self.store.find(ContactTokenRow, {"token": some})
            relinked += await self._relink((row.contact_id for row in found), actor, now)
        return relinked

    async def run(self, subject: str, now: datetime) -> None:
        """Do the job ``subject``."""
        await self._relink_batch(_changed_at(subject), now=now)

    async def finish_pending(self, *, now: datetime) -> int:
        """Do every job that an import left behind; return how many contacts changed."""
        relinked = 0
        for job in await self.store.find(JobRow, {"kind": KIND}, order=("run_at",)):
            relinked += await self._relink_batch(_changed_at(job.subject), now=now)
            await self.finish(job)
        return relinked

    async def finish(self, job: JobRow) -> None:
        """Note that a job is done."""
        await self.store.commit([Remove(JobRow, (job.id,))])

    async def _relink_batch(self, changed_at: int, *, now: datetime) -> int:
        """Decide again about the contacts that the customers changed at ``changed_at`` are, or were, known by.

        What a customer is no longer known by is gone from their tokens; the contacts it tied to them still are.
        """
        customers = await self.store.find(CustomerRow, {"updated_at": changed_at})
        relinked = 0
        for some in in_batches(sorted(row.id for row in customers), BATCH):
            where = {"customer_id": some}
            linked = await self.store.find(LinkRow, where)
            relinked += await self._relink((row.contact_id for row in linked), "system", now)
            tokens = {row.token for row in await self.store.find(CustomerTokenRow, where)}
            relinked += await self.relink_tokens(tokens, actor="system", now=now)
        return relinked

    async def _relink(self, contact_ids: Iterable[str], actor: str, now: datetime) -> int:
        relinked = 0
        for some in in_batches(sorted(set(contact_ids)), BATCH):
            relinked += await self.linking.relink(some, actor=actor, now=now)
        return relinked


def relink_job(changed_at: datetime) -> JobRow:
    """Return the job for the customers that are stored as changed at ``changed_at``."""
    job_id = new_id("jb")
    return JobRow(
        id=job_id,
        kind=KIND,
        subject=f"im_{to_microseconds(changed_at)}_{job_id}",
        state="queued",
        run_at=to_microseconds(changed_at + _DUE_AFTER),
        attempts=0,
        claimed_until=0,
        last_error=None,
    )


def _changed_at(subject: str) -> int:
    """Return when the customers of a job were changed, in microseconds."""
    return int(subject.split("_")[1])


def in_batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield ``values`` in lists of ``size`` each, the last one perhaps shorter."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
