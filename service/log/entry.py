"""One entry of the log: what happened, when, by whom, about what; never personal data.

The bytes of an entry are canonical JSON (RFC 8785 restricted to printable ASCII strings and
integers below 2^53), so that the same entry always has the same leaf hash.
"""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from service.log.errors import FormatError

MAX_ENTRY_BYTES: Final = 65535
"""An entry bundle counts an entry's bytes with 16 bits (C2SP tlog-tiles)."""

SYSTEM_ACTOR: Final = "system"
"""The actor of what the archive does by itself."""

Value = str | int | tuple[str | int, ...]
"""What ``data`` may hold under a name."""

_VERSION: Final = 1
_FIELDS: Final = frozenset({"about", "actor", "at", "data", "type", "v"})
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_TEXT: Final = 1024
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
# Beyond this a reader that keeps numbers as IEEE 754 doubles loses digits (RFC 8785, 3.2.2.3).
_MAX_INTEGER: Final = 2**53 - 1
_MIN_SALT_BYTES: Final = 16
# Sorted names, no white space; of printable ASCII only " and \ need an escape (RFC 8785, 3.2).
_CANONICAL: Final = msgspec.json.Encoder(order="deterministic")


class EntryType(StrEnum):
    """What an entry records. A name, once used, keeps its meaning for ever."""

    LOG_STARTED = "log.started"
    DELIVERY_RECEIVED = "delivery.received"
    DELIVERY_ERASED = "delivery.erased"
    CONTACT_CREATED = "contact.created"
    CONTACT_AMENDED = "contact.amended"
    CONTACT_LINKED = "contact.linked"
    CONTACT_UNLINKED = "contact.unlinked"
    CONTACT_EXPORTED = "contact.exported"
    CONTACT_ERASED = "contact.erased"
    RECORDING_RECEIVED = "recording.received"
    RECORDING_ATTACHED = "recording.attached"
    RECORDING_EXPECTED = "recording.expected"
    RECORDING_LOST = "recording.lost"
    RECORDING_HEALED = "recording.healed"
    RECORDING_CALLED_OFF = "recording.called_off"
    RECORDING_EXAMINED = "recording.examined"
    MAIL_RECEIVED = "mail.received"
    VCON_RECEIVED = "vcon.received"
    MESSAGE_ARCHIVED = "message.archived"
    ATTACHMENT_ARCHIVED = "attachment.archived"
    MESSAGE_UNMASKED = "message.unmasked"
    RENDITION_MADE = "rendition.made"
    GRANT_CREATED = "grant.created"
    GRANT_WITHDRAWN = "grant.withdrawn"
    OPENING_MADE = "opening.made"
    OPENING_REFUSED = "opening.refused"
    OPENING_CLOSED = "opening.closed"
    LOOKUP_MADE = "lookup.made"
    VERIFICATION_MADE = "verification.made"
    INTEGRITY_ALARM = "integrity.alarm"
    ATTENTION_RAISED = "attention.raised"
    ATTENTION_SETTLED = "attention.settled"
    STATEMENT_COMPARED = "statement.compared"
    CUSTOMERS_IMPORTED = "customers.imported"
    DISCLOSURE_MADE = "disclosure.made"
    HOLD_PLACED = "hold.placed"
    HOLD_RELEASE_REQUESTED = "hold.release_requested"
    HOLD_RELEASED = "hold.released"
    ERASURE_REQUESTED = "erasure.requested"
    ERASURE_WITHDRAWN = "erasure.withdrawn"
    ERASURE_REFUSED = "erasure.refused"
    ERASURE_FINISHED = "erasure.finished"
    SIGNIN_SUCCEEDED = "signin.succeeded"
    SIGNIN_BEGUN = "signin.begun"
    SIGNIN_FAILED = "signin.failed"
    SIGNOUT = "signout"
    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    TOKEN_CREATED = "token.created"  # noqa: S105  # the name of an event, not a secret
    TOKEN_REVOKED = "token.revoked"  # noqa: S105  # as above
    SOURCE_ADDED = "source.added"
    SOURCE_CHANGED = "source.changed"
    SOURCE_REMOVED = "source.removed"
    SOURCE_PREVIEWED = "source.previewed"
    SOURCE_REPLAYED = "source.replayed"
    BACKUP_MADE = "backup.made"
    BACKUP_RESTORED = "backup.restored"
    KEY_EPOCH_CREATED = "key.epoch_created"
    KEY_EPOCH_RETIRED = "key.epoch_retired"
    KEY_EPOCH_DESTROYED = "key.epoch_destroyed"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event.

    ``actor`` is a random id or ``system``; ``about`` names what it concerns by random ids,
    in an order that the type defines; ``data`` is flat: ids, counts, SHA-256 of sealed blobs,
    salted commitments, names of criteria. Lists become tuples.

    Raises:
        FormatError: A field is not in the form that the log can keep.
    """

    type: EntryType
    at: datetime
    actor: str
    about: tuple[str, ...] = ()
    data: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.at.tzinfo is not UTC and self.at.utcoffset() != timedelta():
            raise FormatError("The time of an entry is in UTC.")
        if not all(_ID.fullmatch(name) for name in (self.actor, *self.about)):
            raise FormatError("An actor or subject of an entry is not an id.")
        frozen = {name: _freeze(name, value) for name, value in self.data.items()}
        object.__setattr__(self, "about", tuple(self.about))
        object.__setattr__(self, "data", MappingProxyType(frozen))


def encode_entry(entry: LogEntry) -> bytes:
    """Return the canonical bytes of ``entry``: what is hashed, stored and exported.

    Raises:
        FormatError: They would be more than 65535.
    """
    # The offset is zero, or there would be no such entry.
    at = entry.at.isoformat(timespec="microseconds").removesuffix("+00:00")
    encoded = _CANONICAL.encode(
        {
            "about": entry.about,
            "actor": entry.actor,
            "at": f"{at}Z",
            "data": dict(entry.data),
            "type": entry.type,
            "v": _VERSION,
        }
    )
    if len(encoded) > MAX_ENTRY_BYTES:
        raise FormatError("An entry is longer than 65535 bytes.")
    return encoded


def decode_entry(data: bytes) -> LogEntry:
    """Return the entry whose canonical bytes are ``data``.

    Raises:
        FormatError: ``data`` is anything but the canonical bytes of an entry.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise FormatError("An entry is longer than 65535 bytes.")
    try:
        fields = json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise FormatError("An entry is not JSON in ASCII.") from error
    entry = _entry_from(fields)
    # One comparison refuses every other spelling: spaces, order, escapes, doubled names.
    if encode_entry(entry) != data:
        raise FormatError("An entry is not in canonical form.")
    return entry


def commitment(salt: bytes, value: bytes) -> str:
    """Commit to ``value`` without revealing it: HMAC-SHA-256 in lower-case hexadecimal.

    Whoever is given ``salt`` and ``value`` can check it; once the salt is destroyed it says
    nothing about the value, provided that the salt was random and used once.

    Raises:
        FormatError: The salt is shorter than 16 bytes.
    """
    if len(salt) < _MIN_SALT_BYTES:
        raise FormatError("The salt of a commitment has at least 16 bytes.")
    return hmac.digest(salt, value, "sha256").hex()


@lru_cache(maxsize=1024)
def _is_name(name: str) -> bool:
    # The same few names come again and again.
    return _NAME.fullmatch(name) is not None


def _freeze(name: str, value: object) -> Value:
    if not _is_name(name):
        raise FormatError("A name in the data of an entry is not like_this.")
    # What nearly all values are, first and without a further call.
    if (
        type(value) is str
        and len(value) <= _MAX_TEXT
        and value.isascii()
        and value.isprintable()
    ):
        return value
    if isinstance(value, list | tuple):
        return tuple(_scalar(name, item) for item in value)
    return _scalar(name, value)


def _is_text(value: str) -> bool:
    # What is printable of ASCII is 0x20 to 0x7E.
    return len(value) <= _MAX_TEXT and value.isascii() and value.isprintable()


def _scalar(name: str, value: object) -> str | int:
    # StrEnum members become plain strings; a boolean, though an int to Python, has no place.
    if isinstance(value, str) and _is_text(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INTEGER:
        return int(value)
    raise FormatError(
        f"{name}: neither printable ASCII of at most 1024 characters nor an integer."
    )


def _entry_from(fields: object) -> LogEntry:
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise FormatError("An entry does not have the six fields of version 1.")
    if fields["v"] != _VERSION:
        raise FormatError("The version of the entry is unknown.")
    at, about, data = fields["at"], fields["about"], fields["data"]
    if not isinstance(about, list) or not isinstance(data, dict):
        raise FormatError("about is a list and data is an object.")
    if not all(isinstance(name, str) for name in (fields["type"], fields["actor"], at, *about)):
        raise FormatError("type, actor, at and the members of about are strings.")
    return LogEntry(
        type=_parse_type(fields["type"]),
        at=_parse_time(at),
        actor=fields["actor"],
        about=tuple(about),
        data=data,
    )


def _parse_type(text: str) -> EntryType:
    try:
        return EntryType(text)
    except ValueError as error:
        raise FormatError("The type of the entry is unknown.") from error


def _parse_time(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise FormatError("The time of an entry is not RFC 3339 in UTC with microseconds.")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise FormatError("The time of an entry does not exist.") from error
