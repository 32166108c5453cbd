"""Of an erased contact it is verified that nothing is left, and said honestly where something is."""

from dataclasses import replace

import pytest

from service.archive.checks import Code, Outcome
from service.archive.verify_erased import check_erased
from storage.ports import Add, Replace
from storage.rows import ContactRow, ContactTokenRow, ErasureRow, RecordingRow
from tests.archive.test_erase import contact_with_everything, erase


async def outcome(archive, contact_id):
    checker = archive.verifier.checker
    rows = (await checker.read([contact_id]))[contact_id]
    (check,) = await check_erased(checker, rows)
    assert check.code is Code.ERASED
    return check.outcome


async def test_nothing_is_left_of_what_was_erased(archive):
    contact_id = await contact_with_everything(archive)
    assert await outcome(archive, contact_id) is Outcome.FAILED
    await erase(archive, contact_id)
    assert await outcome(archive, contact_id) is Outcome.PASSED


async def test_without_keys_at_hand_it_is_not_known(archive):
    contact_id = await contact_with_everything(archive)
    await erase(archive, contact_id)
    checker = replace(archive.verifier.checker, vault=None)
    rows = (await checker.read([contact_id]))[contact_id]
    (check,) = await check_erased(checker, rows)
    assert check.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("left", ["key", "token", "row", "recording", "unfinished"])
async def test_what_is_left_is_told(archive, left):
    contact_id = await contact_with_everything(archive)
    store, keys = archive.stores.store, archive.stores.keys
    key = (await keys.get_keys([contact_id]))[contact_id]
    await erase(archive, contact_id)
    (contact,) = await store.find(ContactRow, {"id": contact_id})
    (recording,) = await store.find(RecordingRow, {"contact_id": contact_id})
    (erasure,) = await store.find(ErasureRow, {"contact_id": contact_id})

    def changed(row, **changes):
        return Replace(replace(row, version=row.version + 1, **changes))

    token = ContactTokenRow(token=b"t" * 32, started_at=1, contact_id=contact_id)
    writes = {
        "token": Add(token),
        "row": changed(contact, sealed=b"x"),
        "recording": changed(recording, state="present"),
        "unfinished": changed(erasure, state="erasing"),
    }
    if left == "key":
        await keys.put_keys([key])
    else:
        await store.commit([writes[left]])
    expected = Outcome.UNKNOWN if left == "unfinished" else Outcome.FAILED
    assert await outcome(archive, contact_id) is expected
