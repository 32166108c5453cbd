"""Asterisk's REST interface (ARI): events of calls that an application handles, and of recordings.

Events do not say which call a channel is of. Whoever heard one asked at once, and what was answered (``linkedid``) is
kept beside the event as it came. Without an answer the name of a recording tells it, as in files of MixMonitor, or its
channel. Calls that no application handles come as call detail records.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final
from urllib.parse import quote

import msgspec

from service.domain.contact import (
    EXPECTED,
    NONE,
    AnnouncedRecording,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import require_plain
from service.sources.asterisk import agent_of
from service.sources.asterisk_files import call_in_name
from service.sources.events import SourceRule, Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.telephony import Standing, decide_direction, read_name, read_number

STORED: Final = "RecordingStored"
"""The type of what is kept of a recording that was found among the stored ones: no event of Asterisk's told it."""
KEPT: Final = frozenset(
    {"StasisStart", "StasisEnd", "RecordingStarted", "RecordingFinished", "RecordingFailed"}
)
"""The types of events that tell of calls and recordings; others are not kept."""
LONGEST_CALL: Final = timedelta(hours=12)
"""A recording that was missed may be of a call that began so long before."""

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)([+-]\d\d):?(\d\d)", re.ASCII
)
_CHANNEL: Final = "channel:"
_BRIDGE: Final = "bridge:"
_FORMAT: Final = re.compile(r"[A-Za-z0-9]{1,16}", re.ASCII)
_ID: Final = re.compile(r"[\x21-\x7e]{1,150}", re.ASCII)
_EPOCH: Final = re.compile(r"(?:.*-)?(\d{9,11})\.\d+", re.ASCII)

Told = Mapping[str, object]


class HeardEvent(msgspec.Struct, frozen=True):
    """The body of its delivery: an event as it came, and the call of its channel then, if that could be asked."""

    text: bytes
    linkedid: str = ""

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        return msgspec.msgpack.encode(self)


class Place(Enum):
    """What an event is about."""

    CHANNEL = "channels"
    BRIDGE = "bridges"


def read_event(text: bytes) -> Told:
    """Return an event as an object with a type.

    Raises:
        InvalidInputError: It is none, so that whatever speaks is no ARI.
    """
    try:
        # What callers say is in it, so bytes that are no UTF-8 must not end the line.
        told = json.loads(text.decode(errors="replace"))
    except (ValueError, RecursionError):
        raise InvalidInputError("not JSON") from None
    if not isinstance(told, dict) or not isinstance(told.get("type"), str):
        raise InvalidInputError("no object with a type")
    return told


def subject_of(told: Told) -> tuple[Place, str] | None:
    """Return the channel or bridge that an event is about, to be asked for its call; None where it names none."""
    recording = _object(told, "recording")
    target = recording.get("target_uri")
    if isinstance(target, str) and target.startswith((_CHANNEL, _BRIDGE)):
        kind, _, ident = target.partition(":")
        place = Place.CHANNEL if kind == "channel" else Place.BRIDGE
    else:
        place, ident = Place.CHANNEL, _text(_object(told, "channel"), "id")
    return (place, ident) if _ID.fullmatch(ident) else None


def recording_named(told: Told) -> str:
    """Return the name of the recording that an event is about; nothing where it is about none."""
    return _text(_object(told, "recording"), "name")


def missed_events(listing: object, *, since: datetime) -> Iterator[bytes]:
    """Yield for each of the stored recordings, of a call that may have ended since then, an event that tells of it.

    When a recording was made nobody says; the name of one ends with its call, which begins with its time.
    """
    for one in listing if isinstance(listing, list) else ():
        name = _text(one, "name") if isinstance(one, dict) else ""
        begun = _EPOCH.fullmatch(call_in_name(name) or "")
        if begun and int(begun[1]) >= (since - LONGEST_CALL).timestamp():
            told = {
                "type": STORED,
                "recording": {"name": name, "format": _text(one, "format"), "state": "done"},
            }
            yield json.dumps(told).encode()


def stored_path(name: str) -> str:
    """Return the path of a stored recording's bytes, below that of all stored ones; names may hold anything."""
    return f"/{quote(name, safe='')}/file"


def understand_ari(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what an event tells: a call that an application was given or gave back, or a recording.

    Raises:
        InvalidInputError: It is none of those, or does not say of which call it is.
    """
    try:
        heard = msgspec.msgpack.decode(body, type=HeardEvent)
    except msgspec.DecodeError:
        raise InvalidInputError("not an event that was kept") from None
    told = read_event(heard.text)
    match told["type"]:
        case "StasisStart":
            facts = _given(told, heard.linkedid, rule)
        case "StasisEnd":
            channel = _text(_object(told, "channel"), "id")
            if channel != heard.linkedid:
                return Understood(())
            facts = ContactFacts(
                source_id=_plain(channel), ended_at=_time(told, "timestamp"), is_part=True
            )
        case "RecordingStarted":
            call = _find_call(told, heard.linkedid)
            if not call:
                # Its end will tell the same of it, and be put before a person.
                return Understood(())
            facts = ContactFacts(source_id=_plain(call), recording=EXPECTED, is_part=True)
        case "RecordingFinished" | "RecordingFailed" | "RecordingStored":
            facts = _recorded(told, heard.linkedid, rule)
        case _:
            raise InvalidInputError("an event of a type that tells nothing")
    times = [at for at in (facts.started_at, facts.ended_at) if at]
    is_odd = any(not is_plausible(at, now=now) for at in times)
    return Understood((facts,), (TIME_OUT_OF_WINDOW,) if is_odd else ())


def _given(told: Told, linkedid: str, rule: SourceRule) -> ContactFacts:
    """Return what the start of a channel in an application tells: the call of its first, a further one's agent.

    Where it could not be asked whether it is the first it begins no call: its own record will.
    """
    channel = _object(told, "channel")
    ident = _text(channel, "id")
    if linkedid != ident:
        agent = agent_of(_text(channel, "name"))
        party = Party(role=PartyRole.AGENT, agent_id=agent) if linkedid and agent else None
        return ContactFacts(
            source_id=_plain(linkedid or ident),
            parties=() if party is None else (party,),
            is_part=True,
        )
    caller = read_number(_text(_object(channel, "caller"), "number"), rule)
    dialled = read_number(_text(_object(channel, "dialplan"), "exten"), rule)
    direction = decide_direction(caller, dialled) or Direction.INBOUND
    is_outbound = direction is Direction.OUTBOUND
    customer, company = (dialled, caller) if is_outbound else (caller, dialled)
    shown = "" if is_outbound else _text(_object(channel, "caller"), "name")
    parties = [
        Party(
            role=PartyRole.CUSTOMER,
            phone=customer.phone,
            phone_as_sent=customer.as_sent,
            name=read_name(shown),
        )
    ]
    if company.standing is Standing.COMPANY:
        parties.append(Party(role=PartyRole.OTHER, phone=company.phone))
    return ContactFacts(
        source_id=_plain(ident),
        channel=Channel.CALL,
        direction=direction,
        started_at=_time(channel, "creationtime"),
        parties=tuple(parties),
        is_part=True,
    )


def _recorded(told: Told, linkedid: str, rule: SourceRule) -> ContactFacts:
    """Return what the end of a recording tells: where it is, or why there is none."""
    recording = _object(told, "recording")
    state, call = _text(recording, "state"), _find_call(told, linkedid)
    if not call:
        raise InvalidInputError(
            "nothing tells of which call the recording is: let its name end with the linkedid"
        )
    source_id = _plain(call)
    if state in {"failed", "canceled"}:
        return ContactFacts(source_id=source_id, recording=NONE, not_recorded_reason=state)
    if state != "done":
        raise InvalidInputError("a recording that is neither done, failed nor canceled")
    if not rule.stored_recordings:
        raise InvalidInputError("[[sources]] ari is not set: nothing tells where it is")
    name, form = _text(recording, "name"), _text(recording, "format")
    if not name or not _FORMAT.fullmatch(form):
        raise InvalidInputError("a recording without a name or a format")
    announced = AnnouncedRecording(
        name=require_plain(f"{name}.{form}", what="the name of the recording"),
        url=rule.stored_recordings + stored_path(name),
    )
    return ContactFacts(source_id=source_id, recordings=(announced,), is_part=True)


def _find_call(told: Told, linkedid: str) -> str:
    """Return the call of a recording: as was answered, else as its name tells, else its channel's own; or nothing."""
    subject = subject_of(told)
    own = subject[1] if subject and subject[0] is Place.CHANNEL else ""
    return linkedid or call_in_name(recording_named(told)) or own


def _plain(ident: str) -> str:
    return require_plain(ident, what="the id of the channel")


def _time(told: Told, name: str) -> datetime | None:
    """Return a time as ARI writes it, with its offset (ISO 8601 without a colon); None where there is none."""
    match = _TIME.fullmatch(_text(told, name))
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match[1]}{match[2]}:{match[3]}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _object(told: Told, name: str) -> Told:
    value = told.get(name)
    return value if isinstance(value, dict) else {}


def _text(told: Told, name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""
