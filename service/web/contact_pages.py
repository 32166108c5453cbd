"""The page of one contact: what is known of it, the purpose gate, the player, and whether it is intact."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from service.domain.actor import Actor
from service.domain.contact import RecordingState
from service.domain.errors import ErasedError, InvalidInputError
from service.domain.permission import Permission, is_permitted
from service.domain.retention import Ground
from service.http.bodies import read_form
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.web.app_keys import DESK, DISPOSALS
from service.web.desk import Desk
from service.web.disposal_pages import show_tombstone
from service.web.gate import parse_gate
from service.web.render import render
from service.web.viewmodels import PlayerView, decide_purposes, player_view
from service.web.views import ContactDetail, IntegrityState, OpenedMessage, Playback

_PLAYABLE: Final = frozenset({Playback.ORIGINAL, Playback.RENDITION})
_TELLING: Final = frozenset({IntegrityState.UNCHECKED, IntegrityState.ALTERED})
_NO_GATE: Final = {"purpose": "", "reference": "", "problem": None}
_NOTICES: Final = {
    "link": "links.saved",
    "withdrawn": "grant.withdrawn",
    "held": "hold.saved",
    "release_requested": "hold.release_asked",
    "released": "hold.released",
    "erasure_requested": "erasure.asked",
    "erasure_withdrawn": "erasure.withdrawn",
}


async def show_contact(request: web.Request) -> web.Response:
    """``GET /contacts/{contact_id}``. Messages are opened when there is a grant; a recording when it is played."""
    try:
        return await _contact_page(request, gate=_NO_GATE, status=200)
    except ErasedError:
        return await show_tombstone(request)


async def show_mail(request: web.Request) -> web.Response:
    """``GET /contacts/{contact_id}/messages/{message_id}``: one mail with its formatted text.

    Without a grant, and for what is no mail, back to the contact.
    """
    desk, now, actor = request.config_dict[DESK], request[NOW], request[ACTOR]
    contact_id, message_id = (request.match_info[n] for n in ("contact_id", "message_id"))
    detail = await desk.contact_detail(contact_id, actor=actor, now=now)
    if detail.grant is None:
        raise web.HTTPSeeOther(f"/contacts/{detail.contact.id}")
    mail = await desk.open_mail(
        detail.contact.id, message_id, grant_id=detail.grant.id, actor=actor, now=now
    )
    if mail.message.mail is None:
        raise web.HTTPSeeOther(f"/contacts/{detail.contact.id}")
    values = {
        "section": "search",
        "contact": detail.contact,
        "grant": detail.grant,
        "message": mail.message,
        "html": mail.html,
    }
    return await render(request, "mail.html", values)


async def show_unmasked(request: web.Request) -> web.Response:
    """``POST /contacts/{contact_id}/unmasked``: the page, with nothing hidden in the message that the form names."""
    form = await read_form(request)
    unmasked = form.get("message", "")
    return await _contact_page(request, gate=_NO_GATE, status=200, unmasked=unmasked)


async def add_grant(request: web.Request) -> web.Response:
    """``POST /contacts/{contact_id}/grants``: state a purpose; back to the page, which is then open."""
    actor = request[ACTOR]
    form = await read_form(request)
    contact_id = request.match_info["contact_id"]
    try:
        purpose, reference = parse_gate(form)
        await request.config_dict[DESK].create_grant(
            contact_id,
            actor=actor,
            purpose=purpose,
            reference=reference,
            now=request[NOW],
        )
    except InvalidInputError:
        problem = "purpose.reference_wrong" if form.get("purpose") else "purpose.choose"
        gate = {
            "purpose": form.get("purpose", ""),
            "reference": form.get("reference", ""),
            "problem": problem,
        }
        return await _contact_page(request, gate=gate, status=400)
    raise web.HTTPSeeOther(f"/contacts/{contact_id}")


async def withdraw_grant(request: web.Request) -> web.Response:
    """``POST /grants/{grant_id}/withdraw``: end a grant; back to the contact."""
    actor = request[ACTOR]
    form = await read_form(request)
    await request.config_dict[DESK].withdraw_grant(
        request.match_info["grant_id"], actor=actor, now=request[NOW]
    )
    raise web.HTTPSeeOther(_contact_place(form.get("contact", ""), "withdrawn"))


async def decide_link(request: web.Request) -> web.Response:
    """``POST /contacts/{contact_id}/links``: a person says whose contact it is."""
    actor = request[ACTOR]
    form = await read_form(request)
    if form.get("theirs") not in {"yes", "no"}:
        raise InvalidInputError("say yes or no")
    contact_id = request.match_info["contact_id"]
    await request.config_dict[DESK].decide_link(
        contact_id,
        form.get("customer", ""),
        is_theirs=form["theirs"] == "yes",
        actor=actor,
        now=request[NOW],
    )
    raise web.HTTPSeeOther(_contact_place(contact_id, "link"))


async def show_verification(request: web.Request) -> web.Response:
    """``GET /contacts/{contact_id}/verification``: the four-state answer; ``?part=1`` gives it without the page."""
    contact_id = request.match_info["contact_id"]
    verification = await request.config_dict[DESK].verification(
        contact_id, actor=request[ACTOR], now=request[NOW]
    )
    is_part = read_query(request, ("part",)).get("part") == "1"
    template = "verification_part.html" if is_part else "verification.html"
    values = {
        "verification": verification,
        "contact_id": contact_id,
        # Beside other things the checks are in the way, unless one of them is the reason for the answer.
        "is_open": not is_part or verification.state in _TELLING,
    }
    return await render(request, template, values)


async def _contact_page(
    request: web.Request,
    *,
    gate: Mapping[str, str | None],
    status: int,
    unmasked: str | None = None,
) -> web.Response:
    desk, now = request.config_dict[DESK], request[NOW]
    actor = request[ACTOR]
    detail = await desk.contact_detail(request.match_info["contact_id"], actor=actor, now=now)
    content = await _content(desk, detail, actor=actor, now=now, unmasked=unmasked)
    if content["messages"]:
        # Showing them was an opening, which the list of openings is to show as well.
        detail = await desk.contact_detail(detail.contact.id, actor=actor, now=now)
    may_open = is_permitted(actor, Permission.GRANT)
    values: dict[str, Any] = {
        "section": "search",
        "detail": detail,
        "contact": detail.contact,
        "grant": detail.grant,
        "has_content": _has_content(detail),
        "purposes": decide_purposes(actor) if may_open else (),
        "gate": gate,
        "disposal": await request.config_dict[DISPOSALS].view(detail.contact.id, actor=actor),
        "grounds": tuple(Ground),
        "notice": _NOTICES.get(read_query(request, ("done",)).get("done", "")),
        **content,
    }
    return await render(request, "contact.html", values, status=status)


async def _content(
    desk: Desk,
    detail: ContactDetail,
    *,
    actor: Actor,
    now: datetime,
    unmasked: str | None,
) -> dict[str, Any]:
    """Return players and messages, both empty without a grant."""
    players: dict[str, PlayerView] = {}
    messages: tuple[OpenedMessage, ...] = ()
    grant = detail.grant
    if grant:
        for recording in detail.recordings:
            if _is_playable(recording.state, recording.playback):
                waveform = await desk.waveform(
                    recording.id, grant_id=grant.id, actor=actor, now=now
                )
                players[recording.id] = player_view(recording, grant, waveform)
    if grant and detail.message_count:
        messages = await desk.open_messages(
            detail.contact.id, grant_id=grant.id, actor=actor, now=now, unmasked=unmasked
        )
    return {"players": players, "messages": messages}


def _has_content(detail: ContactDetail) -> bool:
    return detail.message_count > 0 or any(
        recording.state is RecordingState.PRESENT
        and (recording.playback is not Playback.IMPOSSIBLE or recording.file_name)
        for recording in detail.recordings
    )


def _is_playable(state: RecordingState, playback: Playback) -> bool:
    return state is RecordingState.PRESENT and playback in _PLAYABLE


def _contact_place(contact_id: str, done: str) -> str:
    return f"/contacts/{contact_id}?done={done}" if contact_id.isidentifier() else "/"
