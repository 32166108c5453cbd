"""Mails that mail services post: the raw message and its envelope, or a word on what to switch on."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.kinds import KINDS
from service.sources.posted_mail import (
    MAX_RECIPIENTS,
    UNPACKING,
    refuse_posted,
    unpack_mailgun,
    unpack_postmark,
    unpack_sendgrid,
)

RAW = b"From: Maija <maija@example.fi>\r\nSubject: Lasku\r\n\r\nP\xe4iv\xe4\xe4\r\n"


def sendgrid(**changes):
    envelope = {"to": ["apu@example.com", "apu@example.com"], "from": "maija@example.fi"}
    return {"email": RAW, "envelope": json.dumps(envelope).encode(), **changes}


def postmark(**changes):
    told = {
        "From": "maija@example.fi",
        "MessageID": "22c74902-a0c1-4511-804f-341342852c90",
        "OriginalRecipient": "apu@example.com",
        "Headers": [{"Name": "Return-Path", "Value": "<maija@example.fi>"}],
        "TextBody": "Päivää",
        "RawEmail": RAW.decode("latin-1"),
        **changes,
    }
    return {"": json.dumps(told).encode()}


def test_mailgun_posts_the_message_as_it_came():
    fields = {"body-mime": RAW, "sender": b"maija@example.fi", "recipient": b"apu@example.com"}
    mail = unpack_mailgun({**fields, "body-plain": "Päivää".encode()})
    assert mail.raw == RAW
    assert (mail.mail_from, mail.recipients) == ("maija@example.fi", ("apu@example.com",))


def test_sendgrid_posts_the_message_as_it_came():
    mail = unpack_sendgrid(sendgrid(text=b"P\xe4"))
    assert mail.raw == RAW
    assert (mail.mail_from, mail.recipients) == ("maija@example.fi", ("apu@example.com",))


def test_postmark_posts_the_message_as_text():
    mail = unpack_postmark(postmark())
    assert mail.raw == RAW.decode("latin-1").encode()
    assert (mail.mail_from, mail.recipients) == ("maija@example.fi", ("apu@example.com",))


def test_bare_line_feeds_are_the_line_ends_of_mail_again():
    assert unpack_mailgun({"body-mime": b"A: b\n\nc\n"}).raw == b"A: b\r\n\r\nc\r\n"
    assert unpack_mailgun({"body-mime": b"A: b\r\n\r\nc\nd"}).raw == b"A: b\r\n\r\nc\nd"


@pytest.mark.parametrize(
    ("unpack", "fields", "said"),
    [
        (unpack_mailgun, {"body-plain": b"Hei", "sender": b"a@example.fi"}, "mime"),
        (unpack_mailgun, {"body-mime": b""}, "mime"),
        (unpack_sendgrid, {"text": b"Hei", "envelope": b"{}"}, "POST the raw"),
        (unpack_postmark, postmark(RawEmail=None), "Include raw"),
        (unpack_postmark, postmark(RawEmail=""), "Include raw"),
        (unpack_postmark, {"": b"[]"}, "Include raw"),
        (unpack_postmark, {"": b"<a>"}, "not JSON"),
        (unpack_postmark, {"From": b"a"}, "not JSON"),
    ],
)
def test_without_the_raw_message_it_is_said_what_to_switch_on(unpack, fields, said):
    with pytest.raises(InvalidInputError, match=said):
        unpack(fields)


@pytest.mark.parametrize("envelope", [b"[]", b"{", b"\xff", b'{"to": "\xe4@example.fi"}'])
def test_an_envelope_that_cannot_be_read_costs_no_mail(envelope):
    mail = unpack_sendgrid(sendgrid(envelope=envelope))
    assert mail.raw
    assert (mail.mail_from, mail.recipients) == ("", ())


@pytest.mark.parametrize(
    "envelope",
    [
        b"{}",
        b"",
        json.dumps({"to": "apu@example.com", "from": 5}).encode(),
        json.dumps({"to": [None, {}, "x\r\ny", "a" * 400], "from": "x\x00"}).encode(),
    ],
)
def test_what_cannot_be_an_address_is_none(envelope):
    mail = unpack_sendgrid(sendgrid(envelope=envelope))
    assert mail.mail_from == ""
    assert set(mail.recipients) <= {"apu@example.com"}


def test_recipients_are_bounded():
    to = [f"a{n}@example.com" for n in range(MAX_RECIPIENTS + 5)]
    mail = unpack_sendgrid(sendgrid(envelope=json.dumps({"to": to}).encode()))
    assert len(mail.recipients) == MAX_RECIPIENTS


def test_what_was_kept_without_a_mail_says_where_help_is():
    with pytest.raises(InvalidInputError, match=r"docs/sources/mail-webhooks[.]md"):
        refuse_posted(b"x", SourceRule(), datetime(2026, 11, 23, tzinfo=UTC))


def test_every_kind_that_posts_mails_is_one_of_sources():
    posting = {name for name, kind in KINDS.items() if kind.unpack is not None}
    assert posting == {*UNPACKING, "ses"}


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(UNPACKING)),
    st.dictionaries(
        st.sampled_from(["", "body-mime", "email", "envelope", "sender", "recipient"]),
        st.binary(max_size=60) | st.just(b'{"RawEmail": "x", "Headers": [1, {"Name": 2}]}'),
    ),
)
def test_whatever_is_posted_a_mail_is_found_or_none(kind, fields):
    try:
        mail = UNPACKING[kind](fields)
    except InvalidInputError:
        return
    assert mail.raw
    assert all(one.isprintable() for one in (mail.mail_from, *mail.recipients))
