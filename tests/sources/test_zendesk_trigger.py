"""What a trigger of Zendesk sends, with the fields that the page for administrators gives."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.requests import received_request
from service.sources.zendesk import understand_zendesk
from service.sources.zendesk_trigger import FIELDS as KNOWN

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIELDS = {
    "ticket_id": "5158",
    "channel": "Web form",
    "subject": "Lasku",
    "queue": "Laskutus",
    "status": "Open",
    "at": "2026-11-22T10:30Z",
    "requester_id": "41",
    "requester_name": "Maija Meikäläinen",
    "requester_email": "maija@example.fi",
    "requester_phone": "040 1234567",
    "comment_id": "901",
    "comment_text": 'Sain "kaksi" laskua & yhden + muistutuksen\r\nÖöö',
    "comment_public": "true",
    "comment_files": "",
    "author_id": "41",
    "author_name": "Maija Meikäläinen",
    "author_role": "End-user",
    "something_new": "x",
}
FORM = ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
AGENT = {"author_id": "77", "author_name": "Anna", "author_role": "Agent"}


def understand(body, *, headers=(FORM,), now=NOW):
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    request = received_request("POST", "/intake/tickets", pairs, body)
    return understand_zendesk(request.encode(), SourceRule(), now)


def as_form(**changes):
    return understand(urlencode({**FIELDS, **changes}).encode())


def facts_of(**changes):
    (facts,) = as_form(**changes).contacts
    return facts


def test_a_comment_comes_with_the_customer_as_he_is_known():
    facts = facts_of()
    assert (facts.source_id, facts.channel, facts.direction, facts.subject, facts.queue) == (
        "5158",
        Channel.EMAIL,
        Direction.INBOUND,
        "Lasku",
        "Laskutus",
    )
    (party,) = facts.parties
    assert (party.role, party.phone, party.email, party.name) == (
        PartyRole.CUSTOMER,
        "+358401234567",
        "maija@example.fi",
        "Maija Meikäläinen",
    )
    (message,) = facts.messages
    assert (message.ident, message.text, message.is_internal) == (
        "901",
        FIELDS["comment_text"],
        False,
    )
    assert facts.is_part


def test_json_tells_the_same_with_numbers_and_truths_as_they_are():
    told = {**FIELDS, "ticket_id": 5158, "comment_id": 901, "comment_public": True}
    headers = [("Content-Type", "application/json")]
    assert understand(json.dumps(told).encode(), headers=headers) == as_form()


def test_an_answer_names_the_agent_and_the_customer():
    facts = facts_of(**AGENT)
    assert facts.direction is Direction.OUTBOUND
    customer, agent = facts.parties
    assert (customer.phone, agent.agent_id, agent.name) == ("+358401234567", "77", "Anna")
    assert facts.messages[0].sender == "Anna"


def test_a_private_comment_is_an_internal_note_and_begins_nothing():
    facts = facts_of(**AGENT, comment_public="False")
    assert facts.messages[0].is_internal
    assert not facts.can_begin


@pytest.mark.parametrize("said", ["", "yes", "kyllä"])
def test_whether_a_comment_is_public_is_not_guessed(said):
    with pytest.raises(InvalidInputError, match="comment_public"):
        as_form(comment_public=said)


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({"author_id": "41", "author_role": "Agent"}, PartyRole.CUSTOMER),
        ({"author_id": "42", "author_role": "End-user"}, PartyRole.OTHER),
        ({"author_id": "42", "author_role": "Loppukäyttäjä"}, PartyRole.OTHER),
        ({"author_id": "", "author_role": "end user"}, PartyRole.CUSTOMER),
        ({"author_id": "", "author_role": "Admin"}, PartyRole.AGENT),
    ],
)
def test_who_wrote_is_known_by_id_and_then_by_role(changes, role):
    assert role in {one.role for one in facts_of(**changes, author_name="Matti").parties}


@pytest.mark.parametrize(
    ("at", "stamp", "seconds"),
    [
        ("2026-11-22T10:30Z", "2026-11-22T10:30:07Z", 7),
        ("2026-11-22T12:30+02:00", "2026-11-22T10:30:07Z", 7),
        ("2026-11-22T10:30:01Z", "2026-11-22T10:30:07Z", 1),
        # Sent anew an hour later, or by a clock that is slow.
        ("2026-11-22T10:30Z", "2026-11-22T11:30:07Z", 0),
        ("2026-11-22T10:30Z", "2026-11-22T10:29:59Z", 0),
        ("2026-11-22T10:30Z", "soon", 0),
    ],
)
def test_a_time_to_the_minute_has_the_seconds_of_its_signature(at, stamp, seconds):
    headers = [FORM, ("X-Zendesk-Webhook-Signature-Timestamp", stamp)]
    (facts,) = understand(urlencode({**FIELDS, "at": at}).encode(), headers=headers).contacts
    assert facts.started_at == datetime(2026, 11, 22, 10, 30, seconds, tzinfo=UTC)


@pytest.mark.parametrize("at", ["", "22.11.2026", "2026-99-22T10:30Z", "2026-11-22T10:30"])
def test_a_comment_without_a_time_is_not_understood(at):
    with pytest.raises(InvalidInputError, match="at is missing"):
        as_form(at=at)


def test_files_are_to_be_fetched_and_named_by_us():
    urls = [
        "https://example.com/attachments/token/a/?name=Lasku.PDF",
        "https://example.com/attachments/token/b/?name=..%2F..%2Fetc",
        "https://[/",
        "https://example.com/attachments/token/a/?name=Lasku.PDF",
        "https://example.com/" + "x" * 9_000,
    ]
    told = facts_of(comment_files="\n ".join(urls), comment_text="")
    assert [one.name for one in told.recordings] == ["901-1.pdf", "901-2", "901-3"]
    noted = facts_of(comment_files=urls[0], comment_public="false", comment_id="")
    assert [one.name for one in noted.recordings] == ["20261122T103000Z-1.pdf"]
    assert [one.is_internal for one in (*told.recordings, *noted.recordings)] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(("status", "count"), [("Solved", 1), ("closed", 1), ("Open", 0)])
def test_a_change_without_a_comment_tells_that_the_ticket_is_over_or_nothing(status, count):
    contacts = as_form(status=status, comment_text="", comment_id="").contacts
    assert [(one.source_id, one.messages) for one in contacts] == [("5158", ())] * count


def test_a_comment_whose_text_zendesk_left_out_is_not_lost_unseen():
    with pytest.raises(InvalidInputError, match="comment_text is empty"):
        as_form(comment_text="")


def test_a_form_that_is_none_is_refused_in_words():
    for body, what in (
        (b"", "number of the ticket"),
        (b"\xff=1", "UTF-8"),
        (b"a=1&" * 101, "100 fields"),
        (b"ticket_id=%00", "number of the ticket"),
    ):
        with pytest.raises(InvalidInputError, match=what):
            understand(body)


def test_the_page_for_administrators_gives_exactly_the_fields_that_are_read():
    page = Path("docs/sources/zendesk.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z_]+)` \| `\{", page, re.MULTILINE)) == sorted(KNOWN)
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert sorted(json.loads(block)) == sorted(KNOWN)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(KNOWN), st.text(max_size=20), max_size=5))
def test_whatever_a_field_says_is_understood_or_refused(changes):
    told = {**FIELDS, **{name: text.replace("\ud800", "") for name, text in changes.items()}}
    try:
        understood = understand(urlencode(told, errors="replace").encode())
    except InvalidInputError:
        return
    for facts in understood.contacts:
        assert facts.source_id
