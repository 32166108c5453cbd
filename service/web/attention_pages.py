"""The page of what waits for a person."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from service.domain.errors import InvalidInputError
from service.http.bodies import read_form
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.web.app_keys import DESK
from service.web.render import render

_PATH = "/attention"
_NOTICES = {
    "retry": "attention.retried",
    "tried": "attention.still_open",
    "settle": "attention.settled",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the list somebody is: which page, and whether settled items are shown too."""

    settled: str
    cursor: str

    @property
    def include_settled(self) -> bool:
        """Whether settled items are shown too."""
        return self.settled == "yes"

    def address(self, **changes: str) -> str:
        """Return the address of this place with ``changes``; an empty value leaves a parameter out."""
        values = {"settled": self.settled, "cursor": self.cursor, **changes}
        query = urlencode({name: value for name, value in values.items() if value})
        return f"{_PATH}?{query}" if query else _PATH


async def show_attention(request: web.Request) -> web.Response:
    """``GET /attention``: what waits, newest first; ``?settled=yes`` shows the settled too."""
    query = read_query(request, ("settled", "cursor", "done"))
    place = _place(query)
    page = await request.config_dict[DESK].attention(
        actor=request[ACTOR],
        cursor=place.cursor or None,
        include_settled=place.include_settled,
        now=request[NOW],
    )
    notice = _NOTICES.get(query.get("done", ""))
    values = {
        "section": "attention",
        "page": page,
        "place": place,
        "notice": notice,
        "is_done": query.get("done") != "tried",
    }
    return await render(request, "attention.html", values)


async def retry(request: web.Request) -> web.Response:
    """``POST /attention/{item_id}/retry``: try again what an item is about."""
    place = _place(await read_form(request))
    is_over = await request.config_dict[DESK].retry_attention(
        request.match_info["item_id"],
        actor=request[ACTOR],
        now=request[NOW],
    )
    raise web.HTTPSeeOther(place.address(done="retry" if is_over else "tried"))


async def settle(request: web.Request) -> web.Response:
    """``POST /attention/{item_id}/settle``: nothing more is to be done about an item."""
    place = _place(await read_form(request))
    await request.config_dict[DESK].settle_attention(
        request.match_info["item_id"],
        actor=request[ACTOR],
        now=request[NOW],
    )
    raise web.HTTPSeeOther(place.address(done="settle"))


def _place(values: Mapping[str, str]) -> Place:
    settled = values.get("settled", "")
    if settled not in {"", "yes"}:
        raise InvalidInputError("settled: yes, or leave it out")
    return Place(settled, values.get("cursor", ""))
