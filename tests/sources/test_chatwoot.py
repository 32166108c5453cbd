"""What Chatwoot's webhooks tell, in each of the ways in which it writes the same."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, MessageChange, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.chat import LEFT_OUT
from service.sources.chatwoot import understand_chatwoot
from service.sources.events import SourceRule
from service.sources.requests import received_request

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SENT_AT = datetime(2026, 11, 22, 10, 9, 5, tzinfo=UTC)
CUSTOMER = {
    "id": 41,
    "name": "Maija Meikäläinen",
    "email": "maija@example.fi",
    "phone_number": "+358401234567",
    "identifier": None,
    "type": "contact",
}
AGENT = {"id": 7, "name": "Anna", "email": "anna@example.com", "type": "user"}
CONVERSATION = {
    "id": 112,
    "inbox_id": 3,
    "status": "open",
    "channel": "Channel::WebWidget",
    "meta": {"sender": CUSTOMER, "assignee": None},
    "messages": [{"id": 900, "message_type": 0, "created_at": 1795342145}],
}
SENT = {
    "event": "message_created",
    "id": 900,
    "content": "Tilaan sopimuksen",
    "message_type": "incoming",
    "private": False,
    "content_type": "text",
    "content_attributes": {},
    "source_id": None,
    "created_at": "2026-11-22T10:09:05.000Z",
    "sender": CUSTOMER,
    "conversation": CONVERSATION,
    "inbox": {"id": 3, "name": "Verkkochat"},
    "account": {"id": 1, "name": "Sähköyhtiö"},
    "something_new": [1],
}


def understand(told, *, headers=(), now=NOW):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    request = received_request("POST", "/intake/chat", headers, body)
    return understand_chatwoot(request.encode(), SourceRule(), now)


def facts_of(**changes):
    (facts,) = understand({**SENT, **changes}).contacts
    return facts


def test_a_message_of_a_customer_is_a_part_of_the_conversation():
    facts = facts_of()
    assert (facts.source_id, facts.channel, facts.direction) == (
        "112",
        Channel.CHAT,
        Direction.INBOUND,
    )
    assert (facts.is_part, facts.started_at, facts.queue) == (True, SENT_AT, "Verkkochat")
    (party,) = facts.parties
    assert (party.role, party.phone, party.email, party.name) == (
        PartyRole.CUSTOMER,
        "+358401234567",
        "maija@example.fi",
        "Maija Meikäläinen",
    )
    (message,) = facts.messages
    assert (message.sender, message.sent_at, message.text, message.ident) == (
        "Maija Meikäläinen",
        SENT_AT,
        "Tilaan sopimuksen",
        "900",
    )
    assert (message.change, message.changed_at, message.is_internal) == (None, None, False)


@pytest.mark.parametrize("kind", ["outgoing", 1, "template", 3])
def test_an_answer_names_its_agent_and_the_customer(kind):
    facts = facts_of(message_type=kind, sender=AGENT)
    assert facts.direction is Direction.OUTBOUND
    customer, agent = facts.parties
    assert (customer.role, agent.role) == (PartyRole.CUSTOMER, PartyRole.AGENT)
    assert (agent.agent_id, agent.name, agent.phone) == ("7", "Anna", None)
    assert facts.messages[0].sender == "Anna"


def test_what_nobody_of_the_company_wrote_has_no_agent():
    facts = facts_of(message_type="template", sender=None)
    assert [party.role for party in facts.parties] == [PartyRole.CUSTOMER]


@pytest.mark.parametrize(
    "at",
    [
        "2026-11-22T10:09:05.000Z",
        "2026-11-22T12:09:05+02:00",
        "2026-11-22 10:09:05 UTC",
        1795342145,
        1795342145.0,
    ],
)
def test_a_time_is_read_in_each_way_it_is_written(at):
    assert facts_of(created_at=at).started_at == SENT_AT


@pytest.mark.parametrize("at", [None, "soon", True, -1, 10**12, "2026-11-22 10:09:05"])
def test_a_message_without_a_time_is_not_understood(at):
    with pytest.raises(InvalidInputError, match="created_at"):
        facts_of(created_at=at)


def test_an_internal_note_is_marked_and_begins_nothing():
    facts = facts_of(private=True, message_type="outgoing", sender=AGENT)
    assert facts.messages[0].is_internal
    assert not facts.can_begin


@pytest.mark.parametrize("kind", ["activity", 2])
def test_what_chatwoot_says_itself_tells_nothing(kind):
    assert understand({**SENT, "message_type": kind}).contacts == ()


@pytest.mark.parametrize(
    "event", ["conversation_created", "conversation_updated", "contact_created", "webwidget_x"]
)
def test_other_events_tell_nothing(event):
    assert understand({"event": event, "id": 1}).contacts == ()


def test_a_conversation_that_is_resolved_is_over():
    told = {
        "event": "conversation_status_changed",
        "id": 112,
        "status": "resolved",
        "updated_at": 1795342145.5,
    }
    (facts,) = understand(told).contacts
    assert (facts.source_id, facts.ended_at.second, facts.can_begin) == ("112", 5, False)
    assert understand({**told, "status": "open"}).contacts == ()


def test_a_deleted_message_has_no_text_but_when_it_was_deleted():
    stamp = [(b"x-chatwoot-timestamp", b"1795342200")]
    told = {
        **SENT,
        "event": "message_updated",
        "content": "This message was deleted",
        "content_attributes": {"deleted": True},
    }
    (facts,) = understand(told, headers=stamp).contacts
    (message,) = facts.messages
    assert (message.change, message.text, message.ident) == (MessageChange.DELETED, "", "900")
    assert message.changed_at == datetime(2026, 11, 22, 10, 10, tzinfo=UTC)


def test_a_message_that_is_told_anew_says_when():
    (facts,) = understand({**SENT, "event": "message_updated", "content": "Peruutan"}).contacts
    (message,) = facts.messages
    assert (message.change, message.text, message.sent_at) == (None, "Peruutan", SENT_AT)
    assert message.changed_at == NOW


def test_what_a_customer_filled_in_is_in_the_text():
    filled = [{"name": "osoite", "value": "Esimerkkikatu 1"}, "x"]
    facts = facts_of(
        content_type="form", content="Täytä", content_attributes={"submitted_values": filled}
    )
    assert facts.messages[0].text == "Täytä\nosoite: Esimerkkikatu 1"


def test_files_are_to_be_fetched_and_named_by_us():
    files = [
        {
            "id": 5,
            "data_url": "https://chat.example.com/a/%2E%2E/b.OGG?sig=1",
            "extension": None,
        },
        {"id": 6, "data_url": "https://chat.example.com/b", "extension": "../../etc"},
        {"id": 7, "file_type": "location"},
        {"id": "x", "data_url": ""},
        "nonsense",
    ]
    names = [one.name for one in facts_of(attachments=files, content=None).recordings]
    assert names == ["900-5.ogg", "900-6"]
    (noted,) = facts_of(attachments=files[:1], private=True).recordings
    assert noted.is_internal
    assert facts_of(attachments="x").recordings == ()


def test_a_mail_that_chatwoot_handles_is_a_mail():
    mail = {**CONVERSATION, "channel": "Channel::Email"}
    assert facts_of(conversation=mail).channel is Channel.EMAIL


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": None, "conversation": {"id": 1}},
        {"sender": {"email": "no address", "phone_number": "anonymous", "name": "\u202e"}},
    ],
)
def test_a_customer_whom_nobody_knows_is_none(changes):
    conversation = {"id": 112, **changes.get("conversation", {})}
    facts = facts_of(**{**changes, "conversation": conversation})
    assert facts.parties == ()
    assert (facts.messages[0].sender, facts.messages[0].writer) == ("customer", "customer")


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (b"[]", "the body"),
        (b"{}", "event"),
        ({**SENT, "conversation": None}, "conversation"),
        ({**SENT, "conversation": {"id": None}}, "conversation.id"),
        ({**SENT, "id": True}, "id"),
        ({**SENT, "message_type": "shouted"}, "message_type"),
        ({**SENT, "message_type": [1]}, "message_type"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(told, what):
    with pytest.raises(InvalidInputError, match=what):
        understand(told)


def test_a_time_that_cannot_be_is_remarked_upon():
    assert understand({**SENT, "created_at": 1}).remarks == ("time_out_of_window",)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SENT, "meta", "sender", "deleted"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*SENT, "status", "updated_at"]), VALUES))
def test_whatever_stands_where_is_understood_or_refused(changes):
    try:
        understood = understand({**SENT, **changes})
    except InvalidInputError:
        return
    for facts in understood.contacts:
        assert facts.source_id


@pytest.mark.parametrize(
    ("kind", "sender", "writer"),
    [
        ("incoming", {"id": 3, "name": "Anna Agentti", "type": "contact"}, "customer"),
        ("outgoing", {"id": 3, "name": "Anna Agentti", "type": "user"}, "agent"),
        ("outgoing", None, "agent"),
        ("template", None, "agent"),
    ],
)
def test_who_wrote_is_told_by_chatwoot_and_by_no_name(kind, sender, writer):
    (message,) = facts_of(message_type=kind, sender=sender).messages
    assert message.writer == writer
    assert sender or message.sender == "Chatwoot"


def test_files_without_a_number_are_told_apart_and_too_many_are_remarked_upon():
    files = [{"data_url": f"https://chat.example.com/f/{n}.pdf"} for n in range(101)]
    few = facts_of(attachments=files[:2]).recordings
    assert len({one.name for one in few}) == 2
    told = understand({**SENT, "attachments": files})
    assert len(told.contacts[0].recordings) == 100
    assert told.remarks == (LEFT_OUT,)


@pytest.mark.parametrize(
    ("extension", "is_text"),
    [
        ("TXT", True),
        ("csv", True),
        ("svg", True),
        ("html", False),
        ("pdf", False),
        (None, False),
    ],
)
def test_a_file_that_is_a_text_is_announced_as_one(extension, is_text):
    file = {"id": 5, "extension": extension, "data_url": "https://chat.example.com/f/1"}
    (one,) = facts_of(attachments=[file]).recordings
    assert one.is_text is is_text


def test_what_is_told_of_another_account_is_in_no_contact():
    for account, rule in (
        (1, SourceRule()),
        (3, SourceRule(account=3)),
        (None, SourceRule(account=3)),
    ):
        told = {**SENT, "account": {"id": account}}
        request = received_request("POST", "/intake/chat", (), json.dumps(told).encode())
        assert understand_chatwoot(request.encode(), rule, NOW).contacts
    told = {**SENT, "account": {"id": 4}}
    request = received_request("POST", "/intake/chat", (), json.dumps(told).encode())
    with pytest.raises(InvalidInputError, match="listing_account"):
        understand_chatwoot(request.encode(), SourceRule(account=3), NOW)
