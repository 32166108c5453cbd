"""Grants: ``POST /api/v1/grants``, ``GET /api/v1/grants``, ``DELETE /api/v1/grants/{id}``."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from service.api.answers import json_response
from service.archive.grants import Grants
from service.domain.errors import InvalidInputError
from service.domain.permission import Permission
from service.domain.purpose import REFERENCE, Grant, Purpose, decide_reference
from service.domain.times import format_time
from service.http.bodies import read_json
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.http.routes import Route

GRANTS: Final = web.AppKey("grants", Grants)

MAX_LIMIT: Final = 200
_LIMIT: Final = 50


class GrantOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for: why, under which complaint or request, and which contacts."""

    purpose: Purpose
    contacts: list[str]
    complaint: str | None = None
    request: str | None = None


def grant_routes() -> tuple[Route, ...]:
    """Return the routes of grants. The application needs ``GRANTS``."""
    needs = Permission.GRANT
    return (
        Route(method="POST", path="/api/v1/grants", handler=post_grant, needs=needs),
        Route(method="GET", path="/api/v1/grants", handler=get_grants, needs=needs),
        Route(method="DELETE", path="/api/v1/grants/{id}", handler=delete_grant, needs=needs),
    )


async def post_grant(request: web.Request) -> web.Response:
    """``POST /api/v1/grants``: 201 with the grant, which is in the log."""
    read_query(request, ())
    order = _read_order(await read_json(request))
    grant = await request.app[GRANTS].create(
        actor=request[ACTOR],
        purpose=order.purpose,
        contact_ids=order.contacts,
        reference=decide_reference(
            order.purpose, complaint=order.complaint, request=order.request
        ),
        now=request[NOW],
    )
    location = {"Location": f"/api/v1/grants/{grant.id}"}
    return json_response(grant_json(grant), status=HTTPStatus.CREATED, headers=location)


async def get_grants(request: web.Request) -> web.Response:
    """``GET /api/v1/grants``: the asker's own grants, newest first."""
    query = read_query(request, ("cursor", "limit"))
    page = await request.app[GRANTS].list(
        actor=request[ACTOR], cursor=query.get("cursor"), limit=_limit(query.get("limit"))
    )
    return json_response(
        {"grants": [grant_json(grant) for grant in page.grants], "next": page.cursor}
    )


async def delete_grant(request: web.Request) -> web.Response:
    """``DELETE /api/v1/grants/{id}``: withdraw it; what is open under it closes. 204, also the second time."""
    read_query(request, ())
    await request.app[GRANTS].withdraw(
        request.match_info["id"], actor=request[ACTOR], now=request[NOW]
    )
    return web.Response(status=HTTPStatus.NO_CONTENT)


def grant_json(grant: Grant) -> dict[str, object]:
    """Return the grant as the interface shows it."""
    shown: dict[str, object] = {
        "id": grant.id,
        "purpose": grant.purpose,
        "contacts": list(grant.contact_ids),
        "created_at": format_time(grant.created_at),
        "expires_at": format_time(grant.expires_at),
    }
    if grant.reference is not None:
        shown[REFERENCE[grant.purpose]] = grant.reference
    if grant.withdrawn_at is not None:
        shown["withdrawn_at"] = format_time(grant.withdrawn_at)
    return shown


def _read_order(value: object) -> GrantOrder:
    try:
        return msgspec.convert(value, GrantOrder)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"not a grant: {error}") from None


def _limit(text: str | None) -> int:
    if text is None:
        return _LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) <= MAX_LIMIT):  # noqa: PLR2004  # digits
        raise InvalidInputError(f"limit is a number from 1 to {MAX_LIMIT}")
    return int(text)
