"""``/intake``: who sends is checked over the raw bytes; what is sent is kept before it is acknowledged.

Nothing is parsed here. Whatever is authenticated is kept and answered 200, also what nobody will understand. A secret
that is part of the path is found nowhere else: not in what is kept, nor in the journal, which has the route alone.
"""

import re
from datetime import timedelta
from typing import Final

from aiohttp import web

from service.archive.receive import keep_delivery
from service.domain.actor import Actor, Role
from service.domain.errors import InvalidInputError, NotPermittedError, NotSignedInError
from service.domain.identifiers import require_source_name
from service.domain.permission import Permission, require_permission, require_source
from service.http.frame import NOW, bearer_token
from service.http.limits import DELIVERIES, PACE
from service.http.routes import Counted, Need, Route
from service.intake.app_keys import (
    INTAKE,
    LISTENERS,
    TOKENS,
    Listener,
)
from service.intake.body_signatures import verify_body
from service.intake.receiving import (
    acknowledged,
    body_of,
    counted,
    receive_known,
    receive_known_recording,
    receive_known_request,
)
from service.intake.refusals import SECRET, SIGNATURE, UNSIGNED
from service.intake.shared_secret import SharedSecret, basic_secret, require_secret
from service.intake.standard_webhooks import (
    UNTIMELY,
    WebhookSecret,
    has_signature,
    verify_signature,
)
from service.intake.twilio_signature import verify_twilio
from service.sources.kinds import Sender

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_VCON_TOKEN: Final = "x-conserver-api-token"  # noqa: S105  # the name of a header, not a secret
"""The header in which programs for vCons send their secret (vcon-server)."""
_ORIGIN: Final = re.compile(r"[A-Za-z0-9.:_-]{1,255}", re.ASCII)


async def receive_delivery(request: web.Request) -> web.Response:
    """``POST /intake/{source}``: a delivery that is signed, or a request in the source's own format."""
    listener = _listener(request)
    if listener is not None and listener.sender is Sender.SECRET:
        with counted(request, listener, SECRET):
            await _require_sender(request, listener)
        return await receive_known(request, listener)
    body = await body_of(request)
    if listener is not None and listener.sender is Sender.TWILIO:
        url = f"{listener.public_url}{request.raw_path}"
        with counted(request, listener, SIGNATURE):
            verify_twilio(request.headers, url=url, body=body, secrets=listener.twilio)
        return await receive_known_request(request, listener, body)
    now = request[NOW]
    if listener is not None and listener.scheme is not None:
        with counted(request, listener, SIGNATURE):
            remarks = verify_body(
                listener.scheme,
                request.headers,
                body,
                keys=listener.body_keys,
                tolerance=listener.tolerance,
                now=now,
            )
        return await receive_known_request(
            request, listener, body, remarks, is_query_signed=False
        )
    if listener is None or not listener.secrets:
        # The same work for a source that there is not: the answer tells nobody which there are.
        verify_signature(request.headers, body, secrets=_NOBODYS, tolerance=_TOLERANCE, now=now)
        raise NotSignedInError("no such source")
    with counted(request, listener, SIGNATURE if has_signature(request.headers) else UNSIGNED):
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
    return acknowledged(request, kept)


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
    return await receive_known(request, _listener_by_path(request))


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
    return await receive_known_recording(request)


async def receive_recording_by_path(request: web.Request) -> web.Response:
    """``PUT /intake/{source}/k/{secret}/{source_id}/recordings/{name}``: the same of a source without credentials."""
    _listener_by_path(request)
    return await receive_known_recording(request)


def _answer_challenge(
    request: web.Request, listener: Listener, token: SharedSecret
) -> web.Response:
    """Return what is asked to be repeated, to who sends the verify token."""
    with counted(request, listener, SECRET):
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
    with counted(request, listener, SECRET):
        require_secret(
            request.match_info["secret"], secrets=() if listener is None else listener.shared
        )
    if listener is None:
        raise NotSignedInError("no such source")
    return listener


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
