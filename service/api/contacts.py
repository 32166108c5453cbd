"""``/api/v1/contacts`` and what belongs to it."""

import re
from collections.abc import Mapping

from aiohttp import web

from service.api.answers import json_response
from service.api.app_keys import CONTACTS, FINDER, SETTINGS
from service.api.criteria import PARAMETERS, parse_criteria
from service.api.views import (
    contact_json,
    customer_json,
    page_json,
    tombstone_json,
    view_json,
)
from service.archive.lookup import MAX_LIMIT, Criteria
from service.domain.customer import LinkState
from service.domain.errors import InvalidInputError
from service.domain.identifiers import require_source_name
from service.domain.permission import Permission
from service.http.bodies import read_body, read_json, require_json
from service.http.frame import ACTOR, NOW
from service.http.limits import DELIVERIES, UPLOADS
from service.http.meters import DUPLICATE, OUTCOME
from service.http.queries import read_query
from service.http.routes import SESSION_ONLY, TOKEN_ONLY, Counted, Route
from service.http.uploads import content_type_of, name_of, read_chunks
from service.sources.generic import parse_contact

_PAGING = ("cursor", "limit")
_DEFAULT_LIMIT = 50
_KNOWN = ("id", "source", "source_id")
_NUMBER = re.compile(r"[0-9]{1,6}", re.ASCII)


async def add_contact(request: web.Request) -> web.Response:
    """``POST /api/v1/contacts``: 201 a new contact as it was sent; 200 the id of one that was there, amended.

    Who delivers may not read: what others told of a known contact is not shown.
    """
    read_query(request, ())
    settings = request.app[SETTINGS]
    require_json(request)
    body = await read_body(request, max_bytes=settings.max_contact_bytes)
    now = request[NOW]
    source, understood = parse_contact(
        body, region=settings.region, regions=settings.regions, now=now
    )
    if source is None:
        raise InvalidInputError("source: name the source that the contact comes from")
    with request.app[DELIVERIES]:
        outcome = await request.app[CONTACTS].add(
            understood.contacts[0],
            source=require_source_name(source),
            actor=request[ACTOR],
            now=now,
            remarks=understood.remarks,
        )
    if outcome.contact is None:
        raise InvalidInputError("the contact cannot be added")
    shown = contact_json(outcome.contact)
    if not outcome.is_new:
        request[OUTCOME] = DUPLICATE
        shown = {name: shown[name] for name in _KNOWN}
    return json_response(shown, status=201 if outcome.is_new else 200)


async def add_recording(request: web.Request) -> web.Response:
    """``PUT /api/v1/contacts/{id}/recordings/{name}``: 201, or 200 when the same bytes are there."""
    read_query(request, ())
    contacts = request.app[CONTACTS]
    with request.app[UPLOADS]:
        added = await contacts.add_recording(
            request.match_info["contact_id"],
            name_of(request, "name"),
            content_type_of(request),
            read_chunks(request, max_bytes=contacts.max_recording_bytes),
            actor=request[ACTOR],
            now=request[NOW],
        )
    if not added.is_new:
        request[OUTCOME] = DUPLICATE
    value = {
        "id": added.id,
        "size_bytes": added.sealed.row.plain_bytes,
        "sha256": added.sealed.sha256,
    }
    return json_response(value, status=201 if added.is_new else 200)


async def find_contacts(request: web.Request) -> web.Response:
    """``GET /api/v1/contacts``: the contacts that meet every criterion, newest first."""
    query = read_query(request, (*PARAMETERS, *_PAGING))
    settings = request.app[SETTINGS]
    criteria = parse_criteria(query, region=settings.region, timezone=settings.timezone)
    return json_response(await _find(request, criteria, query))


async def get_contact(request: web.Request) -> web.Response:
    """``GET /api/v1/contacts/{id}``: everything that may be shown without opening it."""
    read_query(request, ())
    view = await request.app[CONTACTS].get(
        request.match_info["contact_id"], actor=request[ACTOR]
    )
    return json_response(view_json(view))


async def get_customer(request: web.Request) -> web.Response:
    """``GET /api/v1/customers/{id}``: what is known of a customer."""
    read_query(request, ())
    customer = await request.app[CONTACTS].get_customer(
        request.match_info["customer_id"], actor=request[ACTOR]
    )
    return json_response(customer_json(customer))


async def find_customer_contacts(request: web.Request) -> web.Response:
    """``GET /api/v1/customers/{id}/contacts``: a customer's contact history, newest first."""
    query = read_query(request, _PAGING)
    customer = await request.app[CONTACTS].get_customer(
        request.match_info["customer_id"], actor=request[ACTOR]
    )
    criteria = Criteria(customer_number=customer.number)
    page = await _find(request, criteria, query)
    erased = []
    if "cursor" not in query:
        stones = await request.app[CONTACTS].find_tombstones(customer.id, actor=request[ACTOR])
        erased = [tombstone_json(stone) for stone in stones]
    return json_response({**page, "erased": erased})


async def link_contact(request: web.Request) -> web.Response:
    """``PUT /api/v1/contacts/{id}/links/{customer}``: ``{"state": "linked"|"unlinked"}``, decided by hand."""
    read_query(request, ())
    value = await read_json(request)
    match value:
        case {"state": "linked" | "unlinked" as state, **rest} if not rest:
            decided = LinkState(str(state))
        case _:
            raise InvalidInputError('send {"state": "linked"} or {"state": "unlinked"}')
    contact_id = request.match_info["contact_id"]
    contacts = request.app[CONTACTS]
    await contacts.link(
        contact_id,
        request.match_info["customer_id"],
        state=decided,
        actor=request[ACTOR],
        now=request[NOW],
    )
    return json_response(view_json(await contacts.get(contact_id, actor=request[ACTOR])))


async def _find(
    request: web.Request, criteria: Criteria, query: Mapping[str, str]
) -> Mapping[str, object]:
    page = await request.app[FINDER].find(
        criteria,
        actor=request[ACTOR],
        cursor=query.get("cursor"),
        limit=parse_limit(query.get("limit"), most=MAX_LIMIT),
        now=request[NOW],
    )
    return page_json(page, criteria)


def parse_limit(text: str | None, *, most: int) -> int:
    """Return how many a page is to have.

    Raises:
        InvalidInputError: ``text`` is not a number from 1 to ``most``.
    """
    if text is None:
        return _DEFAULT_LIMIT
    if _NUMBER.fullmatch(text) and 1 <= int(text) <= most:
        return int(text)
    raise InvalidInputError(f"limit: a number from 1 to {most}")


def routes() -> list[Route]:
    """Return the routes of contacts."""
    base = "/api/v1/contacts"
    customer = "/api/v1/customers/{customer_id}"
    return [
        Route(
            method="POST",
            path=base,
            handler=add_contact,
            needs=Permission.ADD_CONTACT,
            accepts=TOKEN_ONLY,
            counted=Counted.DELIVERY,
        ),
        Route(
            method="PUT",
            path=base + "/{contact_id}/recordings/{name}",
            handler=add_recording,
            needs=Permission.ADD_CONTACT,
            accepts=TOKEN_ONLY,
            counted=Counted.UPLOAD,
        ),
        Route(method="GET", path=base, handler=find_contacts, needs=Permission.LOOK_UP),
        Route(
            method="GET",
            path=base + "/{contact_id}",
            handler=get_contact,
            needs=Permission.READ_CONTACT,
        ),
        Route(
            method="PUT",
            path=base + "/{contact_id}/links/{customer_id}",
            handler=link_contact,
            needs=Permission.LINK,
            # Decided by hand: a machine's token decides nothing.
            accepts=SESSION_ONLY,
        ),
        Route(method="GET", path=customer, handler=get_customer, needs=Permission.READ_CONTACT),
        Route(
            method="GET",
            path=customer + "/contacts",
            handler=find_customer_contacts,
            needs=Permission.LOOK_UP,
        ),
    ]
