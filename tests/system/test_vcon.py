"""The whole program: a signed vCon goes in over HTTP, and one that the archive signs is handed out by command."""

import asyncio
import base64
import json
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime

import aiohttp

from tests.crypto.test_jws import verify_with_openssl
from tests.intake.conftest import SECRET
from tests.system.programs import run, started, until
from tests.vcons import call, certificate, key_pem, pem_of, rsa_key, signed, signer

CONFIG = """
[web]
listen = "127.0.0.1:0"

[notice]
covers = ["call inbound"]

[disclosure]
certificate = "our.pem"
certificate_key = "our.key"

[[sources]]
name = "platform"
kind = "vcon"
secret_file = "vcon.secret"
vcon_certificates = "trusted.pem"
vcon_signed = true
carries = ["call inbound"]
"""


def contacts(folder):
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(folder / "data" / "taltio.db")) as database,
    ):
        return [one for (one,) in database.execute("SELECT id FROM contacts")]
    return []


async def test_signed_in_and_signed_out(tmp_path):
    own = certificate(rsa_key(), "Example Signer", now=datetime.now(UTC))
    for name, data in {
        "config.toml": CONFIG.encode(),
        "vcon.secret": SECRET.encode(),
        "trusted.pem": pem_of(own),
        "our.pem": pem_of(own),
        "our.key": key_pem(rsa_key()),
    }.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o400)
    maker = type(signer())(rsa_key(), (own,))
    body = signed(json.dumps(call()).encode(), maker)
    async with started(tmp_path, "serve", until="first-password/") as service:
        headers = {"x-conserver-api-token": SECRET, "Content-Type": "application/vcon"}
        async with aiohttp.ClientSession(service.address, headers=headers) as client:
            async with client.post("/intake/platform", data=body) as answer:
                assert (answer.status, await answer.json()) == (200, {"kept": True})
            async with client.post("/intake/platform", data=body) as answer:
                assert (await answer.json())["duplicate"] is True
        await until(lambda: len(contacts(tmp_path)) == 1)
        assert await service.interrupt() == 0
        assert SECRET not in "".join(service.said)
    await run(tmp_path, "users", "add", "aino", "--role", "complaint_handler")
    (contact,) = contacts(tmp_path)
    out = tmp_path / "out"
    asked = ("contacts", "export", contact, "--format", "vcon", "--out", str(out))
    await run(tmp_path, *asked, "--actor", "aino", "--purpose", "verify_contact")
    jws = json.loads((out / contact / "contact.vcon").read_text())
    verified = await asyncio.to_thread(verify_with_openssl, tmp_path, jws, "RS256")
    assert verified == b"Verified OK\n"
    payload = jws["payload"]
    vcon = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert vcon["dialog"][0]["body"] == call()["dialog"][0]["body"]
    assert [one.get("tel") for one in vcon["parties"]] == [
        "tel:+358401234567",
        "tel:+358201234567",
    ]
