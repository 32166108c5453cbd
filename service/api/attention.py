"""``/api/v1/attention``: what needs a person, why, and trying it again."""

from aiohttp import web

from service.api.answers import json_response
from service.api.app_keys import ATTENTION
from service.api.contacts import parse_limit
from service.archive.attention import MAX_ITEMS, AttentionItem
from service.domain.errors import InvalidInputError
from service.domain.permission import Permission
from service.domain.times import format_time
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.http.routes import SESSION_ONLY, Route


async def find_items(request: web.Request) -> web.Response:
    """``GET /api/v1/attention``: the open items, newest first; ``?settled=yes`` shows the others too."""
    query = read_query(request, ("settled", "cursor", "limit"))
    settled = query.get("settled", "no")
    if settled not in {"yes", "no"}:
        raise InvalidInputError("settled: yes or no")
    page = await request.app[ATTENTION].find_page(
        actor=request[ACTOR],
        include_settled=settled == "yes",
        cursor=query.get("cursor"),
        limit=parse_limit(query.get("limit"), most=MAX_ITEMS),
    )
    return json_response(
        {
            "items": [_item_json(item) for item in page.items],
            "next": page.next,
            "previous": page.previous,
        }
    )


async def explain_item(request: web.Request) -> web.Response:
    """``GET /api/v1/attention/{id}/explanation``: in words, what is wrong with a delivery."""
    read_query(request, ())
    explanation = await request.app[ATTENTION].explain(
        request.match_info["item_id"], actor=request[ACTOR], now=request[NOW]
    )
    return json_response({"explanation": explanation})


async def retry_item(request: web.Request) -> web.Response:
    """``POST /api/v1/attention/{id}/retry``: try again what it is about; it settles when that is over."""
    read_query(request, ())
    item = await request.app[ATTENTION].retry(
        request.match_info["item_id"], actor=request[ACTOR], now=request[NOW]
    )
    return json_response(_item_json(item))


async def settle_item(request: web.Request) -> web.Response:
    """``POST /api/v1/attention/{id}/settle``: take an item off the list."""
    read_query(request, ())
    item = await request.app[ATTENTION].settle(
        request.match_info["item_id"], actor=request[ACTOR], now=request[NOW]
    )
    return json_response(_item_json(item))


def _item_json(item: AttentionItem) -> dict[str, object]:
    return {
        "id": item.id,
        "reason": item.reason,
        "reasons": list(item.reasons),
        "fields": list(item.fields),
        "about": item.about,
        "source": item.source,
        "raised_at": format_time(item.raised_at),
        "open": item.is_open,
        "can_be_retried": item.can_be_retried,
    }


def routes() -> list[Route]:
    """Return the routes of the list."""
    item = "/api/v1/attention/{item_id}"
    read, settle = Permission.READ_ATTENTION, Permission.SETTLE_ATTENTION
    return [
        Route(method="GET", path="/api/v1/attention", handler=find_items, needs=read),
        Route(method="GET", path=item + "/explanation", handler=explain_item, needs=read),
        Route(method="POST", path=item + "/retry", handler=retry_item, needs=settle),
        Route(
            method="POST",
            path=item + "/settle",
            handler=settle_item,
            needs=settle,
            # A person says that nothing more is to be done; a machine's token decides nothing.
            accepts=SESSION_ONLY,
        ),
    ]
