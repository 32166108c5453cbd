"""After a restore what was erased is erased again, and nothing that nobody decided to erase."""

import shutil
from dataclasses import replace

import pytest

from service.archive.replay import replay_erasures
from service.wiring import disposal_of, key_provider, opened_archive
from storage.ports import Remove, Replace
from storage.rows import AttentionRow, DeliveryRow, ErasureRow, ObjectRow
from tests.archive.test_erase import blobs_of, contact_with_everything, erase
from tests.archive.test_spine import call, deliver, deliver_recording
from tests.conftest import NOW

LATE = {"state": "failed"}


async def send_late(archive):
    """Let the source send a delivery and a recording for its erased contact; return all that is stored of them."""
    await deliver(archive, call("c-1", queue="Uusi"), ident="w-late", now=NOW)
    await deliver_recording(archive, b"late sound", name="late.wav", now=NOW)
    return await late_of(archive)


async def late_of(archive):
    store = archive.stores.store
    deliveries = await store.find(DeliveryRow, LATE)
    ids = [row.id for row in deliveries]
    objects = await store.find(ObjectRow, {"id": [row.object_id for row in deliveries]})
    keys = await archive.stores.keys.get_keys([*ids, *(row.id for row in objects)])
    items = await store.find(AttentionRow, {"about": ids, "state": "open"})
    return deliveries, objects, keys, items, await blobs_of(archive)


async def test_what_came_after_the_erasure_is_left_for_a_person(archive):
    await erase(archive, await contact_with_everything(archive))
    late = await send_late(archive)
    assert list(map(len, late)) == [2, 1, 3, 2, 1]
    assert await replay_erasures(disposal_of(archive), now=NOW) == 0
    assert await late_of(archive) == late


@pytest.mark.parametrize(
    "is_tombstone", [True, False], ids=["the erasure unfinished", "no row"]
)
async def test_it_is_left_where_the_erasure_itself_must_be_carried_out_again(
    archive, is_tombstone
):
    contact_id = await contact_with_everything(archive)
    done = await erase(archive, contact_id)
    late = await send_late(archive)
    store = archive.stores.store
    if is_tombstone:
        (row,) = await store.find(ErasureRow, {"id": done.id})
        await store.commit([Replace(replace(row, version=row.version + 1, state="erasing"))])
    else:
        await store.commit([Remove(ErasureRow, (done.id,))])
    assert await replay_erasures(disposal_of(archive), now=NOW) == 1
    assert await late_of(archive) == late
    (row,) = await store.find(ErasureRow, {"id": done.id})
    assert (row.state, row.parts) == ("erased", "")


async def test_what_came_late_and_was_erased_too_is_erased_again(config, tmp_path):
    key_provider(config).create(now=NOW)
    data, backup = config.archive.directory, tmp_path / "backup"
    async with opened_archive(config, create=True) as archive:
        contact_id = await contact_with_everything(archive)
        await erase(archive, contact_id)
        await send_late(archive)
    shutil.copytree(data, backup)
    async with opened_archive(config) as archive:
        await erase(archive, contact_id)
    ledger = (data / "ledger" / "erasures").read_bytes()
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    (data / "ledger" / "erasures").write_bytes(ledger)
    async with opened_archive(config) as archive:
        assert list(map(len, await late_of(archive))) == [2, 1, 3, 2, 1]
        assert await replay_erasures(disposal_of(archive), now=NOW) == 1
        assert list(map(len, await late_of(archive))) == [0, 0, 0, 0, 0]
        assert {row.state for row in await archive.stores.store.find(DeliveryRow, {})} == {
            "erased"
        }
        assert await replay_erasures(disposal_of(archive), now=NOW) == 0
