"""Mail by LMTP and SMTP, on raw sockets: what is acknowledged is durable, byte for byte; the rest is told why."""

import asyncio
import hashlib
import re
import smtplib
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.http.limits import Room
from service.intake.mail_server import (
    MAX_RECIPIENTS,
    MailDoor,
    MailRules,
    _Lines,
    listening_for_mail,
)
from service.sources.mail_envelope import decode_mail
from storage.errors import FullError, UnavailableError
from storage.rows import DeliveryRow, ObjectRow
from tests.archive.test_receive import Faulty
from tests.certificates import CertificateAuthority

LOOPBACK = (ip_network("127.0.0.0/8"),)
MAIL = (
    b"From: maija@example.com\r\nTo: asiakaspalvelu@example.fi\r\nSubject: Lasku\r\n\r\nHei\r\n"
)
SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "postfix-lmtp"
ARCHIVE = "arkisto@example.fi"


class Post:
    """A listener over a real archive, and clients of it."""

    def __init__(self, archive, **rules):
        self.archive, self.offered = archive, []
        self.door = MailDoor(
            rules=MailRules(**{"source": "post", "is_lmtp": True, "peers": LOOPBACK, **rules}),
            intake=archive.intake,
            offer=self.offered.append,
            room=Room(8),
            clock=lambda: datetime.now(UTC),
        )
        self.host = self.port = None

    async def talk(self, *sent):
        """Send each when the last was answered; return the answers."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        answers = [await _answer(reader)]
        for one in sent:
            writer.write(one if isinstance(one, bytes) else one.encode() + b"\r\n")
            await writer.drain()
            answers.append(await _answer(reader))
        writer.close()
        return answers

    async def deliver(self, message=MAIL, *, sender="maija@example.com", to=(ARCHIVE,)):
        """Deliver by LMTP; return the answer for each recipient."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        await _answer(reader)
        commands = ["LHLO mx.example.fi", f"MAIL FROM:<{sender}>"]
        commands += [f"RCPT TO:<{one}>" for one in to]
        answers = []
        for one in commands:
            writer.write(one.encode() + b"\r\n")
            answers.append(await _answer(reader))
        taken = [a for a in answers[2:] if a.startswith("250")]
        if not taken:
            writer.close()
            return answers[2:]
        writer.write(b"DATA\r\n")
        await _answer(reader)
        writer.write(stuffed(message) + b".\r\n")
        answers = [await _answer(reader) for _ in taken]
        writer.close()
        return answers

    async def kept(self):
        """Return what is kept: the envelopes and the raw messages."""
        rows = await self.archive.stores.store.find(DeliveryRow, {"kind": "mail"})
        opened = await self.archive.understanding.opener.open(rows)
        return [decode_mail(opened[row.id].body) for row in rows]


async def _answer(reader):
    lines = []
    while True:
        line = (await asyncio.wait_for(reader.readline(), 10)).decode()
        lines.append(line)
        if not line or line[3:4] != "-":
            return "".join(lines).strip()


def stuffed(message):
    return re.sub(rb"(^|\r\n)\.", rb"\1..", message)


@asynccontextmanager
async def posting(archive, **rules):
    post = Post(archive, **rules)
    async with listening_for_mail(post.door, "127.0.0.1", 0, shutdown_seconds=2) as place:
        post.host, post.port = place
        yield post


@pytest.fixture
async def post(archive):
    async with posting(archive) as post:
        yield post


async def raw(post):
    """Return the raw bytes of the only mail, as they come out of the archive."""
    (row,) = await post.archive.stores.store.find(ObjectRow, {"kind": "mail"})
    (key,) = (await post.archive.stores.keys.get_keys([row.id])).values()
    epoch = int(key.wrapped_by.removeprefix("epoch:"))
    file_key = post.archive.vault.ring.open_header(epoch, key.wrapped)
    from service.archive.examine import examine  # noqa: PLC0415  # here alone

    seen = await examine(
        row, blobs=post.archive.stores.blobs, file_key=file_key, wants_plain_hash=True
    )
    return seen.plain_sha256


# -- what is taken


async def test_a_mail_is_kept_byte_for_byte_with_its_envelope(post):
    assert await post.deliver() == ["250 2.0.0 Kept"]
    (mail,) = await post.kept()
    assert (mail.mail_from, mail.recipients) == ("maija@example.com", (ARCHIVE,))
    assert (mail.peer, mail.helo, mail.protocol) == ("127.0.0.1", "mx.example.fi", "lmtp")
    assert (mail.is_tls, mail.size_bytes) == (False, len(MAIL))
    assert mail.sha256 == hashlib.sha256(MAIL).hexdigest() == await raw(post)
    assert [kept.is_duplicate for kept in post.offered] == [False]


@pytest.mark.parametrize(
    "message",
    [
        b"\r\n",
        b".\r\n..\r\n.x\r\n",
        b"lone\nline feed\n.\nand\rreturn\r.\r\r\n",
        "Subject: Sähkö\r\n\r\nå\r\n".encode("iso-8859-1"),
        b"\x00\xff" * 500 + b"\r\n",
        b"x" * 300_000 + b"\r\n",
        b"x" * 65_535 + b"\r\n" + b"y" * 65_536 + b"\r\n" + b"z" * 65_537 + b"\r\n.dot\r\n",
        b"line\r\n" * 50_000,
    ],
    ids=[
        "empty",
        "dots",
        "bare line ends",
        "8 bits",
        "any bytes",
        "one line",
        "edges",
        "large",
    ],
)
async def test_any_bytes_come_in_as_they_are(post, message):
    assert await post.deliver(message) == ["250 2.0.0 Kept"]
    assert await raw(post) == hashlib.sha256(message).hexdigest()


async def test_a_bounce_has_no_sender(post):
    assert await post.deliver(sender="") == ["250 2.0.0 Kept"]
    assert [mail.mail_from for mail in await post.kept()] == [""]


async def test_each_recipient_has_an_answer_by_lmtp(post):
    assert await post.deliver(to=("a@example.fi", "b@example.fi")) == ["250 2.0.0 Kept"] * 2
    (mail,) = await post.kept()
    assert mail.recipients == ("a@example.fi", "b@example.fi")


async def test_the_same_bytes_again_are_kept_once(post):
    for _ in range(3):
        assert await post.deliver() == ["250 2.0.0 Kept"]
    assert len(await post.kept()) == 1
    assert len(await post.archive.stores.store.find(ObjectRow, {})) == 1
    assert post.door.outcomes == {"kept": 1, "duplicate": 2}


async def test_an_address_of_any_characters_is_kept_as_text(post):
    assert await post.deliver(sender="mäija@exämple.com") == ["250 2.0.0 Kept"]
    (mail,) = await post.kept()
    assert mail.mail_from == "mäija@exämple.com"


async def test_by_smtp_a_client_of_the_standard_library_is_understood(archive):
    async with posting(archive, is_lmtp=False) as post:

        def send():
            with smtplib.SMTP(post.host, post.port) as client:
                return client.sendmail("a@example.com", [ARCHIVE, "b@example.fi"], MAIL)

        assert await asyncio.to_thread(send) == {}
        (mail,) = await post.kept()
        assert (mail.protocol, len(mail.recipients)) == ("smtp", 2)


@pytest.mark.skipif(
    not SAMPLES.exists(), reason="the captured mails beside the checkout are absent"
)
async def test_what_postfix_sent_comes_in_as_it_was_captured(post):
    mails = sorted(SAMPLES.glob("*.eml"))
    for file in mails:
        message = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        assert await post.deliver(message) == ["250 2.0.0 Kept"]
    assert len(await post.kept()) == len({file.read_bytes() for file in mails})


# -- what is not


async def test_who_may_not_deliver_is_turned_away_before_a_word(archive):
    async with posting(archive, peers=(ip_network("192.0.2.0/24"),)) as post:
        (refusal,) = await post.talk()
    assert refusal.startswith("554 5.7.1")
    assert post.door.outcomes["refused_peer"] == 1


@pytest.mark.parametrize(
    ("to", "taken"),
    [
        ("arkisto@example.fi", True),
        ("ARKISTO@EXAMPLE.FI", True),
        ("x@example.org", True),
        ("x@sub.example.org", False),
        ("muu@example.fi", False),
        ("example.fi", False),
    ],
)
async def test_only_addresses_of_ours_are_taken(archive, to, taken):
    known = frozenset({"arkisto@example.fi", "@example.org"})
    async with posting(archive, recipients=known) as post:
        (answer,) = await post.deliver(to=(to,))
    assert answer.startswith("250 2.0.0" if taken else "55")


async def test_a_message_that_is_too_large_is_refused_for_good_and_the_next_is_taken(archive):
    async with posting(archive, max_bytes=100_000) as post:
        for message in (b"x" * 99 + b"\r\n") * 2_000, b"x" * 200_000 + b"\r\n":
            assert await post.deliver(message) == [
                "552 5.3.4 The message is larger than is taken"
            ]
        assert await post.deliver() == ["250 2.0.0 Kept"]
        announced = await post.talk("LHLO x", "MAIL FROM:<a@example.com> SIZE=100001")
        assert announced[2].startswith("552")
    assert len(await post.kept()) == 1


@pytest.mark.parametrize(
    ("error", "answer"), [(UnavailableError("x"), "451 4.3.0"), (FullError("x"), "452 4.3.1")]
)
async def test_what_cannot_be_made_durable_is_to_come_again_and_comes(archive, error, answer):
    async with posting(archive) as post:
        intake = post.door.intake
        post.door.intake = replace(intake, store=Faulty(intake.store, "commit", error))
        (refused,) = await post.deliver(MAIL * 3_000)
        assert refused.startswith(answer)
        assert await post.archive.stores.store.find(ObjectRow, {}) == []
        post.door.intake = intake
        assert await post.deliver(MAIL * 3_000) == ["250 2.0.0 Kept"]


async def test_when_too_many_come_at_once_one_is_to_come_again(archive):
    async with posting(archive, connections=1) as post:
        reader, writer = await asyncio.open_connection(post.host, post.port)
        await _answer(reader)
        (busy,) = await post.talk()
        assert busy.startswith("421 4.3.2")
        writer.close()
    post.door.room = Room(0)
    async with listening_for_mail(post.door, "127.0.0.1", 0, shutdown_seconds=1) as place:
        post.host, post.port = place
        (again,) = await post.deliver()
        assert again.startswith("451")


async def test_what_breaks_off_is_not_kept(post):
    begun = ("LHLO x", "MAIL FROM:<a@example.com>", f"RCPT TO:<{ARCHIVE}>", "DATA")
    reader, writer = await asyncio.open_connection(post.host, post.port)
    await _answer(reader)
    for one in begun:
        writer.write(one.encode() + b"\r\n")
        await _answer(reader)
    writer.write(MAIL * 2_000)
    await writer.drain()
    writer.close()
    for _ in range(100):
        if not post.door.open:
            break
        await asyncio.sleep(0.02)
    assert not post.door.open
    assert await post.kept() == []
    assert await post.archive.stores.store.find(ObjectRow, {}) == []


async def test_no_line_end_but_crlf_ends_a_message(post):
    """What another server takes for the end of a message could hide a second one in the first (SMTP smuggling)."""
    hidden = b"a\n.\nMAIL FROM:<x@example.com>\r\n\n.\r\nb\r.\r\nc\r\n"
    assert await post.deliver(hidden) == ["250 2.0.0 Kept"]
    assert await raw(post) == hashlib.sha256(hidden).hexdigest()


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (["DATA"], "503"),
        (["LHLO x", "DATA"], "503"),
        (["LHLO x", "MAIL FROM:<a@example.com>", "DATA"], "503"),
        (["LHLO x", "RCPT TO:<a@example.fi>"], "503"),
        (["LHLO x", "MAIL FROM"], "501"),
        (["LHLO x", "MAIL FROM:a@example.com BODY=BINARYMIME"], "501"),
        (["EHLO x"], "500"),
        (["LHLO x", "AUTH PLAIN AGEAYg=="], "5"),
        (["LHLO x", "STARTTLS"], "454"),
        (["LHLO x", "NONSENSE"], "500"),
        (["x" * 100_000], "500"),
        (["\x00\xff"], "500"),
    ],
)
async def test_what_is_out_of_turn_is_refused(post, commands, code):
    assert (await post.talk(*commands))[-1].startswith(code)
    assert await post.kept() == []


async def test_recipients_have_a_limit(archive):
    async with posting(archive) as post:
        to = [f"a{n}@example.fi" for n in range(MAX_RECIPIENTS + 1)]
        answers = await post.deliver(to=to)
        assert len(answers) == MAX_RECIPIENTS
        (mail,) = await post.kept()
        assert len(mail.recipients) == MAX_RECIPIENTS


async def test_with_a_certificate_nothing_is_said_in_the_clear(archive, tmp_path):
    authority = CertificateAuthority(tmp_path / "ca")
    tls = authority.serving("localhost")
    async with posting(archive, is_lmtp=False, tls=tls, needs_tls=True) as post:

        def send():
            with smtplib.SMTP("localhost", post.port) as client:
                with pytest.raises(smtplib.SMTPSenderRefused):
                    client.sendmail("a@example.com", [ARCHIVE], MAIL)
                client.starttls(context=authority.trusting())
                return client.sendmail("a@example.com", [ARCHIVE], MAIL)

        assert await asyncio.to_thread(send) == {}
        (mail,) = await post.kept()
        assert mail.is_tls


async def test_stopping_lets_a_message_come_in_and_ends_idle_connections(archive):
    post = Post(archive)
    listening = listening_for_mail(post.door, "127.0.0.1", 0, shutdown_seconds=5)
    post.host, post.port = await listening.__aenter__()
    idle, idle_writer = await asyncio.open_connection(post.host, post.port)
    await _answer(idle)
    reader, writer = await asyncio.open_connection(post.host, post.port)
    await _answer(reader)
    for one in ("LHLO x", "MAIL FROM:<a@example.com>", f"RCPT TO:<{ARCHIVE}>", "DATA"):
        writer.write(one.encode() + b"\r\n")
        await _answer(reader)
    stopping = asyncio.create_task(listening.__aexit__(None, None, None))
    assert await idle.read() == b""
    idle_writer.close()
    writer.write(MAIL + b".\r\n")
    assert await _answer(reader) == "250 2.0.0 Kept"
    writer.close()
    await stopping
    assert len(await post.kept()) == 1


async def test_nothing_that_is_sent_is_written_to_the_journal(post, caplog):
    caplog.set_level("DEBUG")
    await post.deliver()
    await post.talk("LHLO x", "MAIL FROM:<maija@example.com>", "RCPT TO:<")
    written = "".join(
        f"{r.getMessage()} {r.__dict__}" for r in caplog.records if r.name != "asyncio"
    )
    assert "maija" not in written


@pytest.mark.parametrize("size", [1, 2, 3, 7, 65_536])
async def test_lines_may_come_in_any_pieces(size):
    message = b"..a\r\n.\n\r\n..\r\n" + b"x" * 70_000 + b"\r\n.\r\nAFTER\r\n"
    reader = asyncio.StreamReader(limit=65_536)

    async def feed():
        for at in range(0, len(message), size):
            reader.feed_data(message[at : at + size])
            if at % 1_024 == 0:
                await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.create_task(feed())
    lines = _Lines(reader)
    read = b"".join([chunk async for chunk in lines.chunks()])
    await feeding
    assert read == b".a\r\n\n\r\n.\r\n" + b"x" * 70_000 + b"\r\n"
    assert await reader.read() == b"AFTER\r\n"
