"""FreeSWITCH: each leg of a call sends a record of its own, and all legs of a call make one contact.

The first leg tells whose call it is; a leg that another one made tells who was reached. They come in any order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from service.domain.contact import (
    EXPECTED,
    NONE,
    NOT_PLAYED,
    PLAYED,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import CustomerNumber, MeteringPoint, require_plain
from service.domain.times import from_microseconds
from service.sources.events import SourceRule, Understood
from service.sources.freeswitch_cdr import Cdr, Flow, decode_cdr
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import decode_request
from service.sources.telephony import (
    Number,
    Standing,
    decide_direction,
    read_name,
    read_number,
    tidy,
)

DAMAGED: Final = "damaged_record"
"""The remark on what was told by a record that its sender damaged: some of it may be missing."""
UNANSWERED: Final = "unanswered"
TOO_SHORT: Final = "too_short"
"""Why a call has no recording: stable codes with words of their own."""

# "?uuid=" is appended to whatever the address is, also behind another query; the a-leg may have a prefix.
_UUID: Final = re.compile(r"[?&]uuid=(?:[a-z]_)?([^?&#]+)")
_IS_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MADE_BY: Final = ("cc_member_session_uuid", "call_uuid", "originating_leg_uuid", "originator")
_RECORDED: Final = ("record_ms", "record_seconds", "record_samples", "record_file_size")
# Causes of an end before an answer (ITU-T Q.850, as FreeSWITCH calls them).
_OUTCOMES: Final = {
    "ALLOTTED_TIMEOUT": "unanswered",
    "CALL_REJECTED": "rejected",
    "NO_ANSWER": "unanswered",
    "NO_USER_RESPONSE": "unanswered",
    "ORIGINATOR_CANCEL": "cancelled",
    "USER_BUSY": "busy",
}
_NEVER: Final = frozenset({"", "0"})
_DIGITS: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_NOBODY: Final = Number(Standing.WITHHELD)


def understand_request(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a posted record tells of its call.

    Raises:
        InvalidInputError: The delivery is no request, or its body no record.
    """
    request = decode_request(body)
    cdr = decode_cdr(request.body)
    uuid, is_certain = _uuid_of(cdr, request.target)
    leg = _Leg(cdr, uuid, rule)
    facts = _first_leg(leg) if leg.call == uuid else _further_leg(leg)
    is_damaged = cdr.is_damaged or not is_certain
    return Understood((facts,), _remarks(leg, is_damaged=is_damaged, now=now))


def _remarks(leg: "_Leg", *, is_damaged: bool, now: datetime) -> tuple[str, ...]:
    told = [at for at in (leg.started_at, leg.ended_at) if at is not None]
    if told == sorted(told) and all(is_plausible(at, now=now) for at in told):
        return (DAMAGED,) if is_damaged else ()
    return (DAMAGED, TIME_OUT_OF_WINDOW) if is_damaged else (TIME_OUT_OF_WINDOW,)


def _uuid_of(cdr: Cdr, target: str) -> tuple[str, bool]:
    """Return which leg the record is of, and whether nothing speaks against it.

    In a damaged record anything may be a caller's display name, so that the query tells, which FreeSWITCH itself wrote.
    """
    asked = [unquote(one) for one in _UUID.findall(target)]
    profile = cdr.flows[0].profile if cdr.flows else {}
    told = cdr.get("uuid") or profile.get("uuid", "")
    sent = asked[-1] if asked else ""
    uuid = (sent or told) if cdr.is_damaged else (told or sent)
    return require_plain(uuid, what="the uuid of the leg"), not (told and sent and told != sent)


@dataclass(frozen=True, slots=True)
class _Leg:
    """A leg, as its record tells of it."""

    cdr: Cdr
    uuid: str
    rule: SourceRule

    @property
    def call(self) -> str:
        """The uuid of the call's first leg; the leg's own when it is that."""
        if self.cdr.get("direction") != "outbound":
            return self.uuid
        made_by = [self.cdr.get(name) for name in _MADE_BY]
        made_by += [flow.originator.get("uuid", "") for flow in self.cdr.flows]
        for other in made_by:
            is_trusted = not self.cdr.is_damaged or _IS_UUID.fullmatch(other)
            if other and other != self.uuid and is_trusted:
                return require_plain(other, what="the uuid of the call")
        return self.uuid

    @property
    def started_at(self) -> datetime | None:
        """When it began: the earliest that is told, for a transfer begins anew."""
        told = [self.cdr.get("start_uepoch"), *self._flow_times("created_time")]
        return min((at for at in map(_time, told) if at is not None), default=None)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        told = [self.cdr.get("end_uepoch"), *self._flow_times("hangup_time")]
        return next((at for at in map(_time, told) if at is not None), None)

    @property
    def is_answered(self) -> bool:
        """Whether somebody, or a menu, answered."""
        told = [self.cdr.get("answer_uepoch"), *self._flow_times("answered_time")]
        return any(one not in _NEVER for one in told)

    @property
    def connected_at(self) -> datetime | None:
        """When it was answered and put through to another leg; None when only a menu, a queue or nobody answered.

        A telephone that rings aloud may be put through before it is answered.
        """
        answered_at = _time(self.cdr.get("answer_uepoch"))
        bridged_at = _time(self.cdr.get("bridge_uepoch"))
        return max(answered_at, bridged_at) if answered_at and bridged_at else None

    @property
    def profile(self) -> Flow:
        """The newest turn of the call flow."""
        return self.cdr.flows[0] if self.cdr.flows else Flow()

    def number(self, text: str) -> Number:
        """Return what ``text`` tells."""
        return read_number(text, self.rule)

    def _flow_times(self, name: str) -> Iterator[str]:
        return (flow.times.get(name, "") for flow in self.cdr.flows)


def _time(text: str) -> datetime | None:
    """Return a time in µs since 1970; None for one that never was.

    Raises:
        InvalidInputError: It is none, or beyond the year 9999.
    """
    if text in _NEVER:
        return None
    if not _DIGITS.fullmatch(text):
        raise InvalidInputError("a time is not a number of microseconds")
    try:
        return from_microseconds(int(text))
    except OverflowError:
        raise InvalidInputError("a time lies beyond the year 9999") from None


def _first_leg(leg: _Leg) -> ContactFacts:
    """Return what the first leg tells: who called whom, and what was recorded."""
    cdr = leg.cdr
    caller, dialled, name = _ends(leg)
    direction = decide_direction(caller, dialled) or Direction.INBOUND
    recording, reason = _recording(leg)
    return ContactFacts(
        source_id=leg.call,
        channel=Channel.CALL,
        direction=direction,
        started_at=leg.started_at,
        ended_at=_end(leg),
        answered_at=leg.connected_at,
        outcome=_outcome(leg),
        notice=_notice(leg),
        notice_version=tidy(leg.cdr.get("taltio_notice_version")),
        queue=_queue(cdr),
        subject=tidy(cdr.get("taltio_subject")),
        customer_number=_customer_number(cdr),
        metering_point=_metering_point(cdr),
        parties=tuple(_parties(leg, caller, dialled, direction=direction, name=name)),
        recording=recording,
        not_recorded_reason=reason,
        is_part=True,
    )


def _ends(leg: _Leg) -> tuple[Number, Number, str | None]:
    """Return who called, who was dialled, and the caller's name.

    A leg that FreeSWITCH made by itself, for no other, was dialled by the company: its caller is ours, or whoever of
    ours was called first.
    """
    cdr, oldest = leg.cdr, leg.cdr.flows[-1].profile if leg.cdr.flows else {}
    told = oldest.get("caller_id_number") or cdr.get("caller_id_number", "sip_from_user")
    caller = leg.number(told)
    name = read_name(
        oldest.get("caller_id_name") or cdr.get("caller_id_name", "sip_from_display"),
        number=told,
    )
    dialled = _dialled(leg)
    # Whoever has registered here with a password is ours, whatever number is shown for him.
    user = cdr.get("sip_auth_username", "user_name")
    if user and cdr.get("direction") == "inbound":
        caller = Number(Standing.EXTENSION, caller.phone, as_sent=tidy(user))
    elif cdr.get("direction") == "outbound":
        first = leg.number(oldest.get("destination_number", ""))
        is_agent_first = first.is_ours and dialled != first
        caller = first if is_agent_first else replace(caller, standing=Standing.COMPANY)
        name = None if is_agent_first else name
    return caller, dialled, name


def _dialled(leg: _Leg) -> Number:
    """Return what was dialled first that is a telephone number: after a transfer an extension stands there as well."""
    told = [flow.profile.get("destination_number", "") for flow in reversed(leg.cdr.flows)]
    told = [one for one in told if one] or [leg.cdr.get("destination_number", "sip_req_user")]
    # "uuid;name;number" of the legs that this one made, where the agent was called first and then the customer.
    if leg.cdr.get("direction") == "outbound":
        told += re.findall(r"[0-9a-f-]{36};[^;|]*;([^;|]+)", leg.cdr.get("originated_legs"))
    numbers = [leg.number(one) for one in told if one]
    return next((one for one in numbers if one.phone), numbers[0] if numbers else _NOBODY)


def _parties(
    leg: _Leg, caller: Number, dialled: Number, *, direction: Direction, name: str | None
) -> Iterator[Party]:
    if direction is Direction.OUTBOUND:
        yield _agent(caller, name=name)
        yield _party(PartyRole.CUSTOMER, dialled)
    else:
        is_between_ours = caller.is_ours and dialled.standing is not Standing.COMPANY
        yield _party(
            PartyRole.OTHER if is_between_ours else PartyRole.CUSTOMER, caller, name=name
        )
        if dialled.phone is not None:
            yield _party(PartyRole.OTHER, dialled)
    if agent := tidy(leg.cdr.get("cc_agent")):
        yield Party(role=PartyRole.AGENT, agent_id=agent)


def _party(role: PartyRole, number: Number, *, name: str | None = None) -> Party:
    return Party(role=role, phone=number.phone, phone_as_sent=_as_sent(number), name=name)


def _as_sent(number: Number) -> str | None:
    return number.as_sent if number.phone is None else None


def _agent(number: Number, *, name: str | None = None, agent: str | None = None) -> Party:
    """Return an agent, who is known by an extension rather than by a telephone number."""
    agent_id = agent or number.as_sent
    as_sent = number.as_sent if agent_id != number.as_sent and number.phone is None else None
    return Party(
        role=PartyRole.AGENT,
        phone=number.phone,
        phone_as_sent=as_sent,
        agent_id=agent_id,
        name=name,
    )


def _further_leg(leg: _Leg) -> ContactFacts:
    """Return what a leg tells that another one made: who was reached, and whether that was recorded.

    It tells the direction only where the first leg is certain to tell the same; else it waits for that.
    """
    flow = leg.profile
    reached = leg.number(
        leg.cdr.get("dialed_user")
        or flow.profile.get("destination_number")
        or leg.cdr.get("sip_to_user", "destination_number")
    )
    caller_told = flow.originator.get("caller_id_number")
    caller = _NOBODY if caller_told is None else leg.number(caller_told)
    dialled = leg.number(flow.originator.get("destination_number", ""))
    direction = decide_direction(caller, dialled) if flow.originator else None
    if direction is Direction.INBOUND and dialled.standing is not Standing.COMPANY:
        direction = direction if reached.standing is Standing.EXTENSION else None
    return ContactFacts(
        source_id=leg.call,
        channel=Channel.CALL,
        direction=direction,
        started_at=leg.started_at,
        ended_at=_end(leg),
        parties=(_reached(leg, reached, direction),) if leg.is_answered else (),
        recording=EXPECTED if _recording(leg)[0] == EXPECTED else None,
        is_part=True,
    )


def _reached(leg: _Leg, reached: Number, direction: Direction | None) -> Party:
    """Return who answered. A telephone number may be a customer's, or an agent's to which calls are forwarded."""
    if direction is Direction.INBOUND or reached.is_ours:
        return _agent(reached, agent=tidy(leg.cdr.get("cc_agent")))
    role = PartyRole.CUSTOMER if direction is Direction.OUTBOUND else PartyRole.OTHER
    return _party(role, reached)


def _end(leg: _Leg) -> datetime | None:
    """Return when the leg ended, unless that is before it began: a clock was set meanwhile."""
    started_at, ended_at = leg.started_at, leg.ended_at
    if started_at is not None and ended_at is not None and ended_at < started_at:
        return None
    return ended_at


def _recording(leg: _Leg) -> tuple[str, str | None]:
    """Return whether a recording is to come, and why not.

    A short one is removed by FreeSWITCH itself (``RECORD_MIN_SEC``).
    """
    cdr = leg.cdr
    reason = tidy(cdr.get("taltio_not_recorded"))
    if reason is not None:
        return NONE, reason
    if cdr.get("RECORD_DISCARDED") == "true":
        return NONE, TOO_SHORT
    if cdr.get(*_RECORDED):
        return EXPECTED, None
    return NONE, None if leg.is_answered else UNANSWERED


def _outcome(leg: _Leg) -> str | None:
    """Return how the call ended; FreeSWITCH's own word for what has no code here."""
    if leg.connected_at is not None:
        return "answered"
    if leg.is_answered:
        return "not_connected"
    cause = tidy(leg.cdr.get("hangup_cause"))
    return None if cause is None else _OUTCOMES.get(cause, cause)


def _notice(leg: _Leg) -> str | None:
    """Return whether the dial plan says that the notice of recording was played; None where it does not say."""
    told = leg.cdr.get("taltio_notice")
    return told if told in {PLAYED, NOT_PLAYED} else None


def _queue(cdr: Cdr) -> str | None:
    """Return the queue, without the domain that mod_callcenter writes after it."""
    return tidy(cdr.get("queue_name") or cdr.get("cc_queue", "fifo_name").partition("@")[0])


def _customer_number(cdr: Cdr) -> str | None:
    """Return the customer number that a menu asked for; None when what was keyed in is none."""
    try:
        return CustomerNumber.parse(cdr.get("taltio_customer_number")).text
    except InvalidInputError:
        return None


def _metering_point(cdr: Cdr) -> str | None:
    try:
        return MeteringPoint.parse(cdr.get("taltio_metering_point")).digits
    except InvalidInputError:
        return None
