"""Holding and erasing from the page of a contact, and the page of one that was erased."""

from http import HTTPStatus

from aiohttp import web

from service.domain.errors import InvalidInputError
from service.domain.retention import Ground
from service.http.bodies import read_form
from service.http.frame import ACTOR, NOW
from service.web.app_keys import DISPOSALS
from service.web.render import render


async def show_tombstone(request: web.Request) -> web.Response:
    """Return the page of a contact that was erased: when, why, and nothing else."""
    stone = await request.config_dict[DISPOSALS].tombstone(
        request.match_info["contact_id"], actor=request[ACTOR]
    )
    values = {"section": "search", "stone": stone}
    return await render(request, "tombstone.html", values, status=HTTPStatus.GONE)


async def place_hold(request: web.Request) -> web.Response:
    """``POST /contacts/{contact_id}/holds``: hold the contact."""
    form, contact_id = await read_form(request), request.match_info["contact_id"]
    await request.config_dict[DISPOSALS].place_hold(
        contact_id,
        reason=form.get("reason", ""),
        reference=form.get("reference") or None,
        actor=request[ACTOR],
        now=request[NOW],
    )
    raise web.HTTPSeeOther(f"/contacts/{contact_id}?done=held")


async def request_release(request: web.Request) -> web.Response:
    """``POST /holds/{hold_id}/release-request``: ask that it ends; back to the contact."""
    form = await read_form(request)
    await request.config_dict[DISPOSALS].request_release(
        request.match_info["hold_id"], actor=request[ACTOR], now=request[NOW]
    )
    raise web.HTTPSeeOther(_place(form.get("contact", ""), "release_requested"))


async def release(request: web.Request) -> web.Response:
    """``POST /holds/{hold_id}/release``: agree that it ends; back to the contact."""
    form = await read_form(request)
    await request.config_dict[DISPOSALS].release(
        request.match_info["hold_id"], actor=request[ACTOR], now=request[NOW]
    )
    raise web.HTTPSeeOther(_place(form.get("contact", ""), "released"))


async def request_erasure(request: web.Request) -> web.Response:
    """``POST /contacts/{contact_id}/erasures``: ask that the contact is erased."""
    form, contact_id = await read_form(request), request.match_info["contact_id"]
    try:
        ground = Ground(form.get("ground", ""))
    except ValueError:
        raise InvalidInputError("ground: choose one") from None
    await request.config_dict[DISPOSALS].request_erasure(
        contact_id,
        ground=ground,
        reference=form.get("reference") or None,
        actor=request[ACTOR],
        now=request[NOW],
    )
    raise web.HTTPSeeOther(f"/contacts/{contact_id}?done=erasure_requested")


async def approve_erasure(request: web.Request) -> web.Response:
    """``POST /erasures/{erasure_id}/approve``: erase the contact; to what is left of it."""
    contact_id = await request.config_dict[DISPOSALS].approve_erasure(
        request.match_info["erasure_id"], actor=request[ACTOR], now=request[NOW]
    )
    raise web.HTTPSeeOther(f"/contacts/{contact_id}")


async def withdraw_erasure(request: web.Request) -> web.Response:
    """``POST /erasures/{erasure_id}/withdraw``: take a request back; back to the contact."""
    form = await read_form(request)
    await request.config_dict[DISPOSALS].withdraw_erasure(
        request.match_info["erasure_id"], actor=request[ACTOR], now=request[NOW]
    )
    raise web.HTTPSeeOther(_place(form.get("contact", ""), "erasure_withdrawn"))


def _place(contact_id: str, done: str) -> str:
    return f"/contacts/{contact_id}?done={done}" if contact_id.isidentifier() else "/"
