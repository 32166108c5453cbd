"""What a trigger of Zendesk sends: the fields that docs/sources/zendesk.md gives, filled in by Zendesk.

They are a form, in which Zendesk itself sees to it that any text arrives as it is, or one flat JSON object.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

from service.domain.contact import AnnouncedRecording, MessageText, Party, PartyRole
from service.domain.errors import InvalidInputError
from service.domain.urls import MAX_URL_CHARACTERS
from service.sources.chat import LEFT_OUT, MAX_FILES, file_name, is_text_file, readable
from service.sources.events import SourceRule, Understood
from service.sources.requests import ReceivedRequest
from service.sources.zendesk_parts import (
    OVER,
    channel_of,
    ident_of,
    name_of,
    over,
    party,
    ticket_of,
    time_of,
    written,
)

FIELDS: Final = (
    "ticket_id",
    "channel",
    "subject",
    "queue",
    "status",
    "at",
    "requester_id",
    "requester_name",
    "requester_email",
    "requester_phone",
    "comment_id",
    "comment_text",
    "comment_public",
    "comment_files",
    "author_id",
    "author_name",
    "author_role",
)
"""The fields that are read. Others are passed over."""
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 100
_PUBLIC: Final = {"true": True, "false": False}
_STAFF: Final = frozenset({"agent", "admin", "administrator", "owner", "light agent"})
_END_USER: Final = frozenset({"end-user", "end user", "end_user"})

Fields = Mapping[str, str]


def is_form(request: ReceivedRequest) -> bool:
    """Return whether a request is a form."""
    return request.header("content-type").partition(";")[0].strip().lower() == _FORM


def understand_form(request: ReceivedRequest, rule: SourceRule, now: datetime) -> Understood:
    """Return what a trigger tells that sends a form.

    Raises:
        InvalidInputError: It cannot be read; the detail says what is missing.
    """
    try:
        told = parse_qsl(
            request.body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS
        )
    except UnicodeDecodeError:
        raise InvalidInputError("the form is not UTF-8") from None
    except ValueError:
        raise InvalidInputError(f"more than {_MAX_FIELDS} fields") from None
    return _understand(dict(told), request, rule, now)


def understand_trigger(
    told: Mapping[str, object], request: ReceivedRequest, rule: SourceRule, now: datetime
) -> Understood:
    """Return what a trigger tells that sends JSON.

    Raises:
        InvalidInputError: It cannot be read; the detail says what is missing.
    """
    if "ticket_id" not in told:
        raise InvalidInputError(
            "neither an event of Zendesk, nor the fields that docs/sources/zendesk.md gives for a trigger"
        )
    return _understand({name: _plain(told.get(name)) for name in FIELDS}, request, rule, now)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""


def _understand(
    told: Fields, request: ReceivedRequest, rule: SourceRule, now: datetime
) -> Understood:
    ticket = ticket_of(told.get("ticket_id"))
    at = time_of(told.get("at"), request)
    if at is None:
        raise InvalidInputError("at is missing, or no time")
    is_over = told.get("status", "").strip().lower() in OVER
    text = readable(told.get("comment_text", ""))
    if not text and not told.get("comment_files", "").strip():
        if ident_of(told.get("comment_id")):
            # Zendesk leaves placeholders empty where its rules say so: what was written is not to be lost unseen.
            raise InvalidInputError("comment_text is empty, although there is a comment")
        return over(ticket, at, now=now) if is_over else Understood(())
    return _comment(told, ticket, at, text, rule=rule, now=now)


def _comment(
    told: Fields, ticket: str, at: datetime, text: str, *, rule: SourceRule, now: datetime
) -> Understood:
    customer = party(
        PartyRole.CUSTOMER,
        name=told.get("requester_name"),
        email=told.get("requester_email"),
        phone=told.get("requester_phone"),
        region=rule.region,
    )
    writer = _writer(told)
    author = customer if writer is PartyRole.CUSTOMER else _author(told, writer)
    message = MessageText(
        sender=name_of(author, writer),
        sent_at=at,
        text=text,
        ident=ident_of(told.get("comment_id")),
        is_internal=not _is_public(told),
        writer=writer,
    )
    facts, remarks = written(
        ticket,
        message,
        channel=channel_of(told.get("channel")),
        writer=writer,
        parties=tuple(dict.fromkeys((customer, author))),
        now=now,
        subject=ident_of(told.get("subject")),
    )
    files, is_cut = _files(told, message)
    facts = replace(facts, queue=ident_of(told.get("queue")) or None, recordings=files)
    return Understood((facts,), (*remarks, *([LEFT_OUT] if is_cut else [])))


def _author(told: Fields, writer: PartyRole) -> Party | None:
    return party(writer, name=told.get("author_name"), ident=ident_of(told.get("author_id")))


def _writer(told: Fields) -> PartyRole:
    """Return what the author of a comment is. Who is neither the requester nor of the company took part as well."""
    author, requester = (ident_of(told.get(name)) for name in ("author_id", "requester_id"))
    if author and author == requester:
        return PartyRole.CUSTOMER
    role = told.get("author_role", "").strip().lower()
    if role in _STAFF:
        return PartyRole.AGENT
    # Without the ids nobody else than the requester is known to be an end-user.
    return PartyRole.CUSTOMER if role in _END_USER and not author else PartyRole.OTHER


def _is_public(told: Fields) -> bool:
    """Return whether the customer sees a comment. To guess would show a note to the customer, or hide an answer.

    Raises:
        InvalidInputError: It is not said.
    """
    is_public = _PUBLIC.get(told.get("comment_public", "").strip().lower())
    if is_public is None:
        raise InvalidInputError("comment_public is neither true nor false")
    return is_public


def _files(told: Fields, message: MessageText) -> tuple[tuple[AnnouncedRecording, ...], bool]:
    """Return the files of a comment, whose addresses stand between white space, and whether any is left out."""
    stem = message.ident or f"{message.sent_at:%Y%m%dT%H%M%SZ}"
    urls = dict.fromkeys(told.get("comment_files", "").split())
    found = tuple(
        AnnouncedRecording(
            name=file_name(f"{stem}-{number}", _extension(url)),
            url=url,
            is_internal=message.is_internal,
            is_text=is_text_file(f".{_extension(url).lower()}"),
        )
        for number, url in enumerate(list(urls)[:MAX_FILES], 1)
        if len(url) <= MAX_URL_CHARACTERS
    )
    return found, len(found) < len(urls)


def _extension(url: str) -> str:
    """Return how the name ends that stands in the query of an address (``…/?name=bill.pdf``)."""
    try:
        name = (parse_qs(urlsplit(url).query).get("name") or [""])[-1]
    except ValueError:
        return ""
    return name.rpartition(".")[2] if "." in name else ""
