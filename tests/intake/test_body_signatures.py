"""Signatures over the raw body, as chat platforms make them; and what is none."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import parse_config
from service.config.problems import ConfigError
from service.domain.actor import Role
from service.domain.errors import InvalidInputError, NotSignedInError
from service.intake.body_signatures import SCHEMES, BodyKey, verify_body
from storage.rows import AttentionRow, ContactRow, DeliveryRow
from tests.conftest import actor
from tests.intake.conftest import SECRET, SOURCES
from tests.sources.test_chatwoot import SENT
from tests.sources.test_whatsapp import EDIT, REVOKE, TEXT, request_of, value_of
from tests.sources.test_zendesk_trigger import FIELDS

KEY = "invented-secret-of-a-webhook"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEXT_STAMP = "2026-11-22T12:00:00Z"


def signed(kind, body, *, key=KEY, stamp=None, at=NOW):
    scheme = SCHEMES[kind]
    told = f"{at:%Y-%m-%dT%H:%M:%SZ}" if kind == "zendesk" else str(int(at.timestamp()))
    stamp = told if stamp is None else stamp
    text = f"{stamp}{scheme.separator}".encode() + body if scheme.stamp else body
    mac = hmac.new(key.encode(), text, hashlib.sha256)
    is_zendesk = kind == "zendesk"
    value = (
        base64.b64encode(mac.digest()).decode() if is_zendesk else f"sha256={mac.hexdigest()}"
    )
    return {scheme.signature: value, **({scheme.stamp: stamp} if scheme.stamp else {})}


def verify(kind, headers, body, *, keys=(KEY,), now=NOW):
    return verify_body(
        SCHEMES[kind],
        headers,
        body,
        keys=[BodyKey.parse(key) for key in keys],
        tolerance=timedelta(minutes=5),
        now=now,
    )


@pytest.mark.parametrize("kind", SCHEMES)
@given(body=st.binary())
def test_what_was_signed_verifies_and_nothing_else_does(kind, body):
    headers = signed(kind, body)
    assert verify(kind, headers, body) == ()
    assert verify(kind, headers, body, keys=("another-that-is-old-now", KEY)) == ()
    for other in (
        {"body": body + b"x"},
        {"keys": ("another-that-is-none-of-it",)},
        {"headers": {}},
        {"headers": {**headers, SCHEMES[kind].signature: "sha1=" + "0" * 40}},
        {"headers": {**headers, SCHEMES[kind].signature: "sha256=" + "0" * 64}},
        {"headers": {**headers, SCHEMES[kind].signature: base64.b64encode(bytes(32)).decode()}},
        {"headers": {**headers, SCHEMES[kind].signature: base64.b64encode(bytes(31)).decode()}},
        {"headers": {**headers, SCHEMES[kind].signature: "ä"}},
    ):
        with pytest.raises(NotSignedInError):
            verify(kind, **{"headers": headers, "body": body, **other})


def test_nothing_verifies_without_a_key():
    with pytest.raises(NotSignedInError):
        verify("whatsapp", {"X-Hub-Signature-256": "sha256=" + "0" * 64}, b"", keys=())


@pytest.mark.parametrize("stamp", ["soon", "1", "1" * 11, "-179534214"])
@pytest.mark.parametrize("kind", ["chatwoot", "zendesk"])
def test_a_time_of_another_form_is_no_signature(kind, stamp):
    with pytest.raises(NotSignedInError):
        verify(kind, signed(kind, b"x", stamp=stamp), b"x")


@pytest.mark.parametrize("kind", ["chatwoot", "zendesk"])
def test_a_time_that_is_missing_or_another_is_no_signature(kind):
    headers = signed(kind, b"x")
    for stamp in ("", {"chatwoot": "1795342145", "zendesk": "2026-11-22T10:00:00Z"}[kind]):
        with pytest.raises(NotSignedInError):
            verify(kind, {**headers, SCHEMES[kind].stamp: stamp}, b"x")


@pytest.mark.parametrize("kind", ["chatwoot", "zendesk"])
def test_a_time_outside_of_the_tolerance_is_told_of(kind):
    headers = signed(kind, b"x")
    late = NOW + timedelta(minutes=6)
    assert verify(kind, headers, b"x", now=late) == ("outside_tolerance",)


def test_zendesk_signs_the_time_and_the_body_with_nothing_between_them():
    """What another program made: ``printf %s%s TIME BODY | openssl dgst -sha256 -hmac KEY -binary | base64``."""
    headers = {
        "X-Zendesk-Webhook-Signature": "NEsPK+eI2sC7SlIG1KPQhPBgmN+PYtArPAVR6BPQeIc=",
        "X-Zendesk-Webhook-Signature-Timestamp": "2026-11-22T10:09:05Z",
    }
    now = datetime(2026, 11, 22, 10, 10, tzinfo=UTC)
    assert verify("zendesk", headers, b'{"ticket_id":"5158"}', now=now) == ()


@pytest.mark.parametrize("moved", [-1, -2, 1, 5])
def test_a_time_and_a_body_that_are_divided_elsewhere_are_no_signature(moved):
    """Nothing stands between them, so that the same signed text could be read as another time and another body."""
    whole = TEXT_STAMP + "0123456"
    headers = signed("zendesk", b"0123456")
    end = len(TEXT_STAMP) + moved
    headers[SCHEMES["zendesk"].stamp] = whole[:end]
    with pytest.raises(NotSignedInError):
        verify("zendesk", headers, whole[end:].encode())


def test_the_secret_that_zendesk_publishes_for_tests_is_refused():
    with pytest.raises(InvalidInputError, match="published"):
        BodyKey.parse("dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==\n")


@pytest.mark.parametrize("text", ["", "short", "ä" * 20, "x" * 129])
def test_what_is_no_secret_is_refused_unrepeated(text):
    with pytest.raises(InvalidInputError) as refused:
        BodyKey.parse(text)
    assert not text or text not in refused.value.detail


# -- over the wire

CHAT = """
[[sources]]
name = "tickets"
kind = "zendesk"
secret_file = "chat.secret"

[[sources]]
name = "chat"
kind = "chatwoot"
secret_file = "chat.secret"

[[sources]]
name = "oldchat"
kind = "chatwoot"
secret_file = "switch.secret"
secret_in_path = true

[[sources]]
name = "wa"
kind = "whatsapp"
secret_file = "chat.secret"
verify_token_file = "switch.secret"
"""


@pytest.fixture(name="config")
def with_chats(config, tmp_path):
    assert config.sources
    (tmp_path / "chat.secret").write_text(KEY)
    (tmp_path / "chat.secret").chmod(0o400)
    return parse_config(SOURCES + CHAT, base=tmp_path)


async def post(door, told, *, source="chat", headers=None):
    body = json.dumps(told).encode()
    headers = signed("chatwoot", body, at=datetime.now(UTC)) if headers is None else headers
    return await door.client.post(f"/intake/{source}", data=body, headers=headers)


async def test_a_conversation_grows_and_keeps_what_was_deleted(door):
    answer = {
        **SENT,
        "id": 901,
        "content": "Hei Maija",
        "message_type": "outgoing",
        "created_at": "2026-11-22T10:10:05.000Z",
        "sender": {"id": 7, "name": "Anna", "type": "user"},
    }
    deleted = {
        **SENT,
        "event": "message_updated",
        "content": "This message was deleted",
        "content_attributes": {"deleted": True},
    }
    for told in (answer, deleted, SENT, SENT, deleted):
        assert (await post(door, told)).status == 200
    await door.understand()
    (row,) = await door.archive.stores.store.find(ContactRow, {})
    assert (row.channel, row.direction) == ("chat", "inbound")
    view = await door.archive.contacts.get(row.id, actor=actor(Role.COMPLAINT_HANDLER))
    assert [(m.ident, m.change) for m in view.messages] == [
        ("900", None),
        ("900", "deleted"),
        ("901", None),
    ]
    assert len(view.contact.parties) == 2
    assert await door.archive.stores.store.count(AttentionRow, {"state": "open"}) == 0


async def test_a_ticket_grows_from_what_triggers_send_and_keeps_notes_apart(door):
    fields = {**FIELDS, "requester_phone": "+358401234567"}
    answer = {
        **fields,
        "comment_id": "902",
        "comment_text": 'Hyvitämme "kaiken" & pian\n+ korko',
        "at": "2026-11-22T10:31Z",
        "author_id": "77",
        "author_name": "Anna",
        "author_role": "Agent",
    }
    note = {**answer, "comment_id": "903", "comment_text": "Tuttu", "comment_public": "false"}
    for told in (note, answer, fields, fields, note):
        body = urlencode(told).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        headers |= signed("zendesk", body, at=datetime.now(UTC))
        assert (
            await door.client.post("/intake/tickets", data=body, headers=headers)
        ).status == 200
    await door.understand()
    (row,) = await door.archive.stores.store.find(ContactRow, {})
    assert (row.channel, row.direction) == ("email", "inbound")
    view = await door.archive.contacts.get(row.id, actor=actor(Role.COMPLAINT_HANDLER))
    assert [m.writer for m in view.messages] == ["customer", "agent", "agent"]
    assert [(m.ident, m.sender, m.is_internal) for m in view.messages] == [
        ("901", "Maija Meikäläinen", False),
        ("902", "Anna", False),
        ("903", "Anna", True),
    ]
    assert await door.archive.stores.store.count(DeliveryRow, {}) == 3
    assert await door.archive.stores.store.count(AttentionRow, {"state": "open"}) == 0


async def test_without_a_valid_signature_nothing_is_kept(door):
    wrong = signed("chatwoot", b"other", at=datetime.now(UTC))
    for headers in ({}, wrong, {"Authorization": "Basic Y2hhdDp4"}):
        assert (await post(door, SENT, headers=headers)).status == 401
    assert await door.archive.stores.store.count(DeliveryRow, {}) == 0


async def test_an_old_chatwoot_sends_its_secret_in_the_path(door):
    path = f"oldchat/k/{SECRET}"
    assert (await post(door, SENT, source=path, headers={})).status == 200
    assert (await post(door, SENT, source="oldchat/k/" + "x" * 40, headers={})).status == 401
    # A source that does not say so takes none there.
    assert (await post(door, SENT, source=f"chat/k/{SECRET}", headers={})).status == 401


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ('secret_file = "chat.secret"\n', "", "secret_file"),
        (
            'kind = "whatsapp"\n',
            'kind = "whatsapp"\ngraph = "https://graph.example.com/v1"\n',
            "fetch_origins",
        ),
        (
            'kind = "standard-webhooks"',
            'kind = "standard-webhooks"\nsecret_in_path = true',
            "chatwoot",
        ),
    ],
)
@pytest.mark.usefixtures("config")
def test_settings_that_cannot_be_are_refused(tmp_path, before, after, what):
    with pytest.raises(ConfigError, match=what):
        parse_config((SOURCES + CHAT).replace(before, after), base=tmp_path)


ASKED = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": SECRET}


async def test_meta_is_told_that_the_address_is_ours_when_it_knows_the_token(door):
    answer = await door.client.get("/intake/wa", params=ASKED)
    assert (answer.status, await answer.text()) == (200, "1158201444")
    assert answer.content_type == "text/plain"


@pytest.mark.parametrize(
    ("path", "changes", "status"),
    [
        ("wa", {"hub.verify_token": "x" * 40}, 401),
        ("wa", {"hub.verify_token": ""}, 401),
        ("wa", {"hub.mode": "unsubscribe"}, 400),
        ("wa", {"hub.challenge": "<script>"}, 400),
        ("wa", {"hub.challenge": "1" * 129}, 400),
        ("chat", {}, 401),
        ("nobody", {}, 401),
    ],
)
async def test_nobody_else_is_told_anything(door, path, changes, status):
    answer = await door.client.get(f"/intake/{path}", params={**ASKED, **changes})
    assert answer.status == status
    assert ASKED["hub.challenge"] not in await answer.text()
    assert SECRET not in await answer.text()


async def test_messages_of_whatsapp_are_a_contact_each_day(door):
    for told in (request_of(value_of(EDIT, TEXT)), request_of(value_of(TEXT, REVOKE))):
        body = json.dumps(told).encode()
        answer = await door.client.post(
            "/intake/wa", data=body, headers=signed("whatsapp", body)
        )
        assert answer.status == 200
    await door.understand()
    (row,) = await door.archive.stores.store.find(ContactRow, {})
    view = await door.archive.contacts.get(row.id, actor=actor(Role.COMPLAINT_HANDLER))
    assert [m.change for m in view.messages] == [None, "edited", "deleted"]
    assert {m.ident for m in view.messages} == {"wamid.1"}


async def test_a_query_that_nobody_signed_makes_no_delivery_another(door):
    body = json.dumps(SENT).encode()
    headers = signed("chatwoot", body, at=datetime.now(UTC))
    for query in ("", "?a=1", "?a=2"):
        answer = await door.client.post(f"/intake/chat{query}", data=body, headers=headers)
        assert answer.status == 200
    assert await door.archive.stores.store.count(DeliveryRow, {}) == 1
