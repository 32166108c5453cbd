"""Slow and lying clients, on raw sockets: what each connection may cost, and how it ends."""

import asyncio
import contextlib
import json
import re
from dataclasses import replace
from ipaddress import ip_network

import pytest
from aiohttp import web

from service.http import uploads
from service.http.addresses import Site
from service.http.bodies import read_body
from service.http.frame import Frame, build_application
from service.http.server import Patience, listening
from tests.fakes import NOW
from tests.http.conftest import route

QUICK = Patience(
    head_seconds=0.3, idle_seconds=1.5, body_seconds=0.3, body_bytes=100, per_address=4
)
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


class Wire:
    """A server, and raw connections to it."""

    def __init__(self):
        self.address = None
        self.stack = contextlib.AsyncExitStack()
        self.bodies = []

    async def connect(self):
        reader, writer = await asyncio.open_connection(*self.address)
        self.stack.push_async_callback(_end, writer)
        return reader, writer

    async def send(self, *parts, pause=0.0):
        """Send the parts with a pause after each; return everything that came until the server closed."""
        reader, writer = await self.connect()
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        return await _rest(reader)


async def _end(writer):
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _rest(reader):
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 5)
    return b""


def _statuses(answer):
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)]


@contextlib.asynccontextmanager
async def _serving(patience=QUICK, trusted_proxies=()):
    async def look(_):
        return web.Response(text="fine")

    async def take(request):
        body = await read_body(request)
        wire.bodies.append(body)
        return web.Response(text=str(len(body)))

    async def upload(request):
        size = sum([len(chunk) async for chunk in uploads.read_chunks(request)])
        wire.bodies.append(size)
        return web.Response(text=str(size))

    async def slow(_):
        await asyncio.sleep(0.6)
        return web.Response(text="slow")

    async def dawdle(request):
        await asyncio.sleep(0.7)
        return web.Response(text=str(len(await read_body(request))))

    async def vast(_):
        return web.Response(body=bytes(20 * 1024**2))

    routes = [
        route("GET", "/", look),
        route("POST", "/", take),
        route("PUT", "/upload", upload),
        route("GET", "/slow", slow),
        route("POST", "/dawdle", dawdle),
        route("GET", "/vast", vast),
    ]
    frame = Frame(site=Site(), sessions=None, tokens=None, clock=lambda: NOW)
    app = build_application(frame, routes)
    wire = Wire()
    async with (
        wire.stack,
        listening(
            app, "127.0.0.1", 0, patience=patience, trusted_proxies=trusted_proxies
        ) as wire.address,
    ):
        yield wire


@pytest.fixture
async def wire():
    async with _serving() as serving:
        yield serving


async def _seconds(answering):
    begun = asyncio.get_running_loop().time()
    answer = await answering
    return answer, asyncio.get_running_loop().time() - begun


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b""], id="nothing at all"),
        pytest.param([b"G"], id="one byte"),
        pytest.param([HEAD[:-2]], id="a head without its last line"),
        pytest.param([HEAD[i : i + 1] for i in range(len(HEAD) - 1)], id="a byte at a time"),
        pytest.param([b"\r\n"] * 20, id="empty lines"),
    ],
)
async def test_a_head_that_is_not_whole_in_time_ends_the_connection(wire, parts):
    answer, seconds = await _seconds(wire.send(*parts, pause=0.05))
    assert answer == b""
    assert 0.25 < seconds < 1.4


async def test_a_later_head_has_the_same_time_from_its_first_byte(wire):
    reader, writer = await wire.connect()
    for _ in range(2):
        # Between two requests nothing hurries.
        await asyncio.sleep(0.4 if _ else 0)
        writer.write(HEAD)
        assert (await reader.readuntil(b"fine")).startswith(b"HTTP/1.1 200")
    writer.write(b"GET /")
    answer, seconds = await _seconds(_rest(reader))
    assert answer == b""
    assert 0.2 < seconds < 1.4


async def test_a_head_that_comes_slowly_but_in_time_is_answered(wire):
    reader, writer = await wire.connect()
    for part in (HEAD[:3], HEAD[3:20], HEAD[20:]):
        writer.write(part)
        await asyncio.sleep(0.05)
    assert await reader.readuntil(b"fine")


async def test_an_idle_connection_is_kept_for_a_while(wire):
    reader, writer = await wire.connect()
    writer.write(HEAD)
    await reader.readuntil(b"fine")
    answer, seconds = await _seconds(_rest(reader))
    assert answer == b""
    assert 1.3 < seconds < 3


async def test_half_a_head_behind_a_request_does_not_take_its_answer_away(wire):
    first = HEAD.replace(b" / ", b" /slow ")
    answer = await wire.send(first, b"GET /", pause=0.05)
    assert answer.endswith(b"slow")


async def test_requests_sent_ahead_are_answered_in_their_order(wire):
    posted = POST + b"Content-Length: 3\r\n\r\nabc"
    last = HEAD[:-2] + b"Connection: close\r\n\r\n"
    answer = await wire.send(HEAD.replace(b" / ", b" /slow ") + posted * 40 + last)
    assert _statuses(answer) == [200] * 42
    assert wire.bodies == [b"abc"] * 40
    assert answer.index(b"slow") < answer.index(b"fine")


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
        b"PUT /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
        b"PUT /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_a_body_that_trickles_ends_the_connection(wire, head):
    chunk = b"1\r\nx\r\n" if b"chunked" in head else b"x"
    answer, seconds = await _seconds(wire.send(head, *[chunk] * 10, pause=0.05))
    assert answer == b""
    assert wire.bodies == []
    assert 0.25 < seconds < 2


async def test_a_body_that_keeps_coming_may_take_its_time():
    head = b"PUT /upload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    parts = [bytes(100)] * 20
    # Long enough that a busy machine which holds both sides up for a moment is not taken for a slow client.
    async with _serving(replace(QUICK, body_seconds=1.5)) as wire:
        answer = await wire.send(head + b"Content-Length: 2000\r\n\r\n", *parts, pause=0.1)
        assert _statuses(answer) == [200]
        assert wire.bodies == [2000]


async def test_a_body_is_not_blamed_for_a_handler_that_does_not_read(wire):
    size = 900_000
    head = b"POST /dawdle HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await wire.send(head + b"Content-Length: %d\r\n\r\n" % size, bytes(size))
    assert answer.endswith(b"%d" % size)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: 3\r\nContent-Length: 4\r\n", id="two lengths"),
        pytest.param(b"Content-Length: 3\r\nContent-Length: 3\r\n", id="one length twice"),
        pytest.param(b"Content-Length: 3, 3\r\n", id="a list of lengths"),
        pytest.param(b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", id="CL and TE"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", id="TE and CL"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n", id="chunked is not last"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n", id="an unknown coding"),
        pytest.param(b"Content-Length: -3\r\n", id="a negative length"),
        pytest.param(b"Content-Length: +3\r\n", id="a signed length"),
        pytest.param(b"Content-Length: 0x3\r\n", id="a hexadecimal length"),
        pytest.param(b"Content-Length: 99999999999999999999999\r\n", id="a length of 77 bits"),
        pytest.param(b"Content-Length:\r\n", id="an empty length"),
        pytest.param(b"Content-Length : 3\r\n", id="a space before the colon"),
        pytest.param(b"X-A: a\x00b\r\n", id="a nul byte"),
        pytest.param(b"X-A: a\r\n folded\r\n", id="a folded line"),
        pytest.param(b"X A: a\r\n", id="a space in a name"),
        pytest.param(b": a\r\n", id="no name"),
        pytest.param(b"X-A\r\n", id="no colon"),
        pytest.param(b"X-A: a\nContent-Length: 3\r\n", id="a bare line feed"),
        pytest.param(b"X-A: a\rContent-Length: 3\r\n", id="a bare carriage return"),
    ],
)
async def test_a_head_that_two_readers_could_read_differently_is_refused(wire, head):
    answer = await wire.send(POST + head + b"\r\nabcGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert _statuses(answer) == [400]
    assert wire.bodies == []
    _require_problem(answer, "invalid_input")


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\x00",
        b"GET /a b HTTP/1.1",
        b"GET / HTTP/9.9",
        b"GET / FTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"G\x00T / HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
    ],
)
async def test_a_request_line_that_is_none_is_refused(wire, line):
    answer = await wire.send(line + b"\r\nHost: localhost\r\n\r\n")
    assert _statuses(answer) == [400]
    _require_problem(answer, "invalid_input")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", id="a long address"),
        pytest.param(HEAD[:-2] + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n", id="a long value"),
        pytest.param(HEAD[:-2] + b"a" * 20_000 + b": a\r\n\r\n", id="a long name"),
        pytest.param(HEAD[:-2] + b"X-A: a\r\n" * 5000 + b"\r\n", id="many headers"),
    ],
)
async def test_a_huge_head_is_refused(wire, head):
    answer = await wire.send(head)
    assert _statuses(answer) in ([400], [431])
    assert b"aaaa" not in answer


@pytest.mark.parametrize("path", [b"/", b"/nowhere"])
async def test_what_is_expected_and_cannot_be_is_refused_without_repeating_it(wire, path):
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await wire.send(head + b"Expect: aaaa\r\nContent-Length: 0\r\n\r\n")
    assert _statuses(answer) == [417]
    assert b"aaaa" not in answer
    _require_problem(answer, "expectation_failed")


def _require_problem(answer, code):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert b"Server: taltio" in head
    assert json.loads(body)["code"] == code


@pytest.mark.parametrize("sent", [0, 1, 99])
@pytest.mark.parametrize("path", [b"/", b"/upload"])
async def test_a_body_that_breaks_off_is_not_taken_for_whole(wire, path, sent):
    method = b"POST" if path == b"/" else b"PUT"
    head = method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    reader, writer = await wire.connect()
    writer.write(head + b"x" * sent)
    writer.write_eof()
    assert b" 200 " not in await _rest(reader)
    assert wire.bodies == []


async def test_one_address_has_so_many_connections_and_no_more(wire):
    held = [await wire.connect() for _ in range(QUICK.per_address)]
    answer = await wire.send(HEAD)
    assert _statuses(answer) in ([503], [])
    held[0][1].write(HEAD)
    assert await held[0][0].readuntil(b"fine"), "those that are there are served"


async def test_connections_that_ended_are_not_counted(wire):
    for _ in range(3 * QUICK.per_address):
        answer = await wire.send(HEAD[:-2] + b"Connection: close\r\n\r\n")
        assert _statuses(answer) == [200]


async def test_connections_of_a_trusted_proxy_are_not_counted():
    async with _serving(trusted_proxies=[ip_network("127.0.0.0/8")]) as wire:
        held = []
        for _ in range(3 * QUICK.per_address):
            reader, writer = await wire.connect()
            # At once: whoever says nothing for long is left, and all of them may take long.
            writer.write(HEAD)
            held.append(reader)
        for reader in held:
            assert await reader.readuntil(b"fine")


async def test_a_client_that_takes_nothing_is_dropped():
    async with _serving(Patience(stall_seconds=1)) as wire:
        reader, writer = await wire.connect()
        writer.transport.pause_reading()
        writer.write(HEAD.replace(b" / ", b" /vast "))
        await asyncio.sleep(2.5)
        writer.transport.resume_reading()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(20 * 1024**2), 5)


async def test_what_has_begun_ends_before_the_server_does():
    async with _serving() as wire:
        reader, writer = await wire.connect()
        writer.write(HEAD.replace(b" / ", b" /slow "))
        await asyncio.sleep(0.1)
        reading = asyncio.create_task(_rest(reader))
    assert b"slow" in await reading


def test_the_patience_of_the_service_is_what_its_documentation_says():
    patience = Patience()
    assert (patience.head_seconds, patience.idle_seconds) == (10, 75)
    assert patience.body_seconds > uploads.PAUSE_SECONDS, "a pause is answered in words first"
