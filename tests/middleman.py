"""A small proxy on loopback that lets requests through, or does one of them harm on command."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum

from aiohttp import ClientSession, ClientTimeout, web
from yarl import URL


class Harm(Enum):
    """What happens to a request."""

    REFUSED = "answered 503 and never passed on"
    DONE_AND_500 = "passed on, done, and answered 500"
    DONE_AND_CUT = "passed on, done, and the connection is cut"
    CUT = "the connection is cut before anything is passed on"
    SWALLOWED = "passed on, done, and never answered"
    SLOW = "passed on after a while"
    NO_CHECKSUM = "passed on, and the answer loses its checksum"


@dataclass
class Middleman:
    """``harms`` decides for each request; ``seen`` are all that came, as method and path with query."""

    target: str
    address: str = ""
    harms: Callable[[web.Request], Harm | None] = lambda _: None
    seen: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    answered_bytes: int = 0
    slow_seconds: float = 0.3

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.rel_url}")
        if "Range" in request.headers:
            self.ranges.append(request.headers["Range"])
        harm = self.harms(request)
        body = await request.content.read()
        if harm is Harm.REFUSED:
            return web.Response(status=503)
        if harm is Harm.CUT:
            return self._cut(request)
        if harm is Harm.SLOW:
            await asyncio.sleep(self.slow_seconds)
        headers = request.headers.copy()
        url = URL(self.target + request.raw_path, encoded=True)
        async with (
            ClientSession(auto_decompress=False, timeout=ClientTimeout(30)) as session,
            session.request(
                request.method, url, headers=headers, data=io.BytesIO(body) if body else None
            ) as answer,
        ):
            data = await answer.read()
            told = answer.headers.copy()
        if harm is Harm.DONE_AND_500:
            return web.Response(status=500)
        if harm is Harm.DONE_AND_CUT:
            return self._cut(request)
        if harm is Harm.SWALLOWED:
            await asyncio.sleep(30)
        if harm is Harm.NO_CHECKSUM:
            told.popall("x-amz-checksum-sha256", None)
        self.answered_bytes += len(data)
        if request.method != "HEAD":
            told.popall("Content-Length", None)
        return web.Response(status=answer.status, headers=told, body=data)

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


@contextlib.asynccontextmanager
async def between(target: str) -> AsyncIterator[Middleman]:
    """Run a proxy before ``target``."""
    middleman = Middleman(target)
    server = web.Server(middleman.handle, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        middleman.address = f"http://{host}:{port}"
        yield middleman
    finally:
        await runner.cleanup()
