"""Deliveries are erased when their time is over, completely, and not before somebody could have read them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.expire import (
    EXPIRING,
    NOTICE,
    PART_WITHOUT_CONTACT,
    WITHOUT_CONTACT,
    DeliveryExpiry,
    Fate,
    decide_fate,
)
from service.archive.receive import keep_delivery
from service.domain.actor import Role
from service.log.entry import EntryType, decode_entry
from storage.errors import UnavailableError
from storage.ports import Replace
from storage.rows import AttentionRow, ContactRow, DeliveryRow, ObjectRow, RecordingRow
from tests.archive.test_spine import call, deliver, deliver_recording
from tests.conftest import NOW, actor

KEEP = timedelta(days=30)
HOUR = timedelta(hours=1)


@pytest.fixture
def expiry(archive):
    stores = archive.stores
    return DeliveryExpiry(stores.store, stores.keys, stores.blobs, KEEP)


async def deliveries(archive, **where):
    return list(await archive.stores.store.find(DeliveryRow, where, order=("received_at",)))


async def erasures(archive):
    log = archive.stores.log
    found = [decode_entry(one.entry) for one in await log.log_entries(0, await log.log_size())]
    return [entry for entry in found if entry.type is EntryType.DELIVERY_ERASED]


async def items(archive, reason):
    return list(await archive.stores.store.find(AttentionRow, {"reason": reason}))


async def blobs_of(archive):
    return {name async for name in archive.stores.blobs.names()}


@pytest.mark.parametrize(
    ("state", "age", "warned", "fate"),
    [
        ("understood", KEEP - HOUR, None, Fate.KEEP),
        ("understood", KEEP, None, Fate.ERASE),
        ("failed", KEEP - NOTICE - HOUR, None, Fate.KEEP),
        ("failed", KEEP - NOTICE, None, Fate.WARN),
        ("waiting", KEEP - HOUR, KEEP - NOTICE, Fate.KEEP),
        ("waiting", KEEP, KEEP - NOTICE, Fate.ERASE),
        pytest.param("failed", 2 * KEEP, None, Fate.WARN, id="late, and nobody was told"),
        pytest.param("failed", 2 * KEEP, 2 * KEEP - HOUR, Fate.KEEP, id="told a moment ago"),
        pytest.param("received", 9 * KEEP, None, Fate.KEEP, id="never read"),
        ("erasing", 9 * KEEP, None, Fate.KEEP),
        ("erased", 9 * KEEP, None, Fate.KEEP),
    ],
)
def test_the_rule(state, age, warned, fate):
    decided = decide_fate(
        state,
        received_at=NOW,
        warned_at=None if warned is None else NOW + warned,
        keep_for=KEEP,
        now=NOW + age,
    )
    assert decided is fate


async def test_an_understood_delivery_is_erased_and_its_contact_stays(archive, expiry):
    kept = await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver_recording(archive, b"sound", now=NOW)
    assert await expiry.run(now=NOW + KEEP - HOUR) == 0
    assert await expiry.run(now=NOW + KEEP) == 2
    row, recording = await deliveries(archive)
    assert (row.state, row.sealed, recording.state) == ("erased", b"", "erased")
    assert await archive.stores.keys.get_keys([row.id, recording.id]) == {}
    assert len(await archive.stores.store.find(ContactRow, {})) == 1
    (stored,) = await archive.stores.store.find(RecordingRow, {"state": "present"})
    assert stored.object_id in await blobs_of(archive)
    assert stored.object_id in await archive.stores.keys.get_keys([stored.object_id])
    (entry,) = await erasures(archive)
    assert kept.row.id in entry.about
    assert entry.data == {"deliveries": 2, "recordings": 0}
    assert await expiry.run(now=NOW + 2 * KEEP) == 0


async def test_what_was_erased_is_still_recognised_when_it_comes_again(archive, expiry):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await expiry.run(now=NOW + KEEP)
    again = await deliver(archive, call(), ident="w-1", now=NOW + KEEP)
    assert again.is_duplicate


async def test_nobody_loses_a_delivery_unwarned(archive, expiry):
    await deliver(archive, b"{}", ident="w-1", now=NOW)
    late = NOW + 2 * KEEP
    assert await expiry.run(now=late) == 0
    (item,) = await items(archive, EXPIRING)
    assert (item.state, item.source) == ("open", "pbx")
    assert await expiry.run(now=late + NOTICE - HOUR) == 0
    assert len(await items(archive, EXPIRING)) == 1
    assert await expiry.run(now=late + NOTICE) == 1
    assert [row.state for row in await deliveries(archive)] == ["erased"]


async def test_what_nobody_has_tried_to_read_is_never_erased(archive, expiry):
    await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident="w", body=call(), now=NOW
    )
    assert await expiry.run(now=NOW + 9 * KEEP) == 0
    assert await expiry.run(now=NOW + 10 * KEEP) == 0
    assert [row.state for row in await deliveries(archive)] == ["received"]


async def test_the_bytes_of_a_recording_without_a_contact_go_with_their_delivery(
    archive, expiry
):
    await deliver_recording(archive, b"nobody's", now=NOW)
    (stored,) = await archive.stores.store.find(ObjectRow, {})
    await expiry.run(now=NOW + KEEP - NOTICE)
    assert await expiry.run(now=NOW + KEEP) == 1
    assert await blobs_of(archive) == set()
    assert await archive.stores.store.find(ObjectRow, {}) == []
    assert await archive.stores.keys.get_keys([stored.id]) == {}
    (entry,) = await erasures(archive)
    assert stored.id in entry.about


async def test_a_recording_that_contradicted_another_stays_when_its_delivery_goes(
    archive, expiry
):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver_recording(archive, b"one", now=NOW)
    await deliver_recording(archive, b"two", now=NOW)
    await expiry.run(now=NOW + KEEP)
    rows = await archive.stores.store.find(RecordingRow, {"state": "present"})
    assert len(rows) == 2
    assert await blobs_of(archive) == {row.object_id for row in rows}


class Breaking:
    """A collaborator of which the n-th call fails, after it has happened where ``is_late``."""

    def __init__(self, part, state, *, is_late):
        self._part, self._state, self._is_late = part, state, is_late

    def __getattr__(self, name):
        method = getattr(self._part, name)
        if name not in {"commit", "commit_each", "destroy_keys", "remove"}:
            return method

        async def called(*args, **kwargs):
            self._state["calls"] += 1
            fails = self._state["calls"] == self._state["fail_at"]
            if fails and not self._is_late:
                raise UnavailableError("stopped")
            result = await method(*args, **kwargs)
            if fails:
                raise UnavailableError("stopped")
            return result

        return called


@pytest.mark.parametrize("is_late", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("step", range(1, 5))
async def test_stopped_at_any_step_the_next_run_goes_on(archive, expiry, step, is_late):
    await deliver_recording(archive, b"nobody's", now=NOW)
    await expiry.run(now=NOW + KEEP - NOTICE)
    state = {"calls": 0, "fail_at": step}
    parts = {
        name: Breaking(getattr(expiry, name), state, is_late=is_late)
        for name in ("store", "keys", "blobs")
    }
    with pytest.raises(UnavailableError):
        await replace(expiry, **parts).run(now=NOW + KEEP)
    assert state["calls"] == step
    await expiry.run(now=NOW + KEEP)
    (row,) = await deliveries(archive)
    assert (row.state, row.sealed) == ("erased", b"")
    assert await archive.stores.keys.get_keys([row.id, row.object_id]) == {}
    assert await blobs_of(archive) == set()
    assert len(await erasures(archive)) == 1


async def test_a_delivery_that_changes_at_the_same_moment_is_decided_again(archive, expiry):
    for n in range(3):
        await deliver(archive, call(f"c-{n}"), ident=f"w-{n}", now=NOW)
    store = archive.stores.store

    class Racing:
        def __init__(self):
            self.is_over = False

        def __getattr__(self, name):
            return getattr(store, name)

        async def commit(self, change):
            if not self.is_over:
                self.is_over = True
                row = (await deliveries(archive))[1]
                await store.commit([Replace(replace(row, version=row.version + 1))])
            await store.commit(change)

    assert await replace(expiry, store=Racing()).run(now=NOW + KEEP) == 3
    assert [row.state for row in await deliveries(archive)] == ["erased"] * 3


async def test_a_recording_whose_contact_does_not_come_is_shown_and_settled_when_it_does(
    archive, expiry
):
    await deliver_recording(archive, b"sound", now=NOW)
    await expiry.remind(now=NOW + HOUR - timedelta(seconds=1))
    assert await items(archive, WITHOUT_CONTACT) == []
    await expiry.remind(now=NOW + HOUR)
    await expiry.remind(now=NOW + 2 * HOUR)
    (item,) = await items(archive, WITHOUT_CONTACT)
    assert item.state == "open"
    await deliver(archive, call(), ident="w-1", now=NOW + 2 * HOUR)
    await expiry.remind(now=NOW + 3 * HOUR)
    (item,) = await items(archive, WITHOUT_CONTACT)
    assert (item.state, item.settled_by) == ("settled", "system")
    shown = await archive.attention.find(actor=actor(Role.COMPLAINT_HANDLER))
    assert shown == []


async def test_a_part_whose_contact_does_not_come_is_shown_too(archive, expiry):
    kept = await deliver_recording(archive, b"sound", now=NOW)
    store = archive.stores.store
    (row,) = await store.find(DeliveryRow, {"id": kept.row.id})
    await store.commit([Replace(replace(row, version=row.version + 1, kind="request"))])
    await expiry.remind(now=NOW + HOUR)
    await expiry.remind(now=NOW + 2 * HOUR)
    (item,) = await items(archive, PART_WITHOUT_CONTACT)
    assert (item.state, await items(archive, WITHOUT_CONTACT)) == ("open", [])


async def test_more_than_a_batch_is_erased_in_one_run(archive, expiry, monkeypatch):
    monkeypatch.setattr("service.archive.expire._BATCH", 3)
    for n in range(8):
        await deliver(archive, call(f"c-{n}"), ident=f"w-{n}", now=NOW)
        await deliver(archive, b"{}", ident=f"x-{n}", now=NOW)
    await expiry.run(now=NOW + KEEP - NOTICE)
    assert len(await items(archive, EXPIRING)) == 8
    assert await expiry.run(now=NOW + KEEP) == 16
