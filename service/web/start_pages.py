"""The start page: what the visitor's roles let them do."""

from typing import Final

from aiohttp import web

from service.domain.actor import Role
from service.domain.errors import NotFoundError
from service.domain.ids import parse_id
from service.domain.permission import Permission, is_permitted
from service.http.frame import ACTOR
from service.http.queries import read_query
from service.web.render import render
from service.web.search_pages import show_search_form

_QUALITY: Final = frozenset({Role.QUALITY_REVIEWER, Role.QUALITY_LEAD})


async def show_start(request: web.Request) -> web.Response:
    """``GET /``: the empty search form for whoever may search, else what their roles let them do."""
    if is_permitted(request[ACTOR], Permission.LOOK_UP):
        return await show_search_form(request)
    return await _start_page(request)


async def find_verification(request: web.Request) -> web.Response:
    """``GET /verification?contact=…``: to the verification of the contact with this id. Nothing is looked up."""
    asked = read_query(request, ("contact",)).get("contact", "").strip()
    try:
        contact_id = parse_id("ct", asked)
    except NotFoundError:
        problem = "start.contact_id_wrong"
        return await _start_page(request, contact=asked, problem=problem, status=400)
    raise web.HTTPSeeOther(f"/contacts/{contact_id}/verification")


async def _start_page(
    request: web.Request, *, contact: str = "", problem: str | None = None, status: int = 200
) -> web.Response:
    values = {
        "section": "start",
        "contact": contact,
        "problem": problem,
        "is_quality": bool(_QUALITY & request[ACTOR].roles),
    }
    return await render(request, "start.html", values, status=status)
