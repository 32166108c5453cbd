"""Understanding: one delivery that cannot be read, now or ever, holds up no other."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.receive import keep_delivery
from service.domain.actor import Role
from service.domain.contact import Channel, ContactFacts, Direction
from service.domain.errors import UnavailableError
from service.domain.times import to_microseconds
from service.sources.events import Understood
from service.sources.generic import parse_contact
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Put, Replace
from storage.rows import AttentionRow, ContactRow, DeliveryRow, ObjectRow
from tests.archive.test_spine import call, deliver, deliver_recording, find
from tests.conftest import NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
LATER = NOW + timedelta(minutes=1)


async def keep(archive, body=None, *, n=1, source="pbx", now=NOW):
    kept = await keep_delivery(
        archive.intake,
        source=source,
        kind="contact",
        ident=f"w-{n}",
        body=call(f"c-{n}") if body is None else body,
        now=now,
    )
    return kept.row, kept.delivery


async def catch_up(archive, understanding=None):
    return await (understanding or archive.understanding).catch_up(
        now=LATER, received_before=to_microseconds(LATER)
    )


async def states(archive):
    rows = await archive.stores.store.find(DeliveryRow, {})
    return sorted((row.state, row.reason) for row in rows)


async def reasons(archive):
    return sorted(item.reason for item in await archive.attention.find(actor=HANDLER))


def altered(row):
    return Put(replace(row, sealed=row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])))


UNDERSTOOD = ("understood", None)


async def test_what_a_crash_left_is_understood(archive):
    for n in range(5):
        await keep(archive, n=n)
    assert await catch_up(archive) == 5
    assert await states(archive) == [UNDERSTOOD] * 5
    assert await catch_up(archive) == 0


async def test_what_has_just_come_is_left_to_the_queue(archive):
    await keep(archive, now=LATER)
    assert await catch_up(archive) == 0


async def test_an_altered_delivery_is_shown_and_the_others_are_understood(archive):
    rows = [(await keep(archive, n=n))[0] for n in range(4)]
    await archive.stores.store.commit([altered(rows[1])])
    assert await catch_up(archive) == 4
    assert await states(archive) == [("failed", "altered"), *[UNDERSTOOD] * 3]
    assert await reasons(archive) == ["altered"]


async def test_an_erased_key_is_shown_and_the_others_are_understood(archive):
    rows = [(await keep(archive, n=n))[0] for n in range(4)]
    await archive.stores.keys.destroy_keys([rows[2].id])
    await catch_up(archive)
    assert await states(archive) == [("failed", "erased"), *[UNDERSTOOD] * 3]


@pytest.mark.parametrize("fault", ["altered", "keyless"])
async def test_a_contact_that_cannot_be_opened_holds_up_no_other(archive, fault):
    await deliver(archive, call("c-0"), ident="first", now=NOW)
    (row,) = await archive.stores.store.find(ContactRow, {})
    if fault == "altered":
        await archive.stores.store.commit([altered(row)])
    else:
        await archive.stores.keys.destroy_keys([row.id])
    deliveries = [await keep(archive, call(f"c-{n}", subject="x"), n=n) for n in range(3)]
    outcomes = await archive.understanding.understand(deliveries, now=NOW)
    assert len(outcomes) == 2
    assert await states(archive) == [("failed", "contact_unreadable"), *[UNDERSTOOD] * 3]
    assert await reasons(archive) == ["contact_unreadable"]


async def test_what_an_adapter_cannot_cope_with_is_shown_and_holds_up_no_other(archive, caplog):
    def adapter(body, rule, now):
        if b"c-1" in body:
            raise ZeroDivisionError("Maija Esimerkki")
        return parse_contact(body, region=rule.region, now=now)[1]

    understanding = replace(archive.understanding, adapters={"pbx": {"contact": adapter}})
    for n in range(3):
        await keep(archive, n=n)
    assert await catch_up(archive, understanding) == 3
    assert await states(archive) == [("failed", "internal_error"), *[UNDERSTOOD] * 2]
    assert "Maija" not in caplog.text
    (record,) = [r for r in caplog.records if r.message == "understanding.failed"]
    assert record.code == "ZeroDivisionError"
    assert record.place.startswith("adapter:")


async def test_a_delivery_of_a_source_that_is_gone_waits_until_it_is_back(archive):
    gone = replace(archive.understanding, adapters={})
    row, _ = await keep(archive)
    await catch_up(archive, gone)
    assert await states(archive) == [("failed", "source_gone")]
    assert "not configured" in await gone.explain(row.id, now=NOW)
    assert not await gone.retry(row.id, now=NOW)
    assert await reasons(archive) == ["source_gone"]
    assert await archive.understanding.retry(row.id, now=NOW)
    assert await states(archive) == [UNDERSTOOD]


async def test_what_tells_of_no_contact_is_understood(archive):
    nothing = replace(
        archive.understanding, adapters={"pbx": {"contact": lambda *_: Understood(())}}
    )
    await keep(archive)
    await catch_up(archive, nothing)
    assert await states(archive) == [UNDERSTOOD]


async def test_what_tells_of_several_contacts_is_understood_after_all_of_them(archive):
    def several(body, rule, now):
        told = parse_contact(body, region=rule.region, now=now)[1].contacts[0]
        ids = [f"{told.source_id}-{n}" for n in range(3)]
        return Understood(tuple(replace(told, source_id=one) for one in ids))

    understanding = replace(archive.understanding, adapters={"pbx": {"contact": several}})
    await keep(archive)
    await catch_up(archive, understanding)
    assert await states(archive) == [UNDERSTOOD]
    assert await archive.stores.store.count(ContactRow, {}) == 3


async def test_while_keys_are_not_at_hand_each_delivery_waits_and_is_tried_once(archive):
    """More than a batch, all received at one moment, and none of them can be opened now."""

    class Opener:
        asked = 0

        async def open(self, rows):
            self.asked += 1
            if any(row.id in closed for row in rows):
                raise UnavailableError("the key ring has no epoch 2")
            return await archive.understanding.opener.open(rows)

    rows = [(await keep(archive, n=n))[0] for n in range(9)]
    closed = {row.id for row in rows[:6]}
    understanding = replace(archive.understanding, opener=Opener())
    async with asyncio.timeout(10):
        assert await catch_up(archive, understanding) == 9
    assert await states(archive) == [("received", None)] * 6 + [UNDERSTOOD] * 3
    assert await reasons(archive) == []
    await catch_up(archive)
    assert await states(archive) == [UNDERSTOOD] * 9


async def test_a_backlog_of_what_cannot_be_opened_now_ends_and_hides_nothing(
    archive, monkeypatch
):
    monkeypatch.setattr("service.archive.understand._BATCH", 4)

    class Opener:
        async def open(self, rows):
            if any(row.id in closed for row in rows):
                raise UnavailableError("the key ring has no epoch 2")
            return await archive.understanding.opener.open(rows)

    moments = [NOW + timedelta(seconds=n // 7) for n in range(30)]
    rows = [(await keep(archive, n=n, now=at))[0] for n, at in enumerate(moments)]
    closed = {row.id for row in rows[:20]}
    understanding = replace(archive.understanding, opener=Opener())
    async with asyncio.timeout(20):
        assert await catch_up(archive, understanding) == 30
    assert await states(archive) == [("received", None)] * 20 + [UNDERSTOOD] * 10


async def test_a_store_that_is_not_at_hand_is_told_and_nothing_is_marked(archive):
    class Store:
        def __getattr__(self, name):
            return getattr(archive.stores.store, name)

        async def commit_each(self, _):
            raise StoreUnavailableError("busy")

    interpreter = replace(archive.interpreter, store=Store())
    understanding = replace(archive.understanding, interpreter=interpreter)
    await keep(archive)
    with pytest.raises(StoreUnavailableError):
        await catch_up(archive, understanding)
    assert await states(archive) == [("received", None)]


async def test_recordings_wait_for_their_contact_however_many_they_are(archive, monkeypatch):
    monkeypatch.setattr("service.archive.understand._BATCH", 3)
    for n in range(8):
        await deliver_recording(archive, bytes([n]), name=f"{n}.wav", now=NOW)
    assert await states(archive) == [("waiting", None)] * 8
    await deliver(archive, call(), ident="w-1", now=NOW)
    assert await states(archive) == [UNDERSTOOD] * 9
    (found,) = await find(archive, NOW, phone="+358401234567")
    assert len((await archive.contacts.get(found.contact.id, actor=HANDLER)).recordings) == 8


async def test_a_waiting_recording_whose_contact_is_already_there_is_met(archive):
    """One of the two was stopped between its commit and its looking for the other."""
    await deliver_recording(archive, b"one", now=NOW)
    row, delivery = await keep(archive, call())
    interpreter = archive.interpreter
    deaf = replace(archive.understanding, interpreter=interpreter)
    arrivals = deaf._arrivals(row, delivery, {}, now=NOW)
    await interpreter.interpret(arrivals, now=NOW)
    assert ("waiting", None) in await states(archive)
    await archive.understanding.meet_waiting(now=NOW)
    assert await states(archive) == [UNDERSTOOD] * 2


async def test_a_recording_whose_bytes_are_not_recorded_is_shown(archive):
    kept = await deliver_recording(archive, b"one", now=NOW)
    (waiting,) = await archive.stores.store.find(DeliveryRow, {})
    lost = replace(waiting, version=waiting.version + 1, object_id="ob_" + "a" * 26)
    await archive.stores.store.commit([Replace(lost)])
    assert not await archive.understanding.retry(kept.row.id, now=NOW)
    assert await states(archive) == [("failed", "internal_error")]
    assert await archive.stores.store.count(ObjectRow, {}) == 1


async def test_what_was_erased_is_not_tried_again(archive):
    row, _ = await keep(archive)
    gone = replace(row, version=2, state="erased", sealed=b"")
    await archive.stores.store.commit([Replace(gone)])
    assert not await archive.understanding.retry(row.id, now=NOW)
    assert await archive.stores.store.find(DeliveryRow, {}) == [gone]
    assert await archive.stores.store.count(AttentionRow, {}) == 0


async def test_the_same_failure_is_shown_once(archive):
    row, _ = await keep(archive, b"{")
    for _ in range(3):
        await archive.understanding.retry(row.id, now=NOW)
    assert await reasons(archive) == ["not_understood"]
    assert "not JSON" in await archive.understanding.explain(row.id, now=NOW)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("altered", "altered"), ("erased", "no longer be read"), ("closed", "not at hand")],
)
async def test_what_cannot_be_opened_is_explained(archive, fault, words):
    row, _ = await keep(archive)
    understanding = archive.understanding
    if fault == "altered":
        await archive.stores.store.commit([altered(row)])
    elif fault == "erased":
        await archive.stores.keys.destroy_keys([row.id])
    else:

        class Closed:
            async def open(self, _):
                raise UnavailableError("no epoch 2")

        understanding = replace(understanding, opener=Closed())
    assert words in await understanding.explain(row.id, now=NOW)


# -- parts of a contact


def telling(*contacts):
    """Return an archive's adapter: each delivery tells the contacts that stand under its body."""
    told = dict(contacts)
    return {"pbx": {"contact": lambda body, _rule, _now: Understood(told[body])}}


LEG = ContactFacts(source_id="c-1", is_part=True, queue="Vika")
WHOLE = ContactFacts(
    source_id="c-1",
    is_part=True,
    channel=Channel.CALL,
    direction=Direction.INBOUND,
    started_at=NOW,
)


@pytest.mark.parametrize("is_one_batch", [True, False])
async def test_what_cannot_begin_a_contact_waits_for_it(archive, is_one_batch):
    adapters = telling((b"leg", (LEG,)), (b"whole", (WHOLE,)))
    understanding = replace(archive.understanding, adapters=adapters)
    kept = [await keep(archive, b"leg", n=1), await keep(archive, b"whole", n=2)]
    if is_one_batch:
        await understanding.understand(kept, now=NOW)
    else:
        await understanding.understand(kept[:1], now=NOW)
        assert await states(archive) == [("received", None), ("waiting", None)]
        await understanding.understand(kept[1:], now=NOW)
    assert await states(archive) == [UNDERSTOOD] * 2
    (row,) = await archive.stores.store.find(ContactRow, {})
    assert (await archive.contacts.get(row.id, actor=HANDLER)).contact.queue == "Vika"
    assert await reasons(archive) == []


async def test_a_delivery_of_several_contacts_waits_for_the_one_that_has_not_begun(archive):
    other = replace(WHOLE, source_id="c-2")
    adapters = telling((b"several", (other, LEG)), (b"whole", (WHOLE,)))
    understanding = replace(archive.understanding, adapters=adapters)
    await understanding.understand([await keep(archive, b"several", n=1)], now=NOW)
    assert await states(archive) == [("waiting", None)]
    await understanding.understand([await keep(archive, b"whole", n=2)], now=NOW)
    assert await states(archive) == [UNDERSTOOD] * 2
    assert len(await archive.stores.store.find(ContactRow, {})) == 2


async def test_a_kind_of_delivery_that_the_source_has_no_adapter_for_is_shown(archive):
    kept = await keep_delivery(
        archive.intake, source="pbx", kind="request", ident="1", body=b"x", now=NOW
    )
    await archive.understanding.understand([(kept.row, kept.delivery)], now=NOW)
    assert await states(archive) == [("failed", "not_understood")]
