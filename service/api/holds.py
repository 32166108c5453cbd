"""``/api/v1/holds``: what must not be erased, and by whose two words it may be again."""

from datetime import date, datetime
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from service.api.answers import json_response
from service.api.app_keys import SETTINGS
from service.api.contacts import parse_limit
from service.api.shapes import HoldRequest
from service.archive.contact_json import known
from service.archive.hold import MAX_PAGE, Holds
from service.archive.hold_rows import HoldOrder
from service.domain.errors import InvalidInputError
from service.domain.permission import Permission
from service.domain.retention import Hold
from service.domain.times import format_time, parse_time
from service.http.bodies import read_json
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.http.routes import SESSION_ONLY, Route

HOLDS: Final = web.AppKey("holds", Holds)


def hold_routes() -> tuple[Route, ...]:
    """Return the routes of holds. The application needs ``HOLDS``."""
    base, needs = "/api/v1/holds", Permission.HOLD
    one = base + "/{hold_id}"
    return (
        Route(method="POST", path=base, handler=post_hold, needs=needs),
        Route(method="GET", path=base, handler=get_holds, needs=needs),
        Route(method="GET", path=one, handler=get_hold, needs=needs),
        # Two people say that it may end; a machine's token is none of them.
        Route(
            method="POST",
            path=one + "/release-request",
            handler=post_release_request,
            needs=needs,
            accepts=SESSION_ONLY,
        ),
        Route(
            method="POST",
            path=one + "/release",
            handler=post_release,
            needs=Permission.RELEASE_HOLD,
            accepts=SESSION_ONLY,
        ),
    )


async def post_hold(request: web.Request) -> web.Response:
    """``POST /api/v1/holds``: 201 with the hold, which holds from now on."""
    read_query(request, ())
    order = _order(await read_json(request), timezone=request.app[SETTINGS].timezone)
    hold = await request.app[HOLDS].place(order, actor=request[ACTOR], now=request[NOW])
    location = {"Location": f"/api/v1/holds/{hold.id}"}
    return json_response(hold_json(hold), status=HTTPStatus.CREATED, headers=location)


async def get_holds(request: web.Request) -> web.Response:
    """``GET /api/v1/holds``: holds, newest first; ``?released=yes`` shows the released ones too."""
    query = read_query(request, ("contact", "customer", "released", "cursor", "limit"))
    if query.get("released", "no") not in {"yes", "no"}:
        raise InvalidInputError("released: yes or no")
    page = await request.app[HOLDS].find(
        actor=request[ACTOR],
        contact_id=query.get("contact"),
        customer_id=query.get("customer"),
        include_released=query.get("released") == "yes",
        cursor=query.get("cursor"),
        limit=parse_limit(query.get("limit"), most=MAX_PAGE),
    )
    return json_response({"holds": [hold_json(hold) for hold in page.holds], "next": page.next})


async def get_hold(request: web.Request) -> web.Response:
    """``GET /api/v1/holds/{id}``: one hold, also a released one."""
    read_query(request, ())
    hold = await request.app[HOLDS].get(request.match_info["hold_id"], actor=request[ACTOR])
    return json_response(hold_json(hold))


async def post_release_request(request: web.Request) -> web.Response:
    """``POST /api/v1/holds/{id}/release-request``: ask that it ends; a second person has to agree."""
    read_query(request, ())
    hold = await request.app[HOLDS].request_release(
        request.match_info["hold_id"], actor=request[ACTOR], now=request[NOW]
    )
    return json_response(hold_json(hold))


async def post_release(request: web.Request) -> web.Response:
    """``POST /api/v1/holds/{id}/release``: agree that it ends, as the second person."""
    read_query(request, ())
    hold = await request.app[HOLDS].release(
        request.match_info["hold_id"], actor=request[ACTOR], now=request[NOW]
    )
    return json_response(hold_json(hold))


def hold_json(hold: Hold) -> dict[str, object]:
    """Return the hold as the interface shows it."""

    def at(moment: datetime | None) -> str | None:
        return None if moment is None else format_time(moment)

    shown: dict[str, object] = {
        "id": hold.id,
        "state": hold.state,
        "contact": hold.contact_id,
        "customer": hold.customer_id,
        "period_from": at(hold.period_from),
        "period_to": at(hold.period_to),
        "reason": hold.reason,
        "reference": hold.reference,
        "owner": hold.owner_id,
        "placed_at": at(hold.placed_at),
        "review_on": hold.review_on.isoformat(),
        "release_requested_by": hold.requested_by,
        "released_by": hold.released_by,
        "released_at": at(hold.released_at),
    }
    return known(shown)


def _order(value: object, *, timezone: str) -> HoldOrder:
    try:
        asked = msgspec.convert(value, HoldRequest)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"not a hold: {error}") from None
    return HoldOrder(
        contact_id=asked.contact or None,
        customer_id=asked.customer or None,
        period_from=parse_moment(asked.period_from or None, "period_from", timezone=timezone),
        period_to=parse_moment(asked.period_to or None, "period_to", timezone=timezone),
        reason=asked.reason,
        reference=asked.reference or None,
        review_on=parse_day(asked.review_on or None, "review_on"),
    )


def parse_moment(text: str | None, name: str, *, timezone: str) -> datetime | None:
    """Return the time that ``text`` says: RFC 3339, or a date, which begins in ``timezone``.

    Raises:
        InvalidInputError: It is neither.
    """
    try:
        return None if text is None else parse_time(text, timezone=timezone)
    except ValueError as error:
        raise InvalidInputError(f"{name}: {error}") from None


def parse_day(text: str | None, name: str) -> date | None:
    """Return the day that ``text`` says (``2026-11-22``).

    Raises:
        InvalidInputError: It says none.
    """
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"{name}: a day such as 2026-11-22") from None
