"""The pages that find: start, search, and a customer's history."""

from aiohttp import web

from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.web.app_keys import DESK, DISPOSALS
from service.web.render import PRESS, language_of, render
from service.web.searchform import FIELDS, parse_search
from service.web.viewmodels import searched_criteria


async def show_search_form(request: web.Request) -> web.Response:
    """Return the page of the empty search form. Nothing is looked up."""
    press = request.config_dict[PRESS]
    form = parse_search({}, timezone=press.timezone, region=press.region)
    return await render(
        request, "search.html", {"section": "search", "form": form, "page": None}
    )


async def show_search(request: web.Request) -> web.Response:
    """``GET /search``: the contacts that match every criterion, or what is wrong with one."""
    actor = request[ACTOR]
    press = request.config_dict[PRESS]
    form = parse_search(
        read_query(request, FIELDS), timezone=press.timezone, region=press.region
    )
    values = {"section": "search", "form": form, "page": None, "searched": ()}
    if form.criteria is None:
        return await render(request, "search.html", values, status=400)
    page = await request.config_dict[DESK].search(
        form.criteria, actor=actor, cursor=form.cursor, now=request[NOW]
    )
    language = language_of(request)
    searched = searched_criteria(
        form, words=press.words[language], formats=press.formats[language]
    )
    return await render(request, "search.html", {**values, "page": page, "searched": searched})


async def show_customer(request: web.Request) -> web.Response:
    """``GET /customers/{customer_id}``: a customer and their contacts."""
    actor, customer_id = request[ACTOR], request.match_info["customer_id"]
    cursor = read_query(request, ("cursor",)).get("cursor")
    history = await request.config_dict[DESK].customer_history(
        customer_id, actor=actor, cursor=cursor, now=request[NOW]
    )
    values = {
        "section": "search",
        "customer": history.customer,
        "page": history.page,
        "stones": ()
        if cursor
        else await request.config_dict[DISPOSALS].tombstones(customer_id, actor=actor),
    }
    return await render(request, "customer.html", values)
