"""Recordings that could not be fetched: put before a person, each once; tried again; settled when they have come."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from service.archive.draft_recordings import AWAITED, FETCH
from service.archive.remarks import raise_attention, settle_attention
from service.domain.actor import SYSTEM
from service.domain.fetching import FetchFault
from service.domain.times import to_microseconds
from storage.ports import Put, Store, Write
from storage.rows import AttentionRow, JobRow, RecordingRow

FETCH_REASONS: Final = tuple(fault.value for fault in FetchFault)
"""The reasons under which a contact needs attention, one for each fault."""


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
    """Take a contact off the list, unless one of its recordings is awaited still.

    Raises:
        storage.errors.StorageError: It could not be done; a person may do it.
    """
    where = {"contact_id": contact_id, "state": list(AWAITED)}
    if await store.count(RecordingRow, where):
        return
    items = await store.find(
        AttentionRow, {"about": contact_id, "reason": list(FETCH_REASONS), "state": "open"}
    )
    for item in items:
        await store.commit(settle_attention(item, actor=SYSTEM.id, now=now))


async def fetch_again(store: Store, contact_id: str, *, now: datetime) -> bool:
    """Let the recordings of a contact that are awaited be fetched now; tell whether there is one.

    Raises:
        storage.errors.StorageError: It could not be done.
    """
    where = {"contact_id": contact_id, "state": list(AWAITED)}
    awaited = [row.id for row in await store.find(RecordingRow, where)]
    # One that is being fetched at this moment goes on.
    jobs = await store.find(
        JobRow, {"kind": FETCH, "subject": awaited, "state": ["dead", "queued"]}
    )
    anew = {"state": "queued", "run_at": to_microseconds(now), "attempts": 0}
    if jobs:
        await store.commit([Put(replace(job, **anew)) for job in jobs])  # type: ignore[arg-type]  # by name
    return bool(jobs)
