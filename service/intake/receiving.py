"""What is sent by who is known by now: kept as a request, as the mail in it, as a vCon or as a recording.

Before it is acknowledged it is kept, and nothing is left of what is refused.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from service.archive.receive import Kept, keep_recording
from service.archive.receive_request import keep_request
from service.archive.receive_vcon import keep_vcon
from service.domain.errors import InvalidInputError, NotSignedInError
from service.http.bodies import read_body
from service.http.frame import NOW, SITE
from service.http.limits import DELIVERIES, PACE, UPLOADS
from service.http.meters import DUPLICATE, OUTCOME
from service.http.uploads import content_type_of, name_of, read_chunks
from service.intake.app_keys import (
    INTAKE,
    MAX_DELIVERY_BYTES,
    OFFER,
    POSTED,
    REFUSALS,
    Listener,
)
from service.intake.posted_mail import keep_posted, kept_anew, most_posted, read_posted
from service.intake.refusals import SIGNATURE
from service.intake.sns import SnsDoor
from service.intake.standard_webhooks import UNTIMELY
from service.sources.posted_mail import PostedMail, Unpack
from service.sources.requests import received_request, target_of
from service.sources.ses import unpack_ses
from service.sources.sns import CONFIRMATION

_ANSWER: Final = b'{"kept":true}'
_ANSWER_AGAIN: Final = b'{"kept":true,"duplicate":true}'


async def receive_known(request: web.Request, listener: Listener) -> web.Response:
    """Keep what a sender sends that is known by now: its request, or the mail in it."""
    if listener.max_vcon_bytes:
        return await _receive_vcon(request, listener)
    if listener.sns is not None:
        return await _receive_notification(request, listener, listener.sns)
    if listener.unpack is None:
        return await receive_known_request(request, listener, await body_of(request))
    return await _receive_posted(request, listener, listener.unpack)


async def _receive_posted(
    request: web.Request, listener: Listener, unpack: Unpack
) -> web.Response:
    """Keep the mail that a mail service posts."""
    async with request.app[POSTED]:
        posted = await read_posted(request, max_bytes=most_posted(listener.max_mail_bytes))
        remarks: Sequence[str] = ()
        if listener.post_key is not None:
            with counted(request, listener, SIGNATURE):
                remarks = listener.post_key.verify(
                    posted, tolerance=listener.tolerance, now=request[NOW]
                )
        try:
            mail = await asyncio.to_thread(unpack, posted.fields)
        except InvalidInputError:
            # Kept all the same: it says what to switch on where it can be seen.
            return await receive_known_request(request, listener, kept_anew(posted.fields))
        return await _receive_mail(request, listener, mail, remarks)


async def _receive_notification(
    request: web.Request, listener: Listener, sns: SnsDoor
) -> web.Response:
    """Keep the mail that a topic notifies of; a subscription to it is confirmed before that is acknowledged."""
    # SNS sends 256 KiB at the most (Amazon SNS quotas), with escapes.
    body, now = await read_body(request), request[NOW]
    with counted(request, listener, SIGNATURE):
        message = await sns.verify(request.headers, body, now=now)
        if message.type == CONFIRMATION:
            await sns.confirm(message)
    remarks = () if abs(now - message.sent_at) <= listener.tolerance else (UNTIMELY,)
    try:
        mail = await asyncio.to_thread(unpack_ses, {"": body})
    except InvalidInputError:
        # As above.
        return await receive_known_request(request, listener, body, remarks)
    return await _receive_mail(request, listener, mail, remarks)


async def _receive_mail(
    request: web.Request, listener: Listener, mail: PostedMail, remarks: Sequence[str]
) -> web.Response:
    """Keep a mail of a sender that is known by now."""
    request.app[PACE].take_for_actor(listener.name)
    with request.app[UPLOADS]:
        kept = await keep_posted(
            request.app[INTAKE],
            mail,
            source=listener.name,
            limit_bytes=listener.max_mail_bytes,
            is_tls=request.app[SITE].is_secure(request),
            remarks=remarks,
            now=request[NOW],
        )
    return acknowledged(request, kept)


async def _receive_vcon(request: web.Request, listener: Listener) -> web.Response:
    """Keep a vCon of a sender that is known by now, as it streams."""
    request.app[PACE].take_for_actor(listener.name)
    with request.app[UPLOADS]:
        kept = await keep_vcon(
            request.app[INTAKE],
            read_chunks(request, max_bytes=listener.max_vcon_bytes),
            source=listener.name,
            content_type=content_type_of(request),
            limit_bytes=listener.max_vcon_bytes,
            now=request[NOW],
        )
    return acknowledged(request, kept)


async def receive_known_request(
    request: web.Request,
    listener: Listener,
    body: bytes,
    remarks: tuple[str, ...] = (),
    *,
    is_query_signed: bool = True,
) -> web.Response:
    """Keep a request of a sender that is known by now.

    A query that its sender does not sign tells no two deliveries apart: whoever caught one could repeat it without end.
    """
    request.app[PACE].take_for_actor(listener.name)
    target = target_of(listener.name, request.raw_path.partition("?")[2])
    sent = received_request(request.method, target, request.raw_headers, body)
    with request.app[DELIVERIES]:
        kept = await keep_request(
            request.app[INTAKE],
            sent,
            source=listener.name,
            now=request[NOW],
            remarks=remarks,
            is_query_signed=is_query_signed,
        )
    return acknowledged(request, kept)


async def receive_known_recording(request: web.Request) -> web.Response:
    """Keep a recording of a sender that is known by now."""
    intake = request.app[INTAKE]
    with request.app[UPLOADS]:
        kept = await keep_recording(
            intake,
            read_chunks(request, max_bytes=intake.max_recording_bytes),
            source=request.match_info["source"],
            source_id=name_of(request, "source_id"),
            name=name_of(request, "name"),
            content_type=content_type_of(request),
            now=request[NOW],
        )
    return acknowledged(request, kept)


async def body_of(request: web.Request) -> bytes:
    """Return the body of a delivery."""
    return await read_body(request, max_bytes=request.app[MAX_DELIVERY_BYTES])


@contextmanager
def counted(request: web.Request, listener: Listener | None, reason: str) -> Iterator[None]:
    """Count, for who connects the source, that it was refused inside the block."""
    try:
        yield
    except NotSignedInError:
        if listener is not None:
            request.app[REFUSALS].note(listener.name, reason, now=request[NOW])
        raise


def acknowledged(request: web.Request, kept: Kept) -> web.Response:
    """Return the answer to what was kept, and have it understood."""
    request.app[OFFER](kept)
    if kept.is_duplicate:
        request[OUTCOME] = DUPLICATE
    return web.Response(
        body=_ANSWER_AGAIN if kept.is_duplicate else _ANSWER, content_type="application/json"
    )
