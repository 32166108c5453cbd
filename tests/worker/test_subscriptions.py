"""Staying connected to Asterisk's manager and REST interface: what is told is kept, and what is missed is known."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from aiohttp import web

from service.config import parse_config
from service.databases import Alone
from service.domain.fetching import fetch_kind
from service.fetching import fetching_of
from service.subscribing import subscriptions_of
from service.worker.subscriptions.ami import Manager, manager_line
from service.worker.subscriptions.line import Patience
from service.worker.subscriptions.subscription import Subscription, Waits
from storage.errors import UnavailableError
from storage.rows import AttentionRow, ContactRow, DeliveryRow, GapRow, JobRow
from tests.imap import until

SECRET = "invented-and-known-to-the-manager"
CREDENTIALS = "Basic " + base64.b64encode(b"invented:and-long").decode()
PATIENCE = Patience(
    connect=timedelta(seconds=1),
    look=timedelta(seconds=0.02),
    ask=timedelta(seconds=0.05),
    lost=timedelta(seconds=0.4),
    answer=timedelta(seconds=0.5),
)
WAITS = Waits(
    first=timedelta(seconds=0.02),
    longest=timedelta(seconds=0.05),
    refused=timedelta(seconds=60),
    turn=timedelta(seconds=0.02),
)


def cdr(n=1):
    return (
        f"Event: Cdr\r\nSource: +358401234567\r\nDestination: 0201234567\r\nStartTime: 2026-11-22 11:47:25\r\n"
        f"AnswerTime: 2026-11-22 11:47:25\r\nEndTime: 2026-11-22 11:47:35\r\nDisposition: ANSWERED\r\n"
        f"UniqueID: 1795340845.{n}\r\nlinkedid: 1795340845.{n}\r\n\r\n"
    ).encode()


def now():
    return datetime.now(UTC)


@dataclass
class FakeManager:
    """A manager on loopback; ``says`` follows the login, and then it does as it is told."""

    greeting: bytes = b"Asterisk Call Manager/9.0.0\r\n"
    answer: bytes = b"Response: Success\r\nMessage: Authentication accepted\r\n\r\n"
    answers_ping: bool = True
    heard: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    port: int = 0

    async def talk(self, reader, writer):
        self.writers.append(writer)
        writer.write(self.greeting)
        with suppress(OSError, asyncio.IncompleteReadError):
            while action := await reader.readuntil(b"\r\n\r\n"):
                self.heard.append(action)
                if action.startswith(b"Action: Login"):
                    writer.write(self.answer)
                elif self.answers_ping:
                    writer.write(b"Response: Success\r\nPing: Pong\r\n\r\n")

    @property
    def logins(self):
        return sum(action.startswith(b"Action: Login") for action in self.heard)

    def tell(self, *pieces):
        for piece in pieces:
            self.writers[-1].write(piece)

    def hang_up(self):
        self.writers[-1].transport.abort()


@pytest.fixture
async def manager():
    fake = FakeManager()
    server = await asyncio.start_server(fake.talk, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    yield fake
    server.close()
    for writer in fake.writers:
        writer.transport.abort()


@pytest.fixture
def config(tmp_path):
    (tmp_path / "ari").write_text("Basic invented:and-long\n")
    (tmp_path / "ari").chmod(0o400)
    return parse_config('[[sources]]\nname = "pbx"\nkind = "asterisk"\n', base=tmp_path)


class Turns(Alone):
    """The turn of a process that has it until ``is_over``."""

    is_over = False

    async def is_mine(self):
        return not self.is_over


def to_manager(archive, fake, *, turn=None, intake=None, offered=None):
    where = Manager(host="127.0.0.1", port=fake.port, user="taltio", secret=SECRET)
    return Subscription(
        name="ami pbx",
        source="pbx",
        kind="event",
        cause="ami_connection_lost",
        dial=partial(manager_line, where, now, PATIENCE),
        intake=intake or archive.intake,
        turn=turn or Turns(),
        clock=now,
        offer=None if offered is None else offered.append,
        waits=WAITS,
    )


@asynccontextmanager
async def running(subscription):
    task = asyncio.create_task(subscription.run())
    try:
        yield subscription
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def kept(archive, count):
    """Return the deliveries, as soon as there are so many."""
    for _ in range(1000):
        rows = await archive.stores.store.find(DeliveryRow, {})
        if len(rows) >= count:
            return rows
        await asyncio.sleep(0.01)
    pytest.fail(f"{len(rows)} of {count} deliveries")


async def gaps(archive):
    return await archive.stores.store.find(GapRow, {})


async def test_each_record_is_kept_as_it_came_and_only_records(archive, manager):
    offered = []
    async with running(to_manager(archive, manager, offered=offered)):
        await until(lambda: manager.logins)
        whole = cdr(1) + b"Event: Hangup\r\nChannel: x\r\n\r\n" + cdr(2)
        manager.tell(whole[:40])
        await asyncio.sleep(0.05)
        manager.tell(whole[40:])
        rows = await kept(archive, 2)
    opened = await archive.understanding.opener.open(rows)
    assert sorted(one.body for one in opened.values()) == [
        cdr(n).removesuffix(b"\r\n\r\n") for n in (1, 2)
    ]
    assert {row.kind for row in rows} == {"event"}
    assert len(offered) == 2
    (login,) = [action for action in manager.heard if b"Login" in action]
    assert login == (
        f"Action: Login\r\nUsername: taltio\r\nSecret: {SECRET}\r\nEvents: cdr\r\n\r\n".encode()
    )


async def test_a_record_becomes_a_contact(archive, manager):
    async with running(to_manager(archive, manager)):
        await until(lambda: manager.logins)
        manager.tell(cdr())
        rows = await kept(archive, 1)
    await archive.understanding.understand_rows(rows, now=now())
    (contact,) = await archive.stores.store.find(ContactRow, {})
    assert (contact.source, contact.channel) == ("pbx", "call")


async def test_a_call_of_which_only_the_hang_up_was_told_holds_up_no_other_and_is_not_lost(
    archive, manager
):
    async with running(to_manager(archive, manager)):
        await until(lambda: manager.logins)
        hung_up = cdr(7).replace(b"Destination: 0201234567", b"Destination: h")
        manager.tell(hung_up, cdr(1))
        rows = await kept(archive, 2)
    await archive.understanding.understand_rows(rows, now=now())
    assert len(await archive.stores.store.find(ContactRow, {})) == 1
    states = {row.state for row in await archive.stores.store.find(DeliveryRow, {})}
    assert states == {"understood", "waiting"}


async def test_while_there_is_no_line_there_is_a_gap_which_ends_with_the_next(archive, manager):
    async with running(to_manager(archive, manager)) as line:
        await until(lambda: manager.logins)
        assert await gaps(archive) == []
        manager.tell(cdr(1))
        await kept(archive, 1)
        manager.hang_up()
        await until(lambda: manager.logins == 2)
        await until(lambda: line.trouble is None)
        manager.tell(cdr(2))
        await kept(archive, 2)
        (gap,) = await gaps(archive)
        assert (gap.source, gap.cause) == ("pbx", "ami_connection_lost")
        assert gap.until is not None
        assert gap.since <= gap.until
        (item,) = await archive.stores.store.find(AttentionRow, {"state": "open"})
        assert (item.reason, item.about) == ("source_gap", gap.id)


async def test_a_line_that_comes_and_goes_has_one_gap(archive, manager):
    async with running(to_manager(archive, manager)) as line:
        for n in range(1, 4):
            await until(lambda n=n: manager.logins == n)
            await until(lambda: line.trouble is None)
            manager.tell(cdr(n))
            await kept(archive, n)
            manager.hang_up()
        await until(lambda: manager.logins == 4)
        await until(lambda: line.trouble is None)
        (gap,) = await gaps(archive)
        assert gap.until is not None
        assert len(await archive.stores.store.find(AttentionRow, {"state": "open"})) == 1


async def test_after_it_was_stopped_the_time_in_between_is_a_gap(archive, manager):
    async with running(to_manager(archive, manager)):
        await until(lambda: manager.logins)
        manager.tell(cdr(1))
        await kept(archive, 1)
    (gap,) = await gaps(archive)
    assert gap.until is None
    async with running(to_manager(archive, manager)):
        await until(lambda: manager.logins == 2)
        manager.tell(cdr(2))
        await kept(archive, 2)
        (ended,) = await gaps(archive)
        assert ended.since == gap.since
        assert ended.until is not None


async def test_who_is_refused_says_so_and_does_not_insist(archive, manager, caplog):
    manager.answer = b"Response: Error\r\nMessage: Authentication failed\r\n\r\n"
    async with running(to_manager(archive, manager)) as line:
        await until(lambda: line.trouble)
        await asyncio.sleep(0.15)
        assert manager.logins == 1
        assert "ami_user" in line.trouble
        assert SECRET not in repr(line)
    assert SECRET not in "".join(f"{record.__dict__}" for record in caplog.records)
    assert await gaps(archive) == []


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "greet"),
        (b"220 smtp.example.org\r\n", "greet"),
        (b"x" * 200, "greet"),
        (b"Asterisk Call Manager/9.0.0\r\n" + b"Event: " + b"x" * 100_000, "block"),
        (b"", "no answer to the login"),
    ],
)
async def test_what_is_no_manager_is_left_again(archive, manager, greeting, said):
    manager.greeting = greeting
    manager.answer = b""
    async with running(to_manager(archive, manager)) as line:
        await until(lambda: line.trouble)
        assert said in line.trouble
    assert await archive.stores.store.find(DeliveryRow, {}) == []


async def test_a_manager_that_falls_silent_is_asked_and_then_left(archive, manager):
    async with running(to_manager(archive, manager)) as line:
        await until(lambda: b"Action: Ping\r\n\r\n" in manager.heard)
        assert line.trouble is None
        manager.answers_ping = False
        await until(lambda: line.trouble == "the manager fell silent")


async def test_nobody_there_is_tried_again(archive, manager):
    port, manager.port = manager.port, 1
    line = to_manager(archive, manager)
    async with running(line):
        await until(lambda: line.trouble)
        assert "no connection" in line.trouble
        assert str(port) not in line.trouble


class Ailing:
    """A store whose first commits fail."""

    def __init__(self, store):
        self.store, self.left = store, 3

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def commit(self, writes):
        self.left -= 1
        if self.left >= 0:
            raise UnavailableError("away")
        return await self.store.commit(writes)


async def test_what_cannot_be_kept_now_is_kept_later_and_nothing_is_passed_over(
    archive, manager
):
    store = Ailing(archive.intake.store)
    intake = replace(archive.intake, store=store)
    async with running(to_manager(archive, manager, intake=intake)):
        await until(lambda: manager.logins)
        manager.tell(cdr(1), cdr(2))
        rows = await kept(archive, 2)
    assert len(rows) == 2
    assert store.left < 0


async def test_only_one_of_several_is_connected(archive, manager):
    turn = Turns()
    async with running(to_manager(archive, manager, turn=turn)) as line:
        await until(lambda: manager.logins)
        turn.is_over = True
        manager.tell(cdr(1))
        await kept(archive, 1)
        await asyncio.sleep(0.15)
        assert manager.logins == 1
        assert line.trouble is None


CALL = "1795340871.8"
STASIS = {
    "type": "StasisStart",
    "timestamp": "2026-11-22T11:47:51.607+0200",
    "channel": {
        "id": CALL,
        "name": "PJSIP/trunk-00000004",
        "caller": {"name": "Matti", "number": "+358401234567"},
        "dialplan": {"context": "default", "exten": "0201234567"},
        "creationtime": "2026-11-22T11:47:51.602+0200",
    },
}


def finished(name=f"arkisto-{CALL}"):
    told = {"name": name, "format": "wav", "state": "done", "target_uri": f"channel:{CALL}"}
    return {
        "type": "RecordingFinished",
        "timestamp": "2026-11-22T11:47:58.027+0200",
        "recording": told,
    }


@dataclass
class FakeInterface:
    """ARI on loopback."""

    status: int = 101
    stored: object = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    port: int = 0

    async def answer(self, request):
        if request.headers.get("Authorization") != CREDENTIALS:
            return web.Response(status=401)
        self.asked.append(request.path_qs)
        if request.path == "/ari/events":
            return await self.events(request)
        if request.path == "/ari/recordings/stored":
            return web.json_response(self.stored)
        if request.path.endswith("/variable"):
            return web.json_response({"value": CALL})
        return web.Response(status=404)

    async def events(self, request):
        if self.status == 302:
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if self.status != 101:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for _ in socket:
            # What a client says on it means nothing.
            continue
        return socket

    async def tell(self, event):
        text = event if isinstance(event, str) else json.dumps(event)
        await self.sockets[-1].send_str(text)


@pytest.fixture
async def interface():
    fake = FakeInterface()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", fake.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.port = runner.addresses[0][1]
    yield fake
    await runner.cleanup()


def to_interface(archive, fake, tmp_path, *, networks='["127.0.0.0/8"]'):
    """Return the subscription that the settings of a source make."""
    origin = f"http://127.0.0.1:{fake.port}"
    settings = f"""
[[sources]]
name = "pbx"
kind = "asterisk"
company_numbers = ["+358 20 1234567"]
ari = "{origin}/ari"
fetch_origins = ["{origin}"]
fetch_networks = {networks}
fetch_credentials = ["{origin} ari"]
"""
    connected = replace(archive, config=parse_config(settings, base=tmp_path))
    rules = fetching_of(connected).rules
    (found,) = subscriptions_of(connected, rules, now, None, patience=PATIENCE)
    found.waits = WAITS
    return found


async def test_events_of_calls_and_recordings_are_kept_with_the_call_they_are_of(
    archive, interface, tmp_path
):
    async with running(to_interface(archive, interface, tmp_path)):
        await until(lambda: interface.sockets)
        await interface.tell({"type": "ChannelVarset", "variable": "x"})
        await interface.tell(STASIS)
        await interface.tell(finished())
        rows = await kept(archive, 2)
    assert {row.kind for row in rows} == {"ari"}
    opened = await archive.understanding.opener.open(rows)
    assert all(CALL.encode() in one.body for one in opened.values())
    assert any("CHANNEL%28linkedid%29" in path for path in interface.asked)
    assert any("subscribeAll=true" in path for path in interface.asked)


async def test_a_recording_is_fetched_by_a_job_of_its_source(archive, interface, tmp_path):
    async with running(to_interface(archive, interface, tmp_path)):
        await until(lambda: interface.sockets)
        await interface.tell(STASIS)
        await interface.tell(finished())
        rows = await kept(archive, 2)
    stored = f"http://127.0.0.1:{interface.port}/ari/recordings/stored"
    rule = replace(archive.interpreter.rule_of("pbx"), stored_recordings=stored)
    interpreter = replace(archive.interpreter, rules={"pbx": rule})
    understanding = replace(archive.understanding, interpreter=interpreter)
    await understanding.understand_rows(rows, now=now())
    (contact,) = await archive.stores.store.find(ContactRow, {})
    assert contact.source == "pbx"
    (job,) = await archive.stores.store.find(JobRow, {"kind": fetch_kind("pbx")})
    assert job.state == "queued"


async def test_what_was_stored_meanwhile_is_taken_when_there_is_a_line_again(
    archive, interface, tmp_path
):
    line = to_interface(archive, interface, tmp_path)
    call = f"{int(now().timestamp())}.9"
    async with running(line):
        await until(lambda: interface.sockets)
        await interface.tell(STASIS)
        await kept(archive, 1)
        interface.stored = [
            {"name": f"arkisto-{call}", "format": "wav"},
            {"name": "arkisto-1000000000.1", "format": "wav"},
        ]
        await interface.sockets[-1].close()
        rows = await kept(archive, 2)
    opened = await archive.understanding.opener.open(rows)
    assert sum(call.encode() in one.body for one in opened.values()) == 1
    assert {gap.cause for gap in await gaps(archive)} == {"ari_connection_lost"}


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "credentials"), (403, "credentials"), (302, "redirect"), (503, "503"), (200, "200")],
)
async def test_where_there_is_no_line_that_is_said(archive, interface, tmp_path, status, said):
    interface.status = status
    line = to_interface(archive, interface, tmp_path)
    async with running(line):
        await until(lambda: line.trouble)
        assert said in line.trouble
        assert "/elsewhere" not in interface.asked
    assert CREDENTIALS not in repr(line)


@pytest.mark.parametrize("text", ["garbage", "[]", '{"kind": 1}', "x" * 300_000])
async def test_what_is_no_event_ends_the_line_and_a_new_one_is_opened(
    archive, interface, tmp_path, text
):
    async with running(to_interface(archive, interface, tmp_path)):
        await until(lambda: interface.sockets)
        await interface.tell(text)
        await until(lambda: len(interface.sockets) == 2)
    assert await archive.stores.store.find(DeliveryRow, {}) == []


async def test_where_the_rules_of_the_source_do_not_let_us_go_nobody_is_asked(
    archive, interface, tmp_path
):
    line = to_interface(archive, interface, tmp_path, networks="[]")
    async with running(line):
        await until(lambda: line.trouble)
    assert interface.asked == []


async def test_a_listing_that_cannot_be_had_is_no_reason_not_to_listen(
    archive, interface, tmp_path
):
    interface.stored = {"no": "list"}
    line = to_interface(archive, interface, tmp_path)
    async with running(line):
        await until(lambda: interface.sockets)
        await interface.tell(STASIS)
        await kept(archive, 1)
        await interface.sockets[-1].close()
        await until(lambda: len(interface.sockets) == 2)
        await interface.tell(finished())
        await kept(archive, 2)
