"""What `storage.ports.Store` promises of looking contacts up."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.ports import Add, Lookup, Span
from storage.rows import ContactRow, ContactTokenRow

PHONE, OTHER_PHONE, AGENT, RARE = b"phone", b"other", b"agent", b"rare"


def token(value, contact):
    return ContactTokenRow(token=value, started_at=contact.started_at, contact_id=contact.id)


@pytest.fixture
async def archived(store, rows):
    """Thirty contacts, three at each time; returns them with their tokens, newest first."""
    contacts = [
        rows(
            ContactRow,
            id=f"ct_{n:02}",
            started_at=n // 3 * 100,
            channel="call" if n % 2 else "email",
            recording_state=None if n % 5 else "present",
        )
        for n in range(30)
    ]
    tokens = {
        contact.id: {AGENT}
        | ({PHONE} if n % 2 else set())
        | ({OTHER_PHONE} if n % 3 else set())
        | ({RARE} if n in {7, 8} else set())
        for n, contact in enumerate(contacts)
    }
    await store.commit(
        [Add(contact) for contact in contacts]
        + [Add(token(value, contact)) for contact in contacts for value in tokens[contact.id]]
    )
    return [(contact, tokens[contact.id]) for contact in reversed(contacts)]


def expected(archived, query):
    """Say in plain words what `Lookup` means."""
    start, stop = query.started.start, query.started.stop
    return [
        contact.id
        for contact, tokens in archived
        if all(tokens & set(criterion) for criterion in query.tokens)
        and all(meets(getattr(contact, name), wanted) for name, wanted in query.where.items())
        and (start is None or contact.started_at >= start)
        and (stop is None or contact.started_at < stop)
        and (query.before is None or (contact.started_at, contact.id) < query.before)
    ][: query.limit]


def meets(value, wanted):
    return value in wanted if isinstance(wanted, list) else value == wanted


TIMES = st.none() | st.integers(-50, 1050)
QUERIES = st.builds(
    Lookup,
    tokens=st.lists(
        st.lists(st.sampled_from([PHONE, OTHER_PHONE, AGENT, RARE, b"nobody"]), max_size=3),
        max_size=3,
    ),
    where=st.fixed_dictionaries(
        {},
        optional={
            "channel": st.sampled_from(["call", "email", ["call", "email"], [], "chat"]),
            "recording_state": st.sampled_from([None, "present"]),
        },
    ),
    started=st.builds(Span, TIMES, TIMES),
    before=st.none() | st.tuples(st.integers(0, 1000), st.sampled_from(["", "ct_10", "ct_29"])),
    limit=st.integers(0, 40),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(query=QUERIES)
async def test_a_lookup_finds_what_its_words_mean(store, archived, query):
    assert await store.lookup(query) == expected(archived, query)


async def test_contacts_come_newest_first(store, archived):
    assert await store.lookup(Lookup()) == [contact.id for contact, _ in archived]


@pytest.mark.usefixtures("archived")
async def test_a_contact_with_two_tokens_of_a_criterion_comes_once(store):
    found = await store.lookup(Lookup(tokens=[[PHONE, OTHER_PHONE]]))
    assert len(found) == len(set(found)) == 25


@pytest.mark.usefixtures("archived")
async def test_criteria_are_intersected(store):
    found = await store.lookup(Lookup(tokens=[[AGENT], [PHONE], [RARE]]))
    assert found == ["ct_07"]


async def test_pages_neither_skip_nor_repeat_while_contacts_arrive(store, rows, archived):
    seen, before = [], None
    while True:
        page = await store.lookup(Lookup(tokens=[[AGENT]], before=before, limit=7))
        if not page:
            break
        seen += page
        last = next(contact for contact, _ in archived if contact.id == page[-1])
        before = (last.started_at, last.id)
        new = rows(ContactRow, started_at=10_000)
        await store.commit([Add(new), Add(token(AGENT, new))])
    assert seen == [contact.id for contact, _ in archived]


@pytest.mark.usefixtures("archived")
async def test_a_criterion_without_tokens_finds_nothing(store):
    assert await store.lookup(Lookup(tokens=[[AGENT], []])) == []


async def test_times_reach_as_far_as_the_columns_do(store, rows):
    ends = [rows(ContactRow, started_at=at) for at in (-(2**63), 0, 2**63 - 1)]
    await store.commit([write for c in ends for write in (Add(c), Add(token(PHONE, c)))])
    wanted = [contact.id for contact in reversed(ends)]
    assert await store.lookup(Lookup(tokens=[[PHONE]])) == wanted
    assert await store.lookup(Lookup()) == wanted
