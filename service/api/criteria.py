"""Query parameters to criteria of a lookup, each in its canonical form or refused with what to do."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from service.archive.lookup import Criteria
from service.domain.contact import Channel, Direction, RecordingState
from service.domain.errors import InvalidInputError
from service.domain.identifiers import (
    CustomerNumber,
    EmailAddress,
    MeteringPoint,
    PhoneNumber,
    require_plain,
)
from service.domain.times import parse_time

PARAMETERS: Final = (
    "customer_number",
    "phone",
    "email",
    "metering_point",
    "agent",
    "queue",
    "channel",
    "direction",
    "from",
    "to",
    "recording",
    "q",
)
"""The criteria that a lookup knows."""

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def parse_criteria(query: Mapping[str, str], *, region: str, timezone: str) -> Criteria:
    """Return what ``query`` looks for. A ``+`` that was read as a space before a telephone number is mended.

    Raises:
        InvalidInputError: A value is not what its parameter takes, or ``q`` is given, which is not searchable yet.
    """
    if "q" in query:
        raise InvalidInputError("q: searching the words of contents is not available yet")

    def value(name: str, parse: Callable[[str], T]) -> T | None:
        if name not in query:
            return None
        try:
            return parse(query[name])
        except InvalidInputError as error:
            raise InvalidInputError(f"{name}: {error.detail}") from error

    start = value("from", lambda text: _time(text, timezone))
    stop = value("to", lambda text: _time(text, timezone))
    if start is not None and stop is not None and stop <= start:
        raise InvalidInputError("to: the period ends before it begins")
    return Criteria(
        customer_number=value("customer_number", lambda text: CustomerNumber.parse(text).text),
        phone=value(
            "phone", lambda text: PhoneNumber.parse(mend_plus(text), region=region).e164
        ),
        email=value("email", lambda text: EmailAddress.parse(text).address),
        metering_point=value("metering_point", lambda text: MeteringPoint.parse(text).digits),
        agent=value("agent", lambda text: require_plain(text, what="the agent")),
        queue=value("queue", lambda text: require_plain(text, what="the queue")),
        channel=value("channel", lambda text: _member(Channel, text)),
        direction=value("direction", lambda text: _member(Direction, text)),
        recording=value("recording", lambda text: _member(RecordingState, text)),
        started_from=start,
        started_to=stop,
    )


def mend_plus(phone: str) -> str:
    """Return ``phone`` with the ``+`` that form decoding turned into a space."""
    digits = phone.strip()
    is_foreign = phone.startswith(" ") and digits[:1].isdigit() and not digits.startswith("0")
    return f"+{digits}" if is_foreign else digits


def _member(kind: type[E], text: str) -> E:
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidInputError(f"one of {', '.join(kind)}") from error


def _time(text: str, timezone: str) -> datetime:
    try:
        # In a query a "+" of the offset may have become a space.
        return parse_time(text.strip().replace(" ", "+"), timezone=timezone)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            "a date such as 2026-11-22 or a time such as 2026-11-22T14:02:00+02:00"
        ) from error
