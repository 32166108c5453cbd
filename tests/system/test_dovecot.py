"""A mailbox of Dovecot, where that is installed: real bytes, real numbers, real news."""

import asyncio
import hashlib
import imaplib
import os
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager, suppress

import pytest

from service.archive.gaps import Gaps
from service.sources.mail_envelope import decode_mail
from service.worker.imap.mailbox import Mailbox, MailboxRules
from storage.rows import DeliveryRow, GapRow
from tests.archive.mails import letter
from tests.certificates import CertificateAuthority
from tests.conftest import NOW
from tests.imap import PASSWORD, until
from tests.worker.test_imap_mailbox import Never

DOVECOT = shutil.which("dovecot") or shutil.which("/usr/sbin/dovecot")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(DOVECOT is None, reason="Dovecot is absent (Debian: dovecot-imapd)"),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="Dovecot gives its privileges up, and has none"
    ),
]

FOLDER = "Arkisto & Lähetetyt"
ENCODED = '"Arkisto &- L&AOQ-hetetyt"'
LATIN = letter(subject="x").replace(b"Lasku", b"\xe4") + b"P\xe4iv\xe4\xe4!\r\n\r\n.\r\n"
SETTINGS = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
first_valid_uid = 1
ssl = required
ssl_cert = <{folder}/ca/server.pem
ssl_key = <{folder}/ca/server.pem
mail_location = maildir:{folder}/mail
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail
}}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Box:
    """A mailbox, another client of it, and what reads it."""

    def __init__(self, archive, authority, port):
        self.archive, self.authority, self.port = archive, authority, port
        self.offered = []

    def client(self):
        client = imaplib.IMAP4_SSL(
            "localhost", self.port, ssl_context=self.authority.trusting()
        )
        client.login("arkisto", PASSWORD.replace("ä", "a"))
        return client

    def put(self, *mails):
        with self.client() as client:
            for mail in mails:
                assert (
                    client.append(ENCODED, None, '"22-Nov-2026 11:54:07 +0200"', mail)[0]
                    == "OK"
                )

    def change(self, do):
        with self.client() as client:
            do(client)

    def mailbox(self, times=1):
        rules = MailboxRules(
            source="pbx",
            host="localhost",
            port=self.port,
            user="arkisto",
            password=PASSWORD.replace("ä", "a"),
            mailbox=FOLDER,
            since=None,
            max_bytes=10_000_000,
            tls=self.authority.trusting(),
        )
        return Mailbox(
            rules=rules,
            intake=self.archive.intake,
            gaps=Gaps(self.archive.stores.store),
            clock=lambda: NOW,
            offer=self.offered.append,
            turn=Never(times=times),
            news_seconds=0.1 if times == 1 else 20,
        )

    async def read(self):
        reading = self.mailbox()
        await asyncio.wait_for(reading.read(), 30)
        return reading.outcomes

    async def kept(self):
        rows = await self.archive.stores.store.find(DeliveryRow, {"kind": "mail"})
        opened = await self.archive.understanding.opener.open(rows)
        return {decode_mail(opened[row.id].body).sha256 for row in rows}


@asynccontextmanager
async def running(folder, authority):
    authority.serving("localhost")
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", "nobody", "nogroup")
    password = PASSWORD.replace("ä", "a")
    (folder / "users").write_text(f"arkisto:{{PLAIN}}{password}\n")
    port = free_port()
    (folder / "dovecot.conf").write_text(SETTINGS.format(folder=folder, port=port))
    process = await asyncio.create_subprocess_exec(
        DOVECOT, "-F", "-c", str(folder / "dovecot.conf"), stderr=subprocess.PIPE
    )

    def answers():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        assert process.returncode is None
        return False

    try:
        await until(answers)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
async def box(archive, open_folder):
    authority = CertificateAuthority(open_folder / "ca")
    async with running(open_folder, authority) as port:
        box = Box(archive, authority, port)
        await asyncio.to_thread(box.change, lambda client: client.create(ENCODED))
        yield box


def sha256(*mails):
    return {hashlib.sha256(mail).hexdigest() for mail in mails}


async def test_a_mailbox_of_dovecot_is_read_byte_for_byte_and_left_as_it_is(box):
    large = letter(n=9) + b"0123456789abcde\r\n" * 100_000
    await asyncio.to_thread(box.put, letter(), LATIN, large)
    assert await box.read() == {"kept": 3}
    assert await box.kept() == sha256(letter(), LATIN, large)
    seen = []

    def look(client):
        client.select(ENCODED)
        seen.append(client.search(None, "SEEN")[1])

    await asyncio.to_thread(box.change, look)
    assert seen == [[b""]]


async def test_news_of_dovecot_are_heard_at_once(box):
    task = asyncio.create_task(box.mailbox(times=100).read())
    await asyncio.sleep(0.5)
    await asyncio.to_thread(box.put, LATIN)
    await until(lambda: box.offered)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert await box.kept() == sha256(LATIN)


async def test_what_is_removed_from_dovecot_unread_is_told_and_what_it_numbers_anew_is_known(
    box,
):
    await asyncio.to_thread(box.put, letter(n=1))
    assert await box.read() == {"kept": 1}
    await asyncio.to_thread(box.put, letter(n=2), letter(n=3))

    def remove(client):
        client.select(ENCODED)
        client.store("2", "+FLAGS", "\\Deleted")
        client.expunge()

    await asyncio.to_thread(box.change, remove)
    assert await box.read() == {"kept": 1, "mail_removed": 1}
    assert [row.cause for row in await box.archive.stores.store.find(GapRow, {})] == [
        "mail_removed"
    ]

    def make_anew(client):
        client.delete(ENCODED)
        client.create(ENCODED)

    # What numbers them is a time in seconds.
    await asyncio.sleep(1.1)
    await asyncio.to_thread(box.change, make_anew)
    await asyncio.to_thread(box.put, letter(n=1), letter(n=3), letter(n=4))
    assert await box.read() == {"duplicate": 2, "kept": 1}
