"""``/log/``: checkpoint and hash tiles for everybody, entries for the auditor (C2SP tlog-tiles)."""

import asyncio

from aiohttp import web

from service.api.app_keys import PUBLISHED_LOG
from service.domain.errors import NotFoundError
from service.domain.permission import Permission
from service.http.queries import read_query
from service.http.routes import Need, Route
from service.log.errors import FormatError
from service.log.tiles import ENTRIES, TILE_WIDTH, Tile
from storage.errors import MissingError

_FOR_EVER = "public, max-age=31536000, immutable"


async def checkpoint(request: web.Request) -> web.Response:
    """``GET /log/checkpoint``: the newest signed checkpoint."""
    read_query(request, ())
    return await _file(request, "checkpoint", content_type="text/plain", cache="no-cache")


async def verifier_key(request: web.Request) -> web.Response:
    """``GET /log/vkey``: the key that verifies checkpoints; compare it with the one you were given."""
    read_query(request, ())
    return await _file(request, "vkey", content_type="text/plain", cache="no-cache")


async def hash_tile(request: web.Request) -> web.Response:
    """``GET /log/tile/{level}/…``: a tile of hashes."""
    read_query(request, ())
    tile = _tile(request)
    if tile.level == ENTRIES:
        raise NotFoundError("no such tile")
    cache = _FOR_EVER if tile.width == TILE_WIDTH else "public, max-age=3600"
    return await _file(request, tile.path, content_type="application/octet-stream", cache=cache)


async def entry_bundle(request: web.Request) -> web.Response:
    """``GET /log/tile/entries/…``: a bundle of entries."""
    read_query(request, ())
    tile = _tile(request)
    return await _file(
        request, tile.path, content_type="application/octet-stream", cache="no-store"
    )


def _tile(request: web.Request) -> Tile:
    try:
        return Tile.parse(request.path.removeprefix("/log/"))
    except FormatError as error:
        raise NotFoundError("no such tile") from error


async def _file(
    request: web.Request, path: str, *, content_type: str, cache: str
) -> web.Response:
    try:
        data = await asyncio.to_thread(request.app[PUBLISHED_LOG].read, path)
    except MissingError as error:
        raise NotFoundError("nothing is published there yet") from error
    return web.Response(body=data, content_type=content_type, headers={"Cache-Control": cache})


def routes() -> list[Route]:
    """Return the routes of the log."""
    return [
        Route(method="GET", path="/log/checkpoint", handler=checkpoint, needs=Need.PUBLIC),
        Route(method="GET", path="/log/vkey", handler=verifier_key, needs=Need.PUBLIC),
        Route(
            method="GET",
            path="/log/tile/entries/{rest:.+}",
            handler=entry_bundle,
            needs=Permission.READ_LOG_ENTRIES,
        ),
        Route(
            method="GET",
            path="/log/tile/{rest:.+}",
            handler=hash_tile,
            needs=Need.PUBLIC,
        ),
    ]
