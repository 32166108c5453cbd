"""What arrives piece by piece becomes one contact, in whichever order it comes."""

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import (
    MAX_PARTIES,
    NOT_ANNOUNCED,
    SCALARS,
    Channel,
    Contact,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
    RecordingState,
    decide_amendment,
    merge_parties,
)

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
EMPTY = Contact(
    id="ct_x",
    version=1,
    source="pbx",
    source_id="c-1",
    channel=Channel.CALL,
    direction=Direction.INBOUND,
    started_at=AT,
    ended_at=None,
    created_at=AT,
    queue=None,
    subject=None,
    customer_number=None,
    metering_point=None,
    parties=(),
    recording_state=None,
    not_recorded_reason=None,
)
WHOLE = {
    "channel": Channel.CALL,
    "direction": Direction.INBOUND,
    "started_at": AT,
    "ended_at": AT + timedelta(minutes=9),
    "answered_at": AT + timedelta(minutes=1),
    "outcome": "answered",
    "notice": "played",
    "notice_version": "7",
    "queue": "Asiakaspalvelu",
    "subject": "Lasku",
    "customer_number": "1001",
    "metering_point": "643000000000000015",
    "not_recorded_reason": "line_policy",
}
CUSTOMER, AGENT = PartyRole.CUSTOMER, PartyRole.AGENT
# Persons who share nothing, so that no two descriptions of them contradict.
PERSONS = [
    Party(
        role=role,
        phone=f"+35840123456{n}",
        email=f"p{n}@example.com",
        name=f"Person {n}",
        agent_id=f"A-{n}",
    )
    for n, role in enumerate([CUSTOMER, CUSTOMER, AGENT])
]


def facts(**told):
    return ContactFacts(source_id="c-1", **told)


def party(role=CUSTOMER, **known):
    return Party(role=role, **known)


def amended(contact, *deliveries):
    for told in deliveries:
        contact = decide_amendment(contact, told).contact
    return contact


@st.composite
def pieces(draw):
    """Deliveries that each tell a part of one contact."""
    told = []
    for _ in range(draw(st.integers(1, 5))):
        scalars = {name: WHOLE[name] for name in draw(st.sets(st.sampled_from(SCALARS)))}
        parties = []
        for person in draw(st.lists(st.sampled_from(PERSONS), max_size=3)):
            shown = draw(st.sets(st.sampled_from(["phone", "email", "name", "agent_id"])))
            parties.append(
                Party(role=person.role, **{name: getattr(person, name) for name in shown})
            )
        announced = draw(st.sampled_from([None, "expected", "none"]))
        told.append(facts(**scalars, parties=tuple(parties), recording=announced))
    return told


@settings(max_examples=300)
@given(pieces(), st.randoms(use_true_random=False))
def test_the_order_of_deliveries_that_do_not_contradict_does_not_matter(told, chance):
    shuffled = [*told, *chance.sample(told, chance.randint(0, len(told)))]
    chance.shuffle(shuffled)
    one, other = amended(EMPTY, *told), amended(EMPTY, *shuffled)
    assert set(one.parties) == set(other.parties)
    assert replace(one, parties=()) == replace(other, parties=())


@settings(max_examples=200)
@given(pieces())
def test_the_same_again_changes_nothing(told):
    contact = amended(EMPTY, *told)
    for again in told:
        amendment = decide_amendment(contact, again)
        assert (amendment.contact, amendment.changed) == (contact, ())


@pytest.mark.parametrize("name", SCALARS)
def test_what_is_archived_stands_and_another_value_is_a_contradiction(name):
    other = {
        **dict.fromkeys(SCALARS, "another"),
        "channel": Channel.CHAT,
        "direction": Direction.OUTBOUND,
        "started_at": AT + timedelta(seconds=1),
        "ended_at": AT + timedelta(seconds=1),
        "answered_at": AT + timedelta(seconds=1),
    }
    archived = amended(EMPTY, facts(**WHOLE))
    amendment = decide_amendment(archived, facts(**{name: other[name]}))
    assert amendment.contact == archived
    assert amendment.contradictions == (name,)


@given(st.permutations([(0, 60), (5, 50), (2, 90), (None, 70)]))
def test_a_contact_lasts_as_long_as_its_parts_in_whichever_order_they_come(order):
    def part(start, end):
        begun = {} if start is None else {"started_at": AT + timedelta(seconds=start)}
        return facts(**begun, ended_at=AT + timedelta(seconds=end), is_part=True)

    first = replace(EMPTY, started_at=AT + timedelta(seconds=4))
    contact = amended(first, *(part(*times) for times in order))
    assert contact.started_at == AT
    assert contact.ended_at == AT + timedelta(seconds=90)
    shorter = decide_amendment(contact, part(7, 8))
    assert (shorter.changed, shorter.contradictions) == ((), ())


def test_a_contact_is_answered_when_the_first_of_its_parts_is():
    parts = [facts(answered_at=AT + timedelta(seconds=n), is_part=True) for n in (9, 4, 7)]
    assert amended(EMPTY, *parts).answered_at == AT + timedelta(seconds=4)
    whole = facts(answered_at=AT)
    assert decide_amendment(amended(EMPTY, parts[0]), whole).contradictions == ("answered_at",)


def test_what_was_sent_goes_with_the_time_that_stands():
    told = facts(started_at=AT - timedelta(1), started_at_as_sent="eilen", is_part=True)
    assert amended(EMPTY, told).started_at_as_sent == "eilen"


def test_a_part_contradicts_in_all_but_times():
    told = facts(is_part=True, queue="another", started_at=AT + timedelta(seconds=1))
    archived = amended(EMPTY, facts(queue="one"))
    assert decide_amendment(archived, told).contradictions == ("queue",)


@pytest.mark.parametrize("order", [*itertools.permutations(("expected", "none", None))])
def test_of_parts_one_may_be_recorded_and_of_a_whole_the_source_knows_best(order):
    parts = [facts(recording=one, is_part=True) for one in order]
    assert amended(EMPTY, *parts).announced == "expected"
    assert amended(EMPTY, *(facts(recording=one) for one in order)).announced == "none"


def test_what_is_not_told_empties_nothing():
    archived = amended(EMPTY, facts(**WHOLE, parties=tuple(PERSONS)))
    assert decide_amendment(archived, facts()).contact == archived


def test_a_contradiction_does_not_keep_the_rest_out():
    amendment = decide_amendment(
        replace(EMPTY, queue="Laskutus"), facts(queue="Myynti", subject="Lasku")
    )
    assert amendment.contact.subject == "Lasku"
    assert (amendment.changed, amendment.contradictions) == (("subject",), ("queue",))


@pytest.mark.parametrize(
    ("archived", "told", "merged"),
    [
        pytest.param(
            [party(phone="1")],
            [party(phone="1", name="Maija")],
            [party(phone="1", name="Maija")],
            id="one is completed",
        ),
        pytest.param(
            [party(phone="1")],
            [party(AGENT, phone="1")],
            [party(phone="1"), party(AGENT, phone="1")],
            id="another role is another party",
        ),
        pytest.param(
            [party(phone="1", name="Maija")],
            [party(phone="1", name="Matti")],
            [party(phone="1", name="Maija"), party(phone="1", name="Matti")],
            id="what differs stays apart",
        ),
        pytest.param(
            [party(phone="1")],
            [party(email="a@example.com")],
            [party(phone="1"), party(email="a@example.com")],
            id="nothing agrees",
        ),
        pytest.param(
            [party(phone="1"), party(AGENT), party(email="a@example.com")],
            [party(phone="1", email="a@example.com")],
            [party(phone="1", email="a@example.com"), party(AGENT)],
            id="one who brings two together stands where the first stood",
        ),
        pytest.param([party()], [party(phone="1")], [party(phone="1")], id="nothing was known"),
        pytest.param([party(phone="1")], [party()], [party(phone="1")], id="nothing is told"),
        pytest.param(
            [],
            [party(), party(phone="1"), party()],
            [party(phone="1")],
            id="within one telling",
        ),
        pytest.param(
            [party(phone_as_sent="anonymous")],
            [party(phone_as_sent="anonymous", name="Maija")],
            [party(phone_as_sent="anonymous", name="Maija")],
            id="what is no telephone number agrees too",
        ),
    ],
)
def test_parties_are_one_when_nothing_differs_and_something_agrees(archived, told, merged):
    assert merge_parties(archived, told) == tuple(merged)


def test_more_parties_than_are_kept_are_a_contradiction_and_none_is_dropped_in_silence():
    many = tuple(party(phone=str(n)) for n in range(MAX_PARTIES))
    full = amended(EMPTY, facts(parties=many))
    assert len(full.parties) == MAX_PARTIES
    amendment = decide_amendment(full, facts(parties=(party(phone="one more"),)))
    assert (amendment.contact, amendment.contradictions) == (full, ("parties",))


@pytest.mark.parametrize("order", [("expected", "none"), ("none", "expected"), ("none",)])
def test_that_there_is_no_recording_is_known_later_and_stands(order):
    contact = amended(EMPTY, *(facts(recording=one) for one in order))
    assert contact.announced == "none"


@pytest.mark.parametrize(
    ("state", "announced", "reason", "why"),
    [
        (RecordingState.NOT_RECORDED, None, None, NOT_ANNOUNCED),
        (RecordingState.NOT_RECORDED, "none", None, None),
        (RecordingState.NOT_RECORDED, "none", "line_policy", "line_policy"),
        (RecordingState.NOT_RECORDED, None, "line_policy", "line_policy"),
        (RecordingState.PRESENT, "none", "line_policy", None),
        (RecordingState.LOST, None, None, None),
        (None, None, None, None),
    ],
)
def test_a_call_says_why_it_was_not_recorded(state, announced, reason, why):
    contact = replace(
        EMPTY, recording_state=state, announced=announced, not_recorded_reason=reason
    )
    assert contact.why_not_recorded == why


def test_merging_takes_no_longer_for_hostile_parties():
    chance = random.Random(1)  # noqa: S311  # a shuffle, not a secret
    parties = [party(phone=str(n), email=str(n + 1)) for n in range(MAX_PARTIES)]
    chance.shuffle(parties)
    assert len(merge_parties(parties, parties)) == MAX_PARTIES
