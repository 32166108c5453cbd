"""The pages of sources: what sends to the archive, what came lately and what went wrong, connecting a new one."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from service.connecting.errors import NotCoveredError
from service.connecting.previewing import Preview
from service.connecting.settings import CONNECTABLE
from service.connecting.sources import NewSecret
from service.domain.errors import ContradictionError, InvalidInputError
from service.domain.notice import ALL_TRAFFIC
from service.http.bodies import read_form
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.sources.field_map import FIELDS, REQUIRED
from service.web.render import render
from service.web.source_desk import SOURCES, SourceDesk, field_of

_NOTICES: Final = {
    "live": "source.done.live",
    "replay": "source.done.replay",
    "map": "source.done.map",
    "removed": "source.done.removed",
}


async def show_sources(request: web.Request) -> web.Response:
    """``GET /sources``: every source with its state, and the form that connects one."""
    query = read_query(request, ("done",))
    return await _list_page(request, notice=_NOTICES.get(query.get("done", "")))


async def add_source(request: web.Request) -> web.Response:
    """``POST /sources``: connect a source; the answer shows its secret, this once."""
    form = await read_form(request)
    try:
        made = await _desk(request).add(form, actor=request[ACTOR], now=request[NOW])
    except (InvalidInputError, ContradictionError) as error:
        status = 409 if isinstance(error, ContradictionError) else 400
        return await _list_page(request, form=form, fault=error.detail, status=status)
    return await _secret_page(request, made)


async def show_source(request: web.Request) -> web.Response:
    """``GET /sources/{name}``: one source, what it delivered lately, and how to connect it."""
    query = read_query(request, ("done",))
    return await _source_page(request, notice=_NOTICES.get(query.get("done", "")))


async def show_deliveries(request: web.Request) -> web.Response:
    """``GET /sources/{name}/deliveries``: the part of the page that changes, without the page."""
    desk, name = _desk(request), request.match_info["name"]
    page = await desk.page(name, actor=request[ACTOR], now=request[NOW])
    return await render(request, "source_deliveries.html", {"page": page})


async def change_secret(request: web.Request) -> web.Response:
    """``POST /sources/{name}/secret``: a new secret; the one before counts for a day more."""
    made = await _desk(request).sources.change_secret(
        request.match_info["name"], actor=request[ACTOR], now=request[NOW]
    )
    return await _secret_page(request, made)


async def go_live(request: web.Request) -> web.Response:
    """``POST /sources/{name}/live``: what comes from now on becomes contacts."""
    form, name = await read_form(request), request.match_info["name"]
    try:
        await _desk(request).go_live(
            name,
            with_trials=form.get("trials") == "yes",
            actor=request[ACTOR],
            now=request[NOW],
        )
    except NotCoveredError:
        # The page says what is not covered, where the button would be.
        return await _source_page(request, status=409)
    raise web.HTTPSeeOther(_place(name, "live"))


async def replay(request: web.Request) -> web.Response:
    """``POST /sources/{name}/replay``: understand one delivery again, or many."""
    form, name = await read_form(request), request.match_info["name"]
    await _desk(request).replay(
        name, form.get("which", ""), actor=request[ACTOR], now=request[NOW]
    )
    raise web.HTTPSeeOther(_place(name, "replay"))


async def map_fields(request: web.Request) -> web.Response:
    """``POST /sources/{name}/map``: look at what a field map makes of the newest delivery, or keep it."""
    form, name = await read_form(request), request.match_info["name"]
    desk, actor, now = _desk(request), request[ACTOR], request[NOW]
    texts = {field: form[field] for field in FIELDS if form.get(field, "").strip()}
    if form.get("do") == "preview":
        preview = await desk.preview(name, texts, actor=actor, now=now)
        return await _source_page(request, texts=texts, preview=preview, is_previewed=True)
    try:
        await desk.sources.change_map(name, texts, actor=actor, now=now)
    except InvalidInputError as error:
        return await _source_page(request, texts=texts, fault=error.detail, status=400)
    raise web.HTTPSeeOther(_place(name, "map"))


async def remove(request: web.Request) -> web.Response:
    """``POST /sources/{name}/remove``: nothing more is taken from it, once its name was typed."""
    form, name = await read_form(request), request.match_info["name"]
    if form.get("name", "").strip() != name:
        return await _source_page(request, is_misnamed=True, status=400)
    await _desk(request).sources.remove(name, actor=request[ACTOR], now=request[NOW])
    raise web.HTTPSeeOther("/sources?done=removed")


async def _list_page(
    request: web.Request,
    *,
    form: Mapping[str, str] | None = None,
    fault: str | None = None,
    notice: str | None = None,
    status: int = 200,
) -> web.Response:
    values: dict[str, Any] = {
        "section": "sources",
        "lines": await _desk(request).list(actor=request[ACTOR], now=request[NOW]),
        "kinds": CONNECTABLE,
        "traffic": [(one, field_of(one)) for one in ALL_TRAFFIC],
        "form": form or {},
        "fault": fault,
        "notice": notice,
    }
    return await render(request, "sources.html", values, status=status)


async def _source_page(
    request: web.Request,
    *,
    texts: Mapping[str, str] | None = None,
    preview: Preview | None = None,
    is_previewed: bool = False,
    is_misnamed: bool = False,
    fault: str | None = None,
    notice: str | None = None,
    status: int = 200,
) -> web.Response:
    desk, name = _desk(request), request.match_info["name"]
    page = await desk.page(name, actor=request[ACTOR], now=request[NOW])
    values: dict[str, Any] = {
        "section": "sources",
        "page": page,
        "url": f"{desk.address}/intake/{name}",
        "map_fields": FIELDS,
        "required_fields": REQUIRED,
        "texts": page.source.details.field_map if texts is None else texts,
        "preview": preview,
        "shown_fields": {one.name: one for one in preview.fields} if preview else {},
        "is_previewed": is_previewed,
        "is_misnamed": is_misnamed,
        "fault": fault,
        "notice": notice,
    }
    return await render(request, "source.html", values, status=status)


async def _secret_page(request: web.Request, made: NewSecret) -> web.Response:
    desk = _desk(request)
    page = await desk.page(made.source, actor=request[ACTOR], now=request[NOW])
    values: dict[str, Any] = {
        "section": "sources",
        "page": page,
        "secret": made.secret,
        "url": f"{desk.address}/intake/{made.source}",
    }
    return await render(request, "source_secret.html", values)


def _desk(request: web.Request) -> SourceDesk:
    return request.config_dict[SOURCES]


def _place(name: str, done: str) -> str:
    return f"/sources/{name}?{urlencode({'done': done})}"
