"""Verifying that what was erased is gone: its rows are empty, and what opened it is destroyed."""

from collections.abc import Sequence

from service.archive.checks import Check, Code, failed, passed, unknown
from service.archive.contact_checks import NO_KEYS, ContactChecker
from service.archive.evidence import ContactRows
from service.domain.contact import RecordingState
from service.domain.retention import ErasureState
from storage.errors import StorageError
from storage.rows import ContactTokenRow, DeliveryRow, ErasureRow

_ERASED = "erased"


async def check_erased(checker: ContactChecker, rows: ContactRows) -> Sequence[Check]:
    """Check that nothing is left of a contact of which the log says that it was erased.

    One whose erasure is not finished yet counts as not checked; the service goes on with it.
    """
    store = checker.store
    where = {"contact_id": rows.id}
    erasures = await store.find(ErasureRow, where)
    if any(row.state == ErasureState.ERASING for row in erasures):
        return [unknown(Code.ERASED, rows.id, "What opens it is still being destroyed.")]
    if rows.contact is None or rows.contact.state != _ERASED or rows.contact.sealed:
        return [failed(Code.ERASED, rows.id, "Its record is no tombstone.")]
    if any(row.state != RecordingState.ERASED or row.sealed for row in rows.recordings):
        return [failed(Code.ERASED, rows.id, "The record of a recording is left.")]
    if rows.messages or rows.objects or await store.count(ContactTokenRow, where):
        return [failed(Code.ERASED, rows.id, "Messages, objects or tokens of it are left.")]
    return await _check_keys(checker, rows.id)


async def _check_keys(checker: ContactChecker, contact_id: str) -> Sequence[Check]:
    if checker.vault is None:
        return [unknown(Code.ERASED, contact_id, NO_KEYS)]
    # What came after the erasure is kept until a person has looked.
    where = {"contact_id": contact_id, "state": _ERASED}
    deliveries = await checker.store.find(DeliveryRow, where)
    ids = [contact_id, *(row.id for row in deliveries)]
    try:
        left = await checker.vault.keys.get_keys(ids)
    except StorageError:
        return [unknown(Code.ERASED, contact_id, "The key store could not be read.")]
    if left:
        return [failed(Code.ERASED, contact_id, f"{min(left)} still has its key.")]
    return [passed(Code.ERASED, contact_id)]
