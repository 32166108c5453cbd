"""vCons over HTTP: from the sender's request to the contact, its recording and what needs attention."""

import base64
import dataclasses
import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from service.archive.expire import DeliveryExpiry
from service.archive.export import Form, Order
from service.archive.records import contact_of, message_of, recording_of
from service.config import parse_config
from service.domain.contact import Channel, Direction, PartyRole, RecordingState
from service.domain.purpose import Purpose
from service.wiring import exporter_of
from service.worker.leftovers import Leftovers, Report
from storage.rows import (
    AttentionRow,
    ContactRow,
    DeliveryRow,
    MessageRow,
    ObjectRow,
    RecordingRow,
)
from tests.archive.world import HANDLER
from tests.intake.conftest import SECRET
from tests.intake.test_requests import basic
from tests.vcons import (
    UUID,
    call,
    certificate,
    ec_key,
    encoded,
    key_pem,
    pem_of,
    rsa_key,
    signed,
    signer,
)

VCONS = """
[disclosure]
certificate = "our.pem"
certificate_key = "our.key"

[[sources]]
name = "platform"
kind = "vcon"
secret_file = "vcon.secret"
vcon_max_bytes = 200000

[[sources]]
name = "partner"
kind = "vcon"
secret_file = "vcon.secret"
vcon_certificates = "trusted.pem"
vcon_signed = true

[[sources]]
name = "pbx"
kind = "api"
"""
AUDIO = b"RIFF-not-quite-a-wave"


def write(directory, name, data):
    (directory / name).write_bytes(data)
    (directory / name).chmod(0o400)


@pytest.fixture
def config(tmp_path):
    # Times of the service are of today, and so are the certificates.
    now = datetime.now(UTC)
    top = certificate(ec_key(1), "Example Root", is_root=True, now=now)
    ours = certificate(rsa_key(), "Our Archive", issuer=top, issuer_key=ec_key(1), now=now)
    write(tmp_path, "vcon.secret", SECRET.encode())
    write(tmp_path, "trusted.pem", pem_of(top))
    write(tmp_path, "our.pem", pem_of(ours))
    write(tmp_path, "our.key", key_pem(rsa_key()))
    return parse_config(VCONS, base=tmp_path)


async def send(door, vcon, *, source="platform", headers=None, kind="application/vcon"):
    body = vcon if isinstance(vcon, bytes) else json.dumps(vcon).encode()
    told = basic(user=source) if headers is None else headers
    answer = await door.client.post(
        f"/intake/{source}", data=body, headers={"Content-Type": kind, **told}
    )
    await door.understand()
    return answer


async def found(door, row):
    return await door.archive.stores.store.find(row, {})


async def opened(door):
    """Return the contact, its rows of recordings and messages, opened."""
    (row,) = await found(door, ContactRow)
    sealer = await door.archive.vault.get_sealer(row.id)
    recordings = [(one, recording_of(one, sealer)) for one in await found(door, RecordingRow)]
    messages = [message_of(one, sealer) for one in await found(door, MessageRow)]
    return contact_of(row, sealer), recordings, messages


async def reasons(door):
    return sorted(one.reason for one in await found(door, AttentionRow) if one.state == "open")


@pytest.mark.parametrize(
    ("kind", "pack"),
    [
        ("application/vcon", bytes),
        ("application/vcon+json", bytes),
        ("application/json", bytes),
        ("application/vcon+gzip", gzip.compress),
    ],
)
async def test_a_vcon_becomes_a_contact_with_its_recording(door, kind, pack):
    answer = await send(door, pack(json.dumps(call()).encode()), kind=kind)
    assert answer.status == 200
    contact, [(row, recording)], _ = await opened(door)
    assert (contact.source_id, contact.channel) == (UUID, Channel.CALL)
    assert contact.recording_state is RecordingState.PRESENT
    assert (recording.name, recording.content_type) == ("a.wav", "audio/wav")
    assert recording.sha256 == hashlib.sha256(AUDIO).hexdigest()
    assert row.object_id is not None
    assert await reasons(door) == []
    (delivery,) = await found(door, DeliveryRow)
    assert (delivery.state, delivery.contact_id) == ("understood", contact.id)


async def test_the_same_again_changes_nothing_and_leaves_nothing(door):
    for _ in range(2):
        answer = await send(door, call())
        assert answer.status == 200
    again = await send(door, {**call(), "updated_at": "2026-11-22T11:30:00Z"})
    assert (await again.json())["kept"]
    contact, recordings, _ = await opened(door)
    assert (len(recordings), contact.version) == (1, 1)
    kinds = sorted(one.kind for one in await found(door, ObjectRow))
    assert kinds == ["recording", "vcon", "vcon"]
    blobs = list(door.archive.config.archive.directory.rglob("ob_*"))
    assert len(blobs) == len(kinds)


async def test_what_was_added_since_amends_it(door):
    first = call()
    await send(door, first)
    text = {
        "type": "text",
        "start": "2026-11-22T11:20:00+02:00",
        "parties": [1, 0],
        "mediatype": "text/plain",
        "encoding": "none",
        "body": "Kiitos soitosta.",
    }
    await send(door, {**first, "updated_at": "x", "dialog": [*first["dialog"], text]})
    contact, recordings, [message] = await opened(door)
    assert (len(recordings), message.sender) == (1, "Asiakaspalvelu")
    assert contact.version == 2
    assert await reasons(door) == []


@pytest.mark.parametrize(
    "headers",
    [{}, basic("x" * 40, user="platform"), {"x-conserver-api-token": "x" * 40}],
)
async def test_nobody_delivers_without_the_secret(door, headers):
    assert (await send(door, call(), headers=headers)).status == 401
    assert await found(door, DeliveryRow) == []


async def test_a_program_for_vcons_sends_its_token_in_its_own_header(door):
    answer = await send(door, call(), headers={"x-conserver-api-token": SECRET})
    assert answer.status == 200
    assert len(await found(door, ContactRow)) == 1
    assert (await send(door, b"{}", source="pbx", headers={})).status == 401


async def test_what_is_too_large_is_refused_and_what_unpacks_to_more_needs_attention(door):
    large = json.dumps({**call(), "x": "a" * 200_001}).encode()
    assert (await send(door, large)).status == 413
    assert await found(door, DeliveryRow) == []
    assert (await send(door, gzip.compress(large))).status == 200
    assert await reasons(door) == ["not_understood"]


async def test_a_signature_that_nobody_is_trusted_for_is_said_at_the_contact(door):
    await send(door, signed(json.dumps(call()).encode(), signer()))
    assert len(await found(door, ContactRow)) == 1
    assert await reasons(door) == ["signature_unchecked"]


async def test_a_source_that_has_to_sign(door):
    now = datetime.now(UTC)
    top = certificate(ec_key(1), "Example Root", is_root=True, now=now)
    leaf = certificate(rsa_key(), "Partner", issuer=top, issuer_key=ec_key(1), now=now)
    good = dataclasses.replace(signer(), chain=(leaf,))
    stranger = dataclasses.replace(signer(), chain=(certificate(rsa_key(), "X", now=now),))
    body = json.dumps(call()).encode()
    for refused in (body, signed(body, stranger)):
        assert (await send(door, refused, source="partner")).status == 200
    assert await found(door, ContactRow) == []
    assert await reasons(door) == ["signature_invalid"] * 2
    await send(door, signed(body, good), source="partner")
    contact, recordings, _ = await opened(door)
    assert (contact.source_id, len(recordings)) == (UUID, 1)
    items = await found(door, AttentionRow)
    said = {await door.archive.understanding.explain(one.about, now=now) for one in items}
    assert said == {
        "it is not signed, and its source has to sign",
        "the certificate leads to none that is trusted, or is not valid at the time",
    }


async def test_what_is_encrypted_is_kept_and_put_before_a_person(door):
    await send(door, {"ciphertext": "x", "recipients": [], "iv": "x", "tag": "x"})
    assert await reasons(door) == ["encrypted_for_another"]
    (delivery,) = await found(door, DeliveryRow)
    assert (delivery.state, delivery.kind) == ("failed", "vcon")


async def test_a_copy_that_says_something_else_is_not_believed(door):
    hybrid = json.loads(signed(json.dumps(call()).encode(), signer()))
    hybrid |= call(parties=[{"tel": "+358409999999"}])
    await send(door, hybrid)
    contact, _, _ = await opened(door)
    assert contact.parties[0].phone == "+358401234567"
    assert await reasons(door) == ["signature_unchecked;copy_differs"]


async def test_it_goes_with_its_delivery_and_nobody_takes_it_for_lost(door):
    await send(door, call())
    stores, later = door.archive.stores, datetime.now(UTC) + timedelta(days=31)
    leftovers = Leftovers(stores.store, stores.keys, stores.blobs)
    assert await leftovers.report(now=later) == Report((), ())
    expiry = DeliveryExpiry(stores.store, stores.keys, stores.blobs, timedelta(days=30))
    assert await expiry.run(now=later) == 1
    assert [one.kind for one in await found(door, ObjectRow)] == ["recording"]
    blobs = list(door.archive.config.archive.directory.rglob("ob_*"))
    assert len(blobs) == 1


async def test_what_was_altered_on_the_disk_is_not_understood(door):
    trials = door.archive.understanding
    body = json.dumps(call()).encode()
    answer = await door.client.post(
        "/intake/platform", data=body, headers=basic(user="platform")
    )
    assert answer.status == 200
    (blob,) = door.archive.config.archive.directory.rglob("ob_*")
    raw = bytearray(blob.read_bytes())
    raw[-20] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(raw)
    await door.understand()
    assert await found(door, ContactRow) == []
    (delivery,) = await found(door, DeliveryRow)
    assert delivery.state == "failed"
    told = await trials.explain(delivery.id, now=datetime.now(UTC))
    assert told == "the stored delivery was altered"


async def test_what_we_hand_out_another_archive_takes_in_as_the_same(door, tmp_path):
    """Signed by one archive, delivered to a source that trusts its certificate: the same facts."""
    archive, now = door.archive, datetime.now(UTC)
    await send(
        door,
        call(
            subject="Sähkökatko",
            dialog=[
                *call()["dialog"],
                {
                    "type": "text",
                    "start": "2026-11-22T09:05:00Z",
                    "parties": 1,
                    "mediatype": "text/plain",
                    "body": "Hei äö",
                    "encoding": "none",
                },
            ],
        ),
    )
    first, _, [message] = await opened(door)
    order = Order(
        contact_id=first.id,
        form=Form.VCON,
        purpose=Purpose.HANDLE_COMPLAINT,
        reference="R-1",
        recipient=None,
        out=tmp_path / "out",
    )
    directory = await exporter_of(archive).export(order, actor=HANDLER, now=now)
    handed_out = (directory / "contact.vcon").read_bytes()
    assert (await send(door, handed_out, source="partner")).status == 200
    assert await reasons(door) == []
    rows = {one.id: one for one in await found(door, ContactRow)}
    second_row = next(row for row in rows.values() if row.id != first.id)
    sealer = await archive.vault.get_sealer(second_row.id)
    second = contact_of(second_row, sealer)
    for name in (
        "channel", "direction", "started_at", "started_at_as_sent", "ended_at", "subject",
        "parties", "recording_state", "queue", "outcome", "recording_pauses",
    ):  # fmt: skip
        assert getattr(second, name) == getattr(first, name), name
    assert [one.role for one in second.parties] == [PartyRole.CUSTOMER, PartyRole.AGENT]
    assert second.direction is Direction.INBOUND
    (text,) = [one for one in await found(door, MessageRow) if one.contact_id == second.id]
    assert message_of(text, sealer).sha256 == message.sha256
    kept = [one for one in await found(door, RecordingRow) if one.contact_id == second.id]
    payload = json.loads(decoded(json.loads(handed_out)["payload"]))
    assert payload["dialog"][0]["body"] == encoded(AUDIO)
    assert [recording_of(one, sealer).name for one in kept] == ["a.wav"]


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
