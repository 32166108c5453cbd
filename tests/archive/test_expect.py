"""A recording that should have come and does not is shown as lost by itself, and heals when it comes late."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.records import SealedRecording
from service.archive.vault import open_value
from service.domain.actor import Role
from service.domain.contact import RecordingState
from service.log.entry import EntryType, decode_entry
from storage.errors import UnavailableError
from storage.ports import Put, Replace
from storage.rows import AttentionRow, ContactRow, RecordingRow
from tests.archive.test_spine import call, deliver, deliver_recording, find
from tests.conftest import NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
GRACE = timedelta(hours=1)
OVER = NOW + GRACE


async def expected(archive, source_id="c-1"):
    await deliver(archive, call(source_id), ident=source_id, now=NOW)


async def recordings(archive, **where):
    return list(await archive.stores.store.find(RecordingRow, where, order=("id",)))


async def contact_states(archive):
    rows = await archive.stores.store.find(ContactRow, {})
    return sorted(row.recording_state for row in rows)


async def entries(archive, kind):
    log = archive.stores.log
    found = [decode_entry(one.entry) for one in await log.log_entries(0, await log.log_size())]
    return [entry for entry in found if entry.type is kind]


async def items(archive, reason):
    return list(await archive.stores.store.find(AttentionRow, {"reason": reason}))


async def test_it_is_lost_when_its_time_is_over_and_not_before(archive):
    await expected(archive)
    assert await archive.expectations.give_up(now=OVER - timedelta(microseconds=1)) == 0
    assert await archive.expectations.give_up(now=OVER) == 1
    assert await archive.expectations.give_up(now=OVER) == 0
    (row,) = await recordings(archive)
    assert (row.state, row.expected_until) == ("lost", None)
    assert await contact_states(archive) == ["lost"]


async def test_the_loss_says_why_is_logged_and_needs_attention(archive):
    await expected(archive)
    await archive.expectations.give_up(now=OVER)
    (row,) = await recordings(archive)
    sealer = await archive.vault.get_sealer(row.contact_id)
    sealed = open_value(
        sealer, row.sealed, SealedRecording, table="recordings", row=row.id, version=row.version
    )
    assert sealed.cause == "not_delivered_in_time"
    (entry,) = await entries(archive, EntryType.RECORDING_LOST)
    assert (entry.actor, entry.about) == ("system", (row.contact_id, row.id))
    (item,) = await items(archive, "recording_lost")
    assert (item.about, item.source) == (row.contact_id, "pbx")


async def test_one_that_comes_late_heals_the_contact(archive):
    await expected(archive)
    await archive.expectations.give_up(now=OVER)
    await deliver_recording(archive, b"late", now=OVER + GRACE)
    (row,) = await recordings(archive)
    assert row.state == "present"
    (found,) = await find(archive, NOW, phone="+358401234567")
    assert found.contact.recording_state is RecordingState.PRESENT
    assert len(await entries(archive, EntryType.RECORDING_HEALED)) == 1
    assert await archive.expectations.give_up(now=OVER + 9 * GRACE) == 0


async def test_one_that_came_in_time_is_left_alone(archive):
    await expected(archive)
    await deliver_recording(archive, b"in time", now=NOW)
    assert await archive.expectations.give_up(now=OVER + GRACE) == 0
    assert await contact_states(archive) == ["present"]


@pytest.mark.parametrize("wins", ["the recording", "the amendment"])
async def test_what_arrives_at_the_same_moment_wins(archive, wins):
    await expected(archive)
    store = archive.stores.store

    class Racing:
        def __getattr__(self, name):
            return getattr(store, name)

        async def commit_each(self, changes):
            if wins == "the recording":
                await deliver_recording(archive, b"just now", now=OVER)
            else:
                # Understood by the archive itself, so the contact's row is another now.
                await deliver(
                    archive, call(queue="Laskutus2", subject="x"), ident="w", now=OVER
                )
            return await store.commit_each(changes)

    racing = replace(archive.expectations, store=Racing())
    assert await racing.give_up(now=OVER) == 0
    state = "present" if wins == "the recording" else "expected"
    assert await contact_states(archive) == [state]
    assert await entries(archive, EntryType.RECORDING_LOST) == []
    await archive.expectations.give_up(now=OVER)
    assert await contact_states(archive) == ["present" if wins == "the recording" else "lost"]


async def test_two_processes_at_once_give_up_once(archive):
    for n in range(4):
        await expected(archive, f"c-{n}")
    counts = await asyncio.gather(*(archive.expectations.give_up(now=OVER) for _ in range(3)))
    assert sum(counts) == 4
    assert len(await entries(archive, EntryType.RECORDING_LOST)) == 4
    assert len(await items(archive, "recording_lost")) == 4


async def test_more_than_a_batch_is_given_up_and_what_stays_hides_nothing(archive, monkeypatch):
    monkeypatch.setattr("service.archive.expect._BATCH", 2)
    for n in range(7):
        await expected(archive, f"c-{n}")
    rows = await recordings(archive)
    await archive.stores.keys.destroy_keys([row.contact_id for row in rows[:3]])
    assert await archive.expectations.give_up(now=OVER) == 4
    assert [row.state for row in await recordings(archive)] == ["expected"] * 3 + ["lost"] * 4


async def test_a_contact_that_is_being_erased_is_passed_over(archive):
    await expected(archive)
    (row,) = await archive.stores.store.find(ContactRow, {})
    erased = replace(row, version=row.version + 1, state="erased", sealed=b"")
    await archive.stores.store.commit([Replace(erased)])
    assert await archive.expectations.give_up(now=OVER) == 0
    assert await items(archive, "integrity") == []


async def test_an_altered_contact_raises_the_alarm_once_and_holds_up_no_other(archive):
    await expected(archive, "c-1")
    await expected(archive, "c-2")
    row, _ = await archive.stores.store.find(ContactRow, {}, order=("id",))
    flipped = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
    await archive.stores.store.commit([Put(replace(row, sealed=flipped))])
    assert await archive.expectations.give_up(now=OVER) == 1
    assert await archive.expectations.give_up(now=OVER) == 0
    (item,) = await items(archive, "integrity")
    assert item.about == row.id
    assert len(await entries(archive, EntryType.INTEGRITY_ALARM)) == 1


@pytest.mark.parametrize("is_late", [False, True], ids=["before it", "after it"])
async def test_a_store_that_fails_leaves_it_for_the_next_time(archive, is_late):
    await expected(archive)
    store = archive.stores.store

    class Failing:
        def __getattr__(self, name):
            return getattr(store, name)

        async def commit_each(self, changes):
            if is_late:
                await store.commit_each(changes)
            raise UnavailableError("stopped")

    with pytest.raises(UnavailableError):
        await replace(archive.expectations, store=Failing()).give_up(now=OVER)
    await archive.expectations.give_up(now=OVER)
    assert await contact_states(archive) == ["lost"]
    assert len(await entries(archive, EntryType.RECORDING_LOST)) == 1
