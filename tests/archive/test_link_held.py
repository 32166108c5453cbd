"""A contact that is linked to a held customer is held from then on, also at the very moment of its erasure."""

from dataclasses import replace

import pytest

from service.archive.guard import GUARD, find_guard, guard_links, guarded, moved
from service.domain.customer import LinkState
from service.domain.errors import HeldError
from service.domain.retention import ErasureState
from storage.errors import ConflictError, StaleError
from storage.ports import Add, Remove, Replace, Require
from storage.rows import ContactRow, GuardRow, LinkRow
from tests.archive.test_erase import (
    OTHER,
    Between,
    contact_with_everything,
    customer_of,
    erase,
    place,
    request,
    with_store,
)
from tests.archive.test_hold import hold_customer
from tests.archive.test_spine import HANDLER, call, deliver, import_customers
from tests.conftest import NOW

NEW_NUMBER = "customer_number,name,phone\n1009,Maija Esimerkki,040 123 4567\n"
LATER_NUMBER = "customer_number,name,phone\n1009,Maija Esimerkki,\n"


async def by_hand(archive, contact_id, number):
    await archive.contacts.link(
        contact_id,
        await customer_of(archive, number),
        state=LinkState.LINKED,
        actor=HANDLER,
        now=NOW,
    )


async def by_import(archive, _contact_id, _number):
    await import_customers(archive, NOW, NEW_NUMBER)


async def by_delivery(archive, _contact_id, number):
    await deliver(archive, call("c-1", customer_number=number), ident="w-more", now=NOW)


@pytest.mark.parametrize("is_first", [True, False], ids=["the first hold", "a later hold"])
@pytest.mark.parametrize(
    ("linked", "number"),
    [
        pytest.param(by_hand, "1003", id="by hand"),
        pytest.param(by_import, "1009", id="by an import"),
        pytest.param(by_delivery, "1003", id="by what its source sends"),
    ],
)
async def test_a_contact_that_is_linked_to_a_held_customer_at_the_moment_of_its_erasure_stays(
    archive, linked, number, is_first
):
    contact_id = await contact_with_everything(archive)
    await import_customers(archive, NOW, LATER_NUMBER)
    if not is_first:
        await hold_customer(archive, "1003")
    hold = await hold_customer(archive, number)
    asked = await request(archive, contact_id)

    async def deed():
        await linked(archive, contact_id, number)

    erasures = with_store(archive, Between(archive.stores.store, deed))
    with pytest.raises(HeldError, match=hold.id):
        await erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert (await archive.contacts.get(contact_id, actor=HANDLER)).recordings


async def test_a_link_that_was_decided_before_its_customer_was_held_is_decided_again(archive):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)
    store = archive.stores.store
    errors = []

    class Late:
        """Between a link and its commit its customer is held, and an erasure has read all but the link."""

        def __getattr__(self, name):
            return getattr(store, name)

        async def commit_each(self, changes):
            if errors:
                return await store.commit_each(changes)
            await hold_customer(archive, "1003")

            async def deed():
                errors.extend(await store.commit_each(changes))

            erasures = with_store(archive, Between(store, deed))
            await erasures.approve(asked.id, actor=OTHER, now=NOW)
            return list(errors)

    interpreter = replace(archive.interpreter, store=Late())
    contacts = replace(archive.contacts, interpreter=interpreter)
    await by_hand(replace(archive, contacts=contacts), contact_id, "1003")
    (error,) = errors
    assert isinstance(error, StaleError | ConflictError)
    held = {"customer_id": await customer_of(archive, "1003")}
    assert await store.find(LinkRow, held) == [], "nothing that is erased was a held customer's"


async def test_a_link_that_holds_nothing_stops_no_erasure(archive):
    contact_id = await contact_with_everything(archive)
    hold = await hold_customer(archive, "1003")
    await archive.holds.request_release(hold.id, actor=HANDLER, now=NOW)
    await archive.holds.release(hold.id, actor=OTHER, now=NOW)
    asked = await request(archive, contact_id)
    before = await find_guard(archive.stores.store)

    async def deed():
        await by_hand(archive, contact_id, "1003")

    erasures = with_store(archive, Between(archive.stores.store, deed))
    done = await erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert done.state is ErasureState.ERASED
    assert await find_guard(archive.stores.store) == before


async def test_an_import_links_many_contacts_to_a_held_customer_in_one_go(archive):
    for n in range(60):
        await deliver(archive, call(f"n-{n}"), ident=f"n-{n}", now=NOW)
    await import_customers(archive, NOW, LATER_NUMBER)
    await hold_customer(archive, "1009")
    before = await find_guard(archive.stores.store)
    await import_customers(archive, NOW, NEW_NUMBER)
    links = await archive.stores.store.find(LinkRow, {"state": "linked"})
    assert len(links) == 60
    contact = links[0].contact_id
    with pytest.raises(HeldError):
        await erase(archive, contact)
    after = await find_guard(archive.stores.store)
    assert after.version - before.version == 60, (
        "each link fails the erasures of its own moment"
    )


# -- the guard by itself


def link_row(customer, state="linked"):
    return LinkRow(
        contact_id="ct_1",
        customer_id=customer,
        version=1,
        state=state,
        reasons="",
        certainty="sure",
        made_by="system",
        made_at=1,
    )


@pytest.mark.parametrize(
    "writes",
    [
        pytest.param([], id="nothing"),
        pytest.param([Require(ContactRow, ("ct_1",), 1)], id="no link"),
        pytest.param([Add(link_row("cu_1", "unlinked"))], id="a link that is taken away"),
    ],
)
async def test_who_links_nobody_reads_nothing(writes):
    assert await guard_links(None, {"ct_1": writes}) == {"ct_1": writes}


@pytest.mark.parametrize("is_there", [True, False], ids=["a guard", "no guard yet"])
async def test_changes_that_link_follow_each_other_and_those_of_held_customers_come_last(
    archive, is_there
):
    await import_customers(archive, NOW)
    store = archive.stores.store
    if is_there:
        await place(archive, await contact_with_everything(archive))
    hold = await hold_customer(archive, "1003")
    if not is_there:
        await store.commit([Remove(GuardRow, (GUARD,))])
    free = await customer_of(archive, "1002")
    changes = {
        "ct_a": [Add(link_row(hold.customer_id))],
        "ct_b": [Add(link_row(free))],
        "ct_c": [Add(link_row(hold.customer_id, "candidate"))],
        "ct_d": [Replace(replace(link_row(free), version=2))],
    }
    found = await find_guard(store)
    ordered = await guard_links(store, changes)
    assert list(ordered) == ["ct_b", "ct_d", "ct_a", "ct_c"]
    writes = [ordered[one][-1] for one in ordered]
    version = found.version if is_there else 1
    assert writes == [
        guarded(found),
        Require(GuardRow, (GUARD,), version),
        Replace(GuardRow(id=GUARD, version=version + 1)),
        Replace(GuardRow(id=GUARD, version=version + 2)),
    ]
    assert await store.commit_each([[write] for write in writes]) == [None] * 4
    for write in (guarded(found), moved(found)):
        with pytest.raises((StaleError, ConflictError)):
            await store.commit([write])
