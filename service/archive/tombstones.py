"""Tombstones: what is shown of contacts that were erased, and when and why that was. Nothing of it is personal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.domain.contact import Channel, Direction
from service.domain.errors import ErasedError
from service.domain.retention import ErasureState, Ground
from service.domain.times import from_microseconds
from storage.ports import Store
from storage.rows import ContactRow, ErasureRow, LinkRow

ERASED: Final = "erased"
MOST: Final = 500
"""So many tombstones of one customer are shown at the most, the newest contacts'."""

_DECIDED: Final = (ErasureState.ERASING.value, ErasureState.ERASED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A contact that was erased. ``is_finished``: what opened it is destroyed, and not just out of reach."""

    id: str
    channel: Channel
    direction: Direction
    started_at: datetime
    ground: Ground
    erased_at: datetime
    is_finished: bool


async def find_tombstones(store: Store, contact_ids: Sequence[str]) -> list[Tombstone]:
    """Return the tombstones among the contacts, newest first."""
    if not contact_ids:
        return []
    rows = await store.find(
        ContactRow,
        {"id": list(contact_ids), "state": ERASED},
        order=("-started_at",),
        limit=MOST,
    )
    where = {"contact_id": [row.id for row in rows], "state": list(_DECIDED)}
    erasures = await store.find(ErasureRow, where, order=("approved_at",)) if rows else ()
    # The first one erased it; others took what came later.
    first = {row.contact_id: row for row in reversed(erasures)}
    finished = {row.contact_id: row.state == ErasureState.ERASED for row in erasures}
    return [
        Tombstone(
            id=row.id,
            channel=Channel(row.channel),
            direction=Direction(row.direction),
            started_at=from_microseconds(row.started_at),
            ground=Ground(first[row.id].ground),
            erased_at=from_microseconds(first[row.id].approved_at or 0),
            is_finished=finished[row.id],
        )
        for row in rows
        if row.id in first
    ]


async def find_tombstones_of(store: Store, customer_id: str) -> list[Tombstone]:
    """Return the tombstones in the history of a customer, newest first."""
    links = await store.find(LinkRow, {"customer_id": customer_id, "state": ERASED})
    return await find_tombstones(store, [link.contact_id for link in links])


async def erased_error(store: Store, contact_id: str) -> ErasedError:
    """Return the error that says when the contact was erased, and why."""
    stones = await find_tombstones(store, [contact_id])
    if not stones:
        return ErasedError(f"{contact_id} was erased")
    stone = stones[0]
    detail = f"This was erased on {stone.erased_at.date().isoformat()} ({stone.ground})."
    if not stone.is_finished:
        detail += " Its keys are still being destroyed."
    return ErasedError(f"{contact_id} was erased", detail=detail)
