"""Arrivals: what is to be worked into a contact, by which rules, and what became of it."""

from dataclasses import dataclass, field
from datetime import datetime

from service.archive.objects import SealedObject
from service.archive.receive import ReceivedRecording
from service.archive.records import SealedMessage
from service.domain.contact import Contact, ContactFacts
from storage.ports import Append, Write
from storage.rows import DeliveryRow, KeyRow, ObjectRow

ERASED = "contact_erased"
"""Why an arrival was refused: its contact was erased, and stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedMail:
    """A mail whose parts are sealed: the text is ``text``, the others are ``objects``; ``raw`` was stored as it came.

    ``identity`` tells it from every other message of its contact.
    """

    identity: str
    sent_at: datetime
    text: SealedObject = field(repr=False)
    objects: tuple[SealedObject, ...] = field(repr=False)
    raw: ObjectRow
    sealed: SealedMessage = field(repr=False)


@dataclass(frozen=True, slots=True)
class CarriedPart:
    """A recording that a delivery carries: what is known of it, its bytes, and the entry that commits to them."""

    received: ReceivedRecording
    sealed: SealedObject = field(repr=False)
    entry: Append = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One thing to work into the contact that ``source`` calls ``source_id``: facts, a recording, or both.

    A ``mail`` comes with facts, and so do recordings that are ``carried``.

    ``is_strict`` refuses a contradiction whole, for callers that are told; otherwise what fits is taken and the rest is
    put on the list of what needs attention.
    """

    source: str
    source_id: str
    facts: ContactFacts | None = None
    recording: tuple[ReceivedRecording, ObjectRow] | None = None
    mail: ArrivedMail | None = None
    carried: tuple[CarriedPart, ...] = ()
    delivery: DeliveryRow | None = None
    remarks: tuple[str, ...] = ()
    also: tuple[Write, ...] = ()
    also_keys: tuple[KeyRow, ...] = ()
    actor: str = "system"
    is_strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an arrival. Without a ``contact`` it waits for one, or was refused (``refusal`` says why)."""

    contact: Contact | None
    is_new: bool = False
    is_duplicate: bool = False
    contradictions: tuple[str, ...] = ()
    recording_id: str | None = None
    refusal: str | None = None
