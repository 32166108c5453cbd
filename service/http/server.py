"""The server's patience: what a connection may cost before, between and behind its requests.

aiohttp waits without end for the head of a request and for a body that trickles. Here both have a deadline, one
address has a bounded number of connections, and what cannot be read as HTTP is answered as a problem too.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Network
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from service.domain.errors import ArchiveError, InvalidInputError, UnavailableError
from service.http.addresses import Network, parse_ip
from service.http.frame import RUNNER_OPTIONS
from service.http.headers import add_headers
from service.http.meters import METERS, Meters
from service.http.problems import Problem, problem_of

BACKLOG: Final = 512
_NETWORK_BITS: Final = 64
_UNTOLD: Final = b"""HTTP/1.1 503 Service Unavailable\r
Connection: close\r
Content-Length: 0\r
Retry-After: 5\r
\r
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited, and for how many.

    Attributes:
        head_seconds: For a whole request head, from the connection or from its first byte.
        idle_seconds: For the next request on a connection.
        body_seconds, body_bytes: A body brings at least so many bytes in each such time, or its end. What the archive
            itself holds up does not count.
        stall_seconds: For a client that takes nothing of what is sent to it.
        per_address: Connections from one address, or one IPv6 network of 64 bits. Trusted proxies are not counted.
    """

    head_seconds: float = 10
    idle_seconds: float = 75
    body_seconds: float = 60
    body_bytes: int = 16 * 1024
    stall_seconds: float = 300
    per_address: int = 256


PATIENCE: Final = Patience()


@asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    trusted_proxies: Sequence[Network] = (),
    patience: Patience = PATIENCE,
    shutdown_seconds: float = 30,
) -> AsyncIterator[tuple[str, int]]:
    """Answer requests inside the block; yield the host and port that are listened on.

    At its end no new request is taken, and those that have begun may take ``shutdown_seconds`` to end.

    Raises:
        OSError: It cannot listen there.
    """
    runner = _Runner(app, patience, trusted_proxies, shutdown_timeout=shutdown_seconds)
    await runner.setup()
    try:
        listener = await asyncio.get_running_loop().create_server(
            _require(runner.server),
            host,
            port,
            ssl=tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=patience.head_seconds if tls else None,
        )
        try:
            name = listener.sockets[0].getsockname()
            yield name[0], name[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def _require(server: web.Server | None) -> web.Server:
    if server is None:
        raise RuntimeError("the runner was not set up")
    return server


class _Runner(web.AppRunner):
    """A runner whose connections are impatient."""

    __slots__ = ("_patience", "_trusted")

    def __init__(
        self,
        app: web.Application,
        patience: Patience,
        trusted: Sequence[Network],
        *,
        shutdown_timeout: float,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout, **RUNNER_OPTIONS)
        self._patience, self._trusted = patience, trusted

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(
            made.request_handler,
            request_factory=made.request_factory,
            keepalive_timeout=self._patience.idle_seconds,
            **RUNNER_OPTIONS,
        )
        server.patience, server.trusted = self._patience, self._trusted
        server.meters = self.app.get(METERS) or server.meters
        return server


class _Server(web.Server):
    """Makes a connection's protocol for each, and counts those of one address."""

    def __init__(self, *handler: Any, **options: Any) -> None:  # noqa: ANN401  # aiohttp's own, handed on
        super().__init__(*handler, **options)
        self.patience, self.trusted = PATIENCE, ()  # type: Patience, Sequence[Network]
        self.meters = Meters()
        self._open: Counter[str] = Counter()

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, **self._kwargs)

    def enter(self, transport: asyncio.BaseTransport) -> str | None:
        """Count a connection and return what it counts for; None when that has enough of them."""
        whose = self._whose(transport)
        if whose and self._open[whose] >= self.patience.per_address:
            return None
        self._open[whose] += 1
        return whose

    def leave(self, whose: str) -> None:
        """Count a connection no more."""
        self._open[whose] -= 1
        if not self._open[whose]:
            del self._open[whose]

    def _whose(self, transport: asyncio.BaseTransport) -> str:
        peer = transport.get_extra_info("peername")
        address = parse_ip(peer[0]) if peer else None
        if address is None or any(address in network for network in self.trusted):
            return ""
        if isinstance(address, IPv4Address):
            return str(address)
        return str(IPv6Network((address, _NETWORK_BITS), strict=False))


class _Connection(web.RequestHandler):
    """One connection, with deadlines for what it sends."""

    __slots__ = (
        "_body",
        "_body_timer",
        "_bytes_before",
        "_bytes_received",
        "_head_timer",
        "_is_held_up",
        "_is_last",
        "_patience",
        "_server",
        "_whose",
    )

    def __init__(self, server: _Server, **options: Any) -> None:  # noqa: ANN401  # aiohttp's own, handed on
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._server, self._patience = server, server.patience
        self._whose: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._body = EMPTY_PAYLOAD
        self._bytes_received = self._bytes_before = 0
        self._is_held_up = self._is_last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._whose = self._server.enter(transport)
        if self._whose is None:
            self.force_close()
            if isinstance(transport, asyncio.WriteTransport):
                transport.write(_UNTOLD)
            transport.close()
            return
        _bound_stalls(transport, self._patience.stall_seconds)
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._whose is not None:
            self._server.leave(self._whose)
            self._whose = None
        for timer in (self._head_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        heads, is_between = self._request_count, self._body.is_eof()
        self._bytes_received += len(data)
        self._server.meters.received_bytes += len(data)
        super().data_received(data)
        if self._request_count != heads:
            self._await_body()
        elif data and is_between and self._head_timer is None:
            # Bytes that end a body may hold the beginning of a head as well; the next ones will tell.
            self._await_head()

    def pause_reading(self) -> None:
        self._is_held_up = True
        super().pause_reading()

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._patience.head_seconds, self._head_is_due)

    def _head_is_due(self) -> None:
        self._head_timer = None
        if self._request_in_progress or self._messages:
            # What was asked before it is still answered.
            self.close()
        else:
            self._abort()

    def _await_body(self) -> None:
        for timer in (self._head_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._body_timer = None
        self._body = self._messages[-1][1]
        if not self._body.is_eof():
            self._await_progress()

    def _await_progress(self) -> None:
        self._bytes_before, self._is_held_up = self._bytes_received, self._reading_paused
        seconds = self._patience.body_seconds
        self._body_timer = self._loop.call_later(seconds, self._progress_is_due)

    def _progress_is_due(self) -> None:
        self._body_timer = None
        if self._body.is_eof():
            return
        came = self._bytes_received - self._bytes_before
        if came < self._patience.body_bytes and not self._is_held_up:
            self._abort()
        else:
            self._await_progress()

    def _abort(self) -> None:
        """Close at once. Closing in order would wait for the client to take what it was sent."""
        if self.transport is not None:
            self.transport.abort()
        self.force_close()

    def close(self) -> None:
        """Take no further request. A body that is on its way still comes in: closing would drop the rest of it."""
        if self._request_in_progress and not self._body.is_eof():
            self._is_last = True
        else:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109  # aiohttp's own
        """Let the request that has begun end, its body first, for ``timeout`` seconds in all; then close."""
        begun = self._loop.time()
        if self._request_in_progress and not self._body.is_eof():
            # A client that goes away ends the waiting with an error, which the handler is told as well.
            with suppress(Exception):
                async with asyncio.timeout(timeout):
                    await self._body.wait_eof()
        if timeout is not None:
            # To aiohttp none left would be without end.
            timeout = max(0.1, timeout - (self._loop.time() - begun))
        await super().shutdown(timeout)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; a refusal of the framework's own, before the frame was asked, as a problem."""
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = problem_of(resp).response()
        if self._is_last:
            resp.force_close()
        sent = await super().finish_response(request, resp, start_time)
        self._server.meters.sent_bytes += resp.body_length
        return sent

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and what went wrong outside of the frame, as a problem.

        Raises:
            ConnectionError: An answer has begun and cannot be taken back.
        """
        # It writes to the operator's log; what it would answer repeats what was sent.
        super().handle_error(request, status, exc, message)
        response = _problem(status, exc).response()
        add_headers(response, is_secure=False)
        response.force_close()
        return response


def _problem(status: int, error: BaseException | None) -> Problem:
    if isinstance(error, LineTooLong):
        return Problem(
            status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            code="head_too_large",
            detail="The address or a header is longer than what is accepted here.",
        )
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Problem(
            status=HTTPStatus.BAD_REQUEST,
            code=InvalidInputError.code,
            detail="This is not a request of HTTP/1.1.",
        )
    known = UnavailableError if status == HTTPStatus.GATEWAY_TIMEOUT else ArchiveError
    return Problem(status=HTTPStatus(status), code=known.code, detail=known.public)


def _bound_stalls(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Let the kernel give up on a client that takes nothing, also while the connection is closing (tcp(7))."""
    taken = transport.get_extra_info("socket")
    if taken is not None and taken.family in {socket.AF_INET, socket.AF_INET6}:
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None:
            taken.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
