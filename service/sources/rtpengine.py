"""rtpengine: what it tells of a call that it recorded, in a file beside the recording or in headers of a notification.

It relays sound and knows little of calls. Who called whom it tells where the SIP proxy said so, in the free text of
``metadata=``: here ``from:+358401234567|to:0201234567|queue:faults|agent:17``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from service.domain.contact import (
    EXPECTED,
    PLAYED,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import CustomerNumber, MeteringPoint, require_plain
from service.sources.events import SourceRule, Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import ReceivedRequest, decode_request
from service.sources.rtpengine_files import call_in_name
from service.sources.telephony import (
    Number,
    Standing,
    decide_direction,
    read_name,
    read_number,
    tidy,
)

_STARTED: Final = re.compile(r"Timestamp started ms: (\d{1,14}(?:\.\d{1,3})?)", re.ASCII)
_ENDED: Final = re.compile(
    r"Timestamp terminated ms(?:\([^)\n]{1,40}\))?: (\d{1,14}(?:\.\d{1,3})?)", re.ASCII
)
_LAST_LINES: Final = re.compile(
    r"^call start time: [^\n]*\ncall end time: [^\n]*\n", re.MULTILINE
)
_SECONDS: Final = re.compile(r"\d{1,11}(?:\.\d{1,6})?", re.ASCII)
_DIRECTIONS: Final = {one.value: one for one in Direction}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call as rtpengine tells of it; times are None where it does not tell them."""

    ident: str
    started_at: datetime | None
    ended_at: datetime | None
    said: Mapping[str, str]


def understand_rtpengine(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a metadata file or a notification tells of its call.

    Raises:
        InvalidInputError: It is neither; the detail says what is missing.
    """
    request = decode_request(body)
    call = _notified(request) if request.header("x-recording-call-id") else _written(request)
    times = [at for at in (call.started_at, call.ended_at) if at is not None]
    is_odd = times != sorted(times) or any(not is_plausible(at, now=now) for at in times)
    return Understood((_facts(call, rule),), (TIME_OUT_OF_WINDOW,) if is_odd else ())


def _written(request: ReceivedRequest) -> _Call:
    """Return the call of a metadata file. Its local times are passed over: the others are exact."""
    text = request.body.decode(errors="replace").replace("\r\n", "\n")
    first, _, rest = text.partition("\n")
    started = [_moment(one, per_second=1000) for one in _STARTED.findall(rest)]
    if not first.endswith(".pcap") or not started:
        raise InvalidInputError(
            "it is no metadata file of rtpengine: no capture is named, or no start told"
        )
    ended = [_moment(one, per_second=1000) for one in _ENDED.findall(rest)]
    stem = first.rpartition("/")[2].removesuffix(".pcap")
    # The free text comes last. No line of SDP, which is a caller's, looks like these (RFC 8866, section 5).
    after = _LAST_LINES.split(rest, maxsplit=1)[1:]
    return _Call(
        require_plain(call_in_name(stem), what="the Call-ID"),
        min(started),
        max(ended, default=None),
        _said(after[0] if after else ""),
    )


def _notified(request: ReceivedRequest) -> _Call:
    """Return the call of a notification (rtpengine 11.3.1 and later, ``notify-uri``)."""
    header = request.header
    return _Call(
        require_plain(header("x-recording-call-id"), what="X-Recording-Call-ID"),
        _header_time(header("x-recording-call-start-time")),
        _header_time(header("x-recording-call-end-time")),
        _said(header("x-recording-call-metadata") or header("x-recording-db-metadata")),
    )


def _said(text: str) -> Mapping[str, str]:
    """Return ``key:value|key:value``; of two of one key the first, which no caller wrote."""
    found: dict[str, str] = {}
    for pair in text.strip().split("|"):
        key, colon, value = pair.partition(":")
        if colon and key.strip():
            found.setdefault(key.strip().casefold(), value.strip())
    return found


def _facts(call: _Call, rule: SourceRule) -> ContactFacts:
    said = call.said
    caller = read_number(said["from"], rule) if "from" in said else None
    dialled = read_number(said["to"], rule) if "to" in said else None
    direction = _DIRECTIONS.get(said.get("direction", "").casefold())
    if direction is None and caller is not None and dialled is not None:
        direction = decide_direction(caller, dialled)
    return ContactFacts(
        source_id=call.ident,
        channel=Channel.CALL,
        direction=direction,
        started_at=call.started_at,
        ended_at=call.ended_at,
        queue=tidy(said.get("queue", "")),
        notice=PLAYED if "notice" in said else None,
        notice_version=tidy(said.get("notice", "")),
        customer_number=_customer_number(said.get("customer", "")),
        metering_point=_metering_point(said.get("metering_point", "")),
        parties=_parties(call, caller, dialled, direction),
        recording=EXPECTED,
        is_part=True,
    )


def _parties(
    call: _Call, caller: Number | None, dialled: Number | None, direction: Direction | None
) -> tuple[Party, ...]:
    name = read_name(call.said.get("name", ""), number=call.said.get("from", ""))
    agent = tidy(call.said.get("agent", ""))
    found = []
    if direction is Direction.OUTBOUND:
        ours, theirs = caller, dialled
    else:
        ours, theirs = dialled, caller
    if theirs is not None:
        is_stranger = direction is not None and not (
            direction is Direction.INBOUND and theirs.standing is Standing.EXTENSION
        )
        role = PartyRole.CUSTOMER if is_stranger else PartyRole.OTHER
        found.append(
            _party(role, theirs, name if direction is not Direction.OUTBOUND else None)
        )
    if ours is not None and (ours.phone or ours.as_sent) and not agent:
        is_extension = ours.standing is Standing.EXTENSION
        found.append(
            Party(role=PartyRole.AGENT, agent_id=ours.as_sent)
            if is_extension
            else _party(PartyRole.OTHER, ours, None)
        )
    if agent:
        found.append(Party(role=PartyRole.AGENT, agent_id=agent))
    return tuple(found)


def _party(role: PartyRole, number: Number, name: str | None) -> Party:
    as_sent = number.as_sent if number.phone is None else None
    return Party(role=role, phone=number.phone, phone_as_sent=as_sent, name=name)


def _header_time(text: str) -> datetime | None:
    return _moment(text, per_second=1) if _SECONDS.fullmatch(text) else None


def _moment(text: str, *, per_second: int) -> datetime:
    """Return a time that is told in seconds, or parts of them, since 1970."""
    whole, _, fraction = text.partition(".")
    unit = 1_000_000 // per_second
    parts = int(fraction.ljust(6, "0")[:6] or "0") * unit // 1_000_000
    return _EPOCH + timedelta(microseconds=int(whole) * unit + parts)


def _customer_number(text: str) -> str | None:
    try:
        return CustomerNumber.parse(text).text
    except InvalidInputError:
        return None


def _metering_point(text: str) -> str | None:
    try:
        return MeteringPoint.parse(text).digits
    except InvalidInputError:
        return None
