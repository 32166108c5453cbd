"""Mails become contacts: each conversation one, whatever order its mails come in, and nothing of a mail is lost."""

import base64
import itertools
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import jsonschema
import pyrage
import pytest

from service.archive.export import Form, Order
from service.archive.mail_records import MailPart
from service.archive.receive_mail import Envelope
from service.archive.records import contact_of, message_of
from service.archive.targets import Asked, Rendition, Subject
from service.crypto.recipients import parse_recipient
from service.domain.actor import Role
from service.domain.contact import Direction, PartyRole
from service.domain.errors import GrantRequiredError, NotFoundError, UnavailableError
from service.domain.purpose import Purpose
from service.serving import build_service
from service.sources.mail.facts import Flag, Headers, Part, PartKind, ReadMail
from service.web.app_keys import DESK
from service.wiring import exporter_of
from storage.errors import UnavailableError as StoreUnavailableError
from storage.rows import AttentionRow, ContactRow, DeliveryRow, MessageRow, ObjectRow
from tests.archive.mails import ENVELOPE, Post, letter
from tests.conftest import NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)


@pytest.fixture
def post(archive):
    return Post(archive)


async def contact(post, row=None):
    row = row or (await post.find())[0]
    return contact_of(row, await post.archive.vault.get_sealer(row.id))


async def mail_of(post, row):
    return message_of(row, await post.archive.vault.get_sealer(row.contact_id)).mail


WITH_ALL = letter(
    "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
    "--c\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHei, lasku on väärin.\r\n"
    "--c\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hei, <b>lasku</b> on väärin.</p>"
    "<img src=https://example.org/spy.gif>\r\n--c--\r\n"
    "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    "Content-Disposition: attachment; filename=lasku.pdf\r\n\r\nJVBERg==\r\n--b--\r\n",
    MIME_Version="1.0",
    Content_Type="multipart/mixed; boundary=b",
)


async def test_a_mail_becomes_a_contact_with_everything_in_it(post):
    (outcome,) = await post.deliver(WITH_ALL)
    found = await contact(post)
    assert outcome.is_new
    assert (found.channel, found.direction, found.subject) == ("email", "inbound", "Lasku")
    assert [(p.role, p.email) for p in found.parties] == [
        (PartyRole.CUSTOMER, "maija@example.fi"),
        (PartyRole.AGENT, "apu@example.com"),
    ]
    (message,) = await post.messages(found.id)
    mail = await mail_of(post, message)
    assert mail.envelope.mail_from == "maija@example.fi"
    assert mail.envelope.is_tls
    kinds = [(part.kind, part.name, part.size_bytes) for part in mail.parts]
    assert kinds[0] == (MailPart.RAW, "", len(WITH_ALL))
    assert kinds[1][0] is MailPart.HTML
    assert kinds[2] == (MailPart.ATTACHMENT, "lasku.pdf", 4)
    stored = {row.id: row for row in await post.find(ObjectRow)}
    assert {stored[part.object_id].owner_id for part in mail.parts} == {message.id}
    assert len(stored) == 4
    (delivery,) = await post.find(DeliveryRow)
    assert (delivery.state, delivery.contact_id) == ("understood", found.id)


THREAD = [
    letter(n=1, subject="Lasku"),
    letter(
        n=2,
        minutes=5,
        sender="apu@example.com",
        to="maija@example.fi",
        subject="VS: Lasku",
        In_Reply_To="<m1@example.fi>",
        References="<m1@example.fi>",
    ),
    letter(
        n=3,
        minutes=9,
        subject="Re: VS: Lasku",
        In_Reply_To="<m2@example.fi>",
        References="<m1@example.fi> <m2@example.fi>",
    ),
]
WITHOUT_REFERENCES = [
    THREAD[0],
    letter(
        n=2,
        minutes=5,
        sender="apu@example.com",
        to="maija@example.fi",
        subject="VS: Lasku",
        In_Reply_To="<m1@example.fi>",
    ),
    letter(n=3, minutes=9, subject="Aihe vaihtui", In_Reply_To="<m2@example.fi>"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
async def test_a_conversation_is_one_contact_in_whichever_order_it_comes(post, order, together):
    mails = [THREAD[n] for n in order]
    if together:
        await post.deliver(*mails)
    else:
        for mail in mails:
            await post.deliver(mail)
    (row,) = await post.find()
    found = await contact(post, row)
    assert (found.direction, found.subject) == (Direction.INBOUND, "Lasku")
    assert (found.started_at, found.ended_at) == (NOW, NOW + timedelta(minutes=9))
    assert len(await post.messages(row.id)) == 3
    assert await post.find(AttentionRow) == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_answers_without_references_are_found_by_what_they_answer(post, order):
    for n in order:
        await post.deliver(WITHOUT_REFERENCES[n])
    (row,) = await post.find()
    assert len(await post.messages(row.id)) == 3


async def test_what_names_no_message_is_found_by_subject_and_people_for_two_weeks(post):
    await post.deliver(letter(n=1))
    await post.deliver(
        letter(
            n=2,
            subject="SV: lasku",
            sender="apu@example.com",
            to="maija@example.fi",
            minutes=60 * 24 * 13,
        ),
        now=NOW + timedelta(days=13),
    )
    assert len(await post.find()) == 1
    await post.deliver(letter(n=3, minutes=60 * 24 * 40), now=NOW + timedelta(days=40))
    await post.deliver(letter(n=4, sender="toinen@example.fi"))
    await post.deliver(letter(n=5, subject="Muu asia"))
    assert len(await post.find()) == 4


async def test_what_a_program_sends_again_and_again_is_no_conversation(post):
    for n in range(3):
        await post.deliver(letter(n=n, minutes=n, Auto_Submitted="auto-generated"))
    assert len(await post.find()) == 3


async def test_mails_of_the_company_go_out(post):
    await post.deliver(letter(sender="Apu <apu@example.com>", to="maija@example.fi"))
    found = await contact(post)
    assert found.direction is Direction.OUTBOUND
    assert [p.role for p in found.parties] == [PartyRole.AGENT, PartyRole.CUSTOMER]


async def test_no_message_id_is_stored_in_the_clear(post):
    await post.deliver(*THREAD)
    directory = post.archive.config.archive.directory
    for file in directory.rglob("*"):
        if file.is_file():
            assert b"m1@example.fi" not in file.read_bytes()
            assert b"maija" not in file.read_bytes()


async def test_the_same_message_by_two_ways_is_one(post):
    first = letter(n=1)
    await post.deliver(first)
    await post.deliver(b"Received: from filter.example.com\r\n" + first)
    (row,) = await post.find()
    assert len(await post.messages(row.id)) == 1
    assert {one.state for one in await post.find(DeliveryRow)} == {"understood"}
    assert [one.owner_id is None for one in await post.objects("mail")].count(True) == 1
    assert len(await post.objects("message")) == 1


async def test_one_id_with_other_content_is_another_message(post):
    await post.deliver(letter("Yksi", n=1), letter("Kaksi", n=1))
    (row,) = await post.find()
    assert len(await post.messages(row.id)) == 2


JOURNAL = (
    "From: <journal@example.com>\r\nTo: arkisto@example.com\r\nX-MS-Journal-Report:\r\n"
    "Content-Type: multipart/mixed; boundary=j\r\n\r\n--j\r\nContent-Type: text/plain\r\n\r\n"
    "Sender: maija@example.fi\r\nMessage-Id: <m1@example.fi>\r\nBcc: {bcc}\r\n\r\n"
    "--j\r\nContent-Type: message/rfc822\r\n\r\n{inner}\r\n--j--\r\n"
)


async def test_recipients_of_several_journal_reports_of_one_message_come_together(post):
    inner = letter(n=1).decode()
    for bcc in ("yksi@example.com", "kaksi@example.com"):
        await post.deliver(JOURNAL.format(bcc=bcc, inner=inner).encode())
    found = await contact(post)
    (message,) = await post.messages(found.id)
    mail = await mail_of(post, message)
    assert {p.email for p in found.parties} >= {"yksi@example.com", "kaksi@example.com"}
    assert Flag.JOURNAL in mail.flags
    assert mail.subject == "Lasku"


class Reader:
    """A reader that says what it is told to say, or raises it; ``after`` it has kept one part."""

    def __init__(self, result):
        self.result = result

    @asynccontextmanager
    async def session(self):
        yield self

    async def read(self, raw, keep):
        await raw.read(0, raw.size_bytes)

        async def pieces():
            yield b"osa"

        await keep(Part(kind=PartKind.TEXT, size_bytes=3, sha256="0" * 64), pieces())
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def test_what_cannot_be_read_is_archived_by_its_envelope(archive):
    post = Post(archive, Reader(ReadMail(problem="cpu_limit")))
    await post.deliver(letter())
    found = await contact(post)
    (message,) = await post.messages(found.id)
    mail = await mail_of(post, message)
    assert [p.email for p in found.parties] == ["maija@example.fi", "arkisto@example.com"]
    assert (mail.problem, mail.flags) == ("cpu_limit", (Flag.NO_DATE, Flag.UNREADABLE))
    assert [part.kind for part in mail.parts] == [MailPart.RAW]
    (text,) = await post.objects("message")
    assert text.plain_bytes == 0


@pytest.mark.parametrize(
    ("arrived_at", "started_at"),
    [
        (NOW - timedelta(days=400), NOW - timedelta(days=400)),
        (None, NOW),
        (NOW + timedelta(days=3), NOW),
    ],
)
async def test_a_mailbox_knows_when_a_mail_came_and_no_envelope(
    archive, arrived_at, started_at
):
    post = Post(archive, Reader(ReadMail(problem="cpu_limit")))
    polled = Envelope(
        mail_from="",
        recipients=(),
        peer="192.0.2.7",
        protocol="imap",
        is_tls=True,
        mailbox=("INBOX", 7, 1),
        arrived_at=arrived_at,
    )
    await post.deliver(letter(), envelope=polled)
    found = await contact(post)
    assert (found.started_at, found.parties) == (started_at, ())
    (message,) = await post.messages(found.id)
    mail = await mail_of(post, message)
    assert (mail.envelope.protocol, mail.envelope.mailbox) == ("imap", "INBOX 7 1")
    assert Flag.BOUNCE not in mail.flags


async def test_what_is_known_of_the_headers_is_used_when_the_body_cannot_be_read(archive):
    read = ReadMail(headers=Headers(subject="Aihe", message_id="m1@x"), problem="too_deep")
    post = Post(archive, Reader(read))
    await post.deliver(letter())
    assert (await contact(post)).subject == "Aihe"


async def test_a_reader_that_is_away_is_tried_again_and_leaves_nothing(archive):
    post = Post(archive, Reader(UnavailableError("no process could be started")))
    await post.deliver(letter())
    assert [row.state for row in await post.find(DeliveryRow)] == ["received"]
    assert [name async for name in archive.stores.blobs.names()] == [
        row.id for row in await post.find(ObjectRow)
    ]
    again = Post(archive)
    await again.understanding.understand_rows(await post.find(DeliveryRow), now=NOW)
    assert [row.state for row in await post.find(DeliveryRow)] == ["understood"]


async def test_an_altered_mail_is_shown_as_such(post):
    kept = await post.keep(letter())
    (row,) = await post.find(ObjectRow)
    other = (await post.keep(letter("Toinen", n=2)))[0]
    (stored,) = [one for one in await post.find(ObjectRow) if one.id != row.id]
    swapped = replace(kept[0][0], object_id=stored.id)
    await post.understanding.understand([(swapped, kept[0][1])], now=NOW)
    (item,) = await post.find(AttentionRow)
    assert (item.reason, item.about) == ("altered", kept[0][0].id)
    assert other[0].state == "received"


class Refusing:
    """A store whose commits of contacts fail."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit_each(self, _):
        raise StoreUnavailableError("the disk is full")


async def test_a_commit_that_fails_leaves_no_blobs_behind(post):
    kept = await post.keep(WITH_ALL)
    understanding = post.understanding
    broken = replace(
        understanding,
        interpreter=replace(understanding.interpreter, store=Refusing(post.store)),
    )
    with pytest.raises(StoreUnavailableError):
        await broken.understand(kept, now=NOW)
    names = [name async for name in post.archive.stores.blobs.names()]
    assert names == [row.id for row in await post.find(ObjectRow)]
    await post.understanding.understand(kept, now=NOW)
    assert len(await post.find(ContactRow)) == len(await post.find(MessageRow)) == 1


async def test_a_bounce_joins_the_conversation_of_what_came_back(post):
    await post.deliver(letter(n=1, sender="apu@example.com", to="maija@example.fi"))
    bounce = letter(
        "--b\r\n\r\nEi mennyt perille\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        "Message-ID: <m1@example.fi>\r\n--b--\r\n",
        n=2,
        minutes=1,
        sender="MAILER-DAEMON@mx.example.fi",
        subject="Undelivered",
        Content_Type="multipart/report; report-type=delivery-status; boundary=b",
    )
    await post.deliver(bounce, envelope=replace(ENVELOPE, mail_from=""))
    (row,) = await post.find()
    flags = [(await mail_of(post, one)).flags for one in await post.messages(row.id)]
    assert flags == [(), (Flag.BOUNCE,)]


async def test_everything_of_a_mail_is_verified(post):
    await post.deliver(WITH_ALL)
    (row,) = await post.find()
    checker = post.archive.verifier.checker
    rows = (await checker.read([row.id]))[row.id]
    evidence, problems = await checker.get_evidence(rows)
    checks = await checker.check(rows, evidence, wants_plain_hash=True)
    assert problems == ()
    assert {check.outcome for check in checks} == {"passed"}
    received = {check.about for check in checks if check.code == "received"}
    assert received == {stored.id for stored in await post.find(ObjectRow)}


async def opened(post, contact_id, asked, now=NOW):
    archive = post.archive
    grant = await archive.grants.create(
        actor=HANDLER,
        purpose=Purpose.VERIFY_CONTACT,
        contact_ids=[contact_id],
        reference=None,
        now=now,
    )
    content = await archive.opener.open(asked, actor=HANDLER, grant_id=grant.id, now=now)
    with archive.openings.using(content):
        return bytes(await content.payload.read(0, content.size_bytes)), content.filename


async def test_a_mail_and_its_attachments_are_opened_under_a_grant_byte_for_byte(post):
    await post.deliver(WITH_ALL)
    (row,) = await post.find()
    (message,) = await post.messages(row.id)
    raw, name = await opened(post, row.id, Asked.parse_part(message.id, Rendition.MAIL))
    assert (raw, name) == (WITH_ALL, f"{message.id}.eml")
    pdf = Asked.parse_part(message.id, Rendition.ATTACHMENT, number="1")
    assert await opened(post, row.id, pdf) == (b"%PDF", "lasku.pdf")
    html, _ = await opened(post, row.id, Asked.parse_part(message.id, Rendition.HTML))
    assert html.decode().startswith("<p>Hei, <b>lasku</b> on väärin.</p>")
    assert b"spy" not in html
    text, _ = await opened(post, row.id, Asked(Subject.MESSAGE, message.id))
    assert text.decode().strip() == "Hei, lasku on väärin."


def attachment(message, number):
    return Asked.parse_part(message.id, Rendition.ATTACHMENT, number=number)


@pytest.mark.parametrize("number", ["2", "0", "-1", "x", "1" * 9])
async def test_an_attachment_that_there_is_not_is_not_found(post, number):
    await post.deliver(WITH_ALL)
    (row,) = await post.find()
    (message,) = await post.messages(row.id)
    with pytest.raises(NotFoundError):
        await opened(post, row.id, attachment(message, number))


async def test_without_a_grant_nothing_of_a_mail_is_opened(post):
    await post.deliver(WITH_ALL)
    (message,) = await post.messages((await post.find())[0].id)
    with pytest.raises(GrantRequiredError):
        await post.archive.opener.open(
            Asked.parse_part(message.id, Rendition.MAIL),
            actor=HANDLER,
            grant_id=None,
            now=NOW,
        )


async def test_the_desk_shows_a_mail_with_its_formatted_text(post):
    await post.deliver(WITH_ALL)
    (row,) = await post.find()
    (message,) = await post.messages(row.id)
    desk = build_service(post.archive).app[DESK]
    grant = await desk.create_grant(
        row.id, actor=HANDLER, purpose=Purpose.VERIFY_CONTACT, reference=None, now=NOW
    )
    mail = await desk.open_mail(row.id, message.id, grant_id=grant.id, actor=HANDLER, now=NOW)
    assert "<b>lasku</b>" in mail.html
    facts = dict(mail.message.mail.headers)
    assert facts["from"] == "maija@example.fi"
    assert facts["peer"] == "mx.example.fi 192.0.2.7"
    (one,) = await desk.open_messages(row.id, grant_id=grant.id, actor=HANDLER, now=NOW)
    assert [a.name for a in one.mail.attachments] == ["lasku.pdf"]


async def test_an_erasure_takes_everything_that_a_conversation_consists_of(post):
    await post.deliver(WITH_ALL, letter(n=2, In_Reply_To="<m1@example.fi>"))
    (row,) = await post.find()
    disposal = post.archive.erasures.disposal
    parts = await disposal.read(row.id)
    kinds = sorted(one.kind for one in parts.objects)
    assert kinds == ["attachment", "html", "mail", "mail", "message", "message"]
    assert {one.id for one in parts.objects} <= set(parts.destroyed(row.id))
    assert len(parts.tokens) >= 4


@pytest.mark.parametrize(
    ("sender", "is_odd"),
    [
        ("Maija <maija@example.fi>", False),
        ("maija@example.fi <maija@example.fi>", False),
        ('"apu@example.com" <x@example.org>', True),
        ("Apu <apu@\u0440\u0430\u0443\u0440\u0430l.com>", True),
        ("Apu <apu@пример.рф>", False),
        ("Åsa <åsa@bücher.example>", False),
    ],
)
async def test_a_sender_who_may_deceive_is_marked(post, sender, is_odd):
    await post.deliver(letter(sender=sender))
    (message,) = await post.messages((await post.find())[0].id)
    assert (Flag.LOOKALIKE in (await mail_of(post, message)).flags) == is_odd


SCHEMA = (
    Path(__file__).resolve().parents[2].parent / "shared/samples/vcon/vcon_json_schema.json"
)


async def handed_out(post, tmp_path, form, recipient=None):
    (row,) = await post.find()
    order = Order(
        contact_id=row.id,
        form=form,
        purpose=Purpose.VERIFY_CONTACT,
        reference=None,
        recipient=recipient,
        out=tmp_path,
    )
    return await exporter_of(post.archive).export(order, actor=HANDLER, now=NOW)


async def test_a_mail_is_handed_out_as_it_came_inside_a_vcon(post, tmp_path):
    await post.deliver(WITH_ALL)
    directory = await handed_out(post, tmp_path, Form.VCON)
    vcon = json.loads((directory / "contact.vcon").read_text())
    (attached,) = vcon["attachments"]
    assert base64.urlsafe_b64decode(attached["body"] + "==") == WITH_ALL
    assert vcon["dialog"][attached["dialog"]]["body"].strip() == "Hei, lasku on väärin."
    if not SCHEMA.exists():
        pytest.skip("the schema of the IETF is absent")
    jsonschema.validate(vcon, json.loads(SCHEMA.read_text()))


async def test_a_mail_is_handed_out_with_its_attachments_sealed_for_somebody(post, tmp_path):
    await post.deliver(WITH_ALL)
    identity = pyrage.x25519.Identity.generate()
    recipient = parse_recipient(str(identity.to_public()))
    directory = await handed_out(post, tmp_path, Form.AGE, recipient)
    files = {file.name: file for file in directory.glob("message-*.age")}
    assert pyrage.decrypt(files["message-1.eml.age"].read_bytes(), [identity]) == WITH_ALL
    (pdf,) = [file for name, file in files.items() if name.endswith(".pdf.age")]
    assert pyrage.decrypt(pdf.read_bytes(), [identity]) == b"%PDF"


async def test_the_service_reads_mails_in_a_process_of_their_own(archive):
    post = Post(archive, archive.understanding.mails.reader)
    await post.deliver(WITH_ALL, *THREAD[1:])
    (row,) = await post.find()
    assert len(await post.messages(row.id)) == 3
    assert [one.plain_bytes for one in await post.objects("attachment")] == [4]


WITH_CARD = letter(
    "--c\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nKortti 4111 1111 1111 1111.\r\n"
    "--c\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    "<p>Kortti 4111&nbsp;1111&nbsp;<b>1111</b> 1111.</p>\r\n--c--\r\n",
    MIME_Version="1.0",
    Content_Type="multipart/alternative; boundary=c",
    Subject="Kortti 4111111111111111",
    From="Maija 131052-928T <maija@example.fi>",
)


async def test_no_page_of_a_mail_shows_a_card_number_or_an_identity_code(post):
    await post.deliver(WITH_CARD)
    (row,) = await post.find()
    (message,) = await post.messages(row.id)
    desk = build_service(post.archive).app[DESK]
    grant = await desk.create_grant(
        row.id, actor=HANDLER, purpose=Purpose.VERIFY_CONTACT, reference=None, now=NOW
    )
    mail = await desk.open_mail(row.id, message.id, grant_id=grant.id, actor=HANDLER, now=NOW)
    detail = await desk.contact_detail(row.id, actor=HANDLER, now=NOW)
    assert mail.message.mail.subject == detail.contact.subject == "Kortti •••• 1111"
    assert "•••• 1111" in mail.html
    assert "•••• 1111" in mail.message.text
    assert mail.message.hidden == 1
    assert dict(mail.message.mail.headers)["from"] == "Maija ••••••-•••• <maija@example.fi>"
    raw, _ = await opened(post, row.id, Asked.parse_part(message.id, Rendition.MAIL))
    assert raw == WITH_CARD
