"""Recordings that could not be fetched: put before a person, each once; tried again; settled when they have come."""

from datetime import datetime
from typing import Final

from service.archive.draft_recordings import AWAITED, fetch_job
from service.archive.records import recording_of
from service.archive.remarks import raise_attention, settle_attention
from service.archive.vault import Vault
from service.domain.actor import SYSTEM
from service.domain.errors import TamperedError
from service.domain.fetching import FetchFault
from storage.ports import Put, Store, Write
from storage.rows import AttentionRow, JobRow, RecordingRow

FETCH_REASONS: Final = tuple(fault.value for fault in FetchFault)
"""The reasons under which a contact needs attention, one for each fault."""

_SETTLED: Final = [name for name in FETCH_REASONS if name != FetchFault.ADDRESS_REFUSED]
"""Those that are over when the recording is there. What may have been an attack was one all the same."""


async def raise_fault(
    store: Store, fault: FetchFault, *, contact_id: str, source: str, now: datetime
) -> list[Write]:
    """Return the writes that put a contact on the list because of ``fault``; none where it stands there already."""
    where = {"about": contact_id, "reason": fault.value, "state": "open"}
    if await store.count(AttentionRow, where):
        return []
    return raise_attention(
        fault.value, about=contact_id, source=source, actor=SYSTEM.id, now=now
    )


async def settle_faults(store: Store, contact_id: str, *, now: datetime) -> None:
    """Take a contact off the list, unless one of its recordings is awaited still, or it may be about an attack.

    Raises:
        storage.errors.StorageError: It could not be done; a person may do it.
    """
    where = {"contact_id": contact_id, "state": list(AWAITED)}
    if await store.count(RecordingRow, where):
        return
    items = await store.find(
        AttentionRow, {"about": contact_id, "reason": _SETTLED, "state": "open"}
    )
    for item in items:
        await store.commit(settle_attention(item, actor=SYSTEM.id, now=now))


async def fetch_again(
    store: Store, vault: Vault, contact_id: str, kind: str, *, now: datetime
) -> bool:
    """Let the recordings of a contact that are awaited be fetched now, by jobs of ``kind``; tell whether there is one.

    Raises:
        UnavailableError: The keys are not at hand.
        storage.errors.StorageError: It could not be done.
    """
    sealers = await vault.find_sealers([contact_id])
    where = {"contact_id": contact_id, "state": list(AWAITED)}
    rows = await store.find(RecordingRow, where) if contact_id in sealers else ()
    try:
        named = [row for row in rows if recording_of(row, sealers[contact_id]).announced]
    except TamperedError:
        return False
    jobs = [fetch_job(row.id, kind, now=now) for row in named]
    # One that is being fetched at this moment goes on.
    claimed = {"id": [job.id for job in jobs], "state": "claimed"}
    running = {job.id for job in await store.find(JobRow, claimed)}
    anew = [Put(job) for job in jobs if job.id not in running]
    if anew:
        await store.commit(anew)
    return bool(jobs)
