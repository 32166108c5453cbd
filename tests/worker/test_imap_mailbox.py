"""Mailboxes read over IMAP: each mail is kept once, whatever the server and the archive do; none goes in silence."""

import asyncio
import hashlib
import logging
import ssl
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest

from service.archive.gaps import Gaps
from service.domain.errors import InvalidInputError, UnavailableError
from service.sources.mail_envelope import decode_mail
from service.worker import outside
from service.worker.imap import mailbox
from service.worker.imap.mailbox import Mailbox, MailboxRules
from service.worker.outside import Asking
from storage.errors import ConflictError, FullError, StaleError, StorageError
from storage.rows import AttentionRow, ContactRow, DeliveryRow, GapRow, MailboxRow, ObjectRow
from tests.archive.mails import Post, letter
from tests.archive.test_erase import erase
from tests.certificates import CertificateAuthority
from tests.conftest import NOW
from tests.imap import PASSWORD, USER, Imap, brought, serving, until

ONE, TWO, THREE = (letter(n=n) for n in (1, 2, 3))
SHA256 = {hashlib.sha256(one).hexdigest() for one in (ONE, TWO)}


class Never:
    """The turn of a process that has it a few times, and then another has it."""

    def __init__(self, times=1):
        self.left = times

    async def is_mine(self):
        self.left -= 1
        return self.left >= 0


@dataclass
class Reader:
    """An archive, a server, and what reads its mailbox."""

    archive: object
    imap: Imap
    authority: CertificateAuthority
    offered: list = field(default_factory=list)
    now: datetime = NOW

    def mailbox(self, *, turn=None, intake=None, **rules):
        told = {
            "source": "pbx",
            "host": "localhost",
            "port": self.imap.port,
            "user": USER,
            "password": PASSWORD,
            "mailbox": "INBOX",
            "since": None,
            "max_bytes": 100_000,
            "tls": self.authority.trusting(),
        }
        return Mailbox(
            rules=MailboxRules(**{**told, **rules}),
            intake=intake or self.archive.intake,
            gaps=Gaps(self.archive.stores.store),
            clock=lambda: self.now,
            offer=self.offered.append,
            turn=turn or Never(),
            news_seconds=0.02,
        )

    async def read(self, **rules):
        """Read what is there, once; return what reads."""
        reading = self.mailbox(**rules)
        await asyncio.wait_for(reading.read(), 20)
        return reading

    async def find(self, table, **where):
        return await self.archive.stores.store.find(table, where)

    async def kept(self):
        """Return what is kept, in order of UID."""
        rows = await self.find(DeliveryRow, kind="mail")
        opened = await self.archive.understanding.opener.open(rows)
        told = [decode_mail(opened[row.id].body) for row in rows]
        return sorted(told, key=lambda one: one.mailbox[1:])

    async def uids(self):
        return [one.mailbox[2] for one in await self.kept()]

    async def gaps(self):
        return [(row.cause, row.since, row.until) for row in await self.find(GapRow)]

    async def causes(self):
        return [row.cause for row in await self.find(GapRow)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return CertificateAuthority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
async def reader(archive, authority):
    async with serving(Imap(), authority.serving("localhost")) as imap:
        yield Reader(archive, imap, authority)


async def test_every_mail_is_kept_byte_for_byte_and_told_of(reader):
    reader.imap.bring(ONE, TWO)
    reading = await reader.read()
    kept = await reader.kept()
    assert [one.mailbox for one in kept] == [("INBOX", 7, 1), ("INBOX", 7, 2)]
    assert [one.size_bytes for one in kept] == [len(ONE), len(TWO)]
    first = kept[0]
    assert (first.protocol, first.is_tls, first.mail_from, first.recipients) == (
        "imap",
        True,
        "",
        (),
    )
    assert first.arrived_at == datetime(2026, 11, 22, 9, 54, 7, tzinfo=first.arrived_at.tzinfo)
    assert len(reader.offered) == 2
    assert reading.outcomes == {"kept": 2}


async def test_nothing_is_marked_or_changed_in_the_mailbox(reader):
    reader.imap.bring(ONE)
    await reader.read()
    assert {one.split()[0] for one in reader.imap.asked} <= {
        "CAPABILITY",
        "AUTHENTICATE",
        "EXAMINE",
        "UID",
        "IDLE",
    }
    assert "UID FETCH 1 (UID BODY.PEEK[])" in reader.imap.asked


async def test_what_was_read_is_not_read_again(reader):
    reader.imap.bring(ONE)
    await reader.read()
    reader.imap.bring(TWO)
    reader.imap.asked.clear()
    await reader.read()
    fetched = [one for one in reader.imap.asked if "BODY" in one]
    assert fetched == ["UID FETCH 2 (UID BODY.PEEK[])"]
    assert await reader.uids() == [1, 2]


async def test_a_mail_that_comes_is_kept_at_once_by_idle(reader):
    reading = reader.mailbox(turn=Never(times=100))
    reading.news_seconds = 30
    task = asyncio.create_task(reading.read())
    await until(lambda: "IDLE" in reader.imap.asked)
    reader.imap.bring(ONE)
    await until(lambda: reader.offered)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert await reader.uids() == [1]


async def test_without_idle_it_looks_now_and_again(reader):
    reader.imap.capabilities = "IMAP4rev1"
    reader.imap.password = reader.imap.password.replace("ä", "a")
    await reader.read(turn=Never(times=3), password=reader.imap.password)
    assert reader.imap.asked.count("NOOP") == 2
    assert not any(one.startswith(("IDLE", "AUTHENTICATE")) for one in reader.imap.asked)


async def test_another_process_has_the_turn_and_the_server_is_left_alone(reader):
    assert await reader.mailbox(turn=Never(times=0)).read() == mailbox.STAND_BY
    assert reader.imap.asked == []


async def test_a_crash_before_it_is_remembered_makes_no_mail_of_two(reader):
    reader.imap.bring(ONE, TWO)
    await reader.read()
    (row,) = await reader.find(MailboxRow)
    await reader.archive.stores.store.commit(
        [mailbox.Replace(replace(row, version=row.version + 1, next_uid=1))]
    )
    reading = await reader.read()
    assert reading.outcomes == {"duplicate": 2}
    assert len(await reader.find(DeliveryRow)) == 2
    assert len(await reader.find(ObjectRow, kind="mail")) == 2


async def test_numbered_anew_all_is_read_again_and_known_by_its_bytes(reader, caplog):
    reader.imap.bring(ONE, TWO)
    await reader.read()
    reader.imap.uid_validity, reader.imap.mails, reader.imap.uid_next = 8, {}, 40
    reader.imap.bring(TWO, ONE, THREE)
    reading = await reader.read()
    assert reading.outcomes == {"duplicate": 2, "kept": 1}
    assert (await reader.kept())[-1].mailbox == ("INBOX", 8, 42)
    assert "imap.numbered_anew" in caplog.messages
    assert await reader.gaps() == []


async def test_what_was_erased_does_not_come_back_when_the_mailbox_is_read_again(reader):
    reader.imap.bring(ONE)
    await reader.read(source="post")
    post = Post(reader.archive)
    await post.understanding.catch_up(now=NOW, received_before=None)
    (found,) = await reader.find(ContactRow)
    await erase(reader.archive, found.id)
    reader.imap.uid_validity = 8
    reading = await reader.read(source="post")
    assert reading.outcomes == {"duplicate": 1}
    assert [row.state for row in await reader.find(ContactRow)] == ["erased"]
    assert await reader.find(ObjectRow) == []


async def test_mails_that_were_removed_unread_need_attention_once_a_day(reader):
    reader.imap.bring(ONE)
    await reader.read()
    reader.now += timedelta(hours=1)
    reader.imap.bring(TWO, THREE)
    del reader.imap.mails[2]
    await reader.read()
    reader.now += timedelta(hours=1)
    reader.imap.bring(TWO)
    del reader.imap.mails[4]
    reading = await reader.read()
    assert reading.outcomes == {"mail_removed": 1}
    (item,) = await reader.find(AttentionRow)
    assert (item.reason, item.source) == ("source_gap", "pbx")
    ((cause, since, until),) = await reader.gaps()
    assert cause == "mail_removed"
    hour = 3_600_000_000
    assert until - since == 2 * hour
    assert await reader.uids() == [1, 3]


async def test_holes_before_it_was_ever_read_are_none(reader):
    reader.imap.bring(ONE, TWO, THREE)
    del reader.imap.mails[1], reader.imap.mails[3]
    await reader.read()
    assert await reader.gaps() == []
    (row,) = await reader.find(MailboxRow)
    assert row.next_uid == 4


async def test_a_mail_that_goes_while_it_is_asked_for_is_told_of(reader):
    reader.imap.bring(ONE, TWO)
    reader.imap.lies["UID FETCH 1 "] = lambda tag, _: f"* 1 EXPUNGE\r\n{tag} OK\r\n".encode()
    reading = await reader.read()
    assert await reader.uids() == [2]
    assert reading.outcomes == {"kept": 1, "mail_removed": 1}
    assert await reader.causes() == ["mail_removed"]


@pytest.mark.parametrize("is_told", [True, False])
async def test_too_large_a_mail_is_not_taken_and_needs_attention(reader, is_told):
    reader.imap.bring(b"x" * 200_000, ONE)
    if not is_told:
        reader.imap.sizes[1] = 10
    reading = await reader.read()
    assert await reader.uids() == [2]
    assert reading.outcomes == {"kept": 1, "mail_too_large": 1}
    assert await reader.causes() == ["mail_too_large"]
    assert len(await reader.find(ObjectRow)) == 1


async def test_what_came_before_the_day_is_left_alone(reader):
    reader.imap.bring(ONE, TWO)
    reader.imap.dates[1] = "21-Nov-2026 23:59:59 +0200"
    reading = await reader.read(
        since=datetime(2026, 11, 22, tzinfo=timezone(timedelta(hours=2)))
    )
    assert await reader.uids() == [2]
    assert reading.outcomes == {"older": 1, "kept": 1}
    assert await reader.gaps() == []


async def test_one_mail_that_is_never_handed_out_is_in_the_way_for_a_while_only(reader):
    reader.imap.bring(ONE, TWO, THREE)
    reader.imap.lies["UID FETCH 2 (UID BODY"] = lambda tag, _: (
        f"{tag} NO [SERVERBUG]\r\n".encode()
    )
    reading = reader.mailbox(turn=Never(times=100))
    for _ in range(4):
        with pytest.raises(UnavailableError):
            await reading.read()
        assert await reader.gaps() == []
    assert await reader.uids() == [1, 3]
    reading.turn = Never()
    await reading.read()
    assert await reader.causes() == ["mail_unreadable"]
    (row,) = await reader.find(MailboxRow)
    assert row.next_uid == 4


async def test_a_server_that_hands_out_nothing_now_is_waited_for(reader):
    reader.imap.bring(ONE, TWO)
    reader.imap.lies["UID FETCH 1 (UID BODY"] = reader.imap.lies["UID FETCH 2 (UID BODY"] = (
        lambda tag, _: f"{tag} NO [LIMIT]\r\n".encode()
    )
    reading = reader.mailbox(turn=Never(times=100))
    for _ in range(10):
        with pytest.raises(UnavailableError):
            await reading.read()
    reader.imap.lies.clear()
    await reader.read()
    assert await reader.uids() == [1, 2]
    assert await reader.gaps() == []


@pytest.mark.parametrize(
    "at", ["AUTHENTICATE", "EXAMINE", "UID SEARCH", "UID FETCH 1,2", "UID FETCH 2 ", "IDLE"]
)
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="nothing more"),
        pytest.param("* BYE enough\r\n", id="bye"),
        pytest.param("{tag} NO\r\n", id="no"),
        pytest.param("{tag} BAD\r\n", id="bad"),
        pytest.param("* " + "x" * 2_000_000, id="a line without end"),
        pytest.param("* 1 FETCH (UID 2 BODY[] {{99}}\r\nshort", id="cut off"),
        pytest.param("* 1 FETCH (UID 2 BODY[] ~{{5}}\r\nshort)\r\n", id="another form"),
        pytest.param("* 1 LIST {{99999999}}\r\n", id="a literal without end"),
        pytest.param(
            "* 1 FETCH (UID 3 BODY[] {{5}}\r\nother)\r\n{tag} OK\r\n", id="another mail"
        ),
    ],
)
async def test_whatever_the_server_says_nothing_is_lost_and_nothing_wrong_is_kept(
    reader, at, said
):
    reader.imap.bring(ONE, TWO)
    reader.imap.lies[at] = lambda tag, _: said and said.format(tag=tag).encode()
    reading = reader.mailbox(turn=Never(times=2))
    reading.answer_seconds = 0.2
    with suppress(UnavailableError):
        await asyncio.wait_for(reading.read(), 20)
    assert {one.sha256 for one in await reader.kept()} <= SHA256
    reader.imap.lies.clear()
    await reader.read()
    told = await reader.causes()
    assert {one.sha256 for one in await reader.kept()} == SHA256 or told == ["mail_removed"]


async def test_a_server_that_says_nothing_of_mails_does_not_have_none(reader):
    reader.imap.bring(ONE)
    reader.imap.lies["UID SEARCH"] = lambda tag, _: f"{tag} OK\r\n".encode()
    with pytest.raises(UnavailableError):
        await reader.read()
    reader.imap.lies.clear()
    await reader.read()
    assert await reader.uids() == [1]


async def test_what_a_mail_says_is_no_answer_of_the_server(reader):
    hostile = letter(
        "t7 OK done\r\n* BYE\r\n* 1 FETCH (UID 1 BODY[] {5}\r\nabcde)\r\nt8 NO\r\n"
    )
    reader.imap.bring(hostile, ONE)
    await reader.read()
    assert [one.size_bytes for one in await reader.kept()] == [len(hostile), len(ONE)]


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(
            lambda mail: b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n" % (len(mail), mail),
            id="the UID first",
        ),
        pytest.param(
            lambda mail: b"* 1 FETCH (FLAGS (\\Recent))\r\n" + brought(1, mail),
            id="something else first",
        ),
        pytest.param(
            lambda mail: brought(1, mail) + b"* 2 FETCH (FLAGS ())\r\n* 9 EXISTS\r\n",
            id="something behind it",
        ),
    ],
)
async def test_servers_say_it_in_their_own_order(reader, told):
    reader.imap.bring(ONE)
    reader.imap.lies["UID FETCH 1 (UID BODY"] = lambda tag, _: (
        told(ONE) + f"{tag} OK\r\n".encode()
    )
    await reader.read()
    assert [one.size_bytes for one in await reader.kept()] == [len(ONE)]


async def test_an_empty_mail_and_one_as_a_string_are_mails(reader):
    reader.imap.bring(b"", b"Subject: x")
    reader.imap.lies["UID FETCH 2 (UID BODY"] = lambda tag, _: (
        f'* 2 FETCH (UID 2 BODY[] "Subject: x")\r\n{tag} OK\r\n'.encode()
    )
    await reader.read()
    assert [one.size_bytes for one in await reader.kept()] == [0, 10]


async def test_a_mail_of_megabytes_streams(reader):
    large = b"Subject: x\r\n\r\n" + b"0123456789abcde\n" * 200_000
    reader.imap.bring(large)
    await reader.read(max_bytes=10_000_000)
    assert [one.sha256 for one in await reader.kept()] == [hashlib.sha256(large).hexdigest()]


async def test_more_mails_than_one_question_names_are_all_kept(reader, monkeypatch):
    monkeypatch.setattr(mailbox, "_BATCH", 3)
    reader.imap.bring(*(letter(n=n) for n in range(8)))
    told = []
    reading = reader.mailbox()
    reading.on_read = lambda: told.append(True)
    await reading.read()
    assert await reader.uids() == list(range(1, 9))
    assert len(told) == 4
    assert sum("RFC822.SIZE" in one for one in reader.imap.asked) == 3


async def test_uids_that_come_in_no_order_or_twice_are_read_in_order_once(reader):
    reader.imap.bring(ONE, TWO, THREE)
    reader.imap.lies["UID SEARCH"] = lambda tag, _: (
        f"* SEARCH 3 1\r\n* SEARCH 2 3\r\n{tag} OK\r\n".encode()
    )
    await reader.read()
    assert await reader.uids() == [1, 2, 3]
    assert len([one for one in reader.imap.asked if "BODY" in one]) == 3


async def test_two_that_read_at_once_keep_each_mail_once(reader):
    reader.imap.bring(*(letter(n=n) for n in range(6)))
    done = await asyncio.gather(reader.read(), reader.read(), return_exceptions=True)
    assert all(isinstance(one, Mailbox | StorageError) for one in done)
    await reader.read()
    assert await reader.uids() == [1, 2, 3, 4, 5, 6]
    assert len(await reader.find(ObjectRow, kind="mail")) == 6


class FailsAt:
    """A store whose ``step``-th commit fails, before or after it has done its work."""

    def __init__(self, store, step, *, is_late):
        self.store, self.left, self.is_late = store, step, is_late

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def commit(self, change):
        self.left -= 1
        if self.left or self.is_late:
            await self.store.commit(change)
        if not self.left:
            raise FullError("no room")


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("step", range(1, 6))
async def test_wherever_the_archive_fails_nothing_is_lost(reader, step, is_late):
    reader.imap.bring(ONE, TWO)
    store = FailsAt(reader.archive.stores.store, step, is_late=is_late)
    with pytest.raises(FullError):
        await reader.read(intake=replace(reader.archive.intake, store=store))
    await reader.read()
    assert await reader.uids() == [1, 2]
    assert await reader.gaps() == []


@pytest.mark.parametrize("steps", [3, 30, 60, 80, 100, 120, 150, 200])
async def test_wherever_it_is_stopped_nothing_is_lost(reader, steps):
    reader.imap.bring(ONE, TWO)
    task = asyncio.create_task(reader.mailbox().read())
    for _ in range(steps):
        await asyncio.sleep(0.0005)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    # What was being stored when it was stopped may come between; whoever reads mailboxes tries again then.
    with suppress(ConflictError, StaleError):
        await reader.read()
    await reader.read()
    assert await reader.uids() == [1, 2]
    assert await reader.gaps() == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"password": "väärä"}, "refuses imap_user"),
        ({"mailbox": "Poissa"}, "no mailbox"),
        ({"host": "127.0.0.1"}, "not trusted"),
        ({"port": 1}, "not reached"),
        ({"tls": ssl.create_default_context()}, "not trusted"),
    ],
)
async def test_what_is_wrong_is_said_without_names_or_secrets(reader, change, why):
    with pytest.raises(UnavailableError, match=why) as told:
        await reader.read(**change)
    text = f"{told.value!r} {reader.mailbox(**change)!r}"
    assert not any(one in text for one in (USER, PASSWORD, "väärä", "Poissa"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"greeting": "* BYE full"}, UnavailableError),
        ({"greeting": "* PREAUTH you"}, UnavailableError),
        ({"greeting": "220 mx ESMTP"}, UnavailableError),
        ({"capabilities": "IMAP4rev1 LOGINDISABLED"}, UnavailableError),
        ({"uid_validity": 0}, UnavailableError),
        # Without AUTH=PLAIN nothing but ASCII can be said.
        ({"capabilities": "IMAP4rev1"}, InvalidInputError),
    ],
)
async def test_a_server_that_cannot_be_used_is_not(reader, change, error):
    for name, value in change.items():
        setattr(reader.imap, name, value)
    with pytest.raises(error):
        await reader.read()


async def test_a_server_without_tls_is_told_nothing(archive, authority):
    async with serving(Imap(), None) as imap:
        with pytest.raises(UnavailableError):
            await Reader(archive, imap, authority).read()
    assert not any(USER in one or "AUTH" in one for one in imap.asked)


async def test_trouble_is_shown_until_it_is_read_again(reader, monkeypatch):
    monkeypatch.setattr(outside, "FIRST_WAIT", timedelta(seconds=0.01))
    reading = reader.mailbox(turn=Never(times=1000))
    asking = Asking("mailbox pbx 1", reading.read)
    reading.on_read = asking.note_answer
    reader.imap.greeting = "* BYE"
    task = asyncio.create_task(asking.run())
    await until(lambda: asking.trouble)
    reader.imap.greeting = "* OK"
    await until(lambda: not asking.trouble)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_nothing_that_names_people_is_logged(reader, caplog):
    caplog.set_level(logging.DEBUG)
    reader.imap.bring(ONE, b"x" * 200_000, letter(n=5))
    await reader.read()
    text = " ".join(str(record.__dict__) for record in caplog.records)
    assert not any(one in text for one in (USER, PASSWORD, "maija", "INBOX"))
