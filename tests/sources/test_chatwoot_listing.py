"""What Chatwoot lists is understood as its webhooks are, in the ways in which the listing writes it."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, MessageChange, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.chatwoot_listing import (
    MOST_TOGETHER,
    ListedConversation,
    ListedMessage,
    deliveries_of,
    read_conversations,
    read_messages,
    statement_of,
    understand_listed,
)
from service.sources.events import SourceRule
from tests.chatwoot import AGENT, CUSTOMER, FakeChatwoot, message
from tests.sources.test_chatwoot import understand

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SENT_AT = datetime(2026, 11, 22, 10, 9, 5, tzinfo=UTC)
HELSINKI = ZoneInfo("Europe/Helsinki")
RULE = SourceRule()
HEAD = {"id": 112, "meta": {"sender": CUSTOMER, "channel": "Channel::WebWidget"}}
CONVERSATION = ListedConversation("112", SENT_AT, HEAD)


def listed(*messages, head=HEAD):
    body = json.dumps({"conversation": head, "payload": messages}).encode()
    return understand_listed(body, RULE, NOW)


def one(number=900, at=SENT_AT, text="Tilaan sopimuksen", **more):
    told = message(number, at, text, **more)
    return ListedMessage(number, at, told)


def chunks(*messages, now=NOW):
    found = deliveries_of(CONVERSATION, messages, rule=RULE, timezone=HELSINKI, now=now)
    return list(found)


def test_a_message_is_what_a_webhook_tells_of_it_by_names_and_text():
    told = {
        **message(900, SENT_AT, "Tilaan sopimuksen"),
        "event": "message_created",
        "message_type": "incoming",
        "created_at": "2026-11-22T10:09:05.000Z",
        "conversation": {"id": 112, "channel": "Channel::WebWidget", "meta": HEAD["meta"]},
    }
    (of_webhook,) = understand(told).contacts
    (of_listing,) = listed(message(900, SENT_AT, "Tilaan sopimuksen")).contacts
    (first,), (second,) = of_webhook.messages, of_listing.messages
    assert (first.ident, first.text, first.sent_at, first.sender) == (
        second.ident,
        second.text,
        second.sent_at,
        second.sender,
    )
    # The listing does not tell when a text was changed: it is as of when it was listed.
    assert (first.changed_at, second.changed_at) == (None, NOW)
    for name in ("source_id", "channel", "direction", "started_at", "parties", "is_part"):
        assert getattr(of_webhook, name) == getattr(of_listing, name)


def test_types_are_numbers_and_senders_are_told_apart():
    answer = message(901, SENT_AT, "Kiitos", kind=1)
    line = message(902, SENT_AT, "Anna resolved it", kind=2, sender=None)
    note = message(903, SENT_AT, "muistio", kind=1, private=True)
    first, second, third = listed(message(900, SENT_AT, "Hei"), answer, line, note).contacts
    assert [one.direction for one in (first, second, third)] == [
        Direction.INBOUND,
        Direction.OUTBOUND,
        None,
    ]
    assert [party.role for party in second.parties] == [PartyRole.CUSTOMER, PartyRole.AGENT]
    assert second.parties[1].agent_id == str(AGENT["id"])
    assert third.messages[0].is_internal


def test_what_was_deleted_has_none_of_chatwoots_words():
    gone = message(
        900, SENT_AT, "This message was deleted", content_attributes={"deleted": True}
    )
    ((message_,),) = [facts.messages for facts in listed(gone).contacts]
    assert (message_.text, message_.change) == ("", MessageChange.DELETED)


def test_files_are_announced_and_a_mail_inbox_is_mail():
    file = {"id": 5, "extension": "png", "data_url": "https://chat.example.com/a.png"}
    head = {**HEAD, "meta": {"channel": "Channel::Email"}}
    (facts,) = listed(message(900, SENT_AT, "Liite", attachments=[file]), head=head).contacts
    assert facts.channel is Channel.EMAIL
    assert [recording.url for recording in facts.recordings] == [file["data_url"]]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"[]", "the body is no JSON object"),
        (b'{"payload": []}', "conversation is no JSON object"),
        (b'{"conversation": {"id": 1}}', "payload is no list"),
        (b'{"conversation": {"id": 1}, "payload": [7]}', "one of payload is no JSON object"),
        (b'{"conversation": {"id": 1}, "payload": [{}]}', "message_type is none that is known"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(body, what):
    with pytest.raises(InvalidInputError, match=what):
        understand_listed(body, RULE, NOW)


def test_the_same_messages_come_to_the_same_whatever_changes_beside_them():
    file = {"id": 5, "data_url": "https://chat.example.com/one"}
    (before,) = chunks(one(attachments=[file]))
    again = {"id": 5, "data_url": "https://chat.example.com/another"}
    (after,) = chunks(one(attachments=[again], status="read", source_id="x"))
    assert (before.ident, before.messages) == (after.ident, 1)
    others = [
        one(text="muu"),
        one(attachments=[]),
        one(901, attachments=[file]),
        one(attachments=[file], content_attributes={"deleted": True}),
    ]
    assert len({before.ident, *(chunks(other)[0].ident for other in others)}) == 5


def test_messages_are_kept_by_days_and_not_too_many_together():
    # 23.30 and 0.30 in Helsinki.
    evening = datetime(2026, 11, 21, 21, 30, tzinfo=UTC)
    late, early = one(1, evening), one(2, evening + timedelta(hours=1))
    assert [delivery.messages for delivery in chunks(early, late)] == [1, 1]
    # So the day is the same whether what came before it is read again or not.
    assert chunks(early, late)[1] == chunks(early)[0]
    many = [one(number) for number in range(1, MOST_TOGETHER + 3)]
    assert [delivery.messages for delivery in chunks(*many)] == [MOST_TOGETHER, 2]
    large = [one(number, text="a" * 300_000) for number in (1, 2, 3)]
    assert [delivery.messages for delivery in chunks(*large)] == [2, 1]


def test_one_that_is_not_understood_is_alone():
    odd, beyond = one(2, kind=17), one(3, content_attributes={"number": 2**60})
    found = chunks(one(1), odd, beyond, one(4))
    assert [delivery.messages for delivery in found] == [1, 1, 2]
    understood = []
    for delivery in found:
        try:
            told = understand_listed(delivery.body, RULE, NOW).contacts
        except InvalidInputError:
            continue
        understood += [facts.messages[0].ident for facts in told]
    assert understood == ["1", "4"]


def test_a_statement_says_how_a_conversation_began():
    line = one(1, SENT_AT, kind=2, sender=None)
    note = one(2, SENT_AT + timedelta(minutes=1), kind=1, private=True)
    assert statement_of(CONVERSATION, [line, note], rule=RULE, now=NOW) is None
    begun_at = SENT_AT + timedelta(minutes=2)
    first, later = one(3, begun_at, kind=1), one(4, begun_at + timedelta(minutes=1))
    facts = statement_of(CONVERSATION, [later, first, note, line], rule=RULE, now=NOW)
    assert (facts.source_id, facts.direction, facts.started_at, facts.is_stated) == (
        "112",
        Direction.OUTBOUND,
        begun_at,
        True,
    )
    assert (facts.messages, facts.is_part) == ((), False)


def test_pages_are_read_as_they_are_written():
    chatwoot = FakeChatwoot({112: [one(2).told, one(1).told]})
    query = {"status": "all", "sort_by": "last_activity_at_desc", "page": "1"}
    (head,) = read_conversations(json.dumps(chatwoot.listing(query)).encode())
    assert (head.ident, head.active_at) == ("112", SENT_AT)
    assert "messages" not in head.told
    page = read_messages(json.dumps(chatwoot.messages("/112/messages", {})).encode())
    assert [found.number for found in page] == [1, 2]


@pytest.mark.parametrize("number", ["1/../../profile", None, True, 0, -1, 1.0])
def test_a_number_is_one_before_it_stands_in_an_address(number):
    page = {"data": {"payload": [{"id": number, "last_activity_at": 1795342145}]}}
    with pytest.raises(InvalidInputError, match="an id is no number"):
        read_conversations(json.dumps(page).encode())


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "payload", "id", "created_at", "conversation"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_where_is_read_or_refused(value):
    body = json.dumps(value).encode()
    for read in (
        read_conversations,
        read_messages,
        lambda told: understand_listed(told, RULE, NOW),
    ):
        with suppress(InvalidInputError):
            assert read(body) is not None
