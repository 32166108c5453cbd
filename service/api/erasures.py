"""``/api/v1/erasures``: asked for by one person, decided by a second one, never undone."""

from datetime import datetime
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from service.api.answers import json_response
from service.api.contacts import parse_limit
from service.api.shapes import ErasureRequest
from service.archive.contact_json import known
from service.archive.erase import MAX_PAGE, Erasures
from service.archive.erasure_rows import Erasure
from service.domain.errors import InvalidInputError
from service.domain.permission import Permission
from service.domain.retention import ErasureState
from service.domain.times import format_time
from service.http.bodies import read_json
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.http.routes import SESSION_ONLY, Route

ERASURES: Final = web.AppKey("erasures", Erasures)


def erasure_routes() -> tuple[Route, ...]:
    """Return the routes of erasures. The application needs ``ERASURES``."""
    base, needs = "/api/v1/erasures", Permission.ERASE
    one = base + "/{erasure_id}"
    return (
        # It takes two people; a machine's token is none of them.
        Route(
            method="POST", path=base, handler=post_erasure, needs=needs, accepts=SESSION_ONLY
        ),
        Route(method="GET", path=base, handler=get_erasures, needs=needs),
        Route(
            method="POST",
            path=one + "/approve",
            handler=post_approval,
            needs=needs,
            accepts=SESSION_ONLY,
        ),
        Route(
            method="DELETE",
            path=one,
            handler=delete_erasure,
            needs=needs,
            accepts=SESSION_ONLY,
        ),
    )


async def post_erasure(request: web.Request) -> web.Response:
    """``POST /api/v1/erasures``: 201 with the request; nothing is erased before a second person agrees."""
    read_query(request, ())
    try:
        asked = msgspec.convert(await read_json(request), ErasureRequest)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"not an erasure: {error}") from None
    erasure = await request.app[ERASURES].request(
        asked.contact,
        ground=asked.ground,
        reference=asked.reference or None,
        actor=request[ACTOR],
        now=request[NOW],
    )
    return json_response(erasure_json(erasure), status=HTTPStatus.CREATED)


async def get_erasures(request: web.Request) -> web.Response:
    """``GET /api/v1/erasures``: erasures, newest first."""
    query = read_query(request, ("contact", "state", "cursor", "limit"))
    page = await request.app[ERASURES].find(
        actor=request[ACTOR],
        contact_id=query.get("contact"),
        state=_state(query.get("state")),
        cursor=query.get("cursor"),
        limit=parse_limit(query.get("limit"), most=MAX_PAGE),
    )
    return json_response(
        {"erasures": [erasure_json(one) for one in page.erasures], "next": page.next}
    )


async def post_approval(request: web.Request) -> web.Response:
    """``POST /api/v1/erasures/{id}/approve``: agree, as the second person; nothing brings the contact back."""
    read_query(request, ())
    erasure = await request.app[ERASURES].approve(
        request.match_info["erasure_id"], actor=request[ACTOR], now=request[NOW]
    )
    return json_response(erasure_json(erasure))


async def delete_erasure(request: web.Request) -> web.Response:
    """``DELETE /api/v1/erasures/{id}``: take a request back that is not decided. 204, also the second time."""
    read_query(request, ())
    await request.app[ERASURES].withdraw(
        request.match_info["erasure_id"], actor=request[ACTOR], now=request[NOW]
    )
    return web.Response(status=HTTPStatus.NO_CONTENT)


def erasure_json(erasure: Erasure) -> dict[str, object]:
    """Return the erasure as the interface shows it."""

    def at(moment: datetime | None) -> str | None:
        return None if moment is None else format_time(moment)

    shown: dict[str, object] = {
        "id": erasure.id,
        "contact": erasure.contact_id,
        "ground": erasure.ground,
        "reference": erasure.reference,
        "state": erasure.state,
        "requested_by": erasure.requested_by,
        "requested_at": at(erasure.requested_at),
        "approved_by": erasure.approved_by,
        "approved_at": at(erasure.approved_at),
        "finished_at": at(erasure.finished_at),
    }
    return known(shown)


def _state(text: str | None) -> ErasureState | None:
    try:
        return None if text is None else ErasureState(text)
    except ValueError:
        raise InvalidInputError(f"state: one of {', '.join(ErasureState)}") from None
