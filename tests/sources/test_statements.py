"""Statements are read whole or refused by the line; what they tell was not delivered."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.statements import read_statement

HEAD = "source_id,channel,direction,started_at"
WHOLE = (
    "source_id;channel;direction;started_at;ended_at;phone;email;customer_number;agent_id;queue;recorded;cost\n"
    "c-1;call;inbound;2026-11-22 14:02:00;2026-11-22T14:05:00+02:00;"
    "040 123 4567;maija@example.com;1001;a-7;Laskut;yes;9\n"
)


def read(text):
    return read_statement(text if isinstance(text, bytes) else text.encode(), rule=SourceRule())


@pytest.mark.parametrize("text", [WHOLE, "\ufeff" + WHOLE, WHOLE.replace("\n", "\r\n")])
def test_a_row_tells_a_contact_that_was_not_delivered(text):
    (facts,) = read(text)
    assert (facts.source_id, facts.channel, facts.direction, facts.is_stated) == (
        "c-1",
        Channel.CALL,
        Direction.INBOUND,
        True,
    )
    assert facts.started_at == datetime(2026, 11, 22, 12, 2, tzinfo=UTC)
    assert facts.ended_at == datetime(2026, 11, 22, 12, 5, tzinfo=UTC)
    customer, agent = facts.parties
    assert (customer.phone, customer.email) == ("+358401234567", "maija@example.com")
    assert (agent.role, agent.agent_id) == (PartyRole.AGENT, "a-7")
    assert (facts.customer_number, facts.queue, facts.recording) == (
        "1001",
        "Laskut",
        "expected",
    )


def test_what_is_not_told_is_not_known_and_twice_is_once():
    text = f"{HEAD},phone,recorded\nc-1,call,inbound,2026-11-22T12:00:00Z,anonymous,\n"
    (facts,) = read(text + text.partition("\n")[2])
    assert (facts.recording, facts.parties[0].phone, facts.parties[0].phone_as_sent) == (
        None,
        None,
        "anonymous",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing is in it"),
        ("source_id,channel\n", "no column direction, started_at"),
        (f"{HEAD}\nc-1,call,inbound\n", "line 2: 3 fields"),
        (
            f"{HEAD}\nc-1,call,inbound,2026-11-22T12:00:00Z\n,call,inbound,2026-11-22T12:00:00Z",
            "line 3",
        ),
        (f"{HEAD}\nc-1,fax,inbound,2026-11-22T12:00:00Z", "line 2: channel"),
        (f"{HEAD}\nc-1,call,in,2026-11-22T12:00:00Z", "line 2: direction"),
        (f"{HEAD}\nc-1,call,inbound,yesterday", "line 2: started_at"),
        (f"{HEAD}\nc-1,call,inbound,2026-13-22 12:00", "line 2: started_at"),
        (f"{HEAD},recorded\nc-1,call,inbound,2026-11-22T12:00:00Z,perhaps", "line 2: recorded"),
        (f"{HEAD},email\nc-1,call,inbound,2026-11-22T12:00:00Z,no", "line 2"),
        (f'{HEAD}\n"c-1,call,inbound', "line"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_no_statement_is_refused_by_its_line(text, words):
    with pytest.raises(InvalidInputError) as refused:
        read(text)
    assert words in refused.value.detail


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=300), st.text(max_size=200).map(lambda t: f"{HEAD}\n{t}".encode())
    )
)
def test_no_bytes_break_it(data):
    try:
        told = read(data)
    except InvalidInputError:
        return
    assert all(facts.can_begin and facts.is_stated for facts in told)
