"""Postfix, where that is installed, set up as docs/sources/mail.md says: each of its copies is archived, once."""

import asyncio
import os
import shutil
import smtplib
import socket
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from service.archive.payload import get_file_key, open_blob, open_payload
from storage.errors import UnavailableError
from storage.rows import DeliveryRow, ObjectRow
from tests.archive.mails import letter
from tests.archive.test_receive import Faulty
from tests.imap import until
from tests.intake.test_mail_server import posting

MASTER = shutil.which("/usr/lib/postfix/sbin/master")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(MASTER is None, reason="Postfix is absent (Debian: postfix)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="Postfix is started by root alone"),
]

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = "arkisto@archive.invalid"
DAEMONS = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
SETTINGS = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.com
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtputf8_enable = yes
default_transport = discard
relay_transport = discard
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
"""
QUEUES = "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace"


def documented(name):
    """Return the lines that the page says belong into a file of Postfix."""
    page = (ROOT / "docs/sources/mail.md").read_text()
    block = page.split("```\n# /etc/postfix/main.cf\n", 1)[1].split("\n```", 1)[0]
    parts = f"# /etc/postfix/main.cf\n{block}".split("# /etc/postfix/")[1:]
    (found,) = (part.partition("\n")[2] for part in parts if part.startswith(name))
    return found


class Postfix:
    def __init__(self, folder, port):
        self.folder, self.port = folder, port

    def send(self, *mails):
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            for mail in mails:
                client.sendmail("maija@example.fi", ["apu@example.com"], mail)

    @property
    def deferred(self):
        return [path for path in (self.folder / "queue/deferred").rglob("*") if path.is_file()]

    @property
    def log(self):
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""


@asynccontextmanager
async def delivering_to(archive_port, folder):
    for name in ("data", "queue", *(f"queue/{one}" for one in QUEUES.split())):
        (folder / name).mkdir()
        if name not in {"queue", "queue/pid"}:
            shutil.chown(folder / name, "postfix", "root")
    shutil.chown(folder / "queue/public", "postfix", "postdrop")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    # Not compiled, so that no other program is needed.
    main = documented("main.cf").replace("hash:/etc/postfix", f"texthash:{folder}")
    (folder / "main.cf").write_text(SETTINGS.format(folder=folder) + main)
    (folder / "transport").write_text(
        documented("transport").replace("8024", str(archive_port))
    )
    (folder / "master.cf").write_text(
        DAEMONS.format(port=port) + documented("master.cf") + "\n"
    )
    process = await asyncio.create_subprocess_exec(MASTER, "-c", str(folder), "-d")
    postfix = Postfix(folder, port)

    def answers():
        assert process.returncode is None, postfix.log
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        await until(answers)
        yield postfix
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
async def post(archive):
    async with posting(archive, recipients=frozenset({ARCHIVE})) as post:
        yield post


@pytest.fixture
async def postfix(post, open_folder):
    async with delivering_to(post.port, open_folder) as postfix:
        yield postfix


async def deliveries(post):
    return await post.archive.stores.store.find(DeliveryRow, {"kind": "mail"})


async def raw_mail(post):
    """Return the only mail as it came."""
    archive = post.archive
    (row,) = await archive.stores.store.find(ObjectRow, {"kind": "mail"})
    async with AsyncExitStack() as stack:
        reader = await open_blob(stack, archive.stores.blobs, row.id)
        file_key = await get_file_key(archive.vault, row.id)
        payload = await open_payload(reader, row, file_key=file_key)
        return bytes(await payload.read(0, payload.size_bytes))


async def test_a_mail_that_was_not_taken_at_first_comes_again_and_is_one(post, postfix):
    sound = post.archive.intake
    failing = Faulty(sound.store, "commit", UnavailableError("away"), is_late=True)
    post.door.intake = replace(sound, store=failing)
    mail = letter(subject="Päivää").replace(b"Hei!", b"P\xe4iv\xe4\xe4\r\n.\r\n..")
    await asyncio.to_thread(postfix.send, mail)
    await until(lambda: post.door.outcomes["not_kept"])
    post.door.intake = sound
    await until(lambda: post.door.outcomes["duplicate"] or post.door.outcomes["kept"])
    await until(lambda: not postfix.deferred)
    assert len(await deliveries(post)) == 1
    assert (await raw_mail(post)).endswith(mail)
    (envelope,) = await post.kept()
    assert (envelope.mail_from, envelope.recipients) == ("maija@example.fi", (ARCHIVE,))


async def test_what_the_archive_refuses_waits_in_the_queue_and_no_customer_is_told(
    post, postfix
):
    post.door.rules = replace(post.door.rules, recipients=frozenset({"@elsewhere.invalid"}))
    await asyncio.to_thread(postfix.send, letter())
    await until(lambda: "SOFTBOUNCE" in postfix.log)
    await until(lambda: postfix.deferred)
    assert "from=<>" not in postfix.log
    assert await deliveries(post) == []


async def test_many_mails_over_few_connections_are_each_kept(post, postfix):
    mails = [letter(n=n, subject=f"Asia {n}") for n in range(30)]
    await asyncio.to_thread(postfix.send, *mails)
    await until(lambda: post.door.outcomes["kept"] == 30)
    assert len(await deliveries(post)) == 30
