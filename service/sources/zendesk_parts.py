"""What is common to both ways in which Zendesk tells of a ticket: by events of its own, and as a trigger sends it."""

import re
from datetime import datetime
from typing import Final

from service.domain.contact import (
    Channel,
    ContactFacts,
    Direction,
    MessageText,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import EmailAddress, PhoneNumber
from service.domain.times import parse_rfc3339
from service.sources.chat import plain_name
from service.sources.events import Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import ReceivedRequest

OVER: Final = frozenset({"solved", "closed"})
"""What the status of a ticket is, in small letters, when nothing more is awaited."""
# Answers to these go by mail.
_MAILS: Final = frozenset(
    {"email", "mail", "web", "web_form", "web_service", "api", "help_center"}
)
_TO_THE_MINUTE: Final = re.compile(
    r"([0-9-]{10}T[0-9]{2}:[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_TICKET: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_STAMP: Final = "x-zendesk-webhook-signature-timestamp"
_CLOSE_SECONDS: Final = 120


def ticket_of(value: object) -> str:
    """Return the number of a ticket, which is what its contact is called.

    Raises:
        InvalidInputError: It is none.
    """
    text = ident_of(value)
    if not _TICKET.fullmatch(text):
        raise InvalidInputError("the number of the ticket is missing, or none")
    return text


def ident_of(value: object) -> str:
    """Return a number or name by which Zendesk knows something, or nothing. Both ways of writing one are the same."""
    is_one = isinstance(value, int | str) and not isinstance(value, bool)
    return plain_name(str(value)) if is_one else ""


def channel_of(via: object) -> Channel:
    """Return the channel of a ticket: mail where answers go by mail, chat otherwise."""
    name = via.strip().lower().replace(" ", "_") if isinstance(via, str) else ""
    return Channel.EMAIL if name in _MAILS else Channel.CHAT


def written(
    ticket: str,
    message: MessageText,
    *,
    channel: Channel,
    writer: PartyRole,
    parties: tuple[Party | None, ...],
    now: datetime,
    subject: str = "",
) -> tuple[ContactFacts, tuple[str, ...]]:
    """Return the facts of a ticket in which ``message`` was written, and what should be looked at.

    A note among the company's own begins no contact; it stands in the one that there is.
    """
    direction = Direction.OUTBOUND if writer is PartyRole.AGENT else Direction.INBOUND
    facts = ContactFacts(
        source_id=ticket,
        channel=channel,
        direction=None if message.is_internal else direction,
        started_at=message.sent_at,
        ended_at=message.sent_at,
        subject=subject or None,
        parties=tuple(one for one in parties if one is not None),
        messages=(message,),
        is_part=True,
    )
    return facts, remarks_of(message.sent_at, now=now)


def remarks_of(at: datetime, *, now: datetime) -> tuple[str, ...]:
    """Return that a time cannot be, when it cannot."""
    return () if is_plausible(at, now=now) else (TIME_OUT_OF_WINDOW,)


def over(ticket: str, at: datetime, *, now: datetime) -> Understood:
    """Return that a ticket was solved."""
    facts = ContactFacts(source_id=ticket, ended_at=at, is_part=True)
    return Understood((facts,), remarks_of(at, now=now))


def party(
    role: PartyRole,
    *,
    name: object = None,
    email: object = None,
    phone: object = None,
    ident: str = "",
    region: str = "FI",
) -> Party | None:
    """Return who took part; None of whom nothing is known. What is no address is not one."""
    is_agent = role is PartyRole.AGENT
    one = Party(
        role=role,
        name=(plain_name(name) or None) if isinstance(name, str) else None,
        email=None if is_agent else _email(email),
        phone=None if is_agent else _phone(phone, region=region),
        agent_id=(ident or None) if is_agent else None,
    )
    return None if one == Party(role=role) else one


def name_of(one: Party | None, role: PartyRole) -> str:
    """Return how the sender of a message is called."""
    if one is None:
        return role.value
    return one.name or one.email or one.phone or one.agent_id or role.value


def time_of(value: object, request: ReceivedRequest | None = None) -> datetime | None:
    """Return a time; None where there is none.

    Placeholders write times to the minute. Of such a one the seconds are those of the signature, if it was signed then.
    """
    text = value.strip() if isinstance(value, str) else ""
    rough = _TO_THE_MINUTE.fullmatch(text)
    if rough is None:
        return _parsed(text)
    at = _parsed(f"{rough[1]}:00{rough[2]}")
    signed = signed_at(request) if request else None
    if at is None or signed is None:
        return at
    return signed if 0 <= (signed - at).total_seconds() < _CLOSE_SECONDS else at


def signed_at(request: ReceivedRequest) -> datetime | None:
    """Return when Zendesk signed a request; None where it does not say so."""
    return _parsed(request.header(_STAMP))


def _parsed(text: str) -> datetime | None:
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None


def _email(value: object) -> str | None:
    try:
        return EmailAddress.parse(value).address if isinstance(value, str) and value else None
    except InvalidInputError:
        return None


def _phone(value: object, *, region: str) -> str | None:
    try:
        is_one = isinstance(value, str) and bool(value)
        return PhoneNumber.parse(str(value), region=region).e164 if is_one else None
    except InvalidInputError:
        return None
