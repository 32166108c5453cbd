"""Messages of SNS and the mails of SES in them: found byte for byte, or a word on what to do."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule, Understood
from service.sources.requests import received_request
from service.sources.ses import understand_ses, unpack_ses
from service.sources.sns import is_certificate, is_confirmation, parse_sns
from tests.sns import TOPIC, message, notified, signed

ORIGIN = "https://sns.eu-north-1.amazonaws.com"
NOW = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
RAW = b"From: Maija <maija@example.fi>\r\nSubject: Lasku\r\n\r\nP\xe4iv\xe4\xe4\nx\r\n"


def posted(text, **changes):
    return signed(message(text, origin=ORIGIN, at=NOW, **changes))


def understood(body):
    request = received_request("POST", "/intake/ses", (), body)
    return understand_ses(request.encode(), SourceRule(), NOW)


def test_a_mail_in_base64_is_the_one_that_ses_received():
    mail = unpack_ses({"": posted(notified(RAW))})
    assert mail.raw == RAW
    assert (mail.mail_from, mail.recipients) == ("maija@example.fi", ("apu@example.com",))


def test_a_mail_as_text_has_the_line_ends_of_mail():
    text = notified("Subject: Päivää\n\nHei\n", encoding="UTF-8")
    assert unpack_ses({"": posted(text)}).raw == "Subject: Päivää\r\n\r\nHei\r\n".encode()


def test_the_encoding_is_recognised_where_ses_does_not_tell_it():
    for content in (RAW, RAW.decode("latin-1")):
        encoding = "BASE64" if isinstance(content, bytes) else "UTF-8"
        told = json.loads(notified(content, encoding=encoding))
        del told["receipt"]["action"]["encoding"]
        raw = unpack_ses({"": posted(json.dumps(told))}).raw
        assert raw == (content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (notified(None, action="S3"), "Notification", "bucket of S3"),
        (notified(None), "Notification", "encoding Base64"),
        (notified(b""), "Notification", "encoding Base64"),
        (
            json.dumps({**json.loads(notified(b"x")), "content": "%%%"}),
            "Notification",
            "no base64",
        ),
        (notified(b"x", notificationType="Bounce"), "Notification", "something else"),
        ("[]", "Notification", "something else"),
        ("Hei", "Notification", "something else"),
        ("Ended", "UnsubscribeConfirmation", "Subscribe the address again"),
    ],
)
def test_without_the_raw_message_it_is_said_what_to_do(text, kind, said):
    for refuse in (lambda body: unpack_ses({"": body}), understood):
        with pytest.raises(InvalidInputError, match=said):
            refuse(posted(text, kind=kind))


def test_the_confirmation_of_a_subscription_tells_nothing_of_contacts():
    body = posted("You have chosen", kind="SubscriptionConfirmation")
    assert understood(body) == Understood(contacts=())
    with pytest.raises(InvalidInputError):
        unpack_ses({"": body})


def test_what_is_signed_is_told_in_the_order_of_the_guide():
    told = message("Hei\nvaan", origin=ORIGIN, at=NOW)
    assert parse_sns(signed(told)).signed.decode().split("\n") == [
        *("Message", "Hei", "vaan"),
        *("MessageId", "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"),
        *("Subject", "Amazon SES Email Receipt Notification"),
        *("Timestamp", "2026-11-24T08:30:00.000Z"),
        *("TopicArn", TOPIC),
        *("Type", "Notification", ""),
    ]
    del told["Subject"]
    assert b"Subject" not in parse_sns(signed(told)).signed
    told["Subject"] = None
    assert b"Subject" not in parse_sns(signed(told)).signed
    asked = message("Hei", origin=ORIGIN, kind="SubscriptionConfirmation", Subject="x")
    names = parse_sns(signed(asked)).signed.decode().split("\n")[::2]
    assert names == [
        *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type", "")
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"Type": "Other"},
        {"Type": None},
        {"Message": 5},
        {"MessageId": None},
        {"MessageId": "a\nSubject\nb"},
        {"Subject": "a\nTimestamp\nb"},
        {"Subject": 1},
        {"TopicArn": "a\nType\nb"},
        {"Timestamp": "2026-11-24"},
        {"Timestamp": "Tue, 24 Nov 2026 08:30:00 GMT"},
        {"Signature": "%"},
        {"Signature": None},
        {"SigningCertURL": None},
        {"SignatureVersion": 2},
    ],
)
def test_what_is_no_message_of_sns_is_refused(changes):
    told = {**json.loads(posted("Hei")), **changes}
    with pytest.raises(InvalidInputError):
        parse_sns(json.dumps(told).encode())


def test_the_secrets_of_a_message_are_not_printed():
    body = posted(notified(RAW), kind="SubscriptionConfirmation")
    told = repr(parse_sns(body))
    assert json.loads(body)["Token"] not in told
    assert "Lasku" not in told
    assert "notificationType" not in told


@pytest.mark.parametrize(
    ("target", "is_one"),
    [
        ("/SimpleNotificationService-0123456789abcdef.pem", True),
        ("/?x=.pem", False),
        ("/a/b.pem", False),
        ("/../a.pem", False),
        ("/a.pem\n", False),
        ("/.pem", False),
    ],
)
def test_certificates_have_a_path_of_their_own(target, is_one):
    assert is_certificate(target) is is_one


@pytest.mark.parametrize(
    ("target", "is_one"),
    [
        (f"/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=x", True),
        (f"/?Token=x&TopicArn={TOPIC.replace(':', '%3A')}&Action=ConfirmSubscription", True),
        (f"/?Action=Publish&TopicArn={TOPIC}&Token=x", False),
        (f"/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=x&Message=y", False),
        (f"/?Action=ConfirmSubscription&TopicArn={TOPIC}", False),
        (f"/x?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=x", False),
    ],
)
def test_a_confirmation_does_nothing_else(target, is_one):
    assert is_confirmation(target, topic=TOPIC) is is_one


VALUES = st.none() | st.integers(0, 9) | st.text(max_size=8) | st.just("Received")
TREES = st.recursive(
    VALUES,
    lambda inner: (
        st.dictionaries(
            st.sampled_from(["notificationType", "mail", "source", "receipt", "recipients"])
            | st.sampled_from(["action", "type", "encoding", "content"]),
            inner,
            max_size=4,
        )
        | st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.binary(max_size=60) | TREES.map(lambda tree: posted(json.dumps(tree))))
def test_whatever_is_posted_a_mail_is_found_or_none(body):
    try:
        mail = unpack_ses({"": body})
    except InvalidInputError:
        return
    assert mail.raw
    assert all(one.isprintable() for one in (mail.mail_from, *mail.recipients))


@settings(max_examples=150)
@given(TREES)
def test_whatever_ses_tells_beside_the_content_the_mail_is_found(tree):
    told = {"notificationType": "Received", "mail": tree, "receipt": tree, "content": "Hei"}
    try:
        mail = unpack_ses({"": posted(json.dumps(told))})
    except InvalidInputError as error:
        assert "base64" in error.detail  # noqa: PT017  # any other would be a loss
        return
    assert mail.raw
