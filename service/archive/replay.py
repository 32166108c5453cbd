"""Replaying the erasure ledger: what was erased stays erased, whatever a restore brings back."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from service.archive.dispose import ERASED, Disposal, Parts, tombstone, without_late
from service.archive.erasure_ledger import ErasedContact, LedgerLine
from service.domain.actor import SYSTEM
from service.domain.contact import Channel, RecordingState
from service.domain.retention import ErasureState
from storage.errors import StaleError, UnavailableError
from storage.ports import Add, Put, Write
from storage.rows import ContactRow, ErasureRow, LinkRow

_ATTEMPTS: Final = 32


async def replay_erasures(disposal: Disposal, *, now: datetime) -> int:
    """Carry out again every erasure of the ledger, after a restore and before anybody is answered.

    What the sources sent after an erasure, and nobody has decided to erase, stays as it is.

    Returns how many contacts the restore had brought back. Carried out twice, it changes nothing more.

    Raises:
        TamperedError: The ledger is not whole. Nothing may be answered.
        storage.errors.StorageError: Not all of it could be done; doing it again goes on.
    """
    lines = {line.erasure: line for line in await disposal.ledger.read()}
    again = 0
    for line in lines.values():
        again += await _replay(disposal, line, now=now)
    await disposal.scrub.scrub()
    return again


async def _replay(disposal: Disposal, line: LedgerLine, *, now: datetime) -> bool:
    for _ in range(_ATTEMPTS):
        parts = without_late(
            await disposal.read(line.contact.id, line.destroyed), line.destroyed
        )
        known = await disposal.store.find(ErasureRow, {"id": line.erasure})
        is_done = not parts.is_left and parts.contact is not None
        if is_done and known and known[0].state == ErasureState.ERASED.value:
            # The key store is restored for itself, and may have brought its keys back.
            await disposal.destroy(line.destroyed)
            return False
        row = _erasing(line, parts, known[0].version + 1 if known else 1)
        stones = [_stone(line.contact)] if parts.contact is None else []
        writes = tombstone(parts, row, now=now, is_replay=True, stones=stones)
        try:
            await disposal.store.commit(
                [*map(Add, stones), *_ties(line, parts), *writes, Put(row)]
            )
        except StaleError:
            continue
        await disposal.finish(row, now=now, is_replay=True)
        return True
    raise UnavailableError(f"{line.contact.id} kept changing while it was erased again")


def _erasing(line: LedgerLine, parts: Parts, version: int) -> ErasureRow:
    ids = dict.fromkeys((*line.destroyed, *parts.destroyed(line.contact.id)))
    return ErasureRow(
        id=line.erasure,
        version=version,
        contact_id=line.contact.id,
        ground=line.ground,
        state=ErasureState.ERASING.value,
        requested_by=line.requested_by,
        requested_at=line.requested_at,
        approved_by=line.approved_by,
        approved_at=line.at,
        finished_at=None,
        parts=",".join(ids),
        sealed=b"",
    )


def _stone(contact: ErasedContact) -> ContactRow:
    """Return the tombstone of a contact that is in no restored row, so that its source cannot bring it back."""
    is_call = contact.channel == Channel.CALL.value
    return ContactRow(
        id=contact.id,
        version=1,
        source=contact.source,
        source_token=bytes.fromhex(contact.source_token),
        channel=contact.channel,
        direction=contact.direction,
        started_at=contact.started_at,
        ended_at=None,
        created_at=contact.created_at,
        recording_state=RecordingState.ERASED.value if is_call else None,
        state=ERASED,
        sealed=b"",
    )


def _ties(line: LedgerLine, parts: Parts) -> Iterable[Write]:
    """Tie the tombstone to the customers whose contact it was, where the restored rows do not."""
    tied = {link.customer_id for link in parts.links}
    for customer_id in line.contact.customers:
        if customer_id not in tied:
            yield Add(
                LinkRow(
                    contact_id=line.contact.id,
                    customer_id=customer_id,
                    version=1,
                    state=ERASED,
                    reasons="",
                    certainty="sure",
                    made_by=SYSTEM.id,
                    made_at=line.at,
                )
            )
