"""The archive's own contact JSON: what `POST /api/v1/contacts` takes and `standard-webhooks` sources send.

```
{source?, source_id, channel, direction, started_at, ended_at?, parties[], queue?, subject?, customer_number?,
 metering_point?, messages?: [{from, at, text}], recording?: "expected"|"none", not_recorded_reason?}
parties: {role, phone?, email?, name?, agent_id?}
```
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from service.domain.contact import (
    MAX_PARTIES,
    Channel,
    ContactFacts,
    Direction,
    MessageText,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import (
    CustomerNumber,
    EmailAddress,
    MeteringPoint,
    PhoneNumber,
    require_plain,
)
from service.sources.events import Understood
from service.sources.strict_json import decode_json

MAX_MESSAGES = 10_000
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_CLOCK_SKEW = timedelta(days=1)
_LEAP_SECOND = re.compile(r"(T\d\d:\d\d):60")


class _Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: PartyRole
    phone: str | None = None
    email: str | None = None
    name: str | None = None
    agent_id: str | None = None


class _Message(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"sender": "from"}
):
    sender: str
    at: str
    text: str


class _Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source_id: str
    channel: Channel
    direction: Direction
    started_at: str
    parties: tuple[_Party, ...]
    source: str | None = None
    ended_at: str | None = None
    queue: str | None = None
    subject: str | None = None
    customer_number: str | None = None
    metering_point: str | None = None
    messages: tuple[_Message, ...] = ()
    recording: Literal["expected", "none"] | None = None
    not_recorded_reason: str | None = None


def parse_contact(body: bytes, *, region: str, now: datetime) -> tuple[str | None, Understood]:
    """Return the source that the contact names, if it does, and what the contact JSON tells.

    National telephone numbers are read as of ``region``. What is not a telephone number ("anonymous", an
    extension) is kept as it was sent. Times outside 1990 … tomorrow are kept and remarked upon.

    Raises:
        InvalidInputError: ``body`` is not one contact; the detail names the field and what it should be.
    """
    value = decode_json(body)
    try:
        sent = msgspec.convert(value, _Contact)
    except msgspec.ValidationError as error:
        raise InvalidInputError(str(error)) from error
    if len(sent.parties) > MAX_PARTIES or len(sent.messages) > MAX_MESSAGES:
        raise InvalidInputError(
            f"a contact has at most {MAX_PARTIES} parties and {MAX_MESSAGES} messages"
        )
    facts = _facts(sent, region=region)
    return sent.source, Understood((facts,), _remarks(facts, now=now))


def _facts(sent: _Contact, *, region: str) -> ContactFacts:
    started_at = _time(sent.started_at, "started_at")
    ended_at = None if sent.ended_at is None else _time(sent.ended_at, "ended_at")
    if ended_at is not None and ended_at < started_at:
        raise InvalidInputError("ended_at is before started_at")
    return ContactFacts(
        source_id=require_plain(sent.source_id, what="source_id"),
        channel=sent.channel,
        direction=sent.direction,
        started_at=started_at,
        ended_at=ended_at,
        queue=None if sent.queue is None else require_plain(sent.queue, what="queue"),
        subject=None if sent.subject is None else _text(sent.subject, "subject"),
        customer_number=(
            None
            if sent.customer_number is None
            else CustomerNumber.parse(sent.customer_number).text
        ),
        metering_point=(
            None
            if sent.metering_point is None
            else MeteringPoint.parse(sent.metering_point).digits
        ),
        parties=tuple(_party(party, region=region) for party in sent.parties),
        messages=tuple(
            MessageText(
                sender=_text(message.sender, "messages.from"),
                sent_at=_time(message.at, "messages.at"),
                text=_text(message.text, "messages.text"),
            )
            for message in sent.messages
        ),
        recording=sent.recording,
        not_recorded_reason=(
            None
            if sent.not_recorded_reason is None
            else _text(sent.not_recorded_reason, "not_recorded_reason")
        ),
    )


def _party(sent: _Party, *, region: str) -> Party:
    phone = phone_as_sent = None
    if sent.phone:
        try:
            phone = PhoneNumber.parse(sent.phone, region=region).e164
        except InvalidInputError:
            phone_as_sent = _text(sent.phone, "phone")[:254]
    return Party(
        role=sent.role,
        phone=phone,
        phone_as_sent=phone_as_sent,
        email=EmailAddress.parse(sent.email).address if sent.email else None,
        name=_text(sent.name, "name") if sent.name else None,
        agent_id=require_plain(sent.agent_id, what="agent_id") if sent.agent_id else None,
    )


def _time(text: str, what: str) -> datetime:
    """Return an RFC 3339 time in UTC.

    A leap second (``:60``, RFC 3339, appendix D) becomes the second before it.
    """
    try:
        at = datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", text.upper()))
        if at.tzinfo is None or len(text) < len("2026-11-22T10:00Z"):
            raise InvalidInputError(
                f"{what} needs a time and an offset, as in 2026-11-22T14:02:00+02:00"
            )
        return at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"{what} is not an RFC 3339 time") from error


def _text(text: str, what: str) -> str:
    """Return ``text`` in NFC; NUL and lone surrogates cannot be stored and are refused."""
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidInputError(f"{what} has characters that are not text")
    return unicodedata.normalize("NFC", text)


def _remarks(facts: ContactFacts, *, now: datetime) -> tuple[str, ...]:
    at = facts.started_at
    if at is not None and not _EARLIEST <= at <= now + _CLOCK_SKEW:
        return ("time_out_of_window",)
    return ()
