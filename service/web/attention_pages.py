"""The page of what waits for a person."""

from aiohttp import web

from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.web.app_keys import DESK
from service.web.render import render

_NOTICES = {"retry": "attention.retried", "settle": "attention.settled"}


async def show_attention(request: web.Request) -> web.Response:
    """``GET /attention``: what waits, newest first."""
    query = read_query(request, ("cursor", "done"))
    page = await request.config_dict[DESK].attention(
        actor=request[ACTOR],
        cursor=query.get("cursor"),
        now=request[NOW],
    )
    notice = _NOTICES.get(query.get("done", ""))
    values = {"section": "attention", "page": page, "notice": notice}
    return await render(request, "attention.html", values)


async def retry(request: web.Request) -> web.Response:
    """``POST /attention/{item_id}/retry``: try again what an item is about."""
    await request.config_dict[DESK].retry_attention(
        request.match_info["item_id"],
        actor=request[ACTOR],
        now=request[NOW],
    )
    raise web.HTTPSeeOther("/attention?done=retry")


async def settle(request: web.Request) -> web.Response:
    """``POST /attention/{item_id}/settle``: nothing more is to be done about an item."""
    await request.config_dict[DESK].settle_attention(
        request.match_info["item_id"],
        actor=request[ACTOR],
        now=request[NOW],
    )
    raise web.HTTPSeeOther("/attention?done=settle")
