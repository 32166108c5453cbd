"""``GET /sources/{name}/events``: server-sent events that tell an open page when there is news of a source.

An event says that there is news and nothing else; the page then asks for what it may show (WHATWG HTML, section 9.2).
A stream is one of few, lives for minutes, and ends when the service is to stop; the browser comes again by itself.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from service.domain.errors import ArchiveError
from service.http.errors import OverloadedError
from service.http.frame import ACTOR
from service.web.source_desk import SOURCES
from storage.errors import StorageError

NEWS: Final = b"event: news\ndata: \n\n"
HEARTBEAT: Final = b": here\n\n"
# A line that nobody reads, long enough that no proxy holds the beginning back.
_BEGINNING: Final = b"retry: 5000\n: " + b"." * 2048 + b"\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long streams live and how many there are.

    Attributes:
        look_seconds: News is looked for this often.
        heartbeat_seconds: Something is sent this often, so that proxies keep the connection and a dead one is noticed.
        life_seconds: A stream ends after this long: whoever signed out or lost a role hears no more after it.
        stall_seconds: A client that takes nothing for this long is left.
        per_actor, in_all: Streams at once.
    """

    look_seconds: float = 1
    heartbeat_seconds: float = 15
    life_seconds: float = 300
    stall_seconds: float = 20
    per_actor: int = 8
    in_all: int = 64


@dataclass(slots=True)
class Streams:
    """The streams of this process."""

    patience: Patience = field(default_factory=Patience)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _open: Counter[str] = field(default_factory=Counter)

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    @contextmanager
    def place(self, actor_id: str) -> Iterator[None]:
        """Take a place for a stream of an actor.

        Raises:
            OverloadedError: There is none.
        """
        patience = self.patience
        if self._open[actor_id] >= patience.per_actor or self.open >= patience.in_all:
            raise OverloadedError("too many pages wait for news of sources")
        self._open[actor_id] += 1
        try:
            yield
        finally:
            self._open[actor_id] -= 1
            self._open += Counter()


STREAMS: Final = web.AppKey("streams", Streams)


def set_up_streams(app: web.Application, patience: Patience | None = None) -> None:
    """Give ``app`` its streams, and end them when it is told to stop."""
    streams = app[STREAMS] = Streams(patience or Patience())

    async def stop(_: web.Application) -> None:
        streams.stopping.set()

    app.on_shutdown.append(stop)


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Tell of news of a source until the stream's time is over, the client has gone or the service stops."""
    streams, desk = request.app[STREAMS], request.app[SOURCES]
    name, actor = request.match_info["name"], request[ACTOR]
    # Refused before anything is sent.
    await desk.sources.get(name, actor=actor)
    if request.method == "HEAD":
        return web.Response(content_type="text/event-stream")
    with streams.place(actor.id):
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store, no-transform",
                # Proxies that know it pass on each event at once.
                "X-Accel-Buffering": "no",
            }
        )
        response.force_close()
        await response.prepare(request)
        try:
            await _tell(request, response, streams)
        except (ConnectionError, TimeoutError):
            # The client has gone, or takes nothing.
            if request.transport is not None:
                request.transport.abort()
        return response


async def _tell(request: web.Request, response: web.StreamResponse, streams: Streams) -> None:
    patience, loop = streams.patience, asyncio.get_running_loop()
    deliveries, actor = request.app[SOURCES].deliveries, request[ACTOR]
    name, seen = request.match_info["name"], None
    ends_at = loop.time() + patience.life_seconds
    told_at = loop.time()
    await _send(response, _BEGINNING, patience)
    while loop.time() < ends_at and not streams.stopping.is_set():
        if request.transport is None or request.transport.is_closing():
            # Gone: the place is free for the next page.
            return
        try:
            now_is = await deliveries.fingerprint(name, actor=actor)
        except (ArchiveError, StorageError):
            # Ended in order; the browser asks again, and is told then what is the matter.
            return
        if now_is != seen:
            # The page may be older than the stream: what there is is news to it.
            seen, told_at = now_is, loop.time()
            await _send(response, NEWS, patience)
        elif loop.time() - told_at >= patience.heartbeat_seconds:
            told_at = loop.time()
            await _send(response, HEARTBEAT, patience)
        try:
            async with asyncio.timeout(patience.look_seconds):
                await streams.stopping.wait()
        except TimeoutError:
            continue


async def _send(response: web.StreamResponse, data: bytes, patience: Patience) -> None:
    """Send ``data``.

    Raises:
        TimeoutError: The client takes nothing.
        ConnectionError: It has gone.
    """
    async with asyncio.timeout(patience.stall_seconds):
        await response.write(data)
