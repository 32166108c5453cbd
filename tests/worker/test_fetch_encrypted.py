"""Recordings that their source encrypted are opened as they are fetched, or not kept at all."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from service.archive.receive import keep_delivery
from service.config import parse_config
from service.domain.errors import InvalidInputError
from service.fetching import fetching_of
from service.sources.kinds import KINDS
from service.sources.requests import received_request
from storage.rows import ContactRow, DeliveryRow, RecordingRow
from tests.answering import answering, ok
from tests.crypto.test_content_key import IV, PLAIN, PRIVATE, sealed, wrapped
from tests.sources.test_twilio import CALL, RECORDED, RECORDING, STATUS
from tests.worker.test_fetch_job import Desk

SOUND = b"RIFF" + PLAIN


class Cloud(Desk):
    """The same whose source is Twilio."""

    def __init__(self, archive, *origins, **more):
        super().__init__(archive, *origins, **more)
        adapters = {"pbx": KINDS["twilio"].adapters}
        understanding = replace(archive.understanding, adapters=adapters)
        self.understanding = understanding
        self.fetching = replace(self.fetching, understanding=understanding)
        self.runner = replace(self.runner, kinds=self.fetching.kinds)

    async def tell(self, told):
        request = received_request("POST", "/intake/pbx", [], urlencode(told).encode())
        kept = await keep_delivery(
            self.archive.intake,
            source="pbx",
            kind="request",
            ident=json.dumps(told),
            body=request.encode(),
            now=self.clock.now,
        )
        await self.understanding.understand([(kept.row, kept.delivery)], now=self.clock.now)


def recorded(server, *, key_id="CR01"):
    details = {
        "public_key_sid": key_id,
        "encrypted_cek": base64.b64encode(wrapped()).decode(),
        "iv": base64.b64encode(IV).decode(),
    }
    return {
        **RECORDED,
        "RecordingUrl": server.url("/2010-04-01/Recordings/RE"),
        "EncryptionDetails": json.dumps(details),
    }


@pytest.mark.parametrize("is_recording_first", [True, False])
async def test_a_call_and_its_encrypted_recording_become_one_contact(
    archive, is_recording_first
):
    async with answering(ok(sealed(SOUND))) as server:
        cloud = Cloud(archive, server.origin, content_keys={"CR01": PRIVATE})
        told = [STATUS, recorded(server)]
        for one in reversed(told) if is_recording_first else told:
            await cloud.tell(one)
        assert await cloud.work() == 1
    assert server.asked[0].target.endswith("RE?RequestedChannels=2")
    row, known = await cloud.recording()
    assert (row.state, known.name, known.content_type) == (
        "present",
        f"{RECORDING}.wav",
        "audio/wav",
    )
    (contact,) = await cloud.rows(ContactRow)
    assert contact.source_token == archive.understanding.interpreter.token_of("pbx", CALL)
    assert {one.state for one in await cloud.rows(DeliveryRow)} == {"understood"}
    assert await cloud.reasons() == []


@pytest.mark.parametrize(
    ("content", "keys", "fault"),
    [
        (sealed(SOUND), {}, "fetch_no_key"),
        (sealed(SOUND), {"CR02": PRIVATE}, "fetch_no_key"),
        (sealed(SOUND)[:-1] + b"\0", {"CR01": PRIVATE}, "fetch_other_bytes"),
        (SOUND, {"CR01": PRIVATE}, "fetch_other_bytes"),
    ],
    ids=["no key", "another key", "another tag", "not encrypted"],
)
async def test_what_cannot_be_opened_is_not_kept_and_is_said(archive, content, keys, fault):
    async with answering(ok(content)) as server:
        cloud = Cloud(archive, server.origin, content_keys=keys)
        await cloud.tell(STATUS)
        await cloud.tell(recorded(server))
        await cloud.work_until_dead()
    (row,) = await cloud.rows(RecordingRow)
    assert (row.state, row.object_id) == ("lost", None)
    assert fault in "".join(await cloud.reasons())


CONFIG = """
[web]
public_url = "https://arkisto.example.fi"
[[sources]]
name = "cloud"
kind = "twilio"
secret_file = "token"
fetch_origins = ["https://api.twilio.com"]
fetch_content_keys = "keys-of-ours"
"""


@pytest.mark.parametrize(
    ("name", "pem", "mode", "words"),
    [
        ("CR01.txt", "right", 0o400, "has no ID.pem"),
        ("CR01.pem", "wrong", 0o400, "no RSA key"),
        ("CR01.pem", "right", 0o444, "chmod 0400"),
        ("CR01.pem", "right", 0o400, None),
    ],
)
def test_keys_that_cannot_be_used_are_said_at_the_start(
    archive, tmp_path, name, pem, mode, words
):
    directory = tmp_path / "keys-of-ours"
    directory.mkdir()
    right = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / name).write_bytes(right if pem == "right" else b"hush-hush")
    (directory / name).chmod(mode)
    other = replace(archive, config=parse_config(CONFIG, base=tmp_path))
    if words is None:
        (fetcher,) = fetching_of(other).fetchers.values()
        assert fetcher.rules.content_keys.keys() == {"CR01"}
        assert fetcher.rules.longest == timedelta(hours=1)
        return
    with pytest.raises(InvalidInputError, match=words) as refused:
        fetching_of(other)
    assert "hush" not in refused.value.detail
