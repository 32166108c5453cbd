"""Erasures as they are stored, and as they are shown."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from service.archive.vault import RowKey, open_value, seal_value
from service.crypto.fields import FieldSealer
from service.domain.actor import Actor
from service.domain.retention import ErasureState, Ground
from service.domain.times import from_microseconds, to_microseconds
from storage.rows import ErasureRow

_VERSION: Final = 1


class SealedErasure(msgspec.Struct, frozen=True):
    """The reference of the request or order that an erasure follows."""

    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An erasure of one contact, as it may be shown."""

    id: str
    contact_id: str
    ground: Ground
    reference: str | None
    state: ErasureState
    requested_by: str
    requested_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    finished_at: datetime | None


def requested_row(
    key: RowKey,
    contact_id: str,
    ground: Ground,
    reference: str | None,
    *,
    actor: Actor,
    now: datetime,
) -> ErasureRow:
    """Return the row of an erasure that is asked for, under its own key."""
    return ErasureRow(
        id=key.id,
        version=1,
        contact_id=contact_id,
        ground=ground.value,
        state=ErasureState.REQUESTED.value,
        requested_by=actor.id,
        requested_at=to_microseconds(now),
        approved_by=None,
        approved_at=None,
        finished_at=None,
        parts="",
        sealed=seal_value(
            key.sealer,
            SealedErasure(reference),
            table="erasures",
            row=key.id,
            version=_VERSION,
        ),
    )


def erasure_of(row: ErasureRow, sealer: FieldSealer | None) -> Erasure:
    """Return the erasure in ``row``; without ``sealer``, and once it is over, without its reference."""

    def at(microseconds: int | None) -> datetime | None:
        return None if microseconds is None else from_microseconds(microseconds)

    reference = None
    if sealer is not None and row.sealed:
        place = {"table": "erasures", "row": row.id}
        reference = open_value(
            sealer, row.sealed, SealedErasure, **place, version=_VERSION
        ).reference
    return Erasure(
        id=row.id,
        contact_id=row.contact_id,
        ground=Ground(row.ground),
        reference=reference,
        state=ErasureState(row.state),
        requested_by=row.requested_by,
        requested_at=from_microseconds(row.requested_at),
        approved_by=row.approved_by,
        approved_at=at(row.approved_at),
        finished_at=at(row.finished_at),
    )
