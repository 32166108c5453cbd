"""Arrivals become contacts: each whole, in any order, once; and what contradicts is kept and shown."""

import asyncio
import itertools
import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.archive.draft import RECORDED_THOUGH_NONE
from service.archive.interpret import Arrival
from service.archive.receive import keep_delivery, keep_recording
from service.config import parse_config
from service.domain.actor import Role
from service.domain.contact import RecordingState
from service.domain.errors import ContradictionError, ErasedError
from service.log.entry import EntryType, decode_entry
from service.sources.generic import parse_contact
from service.wiring import key_provider, opened_archive
from storage.errors import StaleError
from storage.ports import Put, Replace
from storage.rows import (
    AttentionRow,
    ContactRow,
    DeliveryRow,
    JobRow,
    MessageRow,
    ObjectRow,
    RecordingRow,
)
from tests.archive.test_spine import call, chunks, deliver, deliver_recording, find
from tests.conftest import CONFIG, NOW, actor

HANDLER, SENDER = actor(Role.COMPLAINT_HANDLER), actor(Role.INTEGRATION)


def facts(**changes):
    _, understood = parse_contact(call(**changes), region="FI", now=NOW)
    return understood.contacts[0]


async def only_contact(archive):
    (row,) = await archive.stores.store.find(ContactRow, {})
    return await archive.contacts.get(row.id, actor=HANDLER)


async def reasons(archive):
    return sorted((i.reason, *i.fields) for i in await archive.attention.find(actor=HANDLER))


async def entries(archive, kind):
    stored = await archive.stores.log.log_entries(0, 1000)
    return [e for e in (decode_entry(one.entry) for one in stored) if e.type is kind]


async def put(archive, data, *, name="a.wav", contact=None):
    contact = contact or (await only_contact(archive)).contact
    return await archive.contacts.add_recording(
        contact.id, name, "audio/wav", chunks(data), actor=SENDER, now=NOW
    )


# -- any order, any number of times


STEPS = {
    "call begins": call(ended_at=None, queue=None),
    "call ends": call(recording=None, parties=[{"role": "customer", "phone": "0401234567"}]),
    "name": call(
        recording=None,
        parties=[{"role": "customer", "phone": "0401234567", "name": "Maija"}],
        subject="Lasku",
    ),
    "chat": call(messages=[{"from": "M", "at": "2026-11-20T14:02:00Z", "text": "Hei"}]),
    "first": ("a.wav", b"one"),
    "second": ("b.wav", b"two"),
}


async def play(archive, names):
    """Deliver; what is told again is told under an identification of its own."""
    for n, name in enumerate(names):
        step = STEPS[name]
        if isinstance(step, bytes):
            await deliver(archive, step, ident=f"w-{n}", now=NOW)
        else:
            await deliver_recording(archive, step[1], name=step[0], now=NOW)


async def state(archive):
    """Return everything that may not depend on the order."""
    view = await only_contact(archive)
    waiting = await archive.stores.store.count(DeliveryRow, {"state": ["received", "waiting"]})
    return (
        replace(view.contact, id="", version=0, parties=()),
        set(view.contact.parties),
        sorted((r.row.state, r.sealed.name, r.sealed.sha256) for r in view.recordings),
        sorted((m.sender, m.sent_at, m.size_bytes) for m in view.messages),
        await archive.stores.store.count(JobRow, {}),
        await reasons(archive),
        waiting,
    )


async def ended(names):
    with tempfile.TemporaryDirectory() as directory:
        config = parse_config(CONFIG, base=Path(directory))
        key_provider(config).create(now=NOW)
        async with opened_archive(config, create=True) as archive:
            await play(archive, names)
            return await state(archive)


@pytest.fixture(scope="module")
def expected():
    return asyncio.run(ended(sorted(STEPS)))


@settings(max_examples=8, deadline=None)
@given(st.permutations(sorted(STEPS)), st.lists(st.sampled_from(sorted(STEPS)), max_size=4))
def test_any_order_and_repetition_ends_in_the_same_state(expected, order, again):
    assert asyncio.run(ended([*order, *again])) == expected
    assert (expected[0].recording_state, expected[4:]) == (RecordingState.PRESENT, (2, [], 0))


async def test_a_batch_ends_like_one_after_the_other(archive):
    kept = []
    for n, step in enumerate(STEPS.values()):
        if isinstance(step, bytes):
            one = await keep_delivery(
                archive.intake, source="pbx", kind="contact", ident=f"w-{n}", body=step, now=NOW
            )
        else:
            one = await keep_recording(
                archive.intake,
                chunks(step[1]),
                source="pbx",
                source_id="c-1",
                name=step[0],
                content_type="audio/wav",
                now=NOW,
            )
        kept.append((one.row, one.delivery))
    await archive.understanding.understand(kept[::-1], now=NOW)
    assert await state(archive) == await ended(sorted(STEPS))


async def test_many_amend_one_contact_at_the_same_moment_and_all_of_it_stays(archive):
    await archive.contacts.add(facts(), source="pbx", actor=SENDER, now=NOW)
    told = [
        facts(parties=[{"role": "other", "phone": f"+35840123450{n}"}], recording=None)
        for n in range(9)
    ]
    await asyncio.gather(
        *(archive.contacts.add(one, source="pbx", actor=SENDER, now=NOW) for one in told),
        *(put(archive, bytes([n]), name=f"{n}.wav") for n in range(8)),
    )
    view = await only_contact(archive)
    assert len(view.contact.parties) == 2 + 9
    assert len(view.recordings) == 8
    for n in range(9):
        assert len(await find(archive, NOW, phone=f"+35840123450{n}")) == 1


async def test_the_same_contact_added_at_the_same_moment_is_one(archive):
    outcomes = await asyncio.gather(
        *(archive.contacts.add(facts(), source="pbx", actor=SENDER, now=NOW) for _ in range(12))
    )
    assert sum(outcome.is_new for outcome in outcomes) == 1
    assert len({outcome.contact.id for outcome in outcomes}) == 1


# -- contradictions


async def test_a_contradiction_keeps_what_was_told_and_is_raised_once(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    for n in range(3):
        other = call(queue="Laskutus", subject="Lasku")
        await deliver(archive, other, ident=f"other-{n}", now=NOW)
    await deliver(archive, call(queue="Myynti"), ident="w-5", now=NOW)
    view = await only_contact(archive)
    assert (view.contact.queue, view.contact.subject) == ("Asiakaspalvelu", "Lasku")
    items = await archive.attention.find(actor=HANDLER)
    assert [(item.reason, item.fields) for item in items] == [("contradiction", ("queue",))] * 2
    told = {await archive.attention.explain(i.id, actor=HANDLER, now=NOW) for i in items}
    assert told == {
        "queue: archived Asiakaspalvelu, told Laskutus",
        "queue: archived Asiakaspalvelu, told Myynti",
    }
    rows = await archive.stores.store.find(AttentionRow, {})
    assert all(b"Laskutus" not in row.sealed for row in rows)


async def test_what_was_told_is_for_those_who_may_read_contacts(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver(archive, call(queue="Laskutus"), ident="w-2", now=NOW)
    (item,) = await archive.attention.find(actor=actor(Role.ADMIN))
    assert await archive.attention.explain(item.id, actor=actor(Role.ADMIN), now=NOW) is None
    await archive.attention.settle(item.id, actor=HANDLER, now=NOW)
    assert "Laskutus" in await archive.attention.explain(item.id, actor=HANDLER, now=NOW)


async def test_a_strict_contradiction_changes_nothing_and_seals_nothing(archive):
    await archive.contacts.add(facts(), source="pbx", actor=SENDER, now=NOW)
    before = await only_contact(archive)
    blobs = [name async for name in archive.stores.blobs.names()]
    keys = await archive.stores.keys.count_keys()
    message = {"from": "M", "at": "2026-11-20T14:02:00Z", "text": "Hei"}
    with pytest.raises(ContradictionError) as refused:
        await archive.contacts.add(
            facts(queue="Myynti", subject="x", messages=[message]),
            source="pbx",
            actor=SENDER,
            now=NOW,
        )
    assert "queue" in refused.value.detail
    assert "Myynti" not in refused.value.detail
    assert await only_contact(archive) == before
    assert [name async for name in archive.stores.blobs.names()] == blobs
    assert await archive.stores.keys.count_keys() == keys


async def test_a_second_recording_under_one_name_stands_beside_the_first(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    for sound in [b"one", b"two", b"two", b"one", b"three"]:
        await deliver_recording(archive, sound, now=NOW)
    view = await only_contact(archive)
    assert [r.row.state for r in view.recordings] == ["present"] * 3
    assert {r.stored.plain_bytes for r in view.recordings} == {3, 5}
    assert ("contradiction", "recording") in await reasons(archive)
    objects = await archive.stores.store.find(ObjectRow, {})
    assert all(row.owner_id and row.contact_id == view.contact.id for row in objects)


async def test_a_second_recording_under_one_name_is_refused_to_those_who_are_told(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    first = await put(archive, b"one")
    again = await put(archive, b"one")
    assert (first.is_new, again.is_new, again.id) == (True, False, first.id)
    with pytest.raises(ContradictionError):
        await put(archive, b"two")
    assert len([name async for name in archive.stores.blobs.names()]) == 1
    assert len(await archive.stores.store.find(ObjectRow, {})) == 1


async def test_one_recording_by_both_ways_is_one(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    added = await put(archive, b"one")
    await deliver_recording(archive, b"one", now=NOW)
    view = await only_contact(archive)
    assert [recording.row.id for recording in view.recordings] == [added.id]
    assert await reasons(archive) == []


# -- expected, none, lost


async def give_up(archive):
    await archive.expectations.give_up(now=NOW + timedelta(hours=1, seconds=1))


async def test_an_expected_recording_is_lost_in_time_and_heals(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await give_up(archive)
    assert (await only_contact(archive)).contact.recording_state is RecordingState.LOST
    await deliver_recording(archive, b"late", now=NOW + timedelta(hours=2))
    view = await only_contact(archive)
    assert view.contact.recording_state is RecordingState.PRESENT
    assert len(view.recordings) == 1
    assert len(await entries(archive, EntryType.RECORDING_HEALED)) == 1


async def test_the_grace_begins_at_the_end_of_a_call_that_is_told_later(archive):
    end = "2026-11-22T15:00:00+02:00"
    start = "2026-11-22T13:59:00+02:00"
    await deliver(archive, call(started_at=start, ended_at=None), ident="w-1", now=NOW)
    later = NOW + timedelta(minutes=50)
    await deliver(archive, call(started_at=start, ended_at=end), ident="w-2", now=later)
    await give_up(archive)
    assert await archive.expectations.give_up(now=NOW + timedelta(minutes=119)) == 0
    assert (await only_contact(archive)).contact.recording_state is RecordingState.EXPECTED
    assert await archive.expectations.give_up(now=NOW + timedelta(hours=2, seconds=1)) == 1


@pytest.mark.parametrize("order", list(itertools.permutations(["expected", "none", "sound"])))
async def test_a_recording_that_none_was_announced_is_archived_and_shown(archive, order):
    for n, step in enumerate(order):
        if step == "sound":
            await deliver_recording(archive, b"one", now=NOW)
        else:
            await deliver(archive, call(recording=step), ident=f"w-{n}", now=NOW)
    view = await only_contact(archive)
    assert view.contact.recording_state is RecordingState.PRESENT
    assert len(view.recordings) == 1
    assert await reasons(archive) == [(RECORDED_THOUGH_NONE,)]


@pytest.mark.parametrize("order", list(itertools.permutations(["expected", "none"])))
@pytest.mark.parametrize("is_lost", [False, True])
async def test_what_was_called_off_is_not_lost(archive, order, is_lost):
    for n, announced in enumerate(order):
        told = {"not_recorded_reason": "customer_objected"} if announced == "none" else {}
        await deliver(archive, call(recording=announced, **told), ident=f"w-{n}", now=NOW)
        if is_lost:
            await give_up(archive)
    await give_up(archive)
    view = await only_contact(archive)
    assert view.contact.recording_state is RecordingState.NOT_RECORDED
    assert view.contact.why_not_recorded == "customer_objected"
    assert view.recordings == ()


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"recording": None}, "not_announced"),
        ({"recording": "none"}, None),
        ({"recording": "none", "not_recorded_reason": "line_policy"}, "line_policy"),
    ],
)
async def test_a_call_without_a_recording_says_why(archive, told, why):
    await deliver(archive, call(**told), ident="w-1", now=NOW)
    contact = (await only_contact(archive)).contact
    assert contact.recording_state is RecordingState.NOT_RECORDED
    assert contact.why_not_recorded == why


async def test_a_second_recording_is_not_expected_when_one_is_there(archive):
    await deliver_recording(archive, b"one", now=NOW)
    await deliver(archive, call(), ident="w-1", now=NOW)
    assert len((await only_contact(archive)).recordings) == 1


# -- what was erased stays so


async def erase(archive, row):
    await archive.stores.store.commit(
        [Replace(replace(row, version=row.version + 1, state="erased", sealed=b""))]
    )
    await archive.stores.keys.destroy_keys([row.id])


async def test_what_comes_for_an_erased_contact_is_refused_and_shown(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    (row,) = await archive.stores.store.find(ContactRow, {})
    await erase(archive, row)
    await deliver(archive, call(subject="again"), ident="w-2", now=NOW)
    await deliver_recording(archive, b"late", now=NOW)
    assert await reasons(archive) == [("contact_erased",)] * 2
    rows = await archive.stores.store.find(DeliveryRow, {"state": "failed"})
    assert {one.contact_id for one in rows} == {row.id}
    assert len(await archive.stores.store.find(ContactRow, {})) == 1
    with pytest.raises(ErasedError):
        await archive.contacts.add(facts(), source="pbx", actor=SENDER, now=NOW)
    with pytest.raises(ErasedError):
        await archive.contacts.get(row.id, actor=HANDLER)
    assert await find(archive, NOW, phone="+358401234567") == ()


async def test_a_recording_that_was_erased_does_not_come_back(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await put(archive, b"one")
    contact = (await only_contact(archive)).contact
    (row,) = await archive.stores.store.find(RecordingRow, {})
    gone = replace(row, version=row.version + 1, state="erased", object_id=None)
    await archive.stores.store.commit([Replace(gone)])
    await deliver_recording(archive, b"one", now=NOW)
    (row,) = await archive.stores.store.find(RecordingRow, {})
    assert row.state == "erased"
    with pytest.raises(ContradictionError):
        await put(archive, b"one", contact=contact)


async def test_an_altered_recording_does_not_hide_its_contact(archive):
    message = {"from": "M", "at": "2026-11-20T14:02:00Z", "text": "Hei"}
    await deliver(archive, call(messages=[message]), ident="w-1", now=NOW)
    await put(archive, b"one", name="a.wav")
    await put(archive, b"two", name="b.wav")
    row, *_ = await archive.stores.store.find(RecordingRow, {})
    (text,) = await archive.stores.store.find(MessageRow, {})
    altered = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
    await archive.stores.store.commit(
        [Put(replace(row, sealed=altered)), Put(replace(text, sealed=b"!"))]
    )
    view = await only_contact(archive)
    causes = {r.row.id: r.sealed.cause for r in view.recordings}
    assert sorted(causes.values()) == ["", "altered"]
    assert causes[row.id] == "altered"
    assert [message.sender for message in view.messages] == [""]


# -- the log


async def test_every_row_is_committed_to_by_the_log(archive):
    message = {"from": "M", "at": "2026-11-20T14:02:00Z", "text": "Hei"}
    await deliver(archive, call(messages=[message]), ident="w-1", now=NOW)
    await deliver_recording(archive, b"one", now=NOW)
    view = await only_contact(archive)
    checked = await archive.stores.log.log_entries(0, 1000)
    told = "".join(json.dumps(decode_entry(e.entry).data.get("rows", ())) for e in checked)
    (contact,) = await archive.stores.store.find(ContactRow, {})
    (recording,) = await archive.stores.store.find(RecordingRow, {})
    (one,) = await archive.stores.store.find(MessageRow, {})
    for row_id, version in [(contact.id, 2), (recording.id, 2), (one.id, 1)]:
        assert f"{row_id}:{version}:" in told
    assert (view.contact.version, recording.version) == (2, 2)


async def test_a_contact_that_keeps_changing_is_decided_again(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)

    class Contended:
        """Somebody else amends the contact before each of the first commits."""

        left = 5

        def __getattr__(self, name):
            return getattr(archive.stores.store, name)

        async def commit_each(self, changes):
            if self.left:
                self.left -= 1
                return [StaleError("changed")] * len(changes)
            return await archive.stores.store.commit_each(changes)

    store = Contended()
    interpreter = replace(archive.interpreter, store=store)
    arrival = Arrival(source="pbx", source_id="c-1", facts=facts(subject="Lasku"))
    (outcome,) = await interpreter.interpret([arrival], now=NOW)
    assert (store.left, outcome.contact.subject) == (0, "Lasku")


async def test_what_another_process_understood_meanwhile_is_left_alone(archive):
    kept = await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident="w-1", body=call(), now=NOW
    )
    item = [(kept.row, kept.delivery)]
    await archive.understanding.understand(item, now=NOW)
    before = await only_contact(archive)
    await archive.understanding.understand(item, now=NOW)
    assert await only_contact(archive) == before
    await archive.stores.store.commit([Put(replace(kept.row, state="erased", version=9))])
    await archive.understanding.understand(item, now=NOW)
    assert await only_contact(archive) == before
