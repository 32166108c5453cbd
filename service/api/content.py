"""Recordings and messages, given out byte by byte as they are verified, and what a player says it played.

``GET|HEAD /api/v1/recordings/{id}/content``, ``GET|HEAD /api/v1/messages/{id}/content``,
``…/messages/{id}/original``, ``…/messages/{id}/attachments/{number}``,
``POST /api/v1/recordings/{id}/heard``. The routes let in everybody who is signed in: who may open is decided by the use
case, which records a refusal.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from service.access.errors import TooManyRequestsError
from service.api.answers import json_response
from service.api.downloads import attachment, safe_name, safe_type
from service.api.ranges import (
    ByteRange,
    UnsatisfiableRangeError,
    decide_if_range,
    parse_range,
)
from service.archive.coverage import Intervals
from service.archive.open import Opener
from service.archive.openings import OpenedContent
from service.archive.payload import BATCH_BYTES
from service.archive.targets import Asked, Rendition, Subject
from service.archive.unmask import read_masked, unmask
from service.domain.errors import (
    GrantRequiredError,
    InvalidInputError,
    TamperedError,
)
from service.domain.masking import Masked
from service.domain.permission import Permission
from service.http.bodies import read_json
from service.http.frame import ACTOR, NOW, SESSION
from service.http.headers import OTHER_POLICY
from service.http.problems import Problem
from service.http.queries import read_query
from service.http.routes import Need, Route

MAX_PER_ACTOR: Final = 64
"""So many contents may be on their way to one actor at a time."""

STALL_SECONDS: Final = 300
"""A client that takes nothing for so long is dropped; it can come back with a Range."""

_MAX_RANGES: Final = 1000
_MAX_SECONDS: Final = 10**7
_GRANT_HEADER: Final = "Access-Grant"
_MASKED_HEADER: Final = "Masked-Places"
"""In how many places of a message something is hidden; not there where nothing is."""


class HeardReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a player played: seconds of the recording, each pair from where to where."""

    ranges: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Contents:
    """What the handlers need: the use case, and who is being served."""

    opener: Opener
    _serving: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def serving(self, actor_id: str) -> Iterator[None]:
        """Count a content that is on its way.

        Raises:
            TooManyRequestsError: Too many are, to this actor.
        """
        if self._serving[actor_id] >= MAX_PER_ACTOR:
            raise TooManyRequestsError(f"{actor_id} opens too much at once", retry_after=1)
        self._serving[actor_id] += 1
        try:
            yield
        finally:
            self._serving[actor_id] -= 1
            if not self._serving[actor_id]:
                del self._serving[actor_id]


CONTENTS: Final = web.AppKey("contents", Contents)


def content_routes() -> tuple[Route, ...]:
    """Return the routes of contents. The application needs ``CONTENTS``."""
    signed_in = Need.SIGNED_IN
    return (
        Route(
            method="GET",
            path="/api/v1/recordings/{id}/content",
            handler=get_recording,
            needs=signed_in,
        ),
        Route(
            method="GET",
            path="/api/v1/messages/{id}/content",
            handler=get_message,
            needs=signed_in,
        ),
        Route(
            method="GET",
            path="/api/v1/messages/{id}/original",
            handler=get_mail,
            needs=signed_in,
        ),
        Route(
            method="GET",
            path="/api/v1/messages/{id}/attachments/{number}",
            handler=get_attachment,
            needs=signed_in,
        ),
        Route(
            method="POST",
            path="/api/v1/recordings/{id}/heard",
            handler=post_heard,
            needs=signed_in,
        ),
    )


async def get_recording(request: web.Request) -> web.StreamResponse:
    """``GET /api/v1/recordings/{id}/content``: the recording, or with ``?rendition=`` what was made of it."""
    return await _serve(request, *_recording(request))


async def get_message(request: web.Request) -> web.StreamResponse:
    """``GET /api/v1/messages/{id}/content``: the text of a message, in UTF-8; masked, unless ``unmasked=yes``."""
    query = read_query(request, ("grant", "unmasked"))
    return await _serve(request, Asked.parse(Subject.MESSAGE, request.match_info["id"]), query)


async def get_mail(request: web.Request) -> web.StreamResponse:
    """``GET /api/v1/messages/{id}/original``: a mail as it came, byte for byte."""
    query = read_query(request, ("grant",))
    asked = Asked.parse_part(request.match_info["id"], Rendition.MAIL)
    # Nothing can be hidden in it, so that it is for those alone who may see what is.
    await request.app[CONTENTS].opener.require_permitted(
        Permission.UNMASK, asked, actor=request[ACTOR], now=request[NOW]
    )
    return await _serve(request, asked, query)


async def get_attachment(request: web.Request) -> web.StreamResponse:
    """``GET /api/v1/messages/{id}/attachments/{number}``: an attachment of a mail, numbered from 1."""
    query = read_query(request, ("grant",))
    asked = Asked.parse_part(
        request.match_info["id"], Rendition.ATTACHMENT, number=request.match_info["number"]
    )
    return await _serve(request, asked, query)


async def post_heard(request: web.Request) -> web.StreamResponse:
    """``POST /api/v1/recordings/{id}/heard``: a player tells what it played; the answer is what counts as heard."""
    asked, query = _recording(request)
    grant_id = _grant_of(request, query)
    told = _read_report(await read_json(request))
    heard = await request.app[CONTENTS].opener.report_heard(
        asked, told, actor=request[ACTOR], grant_id=grant_id, now=request[NOW]
    )
    seconds = [[start / 1000, stop / 1000] for start, stop in heard]
    total = sum(stop - start for start, stop in heard) / 1000
    return json_response({"heard": seconds, "heard_seconds": total})


def _recording(request: web.Request) -> tuple[Asked, Mapping[str, str]]:
    query = read_query(request, ("grant", "rendition"))
    recording_id, rendition = request.match_info["id"], query.get("rendition")
    return Asked.parse(Subject.RECORDING, recording_id, rendition=rendition), query


def _grant_of(request: web.Request, query: Mapping[str, str]) -> str | None:
    """Return the id of the grant that a request names, if it does."""
    sent = request.headers.getall(_GRANT_HEADER, [])
    if "grant" in query:
        # An address is written into histories and logs; beside a token, which is as good as the grant, it has no place.
        if SESSION not in request or sent:
            raise InvalidInputError(f"send the grant in the header {_GRANT_HEADER}, once")
        return query["grant"]
    if len(sent) > 1:
        raise InvalidInputError(f"send the header {_GRANT_HEADER} once")
    return sent[0].strip() if sent else None


async def _serve(
    request: web.Request, asked: Asked, query: Mapping[str, str]
) -> web.StreamResponse:
    grant_id = _grant_of(request, query)
    is_unmasked = _is_unmasked(query)
    contents, actor, now = request.app[CONTENTS], request[ACTOR], request[NOW]
    with contents.serving(actor.id):
        opener = contents.opener
        opened = unmask if is_unmasked else Opener.open
        content = await opened(opener, asked, actor=actor, grant_id=grant_id, now=now)
        is_shown_masked = asked.is_text and not is_unmasked
        with opener.openings.using(content):
            try:
                if is_shown_masked and (masked := await read_masked(content)).hidden:
                    return await _answer_masked(request, content, masked)
                return await _answer(request, content, _wanted(request, content))
            except UnsatisfiableRangeError:
                return _unsatisfiable(content)
            except TamperedError:
                await opener.alarm(content, now=now)
                raise


def _is_unmasked(query: Mapping[str, str]) -> bool:
    told = query.get("unmasked")
    if told not in {None, "yes"}:
        raise InvalidInputError("unmasked is yes, or not there")
    return told is not None


def _wanted(request: web.Request, content: OpenedContent) -> ByteRange | None:
    """Return the range to be sent, or None for all; Range has a meaning for GET alone (RFC 9110, section 14.2)."""
    ranges = request.headers.getall("Range", ())
    if len(ranges) != 1 or request.method != "GET":
        return None
    conditions = request.headers.getall("If-Range", ())
    if len(conditions) > 1 or not decide_if_range(next(iter(conditions), None), content.etag):
        return None
    return parse_range(ranges[0], content.size_bytes)


async def _answer(
    request: web.Request, content: OpenedContent, wanted: ByteRange | None
) -> web.StreamResponse:
    size = content.size_bytes
    start, stop = (wanted.start, wanted.stop) if wanted else (0, size)
    status = HTTPStatus.PARTIAL_CONTENT if wanted else HTTPStatus.OK
    headers = _headers(content)
    if wanted:
        headers["Content-Range"] = wanted.format(size)
    if request.method == "HEAD" or start == stop:
        empty = web.StreamResponse(status=status, headers=headers)
        empty.content_length = stop - start
        await empty.prepare(request)
        return empty
    if stop - start <= BATCH_BYTES:
        # Everything is verified before the head leaves, so that a bad chunk still gets an answer in words.
        body = bytes(await content.payload.read(start, stop))
        _require_open(content)
        whole = web.Response(status=status, headers=headers, body=body)
        await whole.prepare(request)
        async with _taken(request):
            await whole.write_eof()
        content.track.note_sent(start, stop)
        return whole
    return await _stream(
        request, content, start, stop, _streamed(status, headers, stop - start)
    )


async def _answer_masked(
    request: web.Request, content: OpenedContent, masked: Masked
) -> web.Response:
    """Send a message in which something is hidden: always whole, because its places are not those of the archived."""
    headers = _headers(content)
    headers["Accept-Ranges"] = "none"
    headers["ETag"] = f'{content.etag[:-1]}-masked"'
    headers[_MASKED_HEADER] = str(masked.hidden)
    _require_open(content)
    whole = web.Response(headers=headers, body=masked.text.encode())
    await whole.prepare(request)
    async with _taken(request):
        await whole.write_eof()
    if request.method != "HEAD":
        content.track.note_sent(0, content.size_bytes)
    return whole


def _streamed(status: int, headers: dict[str, str], length: int) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    return response


async def _stream(
    request: web.Request,
    content: OpenedContent,
    start: int,
    stop: int,
    response: web.StreamResponse,
) -> web.StreamResponse:
    """Send batch by batch. A bad chunk ends the connection before its first byte: the frame breaks it off."""
    position = start
    opener, begun_at = request.app[CONTENTS].opener, time.monotonic()
    async with aclosing(content.payload.read_range(start, stop)) as batches:
        async for batch in batches:
            passed = timedelta(seconds=time.monotonic() - begun_at)
            await opener.require_standing(content, now=request[NOW] + passed)
            if position == start:
                await response.prepare(request)
            async with _taken(request):
                await response.write(batch)
            content.track.note_sent(position, position + len(batch))
            position += len(batch)
    await response.write_eof()
    return response


@asynccontextmanager
async def _taken(request: web.Request) -> AsyncIterator[None]:
    """Bound how long a client may take nothing."""
    try:
        async with asyncio.timeout(STALL_SECONDS):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client took nothing for too long") from None


def _require_open(content: OpenedContent) -> None:
    if content.is_closed:
        raise GrantRequiredError(f"{content.track.row.id} was closed")


def _headers(content: OpenedContent) -> dict[str, str]:
    asked = content.key[2]
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "Content-Disposition": _disposition(content.filename, asked.id),
        "Content-Security-Policy": OTHER_POLICY,
        "Content-Type": safe_type(content.content_type),
        "ETag": content.etag,
        "X-Content-Type-Options": "nosniff",
    }


@lru_cache(maxsize=1024)
def _disposition(filename: str, otherwise: str) -> str:
    return attachment(safe_name(filename, otherwise=otherwise))


def _unsatisfiable(content: OpenedContent) -> web.Response:
    return Problem(
        status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        code="range_not_satisfiable",
        detail="No byte of the content lies in the range that was asked for.",
        headers={"Content-Range": f"bytes */{content.size_bytes}"},
    ).response()


def _read_report(value: object) -> Intervals:
    """Return what a player told, in milliseconds, rounded inwards.

    Raises:
        InvalidInputError: It is not ``{"ranges": [[from, to], ...]}`` in seconds.
    """
    try:
        report = msgspec.convert(value, HeardReport)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"not a report of what was heard: {error}") from None
    if len(report.ranges) > _MAX_RANGES:
        raise InvalidInputError(f"more than {_MAX_RANGES} ranges")
    if any(not 0 <= start <= stop <= _MAX_SECONDS for start, stop in report.ranges):
        raise InvalidInputError("a range goes from a second to a later one")
    return tuple((-int(-start * 1000 // 1), int(stop * 1000)) for start, stop in report.ranges)
