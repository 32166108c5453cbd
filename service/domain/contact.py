"""A contact, and how what arrives piece by piece becomes one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum

MAX_PARTIES = 200


class Channel(StrEnum):
    """How the customer reached us, or we them."""

    CALL = "call"
    EMAIL = "email"
    CHAT = "chat"


class Direction(StrEnum):
    """Who began: ``inbound`` the customer, ``outbound`` the company."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class PartyRole(StrEnum):
    """What someone was in a contact."""

    CUSTOMER = "customer"
    AGENT = "agent"
    OTHER = "other"


class RecordingState(StrEnum):
    """What became of the recording that a call should have."""

    PRESENT = "present"
    EXPECTED = "expected"
    NOT_RECORDED = "not_recorded"
    LOST = "lost"
    ERASED = "erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Someone who took part. ``phone`` and ``email`` are canonical; what was sent otherwise stays in the delivery.

    ``phone_as_sent`` is kept only when it is not a telephone number ("anonymous", an extension).
    """

    role: PartyRole
    phone: str | None = None
    phone_as_sent: str | None = None
    email: str | None = None
    name: str | None = None
    agent_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageText:
    """One message of a mail or chat, in the clear."""

    sender: str
    sent_at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFacts:
    """What one delivery tells of one contact. None means that it does not tell.

    ``recording`` is what the source announces: ``expected``, ``none``, or None. Times are aware, UTC.
    """

    source_id: str
    channel: Channel | None = None
    direction: Direction | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    queue: str | None = None
    subject: str | None = None
    customer_number: str | None = None
    metering_point: str | None = None
    parties: tuple[Party, ...] = ()
    messages: tuple[MessageText, ...] = ()
    recording: str | None = None
    not_recorded_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One call, e-mail or chat, without its content. ``version`` grows with each amendment."""

    id: str
    version: int
    source: str
    source_id: str
    channel: Channel
    direction: Direction
    started_at: datetime
    ended_at: datetime | None
    created_at: datetime
    queue: str | None
    subject: str | None
    customer_number: str | None
    metering_point: str | None
    parties: tuple[Party, ...]
    recording_state: RecordingState | None
    not_recorded_reason: str | None


@dataclass(frozen=True, slots=True)
class Amendment:
    """What facts make of a contact: the contact afterwards, which fields changed, which contradict."""

    contact: Contact
    changed: tuple[str, ...]
    contradictions: tuple[str, ...]


SCALARS = (
    "channel",
    "direction",
    "started_at",
    "ended_at",
    "queue",
    "subject",
    "customer_number",
    "metering_point",
    "not_recorded_reason",
)


def decide_amendment(contact: Contact, facts: ContactFacts) -> Amendment:
    """Decide what ``facts`` add to ``contact``: empty scalars are filled, parties grow, the archived stands.

    The order in which deliveries arrive does not matter to what is filled; a scalar that differs from an archived
    one is a contradiction and changes nothing.
    """
    filled: dict[str, object] = {}
    contradictions = []
    for name in SCALARS:
        told, archived = getattr(facts, name), getattr(contact, name)
        if told is None or told == archived:
            continue
        if archived is None:
            filled[name] = told
        else:
            contradictions.append(name)
    parties = merge_parties(contact.parties, facts.parties)
    if parties != contact.parties:
        filled["parties"] = parties
    changed = tuple(filled)
    return Amendment(replace(contact, **filled), changed, tuple(contradictions))  # type: ignore[arg-type]  # by name


def merge_parties(archived: Sequence[Party], told: Sequence[Party]) -> tuple[Party, ...]:
    """Return the archived parties, completed by and extended with those ``told``, at most ``MAX_PARTIES``."""
    parties = list(archived)
    for party in told:
        for position, known in enumerate(parties):
            if _are_one(known, party):
                parties[position] = _completed(known, party)
                break
        else:
            parties.append(party)
    return tuple(parties[:MAX_PARTIES])


_IDENTIFYING = ("phone", "phone_as_sent", "email", "agent_id", "name")


def _are_one(known: Party, told: Party) -> bool:
    """Tell whether the role is the same, nothing differs and something agrees."""
    pairs = [(getattr(known, n), getattr(told, n)) for n in _IDENTIFYING]
    agree = any(a is not None and a == b for a, b in pairs)
    differ = any(a is not None and b is not None and a != b for a, b in pairs)
    nothing = all(b is None for _, b in pairs) or all(a is None for a, _ in pairs)
    return known.role == told.role and not differ and (agree or nothing)


def _completed(known: Party, told: Party) -> Party:
    values = {
        f.name: getattr(told, f.name) for f in fields(known) if getattr(known, f.name) is None
    }
    return replace(known, **values)
