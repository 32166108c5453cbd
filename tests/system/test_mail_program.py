"""Mail by the program as it is started: by LMTP and from a mailbox, and one contact of both."""

import asyncio
import re
import smtplib

import aiohttp

from tests.archive.mails import letter
from tests.certificates import CertificateAuthority
from tests.imap import PASSWORD, USER, Imap, serving
from tests.system.programs import run, started

QUESTION, REPLY = letter(n=1), letter(n=2, References="<m1@example.fi>", subject="Vs: Lasku")


def settings(imap):
    return f"""
[web]
listen = "127.0.0.1:0"
[journal]
level = "info"
[[sources]]
name = "post"
kind = "mail"
mail_listen = "127.0.0.1:0"
mail_checks = false
imap_server = "localhost:{imap.port}"
imap_user = "{USER}"
imap_password_file = "imap.password"
imap_certificate_authority = "tls/ca.pem"
"""


def deliver(port, mail):
    with smtplib.LMTP("127.0.0.1", port) as client:
        assert client.sendmail("maija@example.fi", ["arkisto@example.com"], mail) == {}


async def found_with(client, token, messages):
    """Return the only contact as soon as it has so many messages."""
    headers = {"Authorization": f"Bearer {token}"}
    async with asyncio.timeout(60):
        while True:
            async with client.get("/api/v1/contacts?channel=email", headers=headers) as answer:
                listed = (await answer.json())["contacts"]
            if listed:
                async with client.get(
                    f"/api/v1/contacts/{listed[0]['id']}", headers=headers
                ) as answer:
                    found = await answer.json()
                if len(found["messages"]) == messages:
                    assert len(listed) == 1
                    return found
            await asyncio.sleep(0.05)


async def test_mail_by_lmtp_and_from_a_mailbox_becomes_one_contact(tmp_path):
    authority = CertificateAuthority(tmp_path / "tls")
    async with serving(Imap(), authority.serving("localhost")) as imap:
        (tmp_path / "config.toml").write_text(settings(imap))
        (tmp_path / "imap.password").write_text(f"{PASSWORD}\n")
        (tmp_path / "imap.password").chmod(0o400)
        async with started(tmp_path, "serve") as service:
            create = ("tokens", "create", "--name", "t", "--role")
            token = await run(tmp_path, *create, "complaint_handler")
            admin = (await run(tmp_path, *create, "admin")).strip()
            said = "".join(service.said)
            listening = re.search(r"mail.listening .*127\.0\.0\.1:([0-9]+)", said)
            async with aiohttp.ClientSession(service.address) as client:
                await asyncio.to_thread(deliver, int(listening[1]), QUESTION)
                # The same once more by another way, and what follows it.
                imap.bring(b"Received: from mx.example.fi\r\n" + QUESTION, REPLY)
                found = await found_with(client, token.strip(), 2)
                headers = {"Authorization": f"Bearer {admin}"}
                async with client.get("/metrics", headers=headers) as answer:
                    metrics = await answer.text()
            assert await service.interrupt() == 0
        assert found["subject"] == "Lasku"
        assert 'taltio_mailbox_mails_total{outcome="kept"} 2' in metrics
        assert 'taltio_mailbox_trouble_seconds{place="mailbox post 1"} 0' in metrics
        said = "".join(service.said)
        assert not any(one in said for one in (USER, PASSWORD, "INBOX", "maija"))
        written = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        secrets = (b"maija@example.fi", USER.encode(), PASSWORD.encode(), b"INBOX")
        assert not [
            path for path in written if any(one in path.read_bytes() for one in secrets)
        ]
        assert "nothing is altered or missing" in await run(tmp_path, "verify")
