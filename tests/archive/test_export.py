"""Handing a contact out: on record first, opened by other programs, proven without us."""

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyrage
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from service.archive.export import Form, Order
from service.archive.records import SealedRecording
from service.archive.vault import open_value, seal_value
from service.cli.log_files import verify_proof_files
from service.crypto.recipients import HybridIdentity, X25519Identity
from service.domain.contact import AnnouncedRecording, Direction, MessageChange, MessageText
from service.domain.errors import (
    ErasedError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
    UnavailableError,
)
from service.domain.pauses import RecordingPause
from service.domain.purpose import Purpose
from service.log.entry import EntryType, LogEntry, encode_entry
from service.log.report import Outcome
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Append, Put
from tests.archive.world import ADMIN, AGENT, AUDITOR, DPO, HANDLER, NOW, opened_world
from tests.vcons import rsa_key, signer

AUDIO = bytes(range(256)) * 1025 + b"x"
IDENTITY = X25519Identity.generate()
SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def contact_id(world):
    made = await world.call(AUDIO)
    await world.publish()
    return made


def order(world, contact_id, form=Form.AGE, **changes):
    asked = Order(
        contact_id=contact_id,
        form=form,
        purpose=Purpose.HANDLE_COMPLAINT,
        reference="R-2026-17",
        recipient=IDENTITY.recipient if form is Form.AGE else None,
        out=world.directory / "out",
    )
    return dataclasses.replace(asked, **changes)


async def exported(world, contact_id, form=Form.AGE, *, actor=HANDLER, **changes):
    asked = order(world, contact_id, form, **changes)
    return await world.exporter.export(asked, actor=actor, now=world.now)


def opened_with_pyrage(path):
    identity = pyrage.x25519.Identity.from_str(IDENTITY.format_secret())
    return pyrage.decrypt(path.read_bytes(), [identity])


# -- age


async def test_another_age_program_opens_what_was_handed_out(world, contact_id):
    directory = await exported(world, contact_id)
    assert opened_with_pyrage(directory / "recording-1.wav.age") == AUDIO


async def test_the_ordinary_age_program_opens_it(world, contact_id, tmp_path):
    if shutil.which("age") is None:
        pytest.skip("the program age is absent")
    directory = await exported(world, contact_id)
    key = tmp_path / "key.txt"
    key.write_text(IDENTITY.format_secret() + "\n")
    command = ["age", "-d", "-i", str(key), str(directory / "recording-1.wav.age")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    assert done.stdout == AUDIO


async def test_the_details_are_sealed_too(world, contact_id):
    directory = await exported(world, contact_id)
    details = json.loads(opened_with_pyrage(directory / "contact.json.age"))
    assert details["parties"][0]["phone"] == "+358401234567"
    for path in directory.rglob("*"):
        assert not path.is_file() or b"+358401234567" not in path.read_bytes()
        assert not path.is_file() or b"Ines" not in path.read_bytes()


async def test_only_the_recipient_opens_it(world, contact_id):
    other = X25519Identity.generate()
    directory = await exported(world, contact_id, recipient=other.recipient)
    with pytest.raises(pyrage.DecryptError):
        opened_with_pyrage(directory / "recording-1.wav.age")


async def test_a_hybrid_recipient_is_served(world, contact_id):
    recipient = HybridIdentity.generate().recipient
    directory = await exported(world, contact_id, recipient=recipient)
    header = (directory / "recording-1.wav.age").read_bytes()[:200]
    assert b"-> mlkem768x25519 " in header


async def test_messages_are_files_of_their_own(world):
    chat = await world.chat("Hei", "Moi äö")
    await world.publish()
    directory = await exported(world, chat)
    assert opened_with_pyrage(directory / "message-1.txt.age") == b"Hei"
    assert opened_with_pyrage(directory / "message-2.txt.age").decode() == "Moi äö"


# -- what proves it


async def test_what_is_handed_out_proves_itself_without_us(world, contact_id):
    """The steps of README.txt, in order."""
    directory = await exported(world, contact_id)
    evidence = json.loads((directory / "evidence.json").read_text())
    (part,) = evidence["parts"]
    plain = opened_with_pyrage(directory / part["file"])
    assert hashlib.sha256(plain).hexdigest() == part["sha256"]
    digest = bytes.fromhex(part["sha256"])
    made = hmac.digest(bytes.fromhex(part["salt"]), digest, "sha256").hex()
    assert made == part["commitment"]
    sealed = (directory / part["file"]).read_bytes()
    payload = sealed[sealed.index(b"\n--- ") + 49 :]
    assert hashlib.sha256(payload).hexdigest() == part["blob_sha256"]
    types = {}
    for one in evidence["entries"]:
        verdict = verify_proof_files(
            directory / one["entry"], directory / one["proof"], directory / "log" / "vkey"
        )
        assert verdict.outcome is Outcome.VERIFIED
        entry = json.loads((directory / one["entry"]).read_text())
        types[entry["type"]] = entry
    assert types["recording.attached"]["data"]["commitment"] == made
    assert types["recording.received"]["data"]["blob_sha256"] == part["blob_sha256"]


async def test_the_commands_in_the_readme_work(world, contact_id):
    if not all(shutil.which(name) for name in ("openssl", "xxd")):
        pytest.skip("openssl or xxd is absent")
    directory = await exported(world, contact_id)
    (part,) = json.loads((directory / "evidence.json").read_text())["parts"]
    assert (
        "openssl dgst -sha256 -mac HMAC -macopt hexkey:SALT"
        in (directory / "README.txt").read_text()
    )
    command = (
        f"printf %s {part['sha256']} | xxd -r -p |"
        f" openssl dgst -sha256 -mac HMAC -macopt hexkey:{part['salt']}"
    )
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", command], capture_output=True, check=True
    )
    assert done.stdout.decode().split()[-1] == part["commitment"]


async def test_what_verifying_found_goes_along(world, contact_id):
    directory = await exported(world, contact_id)
    assert json.loads((directory / "verification.json").read_text())["state"] == "anchored"


async def test_a_recording_that_is_not_there_is_named_with_its_reason(world):
    contact_id = await world.call(None, recording="expected")
    await world.publish()
    directory = await exported(world, contact_id)
    (part,) = json.loads((directory / "evidence.json").read_text())["parts"]
    assert part["state"] == "expected"
    assert not list(directory.glob("recording-*"))


async def test_files_are_for_their_owner_alone(world, contact_id):
    directory = await exported(world, contact_id)
    assert directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.rglob("*"))


# -- vCon


def recording_of(vcon):
    (dialog,) = vcon["dialog"]
    return dialog, decoded(dialog["body"])


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def vcon_of(world, contact_id, **more):
    directory = await exported(world, contact_id, Form.VCON, **more)
    return json.loads((directory / "contact.vcon").read_text())


@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 3_000_001]
)
async def test_a_vcon_holds_the_recording_whatever_its_length(world, size):
    audio = (AUDIO * 12)[:size]
    contact_id = await world.call(audio)
    dialog, body = recording_of(await vcon_of(world, contact_id))
    assert body == audio
    assert "=" not in dialog["body"]


async def test_a_vcon_says_who_what_and_when(world, contact_id):
    vcon = await vcon_of(world, contact_id)
    dialog, _ = recording_of(vcon)
    assert vcon["vcon"] == "0.4.0"
    assert vcon["uuid"][14] == "8"
    assert vcon["parties"] == [
        {"tel": "tel:+358401234567", "name": "Ines Esimerkki"},
        {"name": "agent-7"},
    ]
    assert (dialog["type"], dialog["mediatype"]) == ("recording", "audio/wav")
    assert (dialog["start"], dialog["parties"]) == ("2026-11-21T12:00:00Z", [0, 1])


async def test_who_began_comes_first(world):
    contact_id = await world.call(b"x", direction=Direction.OUTBOUND)
    assert (await vcon_of(world, contact_id))["parties"][0] == {"name": "agent-7"}


async def test_messages_are_text_dialogs_by_their_sender(world):
    chat = await world.chat('Hei "sinä"', "Moi\n@x@")
    vcon = await vcon_of(world, chat)
    assert [d["body"] for d in vcon["dialog"]] == ['Hei "sinä"', "Moi\n@x@"]
    assert {d["type"] for d in vcon["dialog"]} == {"text"}
    sender = vcon["dialog"][0]["parties"][0]
    assert vcon["parties"][sender] == {"name": "Ines Esimerkki"}


def versions():
    """Return a message, its later text, its deletion, and a note that the customer never saw."""
    sent = MessageText(sender="Maija", sent_at=NOW, text="Tilaan", ident="m-1")
    when = NOW + timedelta(minutes=5)
    return (
        sent,
        dataclasses.replace(
            sent, text="En tilaa", change=MessageChange.EDITED, changed_at=when
        ),
        dataclasses.replace(
            sent,
            text="",
            change=MessageChange.DELETED,
            changed_at=when + timedelta(minutes=1),
        ),
        dataclasses.replace(sent, text="Outo", ident="m-2", is_internal=True),
    )


async def test_a_vcon_has_each_version_of_a_message_and_no_internal_note(world):
    contact_id = await world.chat(*versions())
    directory = await exported(world, contact_id, Form.VCON)
    vcon = json.loads((directory / "contact.vcon").read_text())
    told = sorted((d["message_id"], d["start"][11:16], d["body"]) for d in vcon["dialog"])
    assert told == [
        ("m-1", "12:00", "Tilaan"),
        ("m-1", "12:05", "En tilaa"),
        ("m-1", "12:06", ""),
    ]
    changes = {vcon["dialog"][a["dialog"]]["body"]: a["body"] for a in vcon["attachments"]}
    assert changes == {
        "En tilaa": {"message_id": "m-1", "change": "edited"},
        "": {"message_id": "m-1", "change": "deleted"},
    }
    assert "Outo" not in (directory / "contact.vcon").read_text()
    parts = json.loads((directory / "evidence.json").read_text())["parts"]
    assert sorted(part["state"] for part in parts) == ["internal", *["present"] * 3]


async def test_a_vcon_has_no_file_of_an_internal_note(world):
    note = AnnouncedRecording(name="call.wav", url="https://example.com/a", is_internal=True)
    contact_id = await world.call(b"a picture", recordings=(note,))
    directory = await exported(world, contact_id, Form.VCON)
    assert json.loads((directory / "contact.vcon").read_text())["dialog"] == []
    (part,) = json.loads((directory / "evidence.json").read_text())["parts"]
    assert part["state"] == "internal"


async def test_the_details_say_what_became_of_a_message(world):
    directory = await exported(world, await world.chat(*versions()))
    details = json.loads(opened_with_pyrage(directory / "contact.json.age"))
    told = [(p["message"], p.get("change"), p.get("internal")) for p in details["parts"]]
    assert sorted(told, key=str) == [
        ("m-1", "deleted", None),
        ("m-1", "edited", None),
        ("m-1", None, None),
        ("m-2", None, True),
    ]


@pytest.mark.parametrize(
    "kind", ["call", "chat", "changed", "bare", "paused", "paused by nobody"]
)
async def test_a_vcon_is_valid_against_the_schema_of_the_ietf(world, kind):
    schema_file = SHARED / "samples" / "vcon" / "vcon_json_schema.json"
    if not schema_file.exists():
        pytest.skip("the IETF's vCon schema is absent")
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is absent")
    make = {
        "call": lambda: world.call(AUDIO),
        "chat": lambda: world.chat("Hei", "Moi"),
        "changed": lambda: world.chat(*versions()),
        "bare": lambda: world.call(None, parties=()),
        "paused": lambda: world.call(AUDIO, recording_pauses=(PAUSE,)),
        "paused by nobody": lambda: world.call(AUDIO, parties=(), recording_pauses=(PAUSE,)),
    }
    vcon = await vcon_of(world, await make[kind]())
    validator = jsonschema.Draft7Validator(
        json.loads(schema_file.read_text()),
        format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER,
    )
    assert list(validator.iter_errors(vcon)) == []


async def test_a_vcon_has_what_its_readers_need(world, contact_id):
    """What holds also where the schema is not at hand."""
    vcon = await vcon_of(world, contact_id)
    assert {"vcon", "uuid", "created_at", "parties", "dialog"} <= set(vcon)
    for dialog in vcon["dialog"]:
        assert dialog["type"] in {"recording", "text"}
        assert dialog["encoding"] in {"base64url", "none"}
        assert isinstance(dialog["body"], str)
        assert all(0 <= party < len(vcon["parties"]) for party in dialog["parties"])


async def test_a_vcon_is_signed_where_there_is_a_certificate(world, contact_id):
    world.exporter = dataclasses.replace(world.exporter, signer=signer())
    jws = await vcon_of(world, contact_id)
    (signature,) = jws["signatures"]
    text = f"{signature['protected']}.{jws['payload']}".encode()
    raw = decoded(signature["signature"])
    rsa_key().public_key().verify(raw, text, padding.PKCS1v15(), hashes.SHA256())
    vcon = json.loads(decoded(jws["payload"]))
    assert recording_of(vcon)[1] == AUDIO
    assert signature["header"]["uuid"] == vcon["uuid"]
    (entry,) = await world.entries("disclosure.made")
    assert entry.data["signed_by_sha256"] == signer().fingerprint


async def test_the_signature_can_be_left_out(world, contact_id):
    world.exporter = dataclasses.replace(world.exporter, signer=signer())
    assert "signatures" not in await vcon_of(world, contact_id, is_unsigned=True)
    with pytest.raises(InvalidInputError, match="only a vCon is signed"):
        await exported(world, await world.call(b"x", source_id="call-2"), is_unsigned=True)


async def test_the_commands_in_the_readme_verify_the_signature(world, contact_id):
    if not all(shutil.which(name) for name in ("openssl", "jq")):
        pytest.skip("openssl or jq is absent")
    world.exporter = dataclasses.replace(world.exporter, signer=signer())
    directory = await exported(world, contact_id, Form.VCON)
    told = (directory / "README.txt").read_text()
    steps = told[told.index("  jq -r") : told.index("The last command")]
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-ec", steps], capture_output=True, check=True, cwd=directory
    )
    assert done.stdout.endswith(b"Verified OK\n")
    assert signer().fingerprint.encode() in done.stdout.replace(b":", b"").lower()


# -- who, why, and on record


async def test_the_disclosure_is_on_record_with_who_why_and_to_whom(world, contact_id):
    await exported(world, contact_id)
    (granted,) = await world.entries("grant.created")
    (entry,) = await world.entries("disclosure.made")
    object_id = (await world.recording_of(contact_id)).object_id
    assert entry.actor == HANDLER.id
    assert entry.about[1:] == (granted.about[0], contact_id, object_id)
    digest = hashlib.sha256(str(IDENTITY.recipient).encode()).hexdigest()
    assert dict(entry.data) == {
        "format": "age",
        "purpose": "handle_complaint",
        "recipient_sha256": digest,
    }


class Watching:
    """Blobs that tell what is on record when they are first opened for the export."""

    def __init__(self, world):
        self._world, self._blobs = world, world.blobs
        self.on_record = []

    def open(self, name):
        self.on_record.append(self._world.store.commits)
        return self._blobs.open(name)


async def test_the_disclosure_is_on_record_before_the_first_byte(world, contact_id):
    commits = {}
    original = world.store.commit

    async def commit(change):
        await original(change)
        for write in change:
            if isinstance(write, Append) and b"disclosure.made" in write.entry:
                commits["disclosure"] = world.store.commits

    world.store.commit = commit
    watching = Watching(world)
    exporter = dataclasses.replace(world.exporter, blobs=watching)
    await exporter.export(order(world, contact_id), actor=HANDLER, now=world.now)
    assert watching.on_record
    assert min(watching.on_record) >= commits["disclosure"]


async def test_no_log_nothing_handed_out(world, contact_id):
    original, calls = world.store.commit, []

    async def commit(change):
        calls.append(change)
        if any(isinstance(w, Append) and b"disclosure.made" in w.entry for w in change):
            raise StoreUnavailableError("full")
        await original(change)

    world.store.commit = commit
    with pytest.raises(UnavailableError):
        await exported(world, contact_id)
    assert calls
    assert list((world.directory / "out").iterdir()) == []


@pytest.mark.parametrize("actor", [AGENT, ADMIN, AUDITOR])
async def test_who_may_not_open_may_not_hand_out(world, contact_id, actor):
    with pytest.raises(NotPermittedError):
        await exported(world, contact_id, actor=actor)
    assert not (world.directory / "out").exists()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"reference": None}, InvalidInputError),
        ({"purpose": Purpose.QUALITY_DEVELOPMENT}, InvalidInputError),
        ({"purpose": Purpose.AUTHORITY_REQUEST}, NotPermittedError),
        ({"recipient": None}, InvalidInputError),
        ({"form": Form.VCON}, InvalidInputError),
    ],
)
async def test_an_incomplete_order_is_refused(world, contact_id, change, error):
    asked = dataclasses.replace(order(world, contact_id), **change)
    with pytest.raises(error):
        await world.exporter.export(asked, actor=HANDLER, now=world.now)
    assert not await world.entries("disclosure.made")
    assert not (world.directory / "out" / contact_id).exists()


async def test_the_dpo_hands_out_for_a_request(world, contact_id):
    await exported(
        world, contact_id, actor=DPO, purpose=Purpose.DATA_SUBJECT_REQUEST, reference="P-1"
    )
    assert len(await world.entries("disclosure.made")) == 1


@pytest.mark.parametrize("text", ["", "ct_1", "../../etc", "ct_" + "a" * 26])
async def test_what_does_not_exist_is_not_found(world, text):
    with pytest.raises(NotFoundError):
        await exported(world, text)


async def test_what_was_erased_is_gone(world, contact_id):
    entry = LogEntry(
        type=EntryType.CONTACT_ERASED, at=world.now, actor="x", about=(contact_id,)
    )
    await world.store.commit([Append(encode_entry(entry), entry.about)])
    with pytest.raises(ErasedError):
        await exported(world, contact_id)


async def test_an_erasure_that_somebody_wrote_in_is_no_erasure(world, contact_id):
    erasure = LogEntry(
        type=EntryType.CONTACT_ERASED, at=world.now, actor="us_x", about=(contact_id,)
    )
    await world.store.unmarked.commit([Append(encode_entry(erasure), erasure.about)])
    with pytest.raises(TamperedError):
        await exported(world, contact_id)
    assert await world.entries("integrity.alarm")


async def test_nothing_is_overwritten(world, contact_id):
    await exported(world, contact_id)
    with pytest.raises(InvalidInputError, match="there already"):
        await exported(world, contact_id)


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("position", [0, 100, -1])
async def test_what_is_altered_is_not_handed_out_and_nothing_is_left(
    world, contact_id, form, position
):
    object_id = (await world.recording_of(contact_id)).object_id
    world.blobs.blobs[object_id][position] ^= 1
    with pytest.raises(TamperedError):
        await exported(world, contact_id, form)
    assert list((world.directory / "out").iterdir()) == []
    assert any(e.data["what"] == "export" for e in await world.entries("integrity.alarm"))


async def test_a_recording_replaced_by_a_valid_one_is_not_handed_out(world, contact_id):
    other = await world.recording_of(await world.call(AUDIO[::-1], source_id="call-2"))
    row = await world.recording_of(contact_id)
    header = (await world.keys.get_keys([other.object_id]))[other.object_id]
    await world.keys.put_keys([dataclasses.replace(header, id=row.object_id)])
    world.blobs.blobs[row.object_id][:] = world.blobs.blobs[other.object_id]
    for form in Form:
        with pytest.raises(TamperedError):
            await exported(world, contact_id, form)
    assert list((world.directory / "out").iterdir()) == []


async def test_a_name_from_outside_is_no_path(world):
    contact_id = await world.call(AUDIO)
    row = await world.recording_of(contact_id)
    sealer = await world.vault.get_sealer(contact_id)
    place = {"table": "recordings", "row": row.id, "version": row.version}
    sealed = open_value(sealer, row.sealed, SealedRecording, **place)
    sealed = msgspec.structs.replace(sealed, name="../../evil\n.sh;rm -rf")
    row = dataclasses.replace(row, sealed=seal_value(sealer, sealed, **place))
    await world.store.commit([Put(row)])
    directory = await exported(world, contact_id)
    assert (directory / "recording-1.wav.age").is_file()


# -- pauses of a recording

PAUSE = RecordingPause(
    recording="call.wav",
    started_at=datetime(2026, 11, 21, 12, 1, tzinfo=UTC),
    ended_at=datetime(2026, 11, 21, 12, 2, tzinfo=UTC),
    reason="korttimaksu 4111111111111111",
    who="agent-7",
)
SHOWN_PAUSE = {
    "recording": "call.wav",
    "start": "2026-11-21T12:01:00Z",
    "end": "2026-11-21T12:02:00Z",
    "reason": "korttimaksu 4111111111111111",
    "who": "agent-7",
}


async def test_pauses_are_handed_out_with_their_recording(world):
    contact_id = await world.call(AUDIO, recording_pauses=(PAUSE,))
    vcon = await vcon_of(world, contact_id)
    (attachment,) = vcon["attachments"]
    assert (attachment["purpose"], attachment["dialog"]) == ("recording_pause", 0)
    assert attachment["body"] == SHOWN_PAUSE
    shutil.rmtree(world.directory / "out")
    directory = await exported(world, contact_id)
    details = json.loads(opened_with_pyrage(directory / "contact.json.age"))
    assert details["recording_pauses"] == [SHOWN_PAUSE]


async def test_pauses_of_a_recording_that_is_not_there_are_handed_out_in_the_details(world):
    contact_id = await world.call(None, recording="expected", recording_pauses=(PAUSE,))
    assert "attachments" not in await vcon_of(world, contact_id)
    shutil.rmtree(world.directory / "out")
    directory = await exported(world, contact_id)
    details = json.loads(opened_with_pyrage(directory / "contact.json.age"))
    assert details["recording_pauses"] == [SHOWN_PAUSE]
