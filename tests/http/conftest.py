"""Small applications in the frame, on real stores and real sockets."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from service.http.addresses import Site
from service.http.bodies import read_body, read_form, read_json
from service.http.frame import RUNNER_OPTIONS, Frame, build_application
from service.http.routes import SESSION_ONLY, Need, Route
from tests.fakes import NOW, opened_door


@pytest.fixture
async def door(tmp_path):
    async with opened_door(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def _serving(sessions, tokens, clock):
    async with AsyncExitStack() as stack:

        async def start(*routes, site=None, **more):
            frame = Frame(
                site=site or Site(), sessions=sessions, tokens=tokens, clock=clock, **more
            )
            server = TestServer(build_application(frame, routes))
            await server.start_server(**RUNNER_OPTIONS)
            return await stack.enter_async_context(TestClient(server))

        yield start


@pytest.fixture
async def serve(door):
    """Serve routes in a frame and return a client."""
    async with _serving(door.sessions, door.tokens, lambda: door.clock.now) as start:
        yield start


@pytest.fixture
async def serve_strangers():
    """Serve routes where nobody is signed in: no store is behind them."""
    async with _serving(None, None, lambda: NOW) as start:
        yield start


def route(method, path, handler, needs=Need.PUBLIC, **more):
    return Route(method=method, path=path, handler=handler, needs=needs, **more)


def answering(read):
    """Return a handler that answers what ``read`` returns for the request, as JSON."""

    async def handler(request):
        return web.json_response(await read(request))

    return handler


@pytest.fixture
async def bodies(serve_strangers):
    async def length(request):
        return len(await read_body(request, max_bytes=1000))

    async def form(request):
        return dict(await read_form(request))

    return await serve_strangers(
        route("POST", "/body", answering(length)),
        route("POST", "/json", answering(lambda request: read_json(request, max_bytes=1000))),
        route("POST", "/form", answering(form)),
    )


@pytest.fixture
async def desk(serve):
    """One route that changes something and one that does not, for people."""
    done = []

    async def change(request):
        done.append(request)
        return web.json_response(
            sorted(await read_form(request)) if request.body_exists else []
        )

    async def look(_):
        return web.json_response([])

    client = await serve(
        route("POST", "/change", change, Need.SIGNED_IN),
        route("DELETE", "/change", change, Need.SIGNED_IN),
        route("GET", "/look", look, Need.SIGNED_IN),
        route("POST", "/open", change, Need.PUBLIC),
        route("POST", "/page", change, Need.SIGNED_IN, accepts=SESSION_ONLY),
    )
    client.done = done
    return client


async def raw(client, request, *, until=b""):
    """Send bytes as they are and return what comes back until the server closes, or has sent ``until``."""
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    try:
        writer.write(request)
        reading = reader.readuntil(until) if until else reader.read()
        return await asyncio.wait_for(reading, 5)
    finally:
        writer.close()
        await writer.wait_closed()
