"""What Zendesk's own events tell of a ticket; their shapes are those of its documentation ("Ticket events")."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, MessageChange, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.requests import received_request
from service.sources.zendesk import REDACTED, understand_zendesk

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WRITTEN_AT = datetime(2026, 11, 22, 10, 30, 5, 254571, tzinfo=UTC)
CREATED_AT = datetime(2026, 11, 22, 10, 9, 5, tzinfo=UTC)
STAMP = (b"X-Zendesk-Webhook-Signature-Timestamp", b"2026-11-22T10:30:07Z")
DETAIL = {
    "actor_id": "8447388090494",
    "assignee_id": None,
    "brand_id": "8447346621310",
    "created_at": "2026-11-22T10:09:05Z",
    "custom_status": "8447320465790",
    "description": "Laskussani on virhe",
    "external_id": None,
    "group_id": "8447320466430",
    "id": "5158",
    "is_public": True,
    "priority": "NORMAL",
    "requester_id": "8447388090494",
    "status": "OPEN",
    "subject": "Lasku",
    "submitter_id": "8447388090494",
    "tags": ["lasku"],
    "type": "TASK",
    "updated_at": "2026-11-22T10:30:05Z",
    "via": {"channel": "native_messaging"},
}
COMMENT = {
    "id": "8516157313022",
    "author": {"id": "8447388090494", "is_staff": False, "name": "Maija Meikäläinen"},
    "body": "Sain laskun kahdesti",
    "is_public": True,
}
STAFF = {"id": "8447388090999", "is_staff": True, "name": "Anna"}


def event(kind="ticket.comment_added", happened=None, detail=DETAIL, **changes):
    return {
        "account_id": 22129848,
        "detail": detail,
        "event": {"comment": COMMENT} if happened is None else happened,
        "id": "cbe4028c-7239-495d-b020-f22348516046",
        "subject": "zen:ticket:5158",
        "time": "2026-11-22T10:30:05.254571515Z",
        "type": f"zen:event-type:{kind}",
        "zendesk_event_version": "2022-11-06",
        **changes,
    }


def understand(told, *, headers=(STAMP,), now=NOW):
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    request = received_request("POST", "/intake/tickets", headers, body)
    return understand_zendesk(request.encode(), SourceRule(), now)


def facts_of(told):
    (facts,) = understand(told).contacts
    return facts


def commented(**changes):
    return facts_of(event(happened={"comment": {**COMMENT, **changes}}))


def test_a_comment_of_the_requester_is_a_part_of_the_ticket():
    facts = commented()
    assert (facts.source_id, facts.channel, facts.direction, facts.subject) == (
        "5158",
        Channel.CHAT,
        Direction.INBOUND,
        "Lasku",
    )
    assert (facts.is_part, facts.started_at, facts.ended_at) == (True, WRITTEN_AT, WRITTEN_AT)
    (party,) = facts.parties
    assert (party.role, party.name) == (PartyRole.CUSTOMER, "Maija Meikäläinen")
    (message,) = facts.messages
    assert (message.sender, message.text, message.ident) == (
        "Maija Meikäläinen",
        "Sain laskun kahdesti",
        "8516157313022",
    )
    assert (message.is_internal, message.change, message.changed_at) == (False, None, None)


def test_an_answer_names_its_agent():
    facts = commented(author=STAFF)
    assert facts.direction is Direction.OUTBOUND
    (agent,) = facts.parties
    assert (agent.role, agent.agent_id, agent.name) == (
        PartyRole.AGENT,
        "8447388090999",
        "Anna",
    )


def test_who_neither_asked_nor_belongs_to_the_company_took_part_as_well():
    facts = commented(author={"id": "1", "is_staff": False, "name": "Matti"})
    assert ([one.role for one in facts.parties], facts.direction) == (
        [PartyRole.OTHER],
        Direction.INBOUND,
    )


def test_an_agent_who_asks_for_himself_is_the_customer_of_the_ticket():
    detail = {**DETAIL, "requester_id": int(STAFF["id"])}
    facts = facts_of(event(happened={"comment": {**COMMENT, "author": STAFF}}, detail=detail))
    assert facts.parties[0].role is PartyRole.CUSTOMER


def test_a_private_comment_is_an_internal_note_and_begins_nothing():
    facts = commented(is_public=False, author=STAFF)
    assert facts.messages[0].is_internal
    assert not facts.can_begin


@pytest.mark.parametrize("said", [None, "true", 1])
def test_a_comment_that_does_not_say_whether_it_is_public_is_not_guessed_about(said):
    with pytest.raises(InvalidInputError, match="is_public"):
        commented(is_public=said)


@pytest.mark.parametrize(
    ("via", "channel"),
    [
        ("email", Channel.EMAIL),
        ("web_service", Channel.EMAIL),
        ("Web form", Channel.EMAIL),
        ("whatsapp", Channel.CHAT),
        (None, Channel.CHAT),
        (7, Channel.CHAT),
    ],
)
def test_the_channel_is_how_the_ticket_came(via, channel):
    assert facts_of(event(detail={**DETAIL, "via": {"channel": via}})).channel is channel


def test_a_new_ticket_and_its_first_comment_are_one_message_in_either_order():
    new = facts_of(event("ticket.created", {}, time="2026-11-22T10:09:05.9Z"))
    told = event(
        happened={"comment": {**COMMENT, "body": DETAIL["description"]}},
        time="2026-11-22T10:09:06Z",
    )
    first = facts_of(told).messages[0]
    (message,) = new.messages
    assert (message.sent_at, message.text) == (CREATED_AT, "Laskussani on virhe")
    assert (message.ident, message.text) == (first.ident, first.text)
    # Who writes the same once more later has written a second one.
    again = facts_of({**told, "time": "2026-11-22T11:00:00Z"}).messages[0]
    assert again.ident == COMMENT["id"]


@pytest.mark.parametrize(
    ("submitter", "direction", "sender"),
    [
        (DETAIL["requester_id"], Direction.INBOUND, "customer"),
        (None, Direction.INBOUND, "customer"),
        ("8447388090999", Direction.OUTBOUND, "8447388090999"),
    ],
)
def test_a_new_ticket_is_begun_by_who_submitted_it(submitter, direction, sender):
    facts = facts_of(event("ticket.created", {}, detail={**DETAIL, "submitter_id": submitter}))
    assert (facts.direction, facts.messages[0].sender) == (direction, sender)


def test_a_new_ticket_that_is_not_public_is_a_note():
    facts = facts_of(event("ticket.created", {}, detail={**DETAIL, "is_public": False}))
    assert facts.messages[0].is_internal


@pytest.mark.parametrize(
    ("kind", "role", "direction"),
    [
        ("end_user", PartyRole.CUSTOMER, Direction.INBOUND),
        ("agent", PartyRole.AGENT, Direction.OUTBOUND),
        ("system", PartyRole.AGENT, Direction.OUTBOUND),
        ("trigger", PartyRole.AGENT, Direction.OUTBOUND),
        (None, PartyRole.AGENT, Direction.OUTBOUND),
    ],
)
def test_a_message_of_messaging_comes_with_who_wrote_it(kind, role, direction):
    happened = {
        "actor": {"id": "zd:answerBot", "name": "Botti", "type": kind},
        "conversation_id": "67ab5f53a96f98663935c3f2",
        "message": {"body": "Miten voin auttaa?", "id": "67ab5f55155becd183e284cb"},
    }
    facts = facts_of(event("messaging_ticket.message_added", happened, detail={"id": "141"}))
    assert (facts.source_id, facts.channel, facts.direction) == (
        "141",
        Channel.CHAT,
        direction,
    )
    assert (facts.parties[0].role, facts.parties[0].name) == (role, "Botti")
    assert facts.messages[0].ident == "67ab5f55155becd183e284cb"


def test_what_was_redacted_stays_and_is_followed_by_that_it_was():
    facts = facts_of(event("ticket.comment_redacted", {"comment": {"id": COMMENT["id"]}}))
    (message,) = facts.messages
    assert (message.ident, message.change, message.text, message.changed_at) == (
        COMMENT["id"],
        MessageChange.EDITED,
        REDACTED,
        WRITTEN_AT,
    )
    assert not facts.can_begin


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "8516157313022-77.pdf"),
        ({"filename": "../../etc"}, "8516157313022-77"),
        ({"filename": None}, "8516157313022-77.jpeg"),
        ({"is_public": False}, "8516157313022-77.pdf"),
        ({"id": None}, "8516157313022-file.pdf"),
    ],
)
def test_a_file_is_to_be_fetched_and_named_by_us(changes, name):
    file = {
        "id": "77",
        "content_type": "pdf",
        "content_url": "https://example.com/attachments/token/1/?name=x.jpeg",
        "filename": "lasku.pdf",
        "is_public": True,
        **changes,
    }
    happened = {"attachment": file, "comment": {"id": COMMENT["id"]}}
    facts = facts_of(event("ticket.attachment_linked_to_comment", happened))
    assert [(one.name, one.url) for one in facts.recordings] == [(name, file["content_url"])]
    assert facts.recordings[0].is_internal is not file["is_public"]


@pytest.mark.parametrize("status", ["SOLVED", "closed"])
def test_a_ticket_that_is_solved_is_over(status):
    facts = facts_of(event("ticket.status_changed", {"current": status, "previous": "OPEN"}))
    assert (facts.source_id, facts.ended_at, facts.can_begin) == ("5158", WRITTEN_AT, False)


@pytest.mark.parametrize(
    ("kind", "happened"),
    [
        ("ticket.status_changed", {"current": "PENDING"}),
        ("ticket.status_changed", {"current": None}),
        ("ticket.comment_made_private", {"comment": {"id": "1"}}),
        ("ticket.tags_changed", {"tags_added": ["x"]}),
        ("user.created", {}),
    ],
)
def test_other_events_tell_nothing(kind, happened):
    assert understand(event(kind, happened)).contacts == ()


def test_an_event_without_a_time_has_that_of_its_signature():
    assert facts_of(event(time=None)).started_at == datetime(
        2026, 11, 22, 10, 30, 7, tzinfo=UTC
    )
    (facts,) = understand(event(time="soon"), headers=()).contacts
    assert facts.started_at == NOW


def test_a_time_that_cannot_be_is_remarked_upon():
    assert understand(event(time="1970-01-01T00:00:00Z")).remarks == ("time_out_of_window",)


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (b"[]", "the body"),
        (b"{}", "docs/sources/zendesk.md"),
        (event(detail=None), "detail"),
        (event(detail={}), "number of the ticket"),
        (event(detail={"id": True}), "number of the ticket"),
        (event(happened={}), "event.comment"),
        (event(happened={"comment": {**COMMENT, "id": ""}}), "event.comment.id"),
        (event("messaging_ticket.message_added", {}), "event.message"),
        (event("ticket.attachment_linked_to_comment", {"comment": COMMENT}), "attachment"),
        (
            event(
                "ticket.attachment_linked_to_comment", {"comment": COMMENT, "attachment": {}}
            ),
            "content_url",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(told, what):
    with pytest.raises(InvalidInputError, match=what):
        understand(told)


KEYS = [
    *DETAIL,
    *COMMENT,
    "comment",
    "attachment",
    "content_url",
    "actor",
    "message",
    "current",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(
    st.sampled_from(
        [
            "ticket.created",
            "ticket.comment_added",
            "ticket.comment_redacted",
            "ticket.attachment_linked_to_comment",
            "ticket.status_changed",
            "messaging_ticket.message_added",
        ]
    ),
    st.dictionaries(st.sampled_from([*DETAIL]), VALUES, max_size=3),
    VALUES,
    st.dictionaries(st.sampled_from([*COMMENT]), VALUES, max_size=2),
)
def test_whatever_stands_where_is_understood_or_refused(kind, detail, happened, comment):
    if isinstance(happened, dict):
        happened = {"comment": {**COMMENT, **comment}, **happened}
    try:
        told = understand(event(kind, happened, detail={**DETAIL, **detail}))
    except InvalidInputError:
        return
    for facts in told.contacts:
        assert facts.source_id
