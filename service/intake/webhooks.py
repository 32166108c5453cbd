"""``/intake``: who sends is checked over the raw bytes; what is sent is kept before it is acknowledged.

Nothing is parsed here. Whatever is authenticated is kept and answered 200, also what nobody will understand. A secret
that is part of the path is found nowhere else: not in what is kept, nor in the journal, which has the route alone.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from aiohttp import web

from service.archive.receive import Kept, keep_delivery, keep_recording
from service.archive.receive_request import keep_request
from service.archive.receive_vcon import keep_vcon
from service.domain.actor import Actor, Role
from service.domain.errors import InvalidInputError, NotPermittedError, NotSignedInError
from service.domain.identifiers import require_source_name
from service.domain.permission import Permission, require_permission, require_source
from service.http.bodies import read_body
from service.http.frame import NOW, SITE, bearer_token
from service.http.limits import DELIVERIES, PACE, UPLOADS
from service.http.meters import DUPLICATE, OUTCOME
from service.http.routes import Counted, Need, Route
from service.http.uploads import content_type_of, name_of, read_chunks
from service.intake.app_keys import (
    INTAKE,
    LISTENERS,
    MAX_DELIVERY_BYTES,
    OFFER,
    POSTED,
    REFUSALS,
    TOKENS,
    Listener,
)
from service.intake.body_signatures import verify_body
from service.intake.posted_mail import (
    keep_posted,
    kept_anew,
    most_posted,
    read_posted,
)
from service.intake.refusals import SECRET, SIGNATURE, UNSIGNED
from service.intake.shared_secret import SharedSecret, basic_secret, require_secret
from service.intake.sns import SnsDoor
from service.intake.standard_webhooks import (
    UNTIMELY,
    WebhookSecret,
    has_signature,
    verify_signature,
)
from service.intake.twilio_signature import verify_twilio
from service.sources.kinds import Sender
from service.sources.posted_mail import PostedMail, Unpack
from service.sources.requests import received_request, target_of
from service.sources.ses import unpack_ses
from service.sources.sns import CONFIRMATION

_ANSWER: Final = b'{"kept":true}'
_ANSWER_AGAIN: Final = b'{"kept":true,"duplicate":true}'
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_VCON_TOKEN: Final = "x-conserver-api-token"  # noqa: S105  # the name of a header, not a secret
"""The header in which programs for vCons send their secret (vcon-server)."""
_ORIGIN: Final = re.compile(r"[A-Za-z0-9.:_-]{1,255}", re.ASCII)


async def receive_delivery(request: web.Request) -> web.Response:
    """``POST /intake/{source}``: a delivery that is signed, or a request in the source's own format."""
    listener = _listener(request)
    if listener is not None and listener.sender is Sender.SECRET:
        with _counted(request, listener, SECRET):
            await _require_sender(request, listener)
        return await _receive(request, listener)
    body = await _body(request)
    if listener is not None and listener.sender is Sender.TWILIO:
        url = f"{listener.public_url}{request.raw_path}"
        with _counted(request, listener, SIGNATURE):
            verify_twilio(request.headers, url=url, body=body, secrets=listener.twilio)
        return await _receive_request(request, listener, body)
    now = request[NOW]
    if listener is not None and listener.scheme is not None:
        with _counted(request, listener, SIGNATURE):
            remarks = verify_body(
                listener.scheme,
                request.headers,
                body,
                keys=listener.body_keys,
                tolerance=listener.tolerance,
                now=now,
            )
        return await _receive_request(request, listener, body, remarks)
    if listener is None or not listener.secrets:
        # The same work for a source that there is not: the answer tells nobody which there are.
        verify_signature(request.headers, body, secrets=_NOBODYS, tolerance=_TOLERANCE, now=now)
        raise NotSignedInError("no such source")
    with _counted(request, listener, SIGNATURE if has_signature(request.headers) else UNSIGNED):
        signed = verify_signature(
            request.headers,
            body,
            secrets=listener.secrets,
            tolerance=listener.tolerance,
            now=now,
        )
    request.app[PACE].take_for_actor(listener.name)
    with request.app[DELIVERIES]:
        kept = await keep_delivery(
            request.app[INTAKE],
            source=listener.name,
            kind="contact",
            ident=signed.id,
            body=body,
            now=now,
            remarks=() if signed.is_timely else (UNTIMELY,),
        )
    return _acknowledged(request, kept)


async def receive_call_back(request: web.Request) -> web.Response:
    """``GET /intake/{source}``: a delivery of a system that tells everything in the query, or a verification by Meta.

    Meta asks so whether the address is ours (Graph API, "Webhooks", verification requests).
    """
    listener = _listener(request)
    if listener is not None and listener.verify_token is not None:
        return _answer_challenge(request, listener, listener.verify_token)
    if listener is None or listener.sender is not Sender.TWILIO:
        raise NotSignedInError("no such source")
    return await receive_delivery(request)


async def receive_delivery_by_path(request: web.Request) -> web.Response:
    """``POST /intake/{source}/k/{secret}``: a request of a source that can send its secret nowhere else."""
    return await _receive(request, _listener_by_path(request))


async def answer_handshake(request: web.Request) -> web.Response:
    """``OPTIONS /intake/{source}``: who knows the secret is told that it may deliver.

    It is the hand-shake of CloudEvents ("HTTP 1.1 Web Hooks for Event Delivery", section 4).

    Raises:
        InvalidInputError: It does not ask to deliver.
    """
    listener = _listener(request)
    if listener is None or listener.sender is not Sender.SECRET:
        raise NotSignedInError("no such source")
    await _require_sender(request, listener)
    return _permitted(request)


async def answer_handshake_by_path(request: web.Request) -> web.Response:
    """``OPTIONS /intake/{source}/k/{secret}``: the same for those that send their secret there.

    Raises:
        InvalidInputError: It does not ask to deliver.
    """
    _listener_by_path(request)
    return _permitted(request)


async def receive_recording(request: web.Request) -> web.Response:
    """``PUT /intake/{source}/{source_id}/recordings/{name}``: a recording, before or after its contact."""
    await _require_token(request)
    return await _receive_recording(request)


async def receive_recording_by_path(request: web.Request) -> web.Response:
    """``PUT /intake/{source}/k/{secret}/{source_id}/recordings/{name}``: the same of a source without credentials."""
    _listener_by_path(request)
    return await _receive_recording(request)


async def _body(request: web.Request) -> bytes:
    return await read_body(request, max_bytes=request.app[MAX_DELIVERY_BYTES])


async def _receive(request: web.Request, listener: Listener) -> web.Response:
    """Keep what a sender sends that is known by now: its request, or the mail in it."""
    if listener.max_vcon_bytes:
        return await _receive_vcon(request, listener)
    if listener.sns is not None:
        return await _receive_notification(request, listener, listener.sns)
    if listener.unpack is None:
        return await _receive_request(request, listener, await _body(request))
    return await _receive_posted(request, listener, listener.unpack)


async def _receive_posted(
    request: web.Request, listener: Listener, unpack: Unpack
) -> web.Response:
    """Keep the mail that a mail service posts."""
    async with request.app[POSTED]:
        posted = await read_posted(request, max_bytes=most_posted(listener.max_mail_bytes))
        remarks: Sequence[str] = ()
        if listener.post_key is not None:
            with _counted(request, listener, SIGNATURE):
                remarks = listener.post_key.verify(
                    posted, tolerance=listener.tolerance, now=request[NOW]
                )
        try:
            mail = await asyncio.to_thread(unpack, posted.fields)
        except InvalidInputError:
            # Kept all the same: it says what to switch on where it can be seen.
            return await _receive_request(request, listener, kept_anew(posted.fields))
        return await _receive_mail(request, listener, mail, remarks)


async def _receive_notification(
    request: web.Request, listener: Listener, sns: SnsDoor
) -> web.Response:
    """Keep the mail that a topic notifies of; a subscription to it is confirmed before that is acknowledged."""
    # SNS sends 256 KiB at the most (Amazon SNS quotas), with escapes.
    body, now = await read_body(request), request[NOW]
    with _counted(request, listener, SIGNATURE):
        message = await sns.verify(request.headers, body, now=now)
        if message.type == CONFIRMATION:
            await sns.confirm(message)
    remarks = () if abs(now - message.sent_at) <= listener.tolerance else (UNTIMELY,)
    try:
        mail = await asyncio.to_thread(unpack_ses, {"": body})
    except InvalidInputError:
        # As above.
        return await _receive_request(request, listener, body, remarks)
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
    return _acknowledged(request, kept)


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
    return _acknowledged(request, kept)


async def _receive_request(
    request: web.Request, listener: Listener, body: bytes, remarks: tuple[str, ...] = ()
) -> web.Response:
    """Keep a request of a sender that is known by now."""
    request.app[PACE].take_for_actor(listener.name)
    target = target_of(listener.name, request.raw_path.partition("?")[2])
    sent = received_request(request.method, target, request.raw_headers, body)
    with request.app[DELIVERIES]:
        kept = await keep_request(
            request.app[INTAKE], sent, source=listener.name, now=request[NOW], remarks=remarks
        )
    return _acknowledged(request, kept)


async def _receive_recording(request: web.Request) -> web.Response:
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
    return _acknowledged(request, kept)


def _answer_challenge(
    request: web.Request, listener: Listener, token: SharedSecret
) -> web.Response:
    """Return what is asked to be repeated, to who sends the verify token."""
    with _counted(request, listener, SECRET):
        require_secret(request.query.get("hub.verify_token", ""), secrets=(token,))
    challenge = request.query.get("hub.challenge", "")
    if request.query.get("hub.mode") != "subscribe" or not _CHALLENGE.fullmatch(challenge):
        raise InvalidInputError("hub.mode is subscribe, and hub.challenge letters and digits")
    return web.Response(text=challenge)


def _permitted(request: web.Request) -> web.Response:
    origin = request.headers.get("WebHook-Request-Origin", "")
    if not _ORIGIN.fullmatch(origin):
        raise InvalidInputError("WebHook-Request-Origin names the host that asks to deliver")
    # The pace of a sender is held by 429 and Retry-After, which it has to heed anyway.
    return web.Response(
        headers={
            "Allow": "POST",
            "WebHook-Allowed-Origin": origin,
            "WebHook-Allowed-Rate": "*",
        }
    )


def routes() -> list[Route]:
    """Return the routes of intake. Their handlers check the sender themselves."""
    return [
        Route(
            method="OPTIONS",
            path="/intake/{source}",
            handler=answer_handshake,
            needs=Need.SENDER,
        ),
        Route(
            method="OPTIONS",
            path="/intake/{source}/k/{secret}",
            handler=answer_handshake_by_path,
            needs=Need.SENDER,
        ),
        Route(
            method="POST",
            path="/intake/{source}",
            handler=receive_delivery,
            needs=Need.SENDER,
            counted=Counted.DELIVERY,
        ),
        Route(
            method="GET",
            path="/intake/{source}",
            handler=receive_call_back,
            needs=Need.SENDER,
            counted=Counted.DELIVERY,
        ),
        Route(
            method="POST",
            path="/intake/{source}/k/{secret}",
            handler=receive_delivery_by_path,
            needs=Need.SENDER,
            counted=Counted.DELIVERY,
        ),
        Route(
            method="PUT",
            path="/intake/{source}/k/{secret}/{source_id}/recordings/{name}",
            handler=receive_recording_by_path,
            needs=Need.SENDER,
            counted=Counted.UPLOAD,
        ),
        Route(
            method="PUT",
            path="/intake/{source}/{source_id}/recordings/{name}",
            handler=receive_recording,
            needs=Need.SENDER,
            counted=Counted.UPLOAD,
        ),
    ]


# Whatever it vouches for is refused.
_NOBODYS: Final = (WebhookSecret(bytes(32)),)
_TOLERANCE: Final = timedelta()


def _listener(request: web.Request) -> Listener | None:
    return request.app[LISTENERS].get(request.match_info["source"])


def _listener_by_path(request: web.Request) -> Listener:
    """Return the source whose secret the path has.

    Raises:
        NotSignedInError: It has none.
    """
    listener = _listener(request)
    with _counted(request, listener, SECRET):
        require_secret(
            request.match_info["secret"], secrets=() if listener is None else listener.shared
        )
    if listener is None:
        raise NotSignedInError("no such source")
    return listener


@contextmanager
def _counted(request: web.Request, listener: Listener | None, reason: str) -> Iterator[None]:
    """Count, for who connects the source, that it was refused inside the block."""
    try:
        yield
    except NotSignedInError:
        if listener is not None:
            request.app[REFUSALS].note(listener.name, reason, now=request[NOW])
        raise


async def _require_sender(request: web.Request, listener: Listener) -> None:
    """Return when the source's secret is sent by HTTP Basic, or a token that is bound to it.

    Raises:
        NotSignedInError, NotPermittedError, NotFoundError: Neither is.
    """
    if bearer_token(request) is not None:
        await _require_token(request)
        return
    secret = basic_secret(request.headers.get("Authorization", ""), user=listener.name)
    if listener.max_vcon_bytes and not secret:
        secret = request.headers.get(_VCON_TOKEN, "")
    require_secret(secret, secrets=listener.shared)


async def _require_token(request: web.Request) -> Actor:
    """Return the machine that delivers, whose token permits this source.

    Raises:
        NotSignedInError: No valid token.
        NotPermittedError: It is not one of an integration.
        NotFoundError: It is bound to another source.
        InvalidInputError: The name of the source is none.
        TooManyRequestsError: The machine asks too much.
    """
    actor = await request.app[TOKENS].authenticate(bearer_token(request) or "")
    if actor is None:
        raise NotSignedInError("no valid token")
    require_permission(actor, Permission.DELIVER)
    if Role.INTEGRATION not in actor.roles:
        raise NotPermittedError(f"{actor.id} is no integration")
    require_source(actor, require_source_name(request.match_info["source"]))
    request.app[PACE].take_for_actor(actor.id)
    return actor


def _acknowledged(request: web.Request, kept: Kept) -> web.Response:
    request.app[OFFER](kept)
    if kept.is_duplicate:
        request[OUTCOME] = DUPLICATE
    return web.Response(
        body=_ANSWER_AGAIN if kept.is_duplicate else _ANSWER, content_type="application/json"
    )
