"""WhatsApp Cloud API: messages of customers, and what the company wrote in its app (Meta, "Webhooks reference").

A request may tell of many messages, of several numbers of the company, in any order and again days later. What one
customer and one number wrote on one day, by the clocks where the company is, is one contact: nothing in WhatsApp says
where a conversation ends, and a day is the same for whoever reads the messages again.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from service.domain.contact import (
    AnnouncedRecording,
    Channel,
    ContactFacts,
    Direction,
    MessageChange,
    MessageText,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import PhoneNumber, require_plain
from service.sources.chat import file_name, plain_name, readable
from service.sources.events import SourceRule, Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import decode_request
from service.sources.strict_json import decode_json

Json = Mapping[str, object]

REPORTED: Final = "source_reported_error"
"""The remark on what WhatsApp itself says went wrong with a message."""

MAX_MESSAGES: Final = 1_000
_OBJECT: Final = "whatsapp_business_account"
_LISTS: Final = {"messages": Direction.INBOUND, "message_echoes": Direction.OUTBOUND}
_STAMP: Final = re.compile(r"[0-9]{1,11}", re.ASCII)
_DIGITS: Final = re.compile(r"[1-9][0-9]{4,14}", re.ASCII)
_MEDIA_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+\-]{1,63}/[a-z0-9!#$&^_.+\-]{1,63}", re.ASCII)
_SHA256_BYTES: Final = 32
_MEDIA: Final = frozenset({"image", "audio", "video", "document", "sticker"})
_PLAIN: Final = {"text": ("body",), "button": ("text", "payload")}
# What is shown of a message that is no text, or has a file beside it.
_SAYS: Final = {
    **dict.fromkeys(_MEDIA, ("caption", "filename")),
    "interactive": ("title", "description", "body", "response_json"),
    "reaction": ("emoji", "message_id"),
    "location": ("name", "address", "latitude", "longitude"),
    "order": ("text",),
    "system": ("body",),
}
_ITEM: Final = ("quantity", "product_retailer_id", "item_price", "currency")
_SUFFIXES: Final = {
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "video/mp4": "mp4",
    "application/pdf": "pdf",
}


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around a message: the company's number, and the names of customers by what they are known by."""

    number_id: str
    number: str
    names: Mapping[str, str]
    rule: SourceRule


def understand_whatsapp(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a request tells of messages, each for itself.

    That a message was sent, delivered or read tells nothing that is archived: it is the company's own, and its text is
    not there.

    Raises:
        InvalidInputError: It cannot be read; the detail says what is missing.
    """
    told = decode_json(decode_request(body).body)
    if not isinstance(told, Mapping) or told.get("object") != _OBJECT:
        raise InvalidInputError(f'the body is no JSON object with "object": "{_OBJECT}"')
    contacts: list[ContactFacts] = []
    has_errors = is_odd = False
    for value in _values(told):
        around = _around(value, rule)
        has_errors |= _has_errors(value)
        for name, direction in _LISTS.items():
            for message in _objects(value.get(name)):
                facts = _facts(message, around, direction)
                contacts.append(facts)
                has_errors |= _has_errors(message)
                is_odd |= not all(is_plausible(one.sent_at, now=now) for one in facts.messages)
        if len(contacts) > MAX_MESSAGES:
            raise InvalidInputError(f"more than {MAX_MESSAGES} messages")
    return Understood(tuple(contacts), _remarks(has_errors=has_errors, is_odd=is_odd))


def _remarks(*, has_errors: bool, is_odd: bool) -> tuple[str, ...]:
    if has_errors and is_odd:
        return (REPORTED, TIME_OUT_OF_WINDOW)
    if has_errors:
        return (REPORTED,)
    return (TIME_OUT_OF_WINDOW,) if is_odd else ()


def _values(told: Json) -> Iterator[Json]:
    for entry in _objects(told.get("entry")):
        for change in _objects(entry.get("changes")):
            value = change.get("value")
            if isinstance(value, Mapping):
                yield value


def _around(value: Json, rule: SourceRule) -> _Around:
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    names = {}
    for contact in _objects(value.get("contacts")):
        profile = contact.get("profile")
        name = profile.get("name") if isinstance(profile, Mapping) else None
        for key in ("wa_id", "user_id"):
            ident = contact.get(key)
            if isinstance(ident, str) and isinstance(name, str):
                names[ident] = plain_name(name)
    return _Around(
        _text(metadata.get("phone_number_id")),
        _text(metadata.get("display_phone_number")),
        names,
        rule,
    )


def _facts(message: Json, around: _Around, direction: Direction) -> ContactFacts:
    sent_at = _time(message.get("timestamp"))
    ident = require_plain(_text(message.get("id")), what="messages.id")
    is_inbound = direction is Direction.INBOUND
    who = _customer_of(message, is_inbound=is_inbound)
    customer = _customer(who, around)
    company = _company(around)
    sender = customer if is_inbound else company
    day = sent_at.astimezone(around.rule.timezone).date().isoformat()
    number = around.number_id or around.number
    text, recordings, change = _content(message, around.rule)
    original = _text(change.get("original_message_id")) if change is not None else ""
    return ContactFacts(
        source_id=require_plain(f"{number}:{who}:{day}", what="messages.from"),
        channel=Channel.CHAT,
        direction=direction,
        started_at=sent_at,
        ended_at=sent_at,
        parties=(customer, *([company] if around.number else [])),
        messages=(
            MessageText(
                sender=sender.name or sender.phone or sender.phone_as_sent or sender.role.value,
                sent_at=sent_at,
                text=text,
                ident=require_plain(original, what="original_message_id")
                if original
                else ident,
                change=_CHANGES.get(_text(message.get("type"))) if original else None,
                changed_at=sent_at if original else None,
                writer=sender.role,
            ),
        ),
        recordings=recordings,
        is_part=True,
    )


_CHANGES: Final = {"edit": MessageChange.EDITED, "revoke": MessageChange.DELETED}


def _customer_of(message: Json, *, is_inbound: bool) -> str:
    """Return what the customer is known by: digits, or the id of somebody who does not show a number."""
    names = (
        ("from", "from_user_id", "user_id") if is_inbound else ("to", "to_user_id", "user_id")
    )
    for name in names:
        ident = _text(message.get(name)).strip()
        if ident:
            return ident
    raise InvalidInputError("messages.from is missing")


def _customer(ident: str, around: _Around) -> Party:
    name = around.names.get(ident) or None
    phone = _phone(ident, around.rule.region)
    return Party(
        role=PartyRole.CUSTOMER,
        name=name,
        phone=phone,
        phone_as_sent=None if phone else plain_name(ident) or None,
    )


def _company(around: _Around) -> Party:
    phone = _phone(around.number, around.rule.region)
    shown = None if phone else plain_name(around.number) or None
    return Party(role=PartyRole.OTHER, phone=phone, phone_as_sent=shown)


def _phone(ident: str, region: str) -> str | None:
    """Return a number that is written with its country and without a plus."""
    digits = re.sub(r"[ +()-]", "", ident)
    try:
        return (
            PhoneNumber.parse(f"+{digits}", region=region).e164
            if _DIGITS.fullmatch(digits)
            else None
        )
    except InvalidInputError:
        return None


def _content(
    message: Json, rule: SourceRule
) -> tuple[str, tuple[AnnouncedRecording, ...], Json | None]:
    """Return the text of a message, its files, and the change that it tells of, if it does."""
    kind = _text(message.get("type"))
    inner = message.get(kind)
    inner = inner if isinstance(inner, Mapping) else {}
    if kind == "revoke":
        return "", (), inner
    if kind == "edit":
        edited = inner.get("message")
        kind = _text(edited.get("type")) if isinstance(edited, Mapping) else ""
        media = edited.get(kind) if isinstance(edited, Mapping) else None
        return _words(kind, media if isinstance(media, Mapping) else {}), (), inner
    told = {"contacts": message.get(kind)} if kind == "contacts" else inner
    lines = [*_context(message), _words(kind, told), *_listed(kind, told)]
    return "\n".join(line for line in lines if line), _files(kind, inner, rule), None


def _context(message: Json) -> list[str]:
    """Return what a message says of itself: that it was passed on, and which message it answers."""
    context = message.get("context")
    if not isinstance(context, Mapping):
        return []
    is_forwarded = (
        context.get("forwarded") is True or context.get("frequently_forwarded") is True
    )
    answered = plain_name(_text(context.get("id")))
    return [
        *(["[forwarded]"] if is_forwarded else []),
        *([f"[answers {answered}]"] if answered else []),
    ]


def _listed(kind: str, inner: Json) -> list[str]:
    """Return what a message lists, a line each: what is ordered, or the people whose numbers are passed on."""
    if kind == "order":
        items = _objects(inner.get("product_items"))
        return [" ".join(one for one in _told(item, _ITEM) if one) for item in items]
    if kind != "contacts":
        return []
    lines = []
    for one in _objects(inner.get("contacts")):
        name = one.get("name")
        name = name if isinstance(name, Mapping) else {}
        reached = [
            *(phone.get("phone") for phone in _objects(one.get("phones"))),
            *(mail.get("email") for mail in _objects(one.get("emails"))),
        ]
        told = [name.get("formatted_name"), *reached]
        lines.append(" ".join(text for text in map(_readable, told) if text))
    return lines


def _words(kind: str, inner: Json) -> str:
    """Return a message as words; what is not text is named in brackets, with what it says."""
    if kind in _PLAIN:
        return next((text for text in _told(inner, _PLAIN[kind]) if text), "")
    if kind == "interactive":
        reply = inner.get(_text(inner.get("type")))
        inner = reply if isinstance(reply, Mapping) else {}
    shown = _told(inner, _SAYS.get(kind, ()))
    return " ".join([f"[{plain_name(kind) or 'unsupported'}]", *(one for one in shown if one)])


def _told(inner: Json, names: Iterable[str]) -> list[str]:
    return [_readable(inner.get(name)) for name in names]


def _files(kind: str, inner: Json, rule: SourceRule) -> tuple[AnnouncedRecording, ...]:
    """Return the file of a message, at the address that tells where it can be fetched for some minutes."""
    media = _text(inner.get("id"))
    if kind not in _MEDIA or not rule.stored_recordings or not _MEDIA_ID.fullmatch(media):
        return ()
    plain = _text(inner.get("mime_type")).partition(";")[0].strip().lower()
    content_type = plain if _MEDIA_TYPE.fullmatch(plain) else None
    told = _text(inner.get("filename"))
    suffix = _SUFFIXES.get(content_type or "") or told.rpartition(".")[2]
    return (
        AnnouncedRecording(
            name=file_name(media, suffix),
            url=f"{rule.stored_recordings}/{media}",
            content_type=content_type,
            sha256=_sha256(inner.get("sha256")),
            is_described=True,
        ),
    )


def _sha256(value: object) -> str | None:
    """Return a SHA-256 in hexadecimal, whether it came so or as base64; None where there is none."""
    text = _text(value).strip()
    try:
        if len(text) == 2 * _SHA256_BYTES:
            return bytes.fromhex(text).hex()
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded.hex() if len(decoded) == _SHA256_BYTES else None


def _time(value: object) -> datetime:
    text = (
        str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    )
    if not _STAMP.fullmatch(text):
        raise InvalidInputError("messages.timestamp is not seconds since 1970")
    return datetime.fromtimestamp(int(text), UTC)


def _has_errors(value: Json) -> bool:
    return bool(_objects(value.get("errors")))


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _readable(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return readable(value) if isinstance(value, str) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
