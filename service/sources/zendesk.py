"""Zendesk: what is written in its tickets, by events of its own or as a trigger sends it (Zendesk, "Webhooks").

A ticket is one contact, of which each comment is a part; they come in any order and more than once. Private comments
are notes among the company's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit

from service.domain.contact import (
    AnnouncedRecording,
    ContactFacts,
    MessageChange,
    MessageText,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.urls import MAX_URL_CHARACTERS
from service.sources.chat import file_name, is_text_file, readable
from service.sources.events import SourceRule, Understood
from service.sources.requests import ReceivedRequest, decode_request
from service.sources.strict_json import decode_json
from service.sources.zendesk_parts import (
    OVER,
    channel_of,
    ident_of,
    name_of,
    over,
    party,
    remarks_of,
    signed_at,
    ticket_of,
    time_of,
    written,
)
from service.sources.zendesk_trigger import is_form, understand_form, understand_trigger

Json = Mapping[str, object]

REDACTED: Final = "[redacted]"
"""What stands for the text of a comment of which parts were taken out; Zendesk does not send what is left."""
_PREFIX: Final = "zen:event-type:"
_FIRST: Final = "description"
# A ticket and its first comment are made in one step.
_AT_ONCE: Final = timedelta(minutes=1)
_ACTORS: Final = {"end_user": PartyRole.CUSTOMER, "agent": PartyRole.AGENT}


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of a ticket: what the ticket is now, and what happened to it at ``at``."""

    ticket: str
    detail: Json
    event: Json
    at: datetime
    now: datetime


def understand_zendesk(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a request tells of a ticket: what was written, redacted or attached, or that it is solved.

    Events of other kinds tell nothing that is archived.

    Raises:
        InvalidInputError: It cannot be read; the detail says what is missing.
    """
    request = decode_request(body)
    if is_form(request):
        return understand_form(request, rule, now)
    told = _object(decode_json(request.body), "the body")
    kind = told.get("type")
    if not isinstance(kind, str) or not kind.startswith(_PREFIX):
        return understand_trigger(told, request, rule, now)
    read = _EVENTS.get(kind.removeprefix(_PREFIX))
    return read(_event(told, request, now)) if read else Understood(())


def _event(told: Json, request: ReceivedRequest, now: datetime) -> _Event:
    detail = _object(told.get("detail"), "detail")
    event = told.get("event")
    return _Event(
        ticket=ticket_of(detail.get("id")),
        detail=detail,
        event=event if isinstance(event, Mapping) else {},
        at=time_of(told.get("time")) or signed_at(request) or now,
        now=now,
    )


def _created(told: _Event) -> Understood:
    """Return the ticket with its first comment, which is its description."""
    detail = told.detail
    requester = ident_of(detail.get("requester_id"))
    submitter = ident_of(detail.get("submitter_id")) or requester
    writer = PartyRole.CUSTOMER if submitter == requester else PartyRole.AGENT
    one = party(writer, ident=submitter)
    message = MessageText(
        sender=name_of(one, writer),
        sent_at=time_of(detail.get("created_at")) or told.at,
        text=_text(detail.get("description")),
        ident=_FIRST,
        is_internal=detail.get("is_public") is False,
        writer=writer,
    )
    return _written(told, message, writer, one)


def _commented(told: _Event) -> Understood:
    comment = _object(told.event.get("comment"), "event.comment")
    author = comment.get("author")
    author = author if isinstance(author, Mapping) else {}
    ident = ident_of(author.get("id"))
    writer = PartyRole.AGENT if author.get("is_staff") is True else PartyRole.OTHER
    if ident and ident == ident_of(told.detail.get("requester_id")):
        writer = PartyRole.CUSTOMER
    one = party(writer, name=author.get("name"), ident=ident)
    is_first = _is_first(comment, told)
    message = MessageText(
        sender=name_of(one, writer),
        sent_at=told.at,
        text=_text(comment.get("body")),
        ident=_FIRST if is_first else _comment_id(comment),
        is_internal=_is_internal(comment.get("is_public")),
        writer=writer,
    )
    return _written(told, message, writer, one)


def _is_first(comment: Json, told: _Event) -> bool:
    """Return whether a comment is the ticket's description, which the ticket itself was told with."""
    created_at = time_of(told.detail.get("created_at"))
    return (
        created_at is not None
        and abs(told.at - created_at) <= _AT_ONCE
        and comment.get("body") == told.detail.get("description")
    )


def _messaged(told: _Event) -> Understood:
    """Return a message of messaging, which is none of the ticket's comments until the conversation is over."""
    actor = told.event.get("actor")
    actor = actor if isinstance(actor, Mapping) else {}
    sent = _object(told.event.get("message"), "event.message")
    kind = actor.get("type")
    role = _ACTORS.get(kind) if isinstance(kind, str) else None
    # What the company's own robots write is the company's.
    writer = role or PartyRole.AGENT
    one = party(writer, name=actor.get("name"), ident=ident_of(actor.get("id")) if role else "")
    message = MessageText(
        sender=name_of(one, writer),
        sent_at=told.at,
        text=_text(sent.get("body")),
        ident=ident_of(sent.get("id")),
        writer=writer,
    )
    return _written(told, message, writer, one)


def _written(
    told: _Event, message: MessageText, writer: PartyRole, one: Party | None
) -> Understood:
    via = told.detail.get("via")
    subject = told.detail.get("subject")
    facts, remarks = written(
        told.ticket,
        message,
        channel=channel_of(via.get("channel") if isinstance(via, Mapping) else None),
        writer=writer,
        parties=(one,),
        now=told.now,
        subject=ident_of(subject),
    )
    return Understood((facts,), remarks)


def _redacted(told: _Event) -> Understood:
    comment = _object(told.event.get("comment"), "event.comment")
    message = MessageText(
        sender="Zendesk",
        sent_at=told.at,
        text=REDACTED,
        ident=_comment_id(comment),
        change=MessageChange.EDITED,
        changed_at=told.at,
    )
    facts = ContactFacts(source_id=told.ticket, messages=(message,), is_part=True)
    return Understood((facts,), remarks_of(told.at, now=told.now))


def _attached(told: _Event) -> Understood:
    """Return the file of a comment, which is to be fetched."""
    comment = _object(told.event.get("comment"), "event.comment")
    file = _object(told.event.get("attachment"), "event.attachment")
    url = file.get("content_url")
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL_CHARACTERS:
        raise InvalidInputError("event.attachment.content_url is missing, or too long")
    stem = f"{_comment_id(comment)}-{ident_of(file.get('id')) or 'file'}"
    recording = AnnouncedRecording(
        name=file_name(stem, _extension(file, url)),
        url=url,
        is_internal=_is_internal(file.get("is_public")),
        is_text=is_text_file(file_name(stem, _extension(file, url))),
    )
    return Understood(
        (ContactFacts(source_id=told.ticket, recordings=(recording,), is_part=True),)
    )


def _extension(file: Json, url: str) -> str:
    name = file.get("filename")
    if not isinstance(name, str):
        try:
            name = (parse_qs(urlsplit(url).query).get("name") or [""])[-1]
        except ValueError:
            name = ""
    return name.rpartition(".")[2] if "." in name else ""


def _status(told: _Event) -> Understood:
    status = told.event.get("current")
    is_over = isinstance(status, str) and status.lower() in OVER
    return over(told.ticket, told.at, now=told.now) if is_over else Understood(())


_EVENTS: Final[Mapping[str, Callable[[_Event], Understood]]] = {
    "ticket.created": _created,
    "ticket.comment_added": _commented,
    "ticket.comment_redacted": _redacted,
    "ticket.attachment_linked_to_comment": _attached,
    "ticket.status_changed": _status,
    "messaging_ticket.message_added": _messaged,
}


def _comment_id(comment: Json) -> str:
    ident = ident_of(comment.get("id"))
    if not ident:
        raise InvalidInputError("event.comment.id is missing")
    return ident


def _is_internal(is_public: object) -> bool:
    if not isinstance(is_public, bool):
        raise InvalidInputError("is_public is neither true nor false")
    return not is_public


def _text(value: object) -> str:
    return readable(value) if isinstance(value, str) else ""


def _object(value: object, what: str) -> Json:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{what} is no JSON object")
    return value
