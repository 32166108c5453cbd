"""Holds: placed by one, released by two, on contacts and on what a customer's contacts will be."""

from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.hold_rows import HoldOrder
from service.domain.actor import Actor, ActorKind, Role
from service.domain.errors import (
    ContradictionError,
    ErasedError,
    HeldError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
)
from service.domain.retention import HoldState
from service.log.entry import EntryType
from storage.ports import Remove, Replace
from storage.rows import ContactRow, HoldRow
from tests.archive.test_erase import (
    DPO,
    OTHER,
    contact_with_everything,
    customer_of,
    entries,
    erase,
    link,
    place,
    request,
)
from tests.archive.test_spine import HANDLER, call, deliver, import_customers
from tests.conftest import NOW, actor

DAY = timedelta(days=1)


async def hold_customer(archive, number="1001", **more):
    customer = await customer_of(archive, number)
    order = HoldOrder(customer_id=customer, reason="Riita", reference="R-17", **more)
    return await archive.holds.place(order, actor=HANDLER, now=NOW)


async def test_a_held_contact_is_not_erased_and_the_refusal_names_the_hold(archive):
    contact_id = await contact_with_everything(archive)
    hold = await place(archive, contact_id, reference="R-17")
    with pytest.raises(HeldError) as refused:
        await request(archive, contact_id)
    assert hold.id in refused.value.detail
    (shown,) = (await archive.holds.find(actor=DPO, contact_id=contact_id)).holds
    assert (shown.reason, shown.reference, shown.owner_id) == (
        "Reklamaatio",
        "R-17",
        HANDLER.id,
    )
    (entry,) = await entries(archive, EntryType.HOLD_PLACED)
    assert entry.about == (hold.id, contact_id)


@pytest.mark.parametrize(
    ("number", "period", "is_held"),
    [
        ("1001", {}, True),
        ("1003", {}, False),
        ("1001", {"period_from": NOW - 9 * DAY, "period_to": NOW}, True),
        ("1001", {"period_from": NOW - DAY}, False),
        ("1001", {"period_to": NOW - 9 * DAY}, False),
    ],
)
async def test_a_customers_hold_covers_what_arrives_later(archive, number, period, is_held):
    await import_customers(archive, NOW)
    hold = await hold_customer(archive, number, **period)
    # Began on 20 November, and comes only now.
    contact_id = await contact_with_everything(archive)
    if not is_held:
        await request(archive, contact_id)
        return
    with pytest.raises(HeldError, match=hold.id):
        await request(archive, contact_id)


async def test_a_customers_hold_covers_a_contact_that_becomes_theirs_by_hand(archive):
    contact_id = await contact_with_everything(archive)
    hold = await hold_customer(archive, "1003")
    asked = await request(archive, contact_id)
    await link(archive, contact_id, "1003")
    with pytest.raises(HeldError, match=hold.id):
        await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)


async def test_releasing_takes_a_second_person_who_did_not_place_it(archive):
    contact_id = await contact_with_everything(archive)
    order = HoldOrder(contact_id=contact_id, reason="Reklamaatio")
    hold = await archive.holds.place(order, actor=DPO, now=NOW)
    with pytest.raises(ContradictionError):
        await archive.holds.release(hold.id, actor=OTHER, now=NOW)
    asked = await archive.holds.request_release(hold.id, actor=HANDLER, now=NOW)
    assert (asked.state, asked.requested_by) == (HoldState.RELEASE_REQUESTED, HANDLER.id)
    machine = Actor(id="tk_1", kind=ActorKind.MACHINE, roles=frozenset({Role.DPO}))
    for who in (DPO, HANDLER, machine):
        with pytest.raises(NotPermittedError):
            await archive.holds.release(hold.id, actor=who, now=NOW)
    with pytest.raises(NotPermittedError):
        await archive.holds.request_release(hold.id, actor=machine, now=NOW)
    with pytest.raises(HeldError):
        await request(archive, contact_id)
    released = await archive.holds.release(hold.id, actor=OTHER, now=NOW)
    assert (released.state, released.released_by) == (HoldState.RELEASED, OTHER.id)
    with pytest.raises(ContradictionError):
        await archive.holds.request_release(hold.id, actor=HANDLER, now=NOW)
    assert (await archive.holds.find(actor=DPO)).holds == ()
    (shown,) = (await archive.holds.find(actor=DPO, include_released=True)).holds
    assert shown == released
    await erase(archive, contact_id)


async def test_another_request_takes_the_place_of_the_first(archive):
    hold = await place(archive, await contact_with_everything(archive))
    await archive.holds.request_release(hold.id, actor=OTHER, now=NOW)
    await archive.holds.request_release(hold.id, actor=DPO, now=NOW)
    released = await archive.holds.release(hold.id, actor=OTHER, now=NOW)
    assert released.requested_by == DPO.id


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(HoldOrder(reason="x"), id="of nothing"),
        pytest.param(HoldOrder(contact_id="C", customer_id="U", reason="x"), id="of both"),
        pytest.param(HoldOrder(contact_id="C", reason=" "), id="without a reason"),
        pytest.param(
            HoldOrder(contact_id="C", period_from=NOW, reason="x"), id="a contact's period"
        ),
        pytest.param(
            HoldOrder(customer_id="U", period_from=NOW, period_to=NOW, reason="x"),
            id="an empty period",
        ),
        pytest.param(HoldOrder(contact_id="C", reason="x", review_on=NOW.date()), id="today"),
        pytest.param(
            HoldOrder(contact_id="C", reason="x", review_on=(NOW + 181 * DAY).date()),
            id="too late a review",
        ),
        pytest.param(HoldOrder(contact_id="C", reason="a\x00b"), id="a reason that is no text"),
    ],
)
async def test_an_order_that_is_not_whole_is_refused(archive, order):
    contact_id = await contact_with_everything(archive)
    customer = await customer_of(archive, "1001")
    named = replace(
        order,
        contact_id=order.contact_id and contact_id,
        customer_id=order.customer_id and customer,
    )
    with pytest.raises(InvalidInputError):
        await archive.holds.place(named, actor=HANDLER, now=NOW)
    assert (await archive.holds.find(actor=DPO)).holds == ()


async def test_what_is_not_there_or_erased_cannot_be_held(archive):
    for order in (
        HoldOrder(contact_id="ct_" + "a" * 26, reason="x"),
        HoldOrder(customer_id="cu_" + "a" * 26, reason="x"),
    ):
        with pytest.raises(NotFoundError):
            await archive.holds.place(order, actor=HANDLER, now=NOW)
    contact_id = await contact_with_everything(archive)
    await erase(archive, contact_id)
    with pytest.raises(ErasedError):
        await place(archive, contact_id)


async def test_who_may_not_hold_may_not_see_holds(archive):
    hold = await place(archive, await contact_with_everything(archive))
    for role in (Role.AGENT, Role.ADMIN, Role.AUDITOR, Role.QUALITY_LEAD):
        with pytest.raises(NotPermittedError):
            await archive.holds.find(actor=actor(role))
        with pytest.raises(NotPermittedError):
            await archive.holds.get(hold.id, actor=actor(role))
    with pytest.raises(NotPermittedError):
        await archive.holds.release(hold.id, actor=HANDLER, now=NOW)


@pytest.mark.parametrize("deed", ["removed", "released", "moved", "another period"])
async def test_a_hold_that_somebody_changed_in_the_database_still_holds(archive, deed):
    contact_id = await contact_with_everything(archive)
    await link(archive, contact_id)
    hold = await hold_customer(archive, period_to=NOW + DAY)
    store = archive.stores.store
    (row,) = await store.find(HoldRow, {"id": hold.id})
    changed = replace(row, version=2)
    write = {
        "removed": Remove(HoldRow, (hold.id,)),
        "released": Replace(replace(changed, state="released")),
        "moved": Replace(replace(changed, customer_id="cu_" + "a" * 26)),
        "another period": Replace(replace(changed, period_to=0)),
    }[deed]
    await store.commit([write])
    with pytest.raises(TamperedError):
        await request(archive, contact_id)


async def test_holds_come_page_by_page_newest_first(archive):
    contact_id = await contact_with_everything(archive)
    placed = []
    for n in range(5):
        order = HoldOrder(contact_id=contact_id, reason=f"Syy {n}")
        at = NOW + timedelta(minutes=n // 2)
        placed.append(await archive.holds.place(order, actor=HANDLER, now=at))
    seen, cursor = [], None
    while True:
        page = await archive.holds.find(actor=DPO, cursor=cursor, limit=2)
        seen += page.holds
        cursor = page.next
        if cursor is None:
            break
    assert sorted(placed, key=lambda hold: (hold.placed_at, hold.id), reverse=True) == seen
    with pytest.raises(InvalidInputError):
        await archive.holds.find(actor=DPO, cursor="1.x")


async def test_the_words_of_a_hold_are_sealed(archive, config):
    contact_id = await contact_with_everything(archive)
    order = HoldOrder(contact_id=contact_id, reason="Maija kiistaa tilauksen", reference="R-99")
    await archive.holds.place(order, actor=HANDLER, now=NOW)
    for file in config.archive.directory.rglob("*"):
        if file.is_file():
            assert b"kiistaa" not in file.read_bytes()
            assert b"R-99" not in file.read_bytes()


async def test_a_contact_that_changes_while_it_is_held_is_held_as_it_is_then(archive):
    contact_id = await contact_with_everything(archive)
    store = archive.stores.store

    class Racing:
        is_over = False

        def __getattr__(self, name):
            return getattr(store, name)

        async def commit(self, change):
            if not self.is_over:
                self.is_over = True
                body = call(metering_point="643000000000000015")
                await deliver(archive, body, ident="w-again", now=NOW)
            await store.commit(change)

    (before,) = await store.find(ContactRow, {"id": contact_id})
    order = HoldOrder(contact_id=contact_id, reason="Reklamaatio")
    await replace(archive.holds, store=Racing()).place(order, actor=HANDLER, now=NOW)
    (after,) = await store.find(ContactRow, {"id": contact_id})
    assert after.version > before.version
    assert len((await archive.holds.find(actor=DPO, contact_id=contact_id)).holds) == 1
