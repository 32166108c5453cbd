"""A contact as an IETF vCon (draft-ietf-vcon-vcon-core). Pure: contents come later, by placeholder.

Recordings are embedded; their bodies are placeholders here, which the writer replaces as it streams. The first party is
the one who began (section "Dialog Object").
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from service.archive.contact_json import Json, known, party_json, pause_json
from service.domain.contact import (
    NONE,
    Contact,
    Direction,
    MessageChange,
    Party,
    PartyRole,
)
from service.domain.times import format_time
from service.sources.vcon.extension import CHANGE, CONTACT, EXTENSION, PAUSE

VERSION: Final = "0.4.0"
"""The syntax; the member is deprecated, and widespread readers fail without it."""


@dataclass(frozen=True, slots=True)
class RecordedPart:
    """A recording to be embedded where ``placeholder`` stands. ``duration_s`` is None when nobody knows it."""

    placeholder: str
    content_type: str
    name: str
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A message of a mail or chat, or a later version of one; see `MessageText`."""

    sender: str
    sent_at: datetime
    text: str = field(default="", repr=False)
    ident: str = ""
    change: MessageChange | None = None
    changed_at: datetime | None = None
    writer: PartyRole | None = None


@dataclass(frozen=True, slots=True)
class AttachedPart:
    """What belongs to a message, to be embedded where ``placeholder`` stands; ``message`` is the place of its text."""

    placeholder: str
    message: int
    name: str
    content_type: str
    purpose: str


def build_vcon(
    contact: Contact,
    recordings: Sequence[RecordedPart],
    messages: Sequence[WrittenPart],
    attached: Sequence[AttachedPart] = (),
    *,
    now: datetime,
    random: Callable[[int], bytes] = os.urandom,
) -> Json:
    """Return the vCon of a contact; valid against the IETF's schema once placeholders are replaced."""
    parties = _ordered(contact)
    shown = [_party_json(party) for party in parties]
    dialog = [_recording_json(contact, part, len(parties)) for part in recordings]
    texts = [_message_json(message, parties, shown) for message in messages]
    attachments = _pauses_json(contact, recordings, shown) if dialog else []
    attachments += _changes_json(messages, texts, len(dialog))
    attachments += [_attached_json(part, texts, len(dialog)) for part in attached]
    dialog.extend(texts)
    vcon: Json = {
        "vcon": VERSION,
        "uuid": str(make_uuid(now, random=random)),
        "created_at": format_time(now),
        "extensions": [EXTENSION],
        "parties": shown,
        "dialog": dialog,
        CONTACT: _details(contact, is_recorded=bool(recordings)),
    }
    if attachments:
        vcon["attachments"] = attachments
    if contact.subject:
        vcon["subject"] = contact.subject
    return vcon


def _details(contact: Contact, *, is_recorded: bool) -> Json:
    """Return what a vCon has no place for, as the archive takes it in; messages and recordings have theirs."""
    is_none = contact.announced == NONE and not is_recorded
    shown: Json = {
        "source_id": contact.source_id,
        "channel": contact.channel,
        "direction": contact.direction,
        "started_at": contact.started_at_as_sent or format_time(contact.started_at),
        "ended_at": contact.ended_at_as_sent
        or (contact.ended_at and format_time(contact.ended_at)),
        "answered_at": contact.answered_at and format_time(contact.answered_at),
        "outcome": contact.outcome,
        "queue": contact.queue,
        "subject": contact.subject,
        "customer_number": contact.customer_number,
        "metering_point": contact.metering_point,
        "recording": NONE if is_none else None,
        "not_recorded_reason": contact.not_recorded_reason if is_none else None,
        "parties": [party_json(party) for party in contact.parties],
        "recording_pauses": [pause_json(one) for one in contact.recording_pauses] or None,
    }
    return known(shown)


def make_uuid(now: datetime, *, random: Callable[[int], bytes] = os.urandom) -> UUID:
    """Return a version 8 UUID: the time in milliseconds, as in version 7, and random bits (RFC 9562, section 5.8)."""
    milliseconds = int(now.timestamp() * 1000) & (1 << 48) - 1
    value = milliseconds << 80 | int.from_bytes(random(10))
    value = value & ~(0xF << 76) | 8 << 76
    return UUID(int=value & ~(0x3 << 62) | 2 << 62)


def _ordered(contact: Contact) -> list[Party]:
    began = PartyRole.CUSTOMER if contact.direction is Direction.INBOUND else PartyRole.AGENT
    return sorted(contact.parties, key=lambda party: party.role is not began)


def _party_json(party: Party) -> Json:
    shown: Json = {}
    if party.phone:
        shown["tel"] = f"tel:{party.phone}"
    if party.email:
        shown["mailto"] = party.email
    name = party.name or party.agent_id
    if name:
        shown["name"] = name
    return shown


def _recording_json(contact: Contact, part: RecordedPart, parties: int) -> Json:
    shown: Json = {
        "type": "recording",
        "start": format_time(contact.started_at),
        "parties": list(range(parties)),
        "mediatype": part.content_type or "application/octet-stream",
        "encoding": "base64url",
        "body": part.placeholder,
    }
    if part.name:
        shown["filename"] = part.name
    if part.duration_s is not None:
        shown["duration"] = part.duration_s
    return shown


def _pauses_json(
    contact: Contact, recordings: Sequence[RecordedPart], shown: list[Json]
) -> list[Json]:
    """Return what was not recorded on purpose; with the recording that it is of, or else with the first dialog."""
    if not contact.recording_pauses:
        return []
    if not shown:
        shown.append({"name": contact.source})
    places = {part.name: place for place, part in reversed(list(enumerate(recordings)))}
    return [
        {
            "purpose": PAUSE,
            "start": format_time(pause.started_at),
            "party": 0,
            "dialog": places.get(pause.recording, 0),
            "mediatype": "application/json",
            "encoding": "json",
            "body": pause_json(pause),
        }
        for pause in contact.recording_pauses
    ]


def _message_json(message: WrittenPart, parties: list[Party], shown: list[Json]) -> Json:
    """Return a message; a sender who is none of the parties becomes one."""
    told: Json = {"name": message.sender}
    if message.writer is not None:
        told["role"] = message.writer.value
    sender = _writer(message, parties)
    if sender is None:
        sender = next(
            (i for i, one in enumerate(shown) if i >= len(parties) and one == told), None
        )
    if sender is None:
        shown.append(told)
        sender = len(shown) - 1
    others = [i for i in range(len(parties)) if i != sender]
    return {
        "type": "text",
        "start": format_time(message.changed_at or message.sent_at),
        "parties": [sender, *others],
        "mediatype": "text/plain",
        "encoding": "none",
        "body": message.text,
        **({"message_id": message.ident} if message.ident else {}),
    }


def _changes_json(
    messages: Sequence[WrittenPart], texts: Sequence[Json], before: int
) -> list[Json]:
    """Return what became of messages later; each version is a dialog of its own, with the message's one id."""
    return [
        {
            "purpose": CHANGE,
            "start": text["start"],
            "party": _sender(text),
            "dialog": before + place,
            "mediatype": "application/json",
            "encoding": "json",
            "body": {"message_id": message.ident, "change": message.change},
        }
        for place, (message, text) in enumerate(zip(messages, texts, strict=True))
        if message.change
    ]


def _attached_json(part: AttachedPart, texts: Sequence[Json], before: int) -> Json:
    """Return an attachment of the dialog that has the text; ``before`` it there are so many others."""
    text = texts[part.message]
    return {
        "purpose": part.purpose,
        "start": text["start"],
        "party": _sender(text),
        "dialog": before + part.message,
        "mediatype": part.content_type,
        "filename": part.name,
        "encoding": "base64url",
        "body": part.placeholder,
    }


def _sender(text: Json) -> int:
    parties = text["parties"]
    return parties[0] if isinstance(parties, list) else 0


def _writer(message: WrittenPart, parties: Sequence[Party]) -> int | None:
    """Return which party wrote a message; None where that is not known.

    Where the source said on whose side, no other's name counts; where it did not, a name counts that one party has.
    """
    named = [
        i
        for i, one in enumerate(parties)
        if message.writer in {None, one.role} and _is(one, message.sender)
    ]
    return named[0] if len(named) == 1 else None


def _is(party: Party, sender: str) -> bool:
    names = {party.name, party.email, party.phone, party.agent_id, party.phone_as_sent}
    return sender in names or sender == party.role.value
