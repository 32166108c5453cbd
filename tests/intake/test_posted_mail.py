"""Mails that mail services post are taken from known senders, and archived as those that came by LMTP are."""

import base64
import hashlib
import hmac
import io
import json
import time
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from service.config import parse_config
from service.config.problems import ConfigError
from service.domain.errors import InvalidInputError, TooLargeError, UnavailableError
from service.intake.post_signatures import MailgunKey, SendGridKey
from service.intake.posted_mail import MAX_FIELDS, most_posted, parse_posted
from service.sources.mail_envelope import decode_mail
from storage.rows import AttentionRow, ContactRow, DeliveryRow
from tests.archive.mails import letter
from tests.intake.conftest import SECRET
from tests.intake.test_requests import basic

KEY = "key-invented-and-only-for-this"
SOURCES = """
[web]
public_url = "https://arkisto.example.fi"

[[sources]]
name = "gun"
kind = "mailgun"
secret_file = "switch.secret"
signing_key_file = "gun.key"
company_addresses = ["@example.com"]
mail_max_bytes = 1048576

[[sources]]
name = "grid"
kind = "sendgrid"
secret_file = "switch.secret"
company_addresses = ["@example.com"]

[[sources]]
name = "mark"
kind = "postmark"
secret_file = "switch.secret"
company_addresses = ["@example.com"]

[[sources]]
name = "signed"
kind = "sendgrid"
secret_file = "switch.secret"
signing_key_file = "grid.key"
company_addresses = ["@example.com"]
"""
FORM = 'multipart/form-data; boundary="=b"'
URLENCODED = "application/x-www-form-urlencoded"
GRID = "X-Twilio-Email-Event-Webhook-"
GRID_KEY = ec.generate_private_key(ec.SECP256R1())
MAIL = letter(subject="Lasku").replace(b"Hei!", b"P\xe4iv\xe4\xe4")


def public_text(key):
    """Return what SendGrid shows of a key."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(key.public_key().public_bytes(*form)).decode()


@pytest.fixture
def config(tmp_path):
    files = (("switch.secret", SECRET), ("gun.key", KEY), ("grid.key", public_text(GRID_KEY)))
    for name, text in files:
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o400)
    return parse_config(SOURCES, base=tmp_path)


def mailgun(mail=MAIL, *, key=KEY, token="t" * 50, stamp=None, **more):
    stamp = stamp or str(int(time.time()))
    return {
        "recipient": "apu@example.com",
        "sender": "maija@example.fi",
        "timestamp": stamp,
        "token": token,
        "signature": hmac.new(
            key.encode(), f"{stamp}{token}".encode(), hashlib.sha256
        ).hexdigest(),
        "body-mime": mail,
        **more,
    }


def multipart(fields, **headers):
    """Return a form as mail services post one (RFC 7578)."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    parts = b"".join(
        b'--=b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in pairs
    )
    kind = {"Content-Type": 'multipart/form-data; boundary="=b"'}
    return {"data": io.BytesIO(parts + b"--=b--\r\n"), "headers": {**kind, **headers}}


def sendgrid(mail=MAIL):
    envelope = {"to": ["apu@example.com"], "from": "maija@example.fi"}
    return {"envelope": json.dumps(envelope), "charsets": "{}", "email": mail}


async def kept(door):
    rows = await door.archive.stores.store.find(DeliveryRow, {})
    opened = await door.archive.understanding.opener.open(rows)
    return [(row.kind, opened[row.id].body) for row in rows]


async def post(door, path, **how):
    return await door.client.post(f"/intake/{path}", **how)


async def test_a_mail_of_mailgun_is_kept_byte_for_byte_in_either_form(door):
    form = {
        "data": urlencode(mailgun(letter(n=2))).encode(),
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    }
    for way in (multipart(mailgun()), form):
        answer = await post(door, f"gun/k/{SECRET}", **way)
        assert (answer.status, await answer.json()) == (200, {"kept": True})
    hashes = {decode_mail(body).sha256 for _, body in await kept(door)}
    assert hashes == {hashlib.sha256(mail).hexdigest() for mail in (MAIL, letter(n=2))}


async def test_a_mail_of_each_service_becomes_a_contact_once(door):
    for again in (False, True):
        grid = await post(door, "grid", **multipart(sendgrid(), **basic(user="grid")))
        raw = letter(n=3).decode()
        mark = await post(
            door,
            f"mark/k/{SECRET}",
            json={"RawEmail": raw, "OriginalRecipient": "apu@example.com", "Headers": []},
        )
        assert [grid.status, mark.status] == [200, 200]
        assert [("duplicate" in await one.json()) for one in (grid, mark)] == [again, again]
    await door.understand()
    contacts = await door.archive.stores.store.find(ContactRow, {})
    assert {(row.source, row.channel, row.direction) for row in contacts} == {
        ("grid", "email", "inbound"),
        ("mark", "email", "inbound"),
    }
    (envelope,) = [
        mail
        for _, body in await kept(door)
        if (mail := decode_mail(body)).mail_from == "maija@example.fi"
    ]
    assert (envelope.protocol, envelope.is_tls) == ("https", True)
    assert envelope.recipients == ("apu@example.com",)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("gun/k/" + "x" * 40, mailgun(), 401),
        ("gun", mailgun(), 401),
        (f"gun/k/{SECRET}", mailgun(key="another-key-that-is-not-ours"), 401),
        (f"gun/k/{SECRET}", mailgun(signature="0" * 64), 401),
        (f"gun/k/{SECRET}", mailgun(token=""), 401),
        (f"gun/k/{SECRET}", mailgun(b"x" * (1 << 20) + b"x"), 413),
        (f"gun/k/{SECRET}", mailgun(b"x" * most_posted(1 << 20)), 413),
        (f"gun/k/{SECRET}", {str(n): "x" for n in range(MAX_FIELDS + 1)}, 413),
    ],
)
async def test_what_nobody_vouches_for_or_is_too_large_is_not_kept(door, path, fields, status):
    assert (await post(door, path, **multipart(fields))).status == status
    assert await kept(door) == []


async def test_a_header_of_the_writer_in_the_place_of_the_signature_changes_nothing(door):
    # Mailgun posts headers as fields too, before its own: the last of a name counts.
    fields = [("timestamp", "1"), ("token", "x"), ("signature", "y"), *mailgun().items()]
    assert (await post(door, f"gun/k/{SECRET}", **multipart(fields))).status == 200


async def test_without_the_raw_message_it_is_kept_and_a_person_is_told_what_to_switch_on(door):
    answer = await post(
        door, f"mark/k/{SECRET}", json={"TextBody": "Hei", "From": "maija@example.fi"}
    )
    assert answer.status == 200
    await door.understand()
    (item,) = await door.archive.stores.store.find(AttentionRow, {"state": "open"})
    assert item.reason == "not_understood"
    ((kind, body),) = await kept(door)
    assert kind == "request"
    assert b"TextBody" in body


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"--x\r\n", "multipart/form-data", 503),
        (b"nothing", "multipart/form-data; boundary=x", 503),
        (
            b"--x\r\nContent-Disposition: nonsense\r\n\r\n",
            "multipart/form-data; boundary=x",
            503,
        ),
        (
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
            503,
        ),
    ],
)
async def test_a_form_that_is_none_is_refused_in_words(door, data, content_type, status):
    headers = {"Content-Type": content_type, **basic(user="grid")}
    answer = await post(door, "grid", data=data, headers=headers)
    assert answer.status == status
    assert SECRET not in await answer.text()


@pytest.mark.parametrize("ends", [b"", b"--=b", b"--=b-", b"--=b\r\n"])
def test_a_form_without_its_end_is_refused_because_the_mail_may_be_cut(ends):
    whole = multipart({"email": MAIL})["data"].getvalue()
    assert parse_posted(whole, FORM)["email"] == MAIL
    with pytest.raises(UnavailableError):
        parse_posted(whole.removesuffix(b"--=b--\r\n") + ends, FORM)


@given(st.lists(st.tuples(st.text("abc", min_size=1), st.binary()), min_size=1, max_size=5))
def test_whatever_is_posted_comes_out_byte_for_byte(pairs):
    # What stands in a form never holds its boundary: the sender chooses one that does not occur.
    kept_pairs = [(name, value.replace(b"--=b", b"")) for name, value in pairs]
    assert parse_posted(multipart(kept_pairs)["data"].getvalue(), FORM) == dict(kept_pairs)


@given(
    st.binary(), st.sampled_from([FORM, "multipart/form-data", URLENCODED, "text/plain", ""])
)
def test_whatever_comes_is_read_or_refused(body, content_type):
    try:
        fields = parse_posted(body, content_type)
    except (UnavailableError, TooLargeError):
        return
    assert all(isinstance(value, bytes) for value in fields.values())


async def _reasons(door):
    await door.understand()
    items = await door.archive.stores.store.find(AttentionRow, {"state": "open"})
    return {item.reason for item in items}


async def test_a_token_with_another_mail_is_kept_and_told_of(door):
    for mail in (MAIL, MAIL, letter(n=2)):
        answer = await post(door, f"gun/k/{SECRET}", **multipart(mailgun(mail)))
        assert answer.status == 200
    assert len(await kept(door)) == 2
    assert await _reasons(door) == {"id_reused"}


async def test_a_late_signature_is_kept_and_told_of(door):
    late = mailgun(stamp=str(int(time.time()) - 3600))
    assert (await post(door, f"gun/k/{SECRET}", **multipart(late))).status == 200
    assert await _reasons(door) == {"outside_tolerance"}


@pytest.mark.parametrize("stamp", ["179534044", "17953404480", "1795340448.5", "soon"])
async def test_a_time_of_another_length_is_no_signature(door, stamp):
    answer = await post(door, f"gun/k/{SECRET}", **multipart(mailgun(stamp=stamp)))
    assert answer.status == 401


def signed_by_sendgrid(*, stamp=None, key=GRID_KEY, mail=MAIL):
    way = multipart(sendgrid(mail), **basic(user="signed"))
    stamp = stamp or str(int(time.time()))
    body = way["data"].getvalue()
    signature = key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    way["headers"][f"{GRID}Signature"] = base64.b64encode(signature).decode()
    way["headers"][f"{GRID}Timestamp"] = stamp
    return way


async def test_a_signature_of_sendgrid_is_checked_over_the_whole_body(door):
    assert (await post(door, "signed", **signed_by_sendgrid())).status == 200
    other = signed_by_sendgrid()
    other["data"] = multipart(sendgrid(letter(n=2)))["data"]
    another_time, nothing = signed_by_sendgrid(), signed_by_sendgrid()
    another_time["headers"][f"{GRID}Timestamp"] = "1795340448"
    nothing["headers"][f"{GRID}Signature"] = "ä"
    strange = signed_by_sendgrid(key=ec.generate_private_key(ec.SECP256R1()))
    unsigned = multipart(sendgrid(), **basic(user="signed"))
    for way in (other, another_time, nothing, strange, unsigned):
        assert (await post(door, "signed", **way)).status == 401
    assert len(await kept(door)) == 1


async def test_a_late_signature_of_sendgrid_is_told_of(door):
    assert (await post(door, "signed", **signed_by_sendgrid(stamp="1795340448"))).status == 200
    assert await _reasons(door) == {"outside_tolerance"}


OTHER_KEYS = [
    "",
    "nothing",
    public_text(ec.generate_private_key(ec.SECP384R1())),
    public_text(ed25519.Ed25519PrivateKey.generate()),
]


@pytest.mark.parametrize("text", OTHER_KEYS, ids=["empty", "no base64", "P-384", "Ed25519"])
def test_what_is_no_public_key_of_sendgrid_is_refused_unrepeated(text):
    with pytest.raises(InvalidInputError) as refused:
        SendGridKey.parse(text)
    assert not text or text not in refused.value.detail


@pytest.mark.parametrize("text", ["", "short", "ä" * 20, "x" * 129])
def test_what_is_no_signing_key_is_refused_unrepeated(text):
    with pytest.raises(InvalidInputError) as refused:
        MailgunKey.parse(text)
    assert not text or text not in refused.value.detail


def test_postmark_signs_nothing(tmp_path):
    with pytest.raises(ConfigError, match="mailgun"):
        parse_config(SOURCES.replace('"mailgun"', '"postmark"'), base=tmp_path)
