"""The page that draws how complete the archive is, by source and month."""

from itertools import groupby
from operator import attrgetter
from typing import Final

from aiohttp import web

from service.archive.completeness import Completeness
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.web.render import render

COMPLETE: Final = web.AppKey("complete", Completeness)


async def show_completeness(request: web.Request) -> web.Response:
    """``GET /completeness``: of what each source says it handled in a month, how much is here."""
    read_query(request, ())
    found = await request.config_dict[COMPLETE].find(actor=request[ACTOR], now=request[NOW])
    by_source = [
        (source, [month for month in months if month.is_known])
        for source, months in groupby(found, key=attrgetter("source"))
    ]
    return await render(
        request, "completeness.html", {"section": "completeness", "sources": by_source}
    )
