"""Finding is exact: criteria are their intersection, pages neither skip nor repeat, and each result says why."""

import random
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.archive.interpret import Arrival
from service.archive.lookup import MAX_CUSTOMERS, MAX_LIMIT, Criteria
from service.domain.actor import Role
from service.domain.contact import (
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
    RecordingState,
)
from service.domain.customer import LinkState
from service.domain.errors import InvalidInputError, NotPermittedError
from service.log.entry import EntryType, decode_entry
from storage.ports import Put
from storage.rows import ContactRow, CustomerRow
from tests.archive.test_spine import call, deliver, find, import_customers
from tests.conftest import NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
PHONES = ["+358401234567", "+358407654321", "+358201234567"]
EMAILS = ["maija@example.com", "olli@example.com"]
POINTS = ["643000000000000015", "643000000000000022"]
AGENTS, QUEUES = ["A-17", "B-9"], ["Asiakaspalvelu", "Laskutus"]
NUMBERS = ["1001", "1002", "1003"]
CUSTOMERS = f"""customer_number,phone,metering_point,occupied_from,occupied_to
1001,{PHONES[0]},{POINTS[0]},2026-01-01,2026-11-21
1002,{PHONES[1]},{POINTS[0]},2026-11-21,
1003,,{POINTS[1]},,
"""


def worlds(count=60):
    """Contacts that differ in everything that can be looked for; several begin at the same moment."""
    chance = random.Random(7)  # noqa: S311  # an invented world, the same each time
    for n in range(count):
        channel = chance.choice(list(Channel))
        yield ContactFacts(
            source_id=f"c-{n}",
            channel=channel,
            direction=chance.choice(list(Direction)),
            started_at=NOW - timedelta(hours=6 * chance.randint(0, 12)),
            queue=chance.choice([None, *QUEUES]),
            customer_number=chance.choice([None, None, *NUMBERS[:2]]),
            metering_point=chance.choice([None, None, *POINTS]),
            recording=chance.choice([None, "expected", "none"]),
            parties=(
                Party(
                    role=PartyRole.CUSTOMER,
                    phone=chance.choice([None, *PHONES]),
                    email=chance.choice([None, *EMAILS]),
                ),
                Party(
                    role=PartyRole.AGENT,
                    agent_id=chance.choice([None, *AGENTS]),
                    phone=PHONES[2],
                ),
            ),
        )


@pytest.fixture
async def world(archive):
    """Return the archive with contacts, and by source id what the oracle knows of each."""
    await import_customers(archive, NOW, CUSTOMERS)
    all_facts = list(worlds())
    arrivals = [Arrival(source="pbx", source_id=f.source_id, facts=f) for f in all_facts]
    outcomes = await archive.interpreter.interpret(arrivals, now=NOW)
    told = {}
    for facts, outcome in zip(all_facts, outcomes, strict=True):
        view = await archive.contacts.get(outcome.contact.id, actor=HANDLER)
        linked = {c.customer_id for c in view.links if c.state is LinkState.LINKED}
        customers = [c for c in view.customers if c.id in linked]
        day = facts.started_at + timedelta(hours=2)
        told[outcome.contact.id] = (
            outcome.contact,
            {c.number for c in customers} | {facts.customer_number},
            {
                o.metering_point
                for c in customers
                for o in c.occupancies
                if (o.occupied_from is None or o.occupied_from <= day.date())
                and (o.occupied_to is None or day.date() < o.occupied_to)
            }
            | {facts.metering_point},
        )
    return archive, told


def meets(contact, numbers, points, criteria):
    """Decide from the contact alone whether it meets every criterion."""
    parties = contact.parties
    wanted = {f.name: getattr(criteria, f.name) for f in fields(Criteria)}
    tests = {
        "customer_number": lambda v: v in numbers,
        "metering_point": lambda v: v in points,
        # The company's own number is nobody's.
        "phone": lambda v: v != PHONES[2] and any(p.phone == v for p in parties),
        "email": lambda v: any(p.email == v for p in parties),
        "agent": lambda v: any((p.agent_id or "").lower() == v.lower() for p in parties),
        "queue": lambda v: (contact.queue or "").lower() == v.lower(),
        "channel": lambda v: contact.channel is v,
        "direction": lambda v: contact.direction is v,
        "recording": lambda v: contact.recording_state is v,
        "started_from": lambda v: contact.started_at >= v,
        "started_to": lambda v: contact.started_at < v,
    }
    return all(tests[name](value) for name, value in wanted.items() if value is not None)


async def all_pages(archive, criteria, limit):
    found, cursor = [], None
    while True:
        page = await archive.finder.find(
            criteria, actor=HANDLER, cursor=cursor, limit=limit, now=NOW
        )
        assert len(page.contacts) <= limit
        found += page.contacts
        cursor = page.next
        if cursor is None:
            return found


CHOICES = {
    "customer_number": NUMBERS,
    "phone": PHONES,
    "email": EMAILS,
    "metering_point": POINTS,
    "agent": [*AGENTS, "a-17", "nobody"],
    "queue": [*QUEUES, "LASKUTUS"],
    "channel": list(Channel),
    "direction": list(Direction),
    "recording": list(RecordingState),
    "started_from": [NOW - timedelta(hours=h) for h in (0, 6, 30, 100)],
    "started_to": [NOW - timedelta(hours=h) for h in (0, 6, 30, -1)],
}


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    names=st.sets(st.sampled_from(sorted(CHOICES)), max_size=4),
    limit=st.sampled_from([1, 2, 7, 50]),
    data=st.data(),
)
async def test_criteria_are_their_intersection(world, names, limit, data):
    archive, told = world
    criteria = Criteria(**{n: data.draw(st.sampled_from(CHOICES[n])) for n in names})
    found = await all_pages(archive, criteria, limit)
    expected = [one for one in told.values() if meets(*one, criteria)]
    expected.sort(key=lambda one: (one[0].started_at, one[0].id), reverse=True)
    assert [f.contact for f in found] == [contact for contact, *_ in expected]
    for one in found:
        assert {reason.criterion for reason in one.matched_by} == names


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in CHOICES.items() for value in values]
)
async def test_each_criterion_alone_finds_what_it_should(world, name, value):
    archive, told = world
    criteria = Criteria(**{name: value})
    found = {f.contact.id for f in await all_pages(archive, criteria, 9)}
    assert found == {one for one, known in told.items() if meets(*known, criteria)}


# -- pages


@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_pages_neither_skip_nor_repeat_while_contacts_arrive(archive, limit):
    """Some arrive before the page that is looked at, some behind it, some at the very same moment."""
    chance = random.Random(limit)  # noqa: S311  # as above

    async def add(n, hour):
        started = f"2026-11-20T{hour:02}:00:00Z"
        body = call(f"c-{n}", started_at=started, ended_at=None)
        await deliver(archive, body, ident=f"w-{n}", now=NOW)

    for n in range(25):
        await add(n, 5 + n // 5)
    criteria = Criteria(phone=PHONES[0])
    at_first = [f.contact.id for f in await all_pages(archive, criteria, 50)]
    seen, cursor, n = [], None, 100
    while True:
        page = await archive.finder.find(
            criteria, actor=HANDLER, cursor=cursor, limit=limit, now=NOW
        )
        seen += [(f.contact.started_at, f.contact.id) for f in page.contacts]
        cursor = page.next
        if cursor is None:
            break
        await add(n, chance.randint(4, 10))
        n += 1
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)
    assert [one for _, one in seen if one in at_first] == at_first


@pytest.mark.parametrize(("limit", "pages"), [(1, 4), (2, 2), (3, 2), (4, 1), (5, 1)])
async def test_the_last_page_says_that_it_is(archive, limit, pages):
    for n in range(4):
        await deliver(archive, call(f"c-{n}"), ident=f"w-{n}", now=NOW)
    cursor = None
    for left in reversed(range(pages)):
        page = await archive.finder.find(
            Criteria(), actor=HANDLER, cursor=cursor, limit=limit, now=NOW
        )
        cursor = page.next
        assert (cursor is None) == (left == 0)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "AAAA",
        "MTpjdF8",
        "=" * 5,
        "\ud800",
        "MTE6Y3RfYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE",
        pytest.param("OTk5OTk5OTk5OTk5OTk5OTk5OTk6Y3Rf" + "YWFh" * 8 + "YWE", id="far"),
        pytest.param("MV8wOmN0Xw" + "YWFh" * 8, id="not digits"),
        "A" * 10_000,
    ],
)
async def test_a_cursor_that_was_not_given_is_refused_or_empty(archive, cursor):
    try:
        page = await archive.finder.find(
            Criteria(), actor=HANDLER, cursor=cursor, limit=5, now=NOW
        )
    except InvalidInputError:
        return
    assert page.contacts == ()


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cursor=st.text(max_size=80))
async def test_no_cursor_breaks_a_lookup(archive, cursor):
    try:
        await archive.finder.find(Criteria(), actor=HANDLER, cursor=cursor, limit=5, now=NOW)
    except InvalidInputError:
        return


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
async def test_pages_are_bounded(archive, limit):
    with pytest.raises(InvalidInputError):
        await archive.finder.find(Criteria(), actor=HANDLER, cursor=None, limit=limit, now=NOW)


# -- why, who, and the log


async def test_each_result_says_why_it_matched(archive):
    await import_customers(archive, NOW, CUSTOMERS)
    body = call(metering_point=POINTS[1], queue="Laskutus")
    await deliver(archive, body, ident="w-1", now=NOW)
    await deliver(archive, call("c-2", customer_number="1002"), ident="w-2", now=NOW)

    async def why(**criteria):
        (found,) = await find(archive, NOW, **criteria)
        return [(reason.criterion, reason.met_by) for reason in found.matched_by]

    assert await why(customer_number="1002") == [("customer_number", "stated")]
    assert await why(metering_point=POINTS[1]) == [("metering_point", "stated")]
    assert await why(queue="laskutus", agent="a-17") == [
        ("agent", "party:agent"),
        ("queue", "contact"),
    ]
    parties = [{"role": "customer", "email": "maija@example.com", "phone": PHONES[0]}]
    chat = call("c-3", parties=parties, channel="chat", recording=None)
    await deliver(archive, chat, ident="w-3", now=NOW)
    assert await why(email="maija@example.com", channel=Channel.CHAT) == [
        ("email", "party:customer"),
        ("channel", "contact"),
    ]
    assert await why(customer_number="1001", channel=Channel.CHAT) == [
        ("customer_number", "link:phone"),
        ("channel", "contact"),
    ]


async def test_a_lookup_is_in_the_log_with_the_names_of_its_criteria_alone(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await find(archive, NOW, phone=PHONES[0], queue="Asiakaspalvelu")
    await find(archive, NOW, email="nobody@example.com")
    stored = await archive.stores.log.log_entries(0, 100)
    looked = [decode_entry(one.entry) for one in stored]
    made = [e for e in looked if e.type is EntryType.LOOKUP_MADE]
    told = [(e.actor, e.data["criteria"], e.data["found"], e.data["customers"]) for e in made]
    assert told == [(HANDLER.id, ("phone", "queue"), 1, 0), (HANDLER.id, ("email",), 0, 0)]
    number = PHONES[0].removeprefix("+").encode()
    assert not any(number in one.entry or b"nobody" in one.entry for one in stored)


@pytest.mark.parametrize("role", [Role.INTEGRATION, Role.ADMIN, Role.AUDITOR])
async def test_looking_up_needs_a_role(archive, role):
    with pytest.raises(NotPermittedError):
        await archive.finder.find(Criteria(), actor=actor(role), cursor=None, limit=5, now=NOW)


async def test_criteria_do_not_print_their_values():
    assert repr(Criteria(phone=PHONES[0])) == "Criteria('phone',)"


# -- what cannot be shown


@pytest.mark.parametrize("fault", ["altered", "keyless"])
@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_a_contact_that_cannot_be_opened_is_named_and_hides_no_other(
    archive, fault, limit
):
    for n in range(5):
        await deliver(archive, call(f"c-{n}"), ident=f"w-{n}", now=NOW)
    rows = await archive.stores.store.find(ContactRow, {})
    for row in rows[1:3]:
        if fault == "altered":
            await archive.stores.store.commit([Put(replace(row, sealed=b"x" * 40))])
        else:
            await archive.stores.keys.destroy_keys([row.id])
    found, unreadable, cursor = set(), [], None
    while True:
        page = await archive.finder.find(
            Criteria(phone=PHONES[0]), actor=HANDLER, cursor=cursor, limit=limit, now=NOW
        )
        found |= {f.contact.id for f in page.contacts}
        unreadable += page.unreadable
        cursor = page.next
        if cursor is None:
            break
    bad = {row.id for row in rows[1:3]}
    assert found == {row.id for row in rows} - bad
    assert sorted(unreadable) == sorted(bad)
    about = {item.about for item in await archive.attention.find(actor=HANDLER)}
    assert about == (bad if fault == "altered" else set())


async def test_what_was_erased_is_not_found_at_all(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    (row,) = await archive.stores.store.find(ContactRow, {})
    await archive.stores.store.commit([Put(replace(row, state="erased", sealed=b""))])
    page = await archive.finder.find(
        Criteria(phone=PHONES[0]), actor=HANDLER, cursor=None, limit=5, now=NOW
    )
    assert (page.contacts, page.unreadable) == ((), ())


# -- the customers behind what is looked for

REGISTER = f"""customer_number,name,phone,email,metering_point,occupied_from,occupied_to
2001,Maija Esimerkki,{PHONES[0]},maija@example.com,{POINTS[0]},2026-01-01,2026-06-01
2001,,{PHONES[1]},,,,
2002,Olli Esimerkki,{PHONES[0]},,{POINTS[0]},2026-06-01,
2003,Aino Esimerkki,,maija@example.com,,,
"""


async def registered(archive, role=Role.AGENT, **criteria):
    page = await archive.finder.find(
        Criteria(**criteria), actor=actor(role), cursor=None, limit=5, now=NOW
    )
    return [customer.number for customer in page.customers]


async def test_a_customer_who_called_from_another_number_is_named(archive):
    """The contact carries one of the customer's numbers, and the other is looked for."""
    await import_customers(archive, NOW, REGISTER)
    await deliver(archive, call(), ident="w-1", now=NOW)
    page = await archive.finder.find(
        Criteria(phone=PHONES[1]), actor=HANDLER, cursor=None, limit=5, now=NOW
    )
    assert page.contacts == ()
    (maija,) = page.customers
    assert (maija.number, maija.name) == ("2001", "Maija Esimerkki")


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ({"phone": PHONES[0]}, ["2001", "2002"]),
        ({"email": EMAILS[0]}, ["2001", "2003"]),
        ({"customer_number": "2003"}, ["2003"]),
        ({"metering_point": POINTS[0]}, ["2001", "2002"]),
        ({"metering_point": POINTS[0], "started_from": NOW - timedelta(days=9)}, ["2002"]),
        ({"metering_point": POINTS[0], "started_to": NOW - timedelta(days=250)}, ["2001"]),
        ({"phone": PHONES[0], "email": EMAILS[0]}, ["2001"]),
        ({"phone": PHONES[1], "email": EMAILS[1]}, []),
        ({"phone": PHONES[0], "queue": "Laskutus"}, ["2001", "2002"]),
        ({"phone": PHONES[2]}, []),
        ({"queue": "Laskutus"}, []),
        ({}, []),
    ],
    ids=str,
)
async def test_customers_have_every_identifier_that_is_looked_for(archive, criteria, numbers):
    await import_customers(archive, NOW, REGISTER)
    assert await registered(archive, **criteria) == numbers


async def test_naming_customers_finds_no_other_contact(world):
    archive, told = world
    for criteria in [{"phone": PHONES[0]}, {"metering_point": POINTS[1]}]:
        page = await archive.finder.find(
            Criteria(**criteria), actor=HANDLER, cursor=None, limit=MAX_LIMIT, now=NOW
        )
        assert page.customers
        wanted = {one for one, known in told.items() if meets(*known, Criteria(**criteria))}
        assert {found.contact.id for found in page.contacts} == wanted


async def test_a_number_that_too_many_share_names_none_and_says_that_there_are_more(archive):
    rows = "\n".join(f"{3000 + n},{PHONES[0]}" for n in range(MAX_CUSTOMERS + 1))
    await import_customers(archive, NOW, f"customer_number,phone\n{rows}\n")
    page = await archive.finder.find(
        Criteria(phone=PHONES[0]), actor=HANDLER, cursor=None, limit=5, now=NOW
    )
    assert (len(page.customers), page.has_more_customers) == (0, True)


async def test_of_the_many_who_share_a_number_the_one_who_also_has_another_is_named(
    archive, monkeypatch
):
    monkeypatch.setattr("service.archive.lookup._MAX_SHARING", 30)
    rows = "\n".join(f"{3000 + n},{PHONES[0]}" for n in range(50))
    await import_customers(archive, NOW, f"customer_number,phone\n{rows}\n")
    for number in ("3000", "3025", "3049"):
        assert await registered(archive, phone=PHONES[0], customer_number=number) == [number]
    page = await archive.finder.find(
        Criteria(phone=PHONES[0]), actor=HANDLER, cursor=None, limit=5, now=NOW
    )
    assert (page.customers, page.has_more_customers) == ((), True)


async def test_a_customer_that_cannot_be_opened_is_an_alarm_and_hides_no_other(archive):
    await import_customers(archive, NOW, REGISTER)
    row, *_ = await archive.stores.store.find(CustomerRow, {})
    await archive.stores.store.commit([Put(replace(row, sealed=b"x" * 40))])
    named = {n for p in PHONES for n in await registered(archive, phone=p)}
    named |= set(await registered(archive, email=EMAILS[0]))
    assert len(named) == 2
    (item,) = await archive.attention.find(actor=HANDLER)
    assert (item.reason, item.about) == ("integrity", row.id)


async def test_an_erased_customer_is_not_named(archive):
    await import_customers(archive, NOW, REGISTER)
    for row in await archive.stores.store.find(CustomerRow, {}):
        await archive.stores.store.commit([Put(replace(row, state="erased", sealed=b""))])
    assert await registered(archive, phone=PHONES[0]) == []
