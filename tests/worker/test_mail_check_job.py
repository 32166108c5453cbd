"""Who sent a mail is checked beside requests, once it is archived, and what was found is sealed with its keys."""

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from service.archive.draft_recordings import MAIL_CHECK, mail_check_job
from service.archive.export import Form, Order
from service.archive.targets import Asked, Rendition
from service.domain.actor import Role
from service.domain.errors import TamperedError, UnavailableError
from service.domain.purpose import Purpose
from service.serving import build_service
from service.sources.mail.verdicts import Outcome, Reason, SpfResult, Verdicts
from service.web.app_keys import DESK
from service.wiring import exporter_of
from service.worker.mail.check import MOST_LOOKUPS, MailChecker, Sent, _question
from service.worker.mail.resolve import SystemResolver
from service.worker.mail.run import MISBEHAVED
from service.worker.mail.wire import MisbehavedError
from service.worker.mail_check_job import MailCheckJob, bury
from storage.ports import Put
from storage.rows import JobRow, ObjectRow
from tests.archive.mails import ENVELOPE, Post, letter
from tests.conftest import NOW, actor
from tests.sources.mail.test_check import DNS, PUBLIC, SPF, signed
from tests.worker.test_mail_child import Raw

HANDLER = actor(Role.COMPLAINT_HANDLER)
LATER = NOW + timedelta(minutes=1)
MAIL = signed(letter())


class Table:
    """DNS as a table; what it has None for does not answer."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    async def records(self, name, kind):
        self.asked.append((name, kind))
        answer = self.answers.get((name, kind), [])
        if answer is None:
            raise UnavailableError("no answer")
        return answer


@pytest.fixture
def post(archive):
    return Post(archive, checks_mail=True)


def job_of(post, answers=None):
    archive = post.archive
    checker = MailChecker(Table(DNS if answers is None else answers))
    stores = archive.stores
    return MailCheckJob(stores.store, stores.log, stores.blobs, archive.vault, checker)


async def verdicts_of(post):
    """Return the newest verdicts, opened as somebody with a grant opens them."""
    (row,) = await post.find()
    (message,) = await post.messages(row.id)
    archive = post.archive
    grant = await archive.grants.create(
        actor=HANDLER,
        purpose=Purpose.VERIFY_CONTACT,
        contact_ids=[row.id],
        reference=None,
        now=NOW,
    )
    asked = Asked.parse_part(message.id, Rendition.VERDICTS)
    content = await archive.opener.open(asked, actor=HANDLER, grant_id=grant.id, now=NOW)
    with archive.openings.using(content):
        data = bytes(await content.payload.read(0, content.size_bytes))
    return msgspec.json.decode(data, type=Verdicts)


async def jobs(post):
    return [row.subject for row in await post.find(JobRow, kind=MAIL_CHECK)]


async def test_a_signed_mail_is_checked_and_the_verdict_is_sealed_with_the_key(post):
    await post.deliver(MAIL)
    (raw,) = await post.objects("mail")
    assert await jobs(post) == [raw.id]
    await job_of(post).run(raw.id, LATER)
    told = await verdicts_of(post)
    (one,) = told.signatures
    assert (one.outcome, one.domain, one.key_record) == (Outcome.VALID, "example.fi", PUBLIC)
    assert told.is_of_author
    directory = post.archive.config.archive.directory
    assert not any(
        PUBLIC[-40:].encode() in file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    )


async def test_the_verdict_is_part_of_what_is_verified(post):
    await post.deliver(MAIL)
    (raw,) = await post.objects("mail")
    await job_of(post).run(raw.id, LATER)
    (row,) = await post.find()
    checker = post.archive.verifier.checker
    rows = (await checker.read([row.id]))[row.id]
    evidence, _ = await checker.get_evidence(rows)
    checks = await checker.check(rows, evidence, wants_plain_hash=True)
    assert {check.outcome for check in checks} == {"passed"}


async def test_what_has_no_signature_and_came_by_a_server_of_ones_own_is_not_checked(post):
    await post.deliver(letter())
    assert await jobs(post) == []


async def test_where_a_source_is_not_to_be_checked_nobody_is_asked(archive):
    post = Post(archive)
    await post.deliver(MAIL)
    assert await jobs(post) == []


async def test_a_mail_from_outside_is_held_against_the_policy_of_its_sender(post):
    direct = replace(ENVELOPE, protocol="smtp", peer="198.41.0.4")
    await post.deliver(letter(), envelope=direct)
    (raw,) = await post.objects("mail")
    assert await jobs(post) == [raw.id]
    await job_of(post, SPF).run(raw.id, LATER)
    told = await verdicts_of(post)
    assert (told.spf.result, told.spf.domain) == (SpfResult.FAIL, "example.fi")


async def test_when_dns_does_not_answer_that_is_said_once_and_mended_later(post):
    await post.deliver(MAIL)
    (raw,) = await post.objects("mail")
    silent = job_of(post, dict.fromkeys(DNS))
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await silent.run(raw.id, LATER)
    assert len(await post.objects("verdicts")) == 1
    told = await verdicts_of(post)
    assert [one.reason for one in told.signatures] == [Reason.NO_ANSWER]
    await job_of(post).run(raw.id, LATER + timedelta(hours=1))
    assert len(await post.objects("verdicts")) == 2
    assert (await verdicts_of(post)).is_of_author


async def test_giving_up_asks_for_nobodys_attention():
    dead = replace(mail_check_job("ob_x", now=NOW), last_error="unavailable")
    assert await bury(dead, NOW) is None


async def test_a_mail_that_is_gone_or_belongs_to_nobody_is_left_alone(post):
    await post.keep(MAIL)
    (raw,) = await post.objects("mail")
    await job_of(post).run(raw.id, LATER)
    await job_of(post).run("ob_" + "a" * 26, LATER)
    assert await post.objects("verdicts") == []


async def test_a_mail_in_the_place_of_another_raises_the_alarm(post):
    await post.deliver(MAIL, letter(n=2, subject="Muu"))
    first, second = await post.find(ObjectRow, kind="mail")
    await post.store.commit([Put(replace(first, owner_id=second.owner_id))])
    with pytest.raises(TamperedError):
        await job_of(post).run(first.id, LATER)


async def test_the_page_says_who_signed_and_shows_the_key(post):
    await post.deliver(MAIL)
    (row,) = await post.find()
    (message,) = await post.messages(row.id)
    desk = build_service(post.archive).app[DESK]
    grant = await desk.create_grant(
        row.id, actor=HANDLER, purpose=Purpose.VERIFY_CONTACT, reference=None, now=NOW
    )
    how = {"grant_id": grant.id, "actor": HANDLER, "now": NOW}
    (before,) = await desk.open_messages(row.id, **how)
    assert [one.words for one in before.mail.verdicts] == ["waiting"]
    (raw,) = await post.objects("mail")
    await job_of(post).run(raw.id, LATER)
    mail = (await desk.open_mail(row.id, message.id, **how)).message.mail
    told = [(one.words, one.domain, one.is_good) for one in mail.verdicts]
    assert told == [("author", "example.fi", True)]
    assert mail.keys == (("s1._domainkey.example.fi", PUBLIC),)


async def test_verdicts_are_handed_out_with_the_contact(post, tmp_path):
    await post.deliver(MAIL)
    (raw,) = await post.objects("mail")
    await job_of(post).run(raw.id, LATER)
    (row,) = await post.find()
    order = Order(
        contact_id=row.id,
        form=Form.VCON,
        purpose=Purpose.VERIFY_CONTACT,
        reference=None,
        recipient=None,
        out=tmp_path,
    )
    directory = await exporter_of(post.archive).export(order, actor=HANDLER, now=LATER)
    vcon = json.loads((directory / "contact.vcon").read_text())
    kinds = [one["mediatype"] for one in vcon["attachments"]]
    assert kinds == ["message/rfc822", "application/json"]


class Endless:
    async def records(self, *_):
        return ["x"]


async def test_a_child_that_asks_too_much_is_not_answered(monkeypatch):
    monkeypatch.setattr("service.worker.mail.check.MOST_LOOKUPS", 0)
    told = await MailChecker(Endless()).check(
        Raw(MAIL), Sent(peer="", helo="", mail_from=""), now=NOW
    )
    assert told.problem == MISBEHAVED
    assert MOST_LOOKUPS > 0


@pytest.mark.parametrize(
    ("payload", "question"),
    [
        (b'["example.org","TXT"]', ("example.org", "TXT")),
        (b'["example.org","ANY"]', ("", "")),
        (b'["a b","TXT"]', ("", "")),
        ('["ä.fi","TXT"]'.encode(), ("", "")),
    ],
)
def test_only_questions_that_are_some_are_asked(payload, question):
    assert _question(payload) == question


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"a":1}', b'["a"]', b"\xff"])
def test_what_is_no_question_is_a_lie(payload):
    with pytest.raises(MisbehavedError):
        _question(payload)


@pytest.mark.parametrize(
    ("name", "kind"), [("", "TXT"), ("a b", "TXT"), ("-", "A"), ("x.fi", "ANY")]
)
async def test_dns_is_not_asked_what_it_cannot_know(name, kind):
    assert await SystemResolver().records(name, kind) == []
