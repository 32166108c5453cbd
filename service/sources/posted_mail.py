"""Mails that a mail service posts as they came: Mailgun routes, SendGrid Inbound Parse, Postmark inbound.

The raw message alone is taken, for it is what the customer's server signed. What a service made of it, such as a text
cut out of a reply, is not. A service that does not send it is told in words how it is switched on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule, Understood
from service.sources.strict_json import decode_json

MAX_RECIPIENTS: Final = 100
_MAX_ADDRESS: Final = 320


@dataclass(frozen=True, slots=True)
class PostedMail:
    """A raw message, and what the service knows of its envelope."""

    raw: bytes = field(repr=False)
    mail_from: str = ""
    recipients: tuple[str, ...] = ()


Fields = Mapping[str, bytes]
"""What was posted, by name; the last of those that have one name. JSON has the name ``""``."""

Unpack = Callable[[Fields], PostedMail]
"""Finds the mail in what was posted.

Raises `InvalidInputError` where there is none; the detail says what to switch on.
"""


def unpack_mailgun(fields: Fields) -> PostedMail:
    """Return the mail of a route whose address ends in ``mime`` (Mailgun documentation, "Receive, Forward and Store").

    Raises:
        InvalidInputError: The raw message is not there.
    """
    raw = fields.get("body-mime", b"")
    if not raw:
        raise InvalidInputError(
            "Mailgun sends no raw message: let the address of its route end in mime"
        )
    return PostedMail(
        with_line_ends(raw),
        envelope_address(_text(fields, "sender")),
        envelope_addresses(_text(fields, "recipient").split(",")),
    )


def unpack_sendgrid(fields: Fields) -> PostedMail:
    """Return the mail of a setting with *POST the raw, full MIME message* (SendGrid documentation, "Inbound Parse").

    Raises:
        InvalidInputError: The raw message is not there.
    """
    raw = fields.get("email", b"")
    if not raw:
        raise InvalidInputError(
            'SendGrid sends no raw message: switch on "POST the raw, full MIME message"'
        )
    envelope = _envelope(fields.get("envelope") or b"{}")
    to = envelope.get("to")
    return PostedMail(
        with_line_ends(raw),
        envelope_address(envelope.get("from")),
        envelope_addresses(to if isinstance(to, list) else [to]),
    )


def unpack_postmark(fields: Fields) -> PostedMail:
    """Return the mail of an inbound stream that includes the raw one (Postmark documentation, "Inbound webhook").

    It comes as text, so that bytes beyond UTF-8 may have been replaced by Postmark.

    Raises:
        InvalidInputError: What was posted is not JSON, or has no raw message.
    """
    told = decode_json(fields.get("", b""))
    raw = told.get("RawEmail") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(raw, str) or not raw:
        raise InvalidInputError(
            'Postmark sends no raw message: switch on "Include raw email content in JSON payload"'
        )
    return PostedMail(
        with_line_ends(raw.encode()),
        envelope_address(_return_path(told.get("Headers"))),
        envelope_addresses([told.get("OriginalRecipient")]),
    )


UNPACKING: Final[Mapping[str, Unpack]] = {
    "mailgun": unpack_mailgun,
    "sendgrid": unpack_sendgrid,
    "postmark": unpack_postmark,
}
"""How each kind's mails are found."""


def refuse_posted(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Say what to do about a request that was kept because no mail was found in it.

    Raises:
        InvalidInputError: Always.
    """
    del body, rule, now
    raise InvalidInputError(
        "no raw message was posted: switch on that the service sends it, as docs/sources/mail-webhooks.md says"
    )


def with_line_ends(raw: bytes) -> bytes:
    """Return a message with the line ends of mail (RFC 5322, section 2.1), where the service sent bare line feeds."""
    return raw if b"\r\n" in raw else raw.replace(b"\n", b"\r\n")


def _envelope(text: bytes) -> dict[str, object]:
    """Return what JSON says of the envelope. MAIL FROM is the sender's to choose: one that is none costs no mail."""
    try:
        envelope = decode_json(text)
    except InvalidInputError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def _return_path(headers: object) -> object:
    for one in headers if isinstance(headers, list) else ():
        if isinstance(one, dict) and str(one.get("Name")).lower() == "return-path":
            return one.get("Value")
    return ""


def _text(fields: Fields, name: str) -> str:
    return fields.get(name, b"").decode(errors="replace")


def envelope_addresses(values: list[object] | list[str]) -> tuple[str, ...]:
    """Return the addresses of an envelope, each once and no more than ``MAX_RECIPIENTS``; what is none is left out."""
    found = dict.fromkeys(envelope_address(value) for value in values[:MAX_RECIPIENTS])
    return tuple(one for one in found if one)


def envelope_address(value: object) -> str:
    """Return an address of the envelope without angle brackets; nothing of what cannot be one."""
    text = value.strip().removeprefix("<").removesuffix(">") if isinstance(value, str) else ""
    return text if text.isprintable() and len(text) <= _MAX_ADDRESS else ""
