"""Standard Webhooks signatures: what vouches for a delivery, and what does not."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from service.domain.errors import InvalidInputError, NotSignedInError
from service.intake.standard_webhooks import WebhookSecret, verify_signature

KEY, OLD_KEY = bytes(range(24)), bytes(range(32, 96))
SECRET, OLD_SECRET = WebhookSecret(KEY), WebhookSecret(OLD_KEY)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = b'{"source_id": "c-1"}'
TOLERANCE = timedelta(minutes=5)


def mac(body=BODY, *, ident="msg_1", stamp=STAMP, key=KEY):
    """The definition: HMAC-SHA-256 of id, timestamp and body, joined by full stops, in base64."""
    content = b".".join([ident.encode(), stamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, content, "sha256").digest()).decode()


def headers(signature=None, *, ident="msg_1", stamp=STAMP):
    return {
        "webhook-id": ident,
        "webhook-timestamp": stamp,
        "webhook-signature": mac(ident=ident, stamp=stamp) if signature is None else signature,
    }


def verified(sent, body=BODY, *, secrets=(SECRET,), now=NOW):
    return verify_signature(sent, body, secrets=secrets, tolerance=TOLERANCE, now=now)


def test_the_example_of_the_specification_verifies():
    secret = WebhookSecret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    sent = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    at = datetime.fromtimestamp(1614265330, UTC)
    signed = verified(sent, b'{"test": 2432232314}', secrets=(secret,), now=at)
    assert (signed.id, signed.signed_at, signed.is_timely) == (sent["webhook-id"], at, True)


@pytest.mark.parametrize(
    ("seconds", "is_timely"),
    [(0, True), (300, True), (-300, True), (301, False), (-301, False), (10**6, False)],
)
def test_what_is_signed_outside_of_the_tolerance_is_not_timely(seconds, is_timely):
    assert verified(headers(), now=NOW + timedelta(seconds=seconds)).is_timely is is_timely


def test_any_of_several_signatures_and_secrets_may_vouch():
    for sent in [
        f"{mac(key=b'x' * 24)} {mac()}",
        f"{mac()} {mac(key=b'x' * 24)}",
        f"v1a,AAAA v2,AAAA v1,!!! {mac()}",
    ]:
        assert verified(headers(sent)).id == "msg_1"
    assert verified(headers(mac(key=OLD_KEY)), secrets=(SECRET, OLD_SECRET)).id == "msg_1"
    with pytest.raises(NotSignedInError):
        verified(headers(mac(key=OLD_KEY)))


def test_header_names_have_no_case():
    sent = CIMultiDict({name.title(): value for name, value in headers().items()})
    assert verified(sent).id == "msg_1"


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "a.b"},
        {"webhook-id": "a b"},
        {"webhook-id": "ä"},
        {"webhook-id": "a" * 257},
        {"webhook-timestamp": str(int(STAMP) + 1)},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": f" {STAMP}"},
        {"webhook-timestamp": f"-{STAMP}"},
        {"webhook-timestamp": f"{STAMP}.0"},
        {"webhook-timestamp": "١٧٩٥٣٤٨٨٠٠"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1"},
        {"webhook-signature": mac().removeprefix("v1,")},
        {"webhook-signature": mac().replace("v1,", "v2,")},
        {"webhook-signature": mac().replace("v1,", "v1a,")},
        {"webhook-signature": mac()[:-4]},
        {"webhook-signature": mac() + "AAAA"},
        {"webhook-signature": mac().replace(",", ", ")},
        {"webhook-signature": mac(key=KEY[:-1] + b"x")},
        {"webhook-signature": "v1,AAAA " * 16 + mac()},
    ],
    ids=str,
)
def test_a_changed_header_vouches_for_nothing(change):
    with pytest.raises(NotSignedInError):
        verified({**headers(), **change})


@pytest.mark.parametrize("name", list(headers()))
def test_a_missing_header_vouches_for_nothing(name):
    sent = headers()
    del sent[name]
    with pytest.raises(NotSignedInError):
        verified(sent)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="none"),
        pytest.param(BODY + b"\n", id="one byte more"),
        pytest.param(BODY[:-1], id="one byte less"),
        pytest.param(b'{"source_id":"c-1"}', id="the same JSON in other bytes"),
        pytest.param(bytes([BODY[0] ^ 1]) + BODY[1:], id="one bit"),
    ],
)
def test_other_bytes_are_not_vouched_for(body):
    with pytest.raises(NotSignedInError):
        verified(headers(), body)


def test_an_id_and_a_time_cannot_be_read_as_another_pair():
    """``a.1`` and ``2`` would be signed like ``a`` and ``1`` with a body that begins with ``2.``."""
    sent = headers(mac(b"2." + BODY, ident="a", stamp="1"), ident="a.1", stamp="2")
    with pytest.raises(NotSignedInError):
        verified(sent)


def test_a_token_may_be_an_id():
    assert verified(headers(ident="evt-1_2~3!#$%&'*+^`|")).id == "evt-1_2~3!#$%&'*+^`|"


def test_the_farthest_time_is_far_and_no_failure():
    sent = headers(stamp="9" * 11)
    assert not verified(sent).is_timely


def test_without_secrets_nothing_is_vouched_for():
    with pytest.raises(NotSignedInError):
        verified(headers(), secrets=())


def encoded(key):
    return "whsec_" + base64.b64encode(key).decode()


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_are_read_as_they_are_written(size):
    assert WebhookSecret.parse(f" {encoded(bytes(size))}\n").key == bytes(size)
    assert WebhookSecret.parse(encoded(bytes(size)).removeprefix("whsec_")).key == bytes(size)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_short", encoded(bytes(23)), encoded(bytes(65)), "whsec_ä", "*"],
)
def test_what_is_no_secret_is_refused_without_being_repeated(text):
    with pytest.raises(InvalidInputError) as refused:
        WebhookSecret.parse(text)
    assert refused.value.__cause__ is None
    assert len(text) < 6 or text not in str(refused.value)


def test_a_secret_does_not_print_itself():
    assert repr(SECRET) == "WebhookSecret()"


_TEXTS = st.text(st.characters(codec="latin-1"), max_size=60)


@settings(max_examples=300)
@given(ident=_TEXTS, stamp=_TEXTS, signature=_TEXTS, body=st.binary(max_size=60))
def test_no_headers_break_the_check_or_pass_it(ident, stamp, signature, body):
    sent = {
        "webhook-id": ident,
        "webhook-timestamp": stamp,
        "webhook-signature": signature,
    }
    with pytest.raises(NotSignedInError):
        verified(sent, body, secrets=(SECRET, OLD_SECRET))


@settings(max_examples=200)
@given(body=st.binary(max_size=300), ident=st.from_regex(r"\A[A-Za-z0-9_\-]{1,40}\Z"))
def test_whatever_is_signed_verifies(body, ident):
    sent = headers(mac(body, ident=ident), ident=ident)
    assert verified(sent, body).id == ident
