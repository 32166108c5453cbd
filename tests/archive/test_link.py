"""Linking: whose contact it is, by what, and what a person decided."""

import asyncio
from dataclasses import replace

import pytest

from service.archive.register import read_register
from service.config import parse_config
from service.domain.actor import OPERATOR, Role
from service.domain.customer import Certainty, LinkState
from service.domain.errors import NotFoundError, NotPermittedError
from service.log.entry import EntryType, decode_entry
from service.wiring import key_provider, opened_archive
from storage.errors import StaleError
from storage.ports import Put
from storage.rows import ContactRow, ContactTokenRow, CustomerRow, LinkRow
from tests.archive.test_spine import call, deliver, find, import_customers
from tests.conftest import CONFIG, NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
POINT = "643000000000000015"
LINKED, CANDIDATE, UNLINKED = LinkState.LINKED, LinkState.CANDIDATE, LinkState.UNLINKED
HOUSEHOLD = """customer_number,name,phone
1001,Maija Esimerkki,040 123 4567
1002,Pekka Esimerkki,040 123 4567
"""
OCCUPIED = f"""customer_number,metering_point,occupied_from,occupied_to
1001,{POINT},2025-01-01,2026-01-01
1002,{POINT},2026-01-01,2026-07-01
1003,{POINT},2026-07-01,
"""


async def customer_id(archive, number):
    token = archive.vault.index.token("customer_number", number)
    (row,) = await archive.stores.store.find(CustomerRow, {"number_token": token})
    return row.id


async def links(archive, source_id="c-1"):
    """Return state, reasons and certainty by customer number."""
    token = archive.interpreter.token_of("pbx", source_id)
    (row,) = await archive.stores.store.find(ContactRow, {"source_token": token})
    view = await archive.contacts.get(row.id, actor=HANDLER)
    numbers = {customer.id: customer.number for customer in view.customers}
    return {
        numbers[link.customer_id]: (link.state, link.reasons, link.certainty)
        for link in view.links
    }


async def decide(archive, number, state, *, by=HANDLER):
    (row,) = await archive.stores.store.find(ContactRow, {})
    one = await customer_id(archive, number)
    await archive.contacts.link(row.id, one, state=state, actor=by, now=NOW)


async def entries(archive, *kinds):
    stored = await archive.stores.log.log_entries(0, 1000)
    return [e for e in (decode_entry(one.entry) for one in stored) if e.type in kinds]


@pytest.mark.parametrize(
    ("started_at", "number"),
    [
        ("2024-12-31T23:59:59+02:00", None),
        ("2025-01-01T00:00:00+02:00", "1001"),
        ("2025-12-31T23:59:59+02:00", "1001"),
        ("2026-01-01T00:00:00+02:00", "1002"),
        pytest.param("2026-01-01T00:30:00+03:00", "1001", id="by the archive's day, not UTC's"),
        ("2026-06-30T23:59:59+03:00", "1002"),
        ("2026-07-01T00:00:00+03:00", "1003"),
        ("2026-11-20T14:02:00+02:00", "1003"),
    ],
)
async def test_a_metering_point_is_his_who_lived_there_that_day(archive, started_at, number):
    await import_customers(archive, NOW, OCCUPIED)
    body = call(started_at=started_at, ended_at=None, metering_point=POINT, parties=[])
    await deliver(archive, body, ident="w-1", now=NOW)
    expected = {number: (LINKED, ("metering_point",), Certainty.LIKELY)} if number else {}
    assert await links(archive) == expected
    for other in ["1001", "1002", "1003"]:
        found = await find(archive, NOW, customer_number=other)
        assert len(found) == (other == number)


async def test_occupancies_that_change_move_the_contact(archive):
    await import_customers(archive, NOW, OCCUPIED)
    body = call(metering_point=POINT, parties=[])
    await deliver(archive, body, ident="w-1", now=NOW)
    moved = f"""customer_number,metering_point,occupied_from,occupied_to
1002,{POINT},2026-01-01,
1003,,,
"""
    assert (await import_customers(archive, NOW, moved)).relinked == 1
    assert await links(archive) == {"1002": (LINKED, ("metering_point",), Certainty.LIKELY)}
    assert len(await find(archive, NOW, customer_number="1002")) == 1
    assert await find(archive, NOW, customer_number="1003") == ()
    assert len(await find(archive, NOW, metering_point=POINT)) == 1


async def test_a_household_shares_a_telephone(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)
    possible = (CANDIDATE, ("phone",), Certainty.POSSIBLE)
    assert await links(archive) == {"1001": possible, "1002": possible}
    assert await find(archive, NOW, customer_number="1001") == ()
    assert len(await find(archive, NOW, phone="+358401234567")) == 1


async def test_the_number_that_the_source_states_decides(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(customer_number="1002"), ident="w-1", now=NOW)
    assert (await links(archive))["1002"][0] is LINKED
    assert (await links(archive))["1001"][0] is CANDIDATE


async def test_a_stated_number_that_nobody_has_links_nobody_else(archive):
    await import_customers(archive, NOW, HOUSEHOLD.replace("1002,Pekka", "1002,"))
    await deliver(archive, call(customer_number="9999"), ident="w-1", now=NOW)
    assert {state for state, *_ in (await links(archive)).values()} == {CANDIDATE}
    await import_customers(archive, NOW, "customer_number\n9999\n")
    assert (await links(archive))["9999"][0] is LINKED


async def test_the_companys_own_number_is_nobodys(tmp_path):
    config = parse_config(CONFIG, base=tmp_path)
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        await import_customers(archive, NOW, "customer_number,phone\n1,020 1234567\n")
        parties = [{"role": "customer", "phone": "020 1234567"}]
        await deliver(archive, call(parties=parties), ident="w-1", now=NOW)
        assert await links(archive) == {}
        assert await find(archive, NOW, phone="+358201234567") == ()


async def test_agents_link_nobody(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    parties = [{"role": "agent", "phone": "0401234567"}]
    await deliver(archive, call(parties=parties), ident="w-1", now=NOW)
    assert await links(archive) == {}
    assert len(await find(archive, NOW, phone="+358401234567")) == 1


async def test_what_is_told_later_links_too(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(parties=[]), ident="w-1", now=NOW)
    assert await links(archive) == {}
    await deliver(archive, call(customer_number="1001"), ident="w-2", now=NOW)
    assert (await links(archive))["1001"] == (
        LINKED,
        ("customer_number", "phone"),
        Certainty.SURE,
    )


@pytest.mark.parametrize("again", [HOUSEHOLD, HOUSEHOLD.replace("123 4567", "765 4321")])
@pytest.mark.parametrize("state", [LINKED, UNLINKED])
async def test_what_a_person_decided_stands_whatever_is_imported(archive, state, again):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(customer_number="1001"), ident="w-1", now=NOW)
    await decide(archive, "1002", state)
    await decide(archive, "1001", UNLINKED)
    await import_customers(archive, NOW, again)
    await deliver(archive, call(subject="Lasku", queue=None), ident="w-2", now=NOW)
    decided = await links(archive)
    assert decided["1001"] == (UNLINKED, ("by_hand",), Certainty.SURE)
    assert decided["1002"] == (state, ("by_hand",), Certainty.SURE)
    assert await find(archive, NOW, customer_number="1001") == ()
    assert len(await find(archive, NOW, customer_number="1002")) == (state is LINKED)


async def test_linking_by_hand_leaves_a_trace_and_can_be_taken_back(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)
    await decide(archive, "1001", LINKED)
    await decide(archive, "1001", UNLINKED)
    await decide(archive, "1001", LINKED)
    assert len(await find(archive, NOW, customer_number="1001")) == 1
    made = [
        (e.type, e.data["state"])
        for e in await entries(archive, EntryType.CONTACT_LINKED, EntryType.CONTACT_UNLINKED)
        if e.actor == HANDLER.id and e.about[1] == await customer_id(archive, "1001")
    ]
    assert made == [
        (EntryType.CONTACT_LINKED, "linked"),
        (EntryType.CONTACT_UNLINKED, "unlinked"),
        (EntryType.CONTACT_LINKED, "linked"),
    ]


async def test_deciding_the_same_again_changes_nothing(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)
    await decide(archive, "1001", LINKED)
    size = await archive.stores.log.log_size()
    await decide(archive, "1001", LINKED)
    assert await archive.stores.log.log_size() == size


async def test_linking_needs_permission_and_things_that_are(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)
    for role in [Role.AGENT, Role.ADMIN, Role.AUDITOR, Role.INTEGRATION]:
        with pytest.raises(NotPermittedError):
            await decide(archive, "1001", LINKED, by=actor(role))
    (row,) = await archive.stores.store.find(ContactRow, {})
    for contact_id, customer in [
        (row.id, "cu_" + "a" * 26),
        ("ct_" + "a" * 26, await customer_id(archive, "1001")),
        ("../..", await customer_id(archive, "1001")),
    ]:
        with pytest.raises(NotFoundError):
            await archive.contacts.link(
                contact_id, customer, state=LINKED, actor=HANDLER, now=NOW
            )


# -- at the same moment


class Meanwhile:
    """A store in which something happens just before the first commit."""

    def __init__(self, store, happening):
        self._store, self._happening = store, happening

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit_each(self, changes):
        if self._happening is not None:
            happening, self._happening = self._happening, None
            await happening()
        return await self._store.commit_each(changes)


async def test_an_import_during_a_call_links_it_all_the_same(archive):
    """The import sees no contact yet, and the call sees no customer yet."""

    async def imported():
        await import_customers(archive, NOW, HOUSEHOLD.replace("1002,Pekka", "1003,Olli"))

    store = Meanwhile(archive.stores.store, imported)
    interpreter = replace(archive.interpreter, store=store)
    understanding = replace(archive.understanding, interpreter=interpreter)
    await deliver(
        replace(archive, understanding=understanding),
        call(customer_number="1001"),
        ident="w-1",
        now=NOW,
    )
    assert (await links(archive))["1001"][0] is LINKED


async def test_what_a_person_decides_during_an_import_stands(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)

    async def decided():
        await decide(archive, "1001", LINKED)

    interpreter = replace(archive.interpreter, store=Meanwhile(archive.stores.store, decided))
    register = replace(archive.register, interpreter=interpreter)
    text = HOUSEHOLD.replace("040 123 4567", "040 765 4321")
    await register.bring_in(
        read_register(text.splitlines(keepends=True), region="FI"),
        actor=OPERATOR,
        now=NOW,
        progress=lambda _done, _all: None,
    )
    assert await links(archive) == {"1001": (LINKED, ("by_hand",), Certainty.SURE)}
    assert len(await find(archive, NOW, customer_number="1001")) == 1


async def test_what_a_call_gains_while_it_is_linked_by_hand_is_found(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)

    async def told():
        parties = [{"role": "other", "phone": "+358407654321"}]
        await deliver(archive, call(parties=parties), ident="w-2", now=NOW)

    interpreter = replace(archive.interpreter, store=Meanwhile(archive.stores.store, told))
    contacts = replace(archive.contacts, interpreter=interpreter)
    await decide(replace(archive, contacts=contacts), "1001", LINKED)
    assert len(await find(archive, NOW, phone="+358407654321")) == 1
    assert len(await find(archive, NOW, customer_number="1001")) == 1


async def test_two_who_decide_at_the_same_moment_both_succeed(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)
    await asyncio.gather(
        *(decide(archive, "1001", LINKED) for _ in range(5)),
        *(decide(archive, "1002", UNLINKED) for _ in range(5)),
    )
    assert {n: state for n, (state, *_) in (await links(archive)).items()} == {
        "1001": LINKED,
        "1002": UNLINKED,
    }


async def test_links_that_keep_changing_are_decided_again(archive):
    await import_customers(archive, NOW, HOUSEHOLD)
    await deliver(archive, call(), ident="w-1", now=NOW)
    left = 5

    class Contended(Meanwhile):
        async def commit_each(self, changes):
            nonlocal left
            if left:
                left -= 1
                return [StaleError("changed")] * len(changes)
            return await self._store.commit_each(changes)

    store = Contended(archive.stores.store, None)
    contacts = replace(archive.contacts, interpreter=replace(archive.interpreter, store=store))
    await decide(replace(archive, contacts=contacts), "1001", LINKED)
    assert (await links(archive))["1001"][0] is LINKED


async def test_an_altered_contact_stops_no_import_and_is_told(archive):
    await deliver(archive, call("c-1"), ident="w-1", now=NOW)
    await deliver(archive, call("c-2"), ident="w-2", now=NOW)
    row, _ = await archive.stores.store.find(ContactRow, {})
    await archive.stores.store.commit([Put(replace(row, sealed=b"x" + row.sealed[1:]))])
    imported = await import_customers(archive, NOW, HOUSEHOLD)
    assert (imported.added, imported.relinked) == (2, 1)
    (item,) = await archive.attention.find(actor=HANDLER)
    assert (item.reason, item.about) == ("integrity", row.id)


async def test_tokens_of_links_that_are_gone_are_gone(archive):
    await import_customers(archive, NOW, "customer_number,phone\n1001,040 123 4567\n")
    await deliver(archive, call(), ident="w-1", now=NOW)
    before = await archive.stores.store.count(ContactTokenRow, {})
    await import_customers(archive, NOW, "customer_number,phone\n1001,040 765 4321\n")
    assert await archive.stores.store.count(LinkRow, {}) == 0
    assert await archive.stores.store.count(ContactTokenRow, {}) == before - 1
    assert await find(archive, NOW, customer_number="1001") == ()
