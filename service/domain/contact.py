"""A contact, and how what arrives piece by piece becomes one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.domain.pauses import RecordingPause, merge_pauses

MAX_PARTIES = 200
MAX_RECORDINGS = 100
MAX_ALIASES = 2000


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


class MessageChange(StrEnum):
    """What its sender did to a message later. What it was before stays as it was."""

    EDITED = "edited"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageText:
    """One message of a mail or chat, in the clear, or what became of it later.

    ``ident`` is what the source calls the message; those of a contact that have one ident are versions of one message.
    ``change`` says that this version is one that was changed, at ``changed_at``; a deleted one has no text. A source
    may also tell a message anew without saying whether it was changed: then ``changed_at`` alone is when it told so,
    and the same text again is nothing new. ``writer`` is who wrote it, where the source says so: a name proves nothing,
    for customers choose theirs. ``is_internal``: a note among the company's own, which the customer never
    saw.
    """

    sender: str
    sent_at: datetime
    text: str
    ident: str = ""
    change: MessageChange | None = None
    changed_at: datetime | None = None
    is_internal: bool = False
    writer: PartyRole | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentKey:
    """The key under which a source encrypted a recording, ``wrapped`` for the key of ours that ``key_id`` names."""

    key_id: str
    wrapped: bytes = field(repr=False)
    iv: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedRecording:
    """A recording that is to be fetched from ``url``, which may be a secret and is judged when it is fetched.

    What ``content_type``, ``size_bytes``, ``sha256`` and ``sha512`` (in hexadecimal) say is None where the source does
    not tell; other bytes than those are refused. ``content_key`` opens what is there, where the source encrypted it.
    ``is_described``: at ``url`` is a description of the recording, in JSON, whose ``url`` is good for some minutes.
    ``is_internal``: it belongs to a message that is. ``is_text``: it is a file that may be a text, so that a text is no
    sign of an answer about something else.
    """

    name: str
    url: str = field(repr=False)
    content_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    sha512: str | None = None
    content_key: ContentKey | None = None
    is_described: bool = False
    is_internal: bool = False
    is_text: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFacts:
    """What one delivery tells of one contact. None means that it does not tell.

    ``recording`` is what the source announces: ``EXPECTED``, ``NONE``, or None; ``recordings`` are those that it says
    where to fetch, whatever else it announces, each name and each URL once. Times are aware, UTC;
    ``started_at_as_sent`` and ``ended_at_as_sent`` are their texts as they came, where those say more: an offset.
    ``answered_at`` is when a call was put through to a person, ``outcome`` how it ended: a code such as ``answered`` or
    ``unanswered``, or the source's own word.
    ``notice``: whether the notice of recording was played (``PLAYED``, ``NOT_PLAYED``); ``notice_version``: which one.
    ``is_part``: they tell of a part (a leg of a call, a message of a conversation), so that the contact lasts from the
    earliest start to the latest end of its parts, and its direction and subject are those of the earliest. ``aliases``
    are other names by which its source may call the contact, such as the messages of a conversation. ``is_stated``: the
    source did not deliver them, but says in a statement of what it handled that there was such a contact.
    ``is_of_one``: that there is no recording is said of one of them alone.
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
    started_at_as_sent: str | None = None
    ended_at_as_sent: str | None = None
    recordings: tuple[AnnouncedRecording, ...] = ()
    answered_at: datetime | None = None
    outcome: str | None = None
    notice: str | None = None
    notice_version: str | None = None
    recording_pauses: tuple[RecordingPause, ...] = ()
    is_part: bool = False
    is_stated: bool = False
    is_of_one: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def denies_all(self) -> bool:
        """Whether the source says that there is no recording at all, also none that it said where to fetch."""
        return self.recording == NONE and not (self.is_part or self.is_stated or self.is_of_one)

    @property
    def can_begin(self) -> bool:
        """Whether a contact can begin with them: they tell its channel, direction and start."""
        return None not in {self.channel, self.direction, self.started_at}


EXPECTED: Final = "expected"
NONE: Final = "none"
PLAYED: Final = "played"
NOT_PLAYED: Final = "not_played"
NOT_ANNOUNCED: Final = "not_announced"
"""Why a call has no recording, when its source has said nothing about one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One call, e-mail or chat, without its content. ``version`` grows with each amendment.

    ``announced`` is what the source said of its recording: ``EXPECTED``, ``NONE``, or nothing yet. The times as sent
    are the texts that the archived times were read from; None where they said no more. ``is_stated``: it is known from
    a statement of its source alone, and was not delivered.
    """

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
    announced: str | None = None
    started_at_as_sent: str | None = None
    ended_at_as_sent: str | None = None
    answered_at: datetime | None = None
    outcome: str | None = None
    notice: str | None = None
    notice_version: str | None = None
    recording_pauses: tuple[RecordingPause, ...] = ()
    is_stated: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def why_not_recorded(self) -> str | None:
        """Why there is no recording: the source's reason, ``NOT_ANNOUNCED`` when it said nothing, or None."""
        if self.recording_state is not RecordingState.NOT_RECORDED:
            return None
        return self.not_recorded_reason or (NOT_ANNOUNCED if self.announced is None else None)


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
    "answered_at",
    "outcome",
    "notice",
    "notice_version",
    "queue",
    "subject",
    "customer_number",
    "metering_point",
    "not_recorded_reason",
)


def decide_amendment(contact: Contact, facts: ContactFacts) -> Amendment:
    """Decide what ``facts`` add to ``contact``: empty scalars are filled, lists grow, the archived stands.

    The order in which deliveries arrive does not matter to what is filled; a scalar that differs from an archived
    one is a contradiction and changes nothing, but for those of a part: its times make the contact last longer, and the
    earliest part says what it is about and who began. That there is no recording is more than that one is expected,
    because a source knows it later; unless parts tell, of which one may be recorded and others not. Parties beyond
    ``MAX_PARTIES`` are left out, which is a contradiction too. What is delivered stands over what was only stated.
    """
    filled, contradictions = _decide_scalars(contact, facts)
    as_sent = {
        f"{name}_as_sent": getattr(facts, f"{name}_as_sent")
        for name in _SENT_TIMES & set(filled)
    }
    if contact.is_stated and not facts.is_stated:
        filled["is_stated"] = False
    if _is_announced(contact, facts):
        filled["announced"] = facts.recording
    grown, refused = _grown(contact, facts)
    filled |= grown
    contradictions += refused
    changed = tuple(filled)
    amended = replace(contact, **filled, **as_sent)  # type: ignore[arg-type]  # by name
    return Amendment(amended, changed, tuple(contradictions))


def _decide_scalars(
    contact: Contact, facts: ContactFacts
) -> tuple[dict[str, object], list[str]]:
    """Return the scalars that the facts fill or that stand over the archived ones, and the names that contradict."""
    filled: dict[str, object] = {}
    contradictions = []
    is_healed = contact.is_stated and not facts.is_stated
    is_first = facts.is_part and _lengthens("started_at", facts.started_at, contact.started_at)
    for name in SCALARS:
        told, archived = getattr(facts, name), getattr(contact, name)
        if told is None or told == archived:
            continue
        lengthens = facts.is_part and _lengthens(name, told, archived)
        stands = is_healed or (is_first and name in _OF_THE_FIRST)
        if archived is None or lengthens or stands:
            filled[name] = told
        elif not (facts.is_stated or (facts.is_part and name in _TIMES | _OF_THE_FIRST)):
            contradictions.append(name)
    return filled, contradictions


def _is_announced(contact: Contact, facts: ContactFacts) -> bool:
    """Tell whether what the facts say of a recording is news."""
    if facts.recording is None:
        return False
    stronger = EXPECTED if facts.is_part else NONE
    return contact.announced is None or facts.recording == stronger != contact.announced


def _grown(contact: Contact, facts: ContactFacts) -> tuple[dict[str, object], list[str]]:
    """Return the lists that ``facts`` make longer, and the names of those that cannot take all of it."""
    parties = merge_parties(contact.parties, facts.parties)
    pauses, is_contradicted = merge_pauses(contact.recording_pauses, facts.recording_pauses)
    refused = ["recording_pauses"] if is_contradicted else []
    if len(parties) > MAX_PARTIES:
        parties = contact.parties
        refused.append("parties")
    aliases = tuple(dict.fromkeys((*contact.aliases, *facts.aliases)))[:MAX_ALIASES]
    lists: dict[str, object] = {
        "parties": parties,
        "recording_pauses": pauses,
        "aliases": aliases,
    }
    return {n: of for n, of in lists.items() if of != getattr(contact, n)}, refused


_SENT_TIMES: Final = frozenset({"started_at", "ended_at"})
_TIMES: Final = _SENT_TIMES | {"answered_at"}
_OF_THE_FIRST: Final = frozenset({"direction", "subject"})


def _lengthens(name: str, told: datetime | None, archived: datetime | None) -> bool:
    """Tell whether the part's time ``told`` makes the contact begin or be answered earlier, or end later."""
    if told is None or archived is None:
        return False
    return (name in {"started_at", "answered_at"} and told < archived) or (
        name == "ended_at" and told > archived
    )


def merge_parties(archived: Sequence[Party], told: Sequence[Party]) -> tuple[Party, ...]:
    """Return the archived parties, completed by and extended with those ``told``.

    Two are one when their role is the same, nothing differs and something agrees. One that completes another may make
    it agree with a third, so that parties which no two descriptions contradict come out the same in whichever order
    they are told.
    """
    parties = list(archived)
    for party in told:
        merged = party
        # The earliest of those that are one keeps its place.
        place = len(parties)
        while (position := _find_same(parties, merged)) is not None:
            merged = _completed(parties.pop(position), merged)
            place = min(place, position)
        parties.insert(place, merged)
    return tuple(parties)


_IDENTIFYING = ("phone", "phone_as_sent", "email", "agent_id", "name")


def _find_same(parties: Sequence[Party], party: Party) -> int | None:
    return next((n for n, known in enumerate(parties) if _are_one(known, party)), None)


def _are_one(known: Party, told: Party) -> bool:
    if known.role != told.role:
        return False
    pairs = [(getattr(known, n), getattr(told, n)) for n in _IDENTIFYING]
    agree = any(a is not None and a == b for a, b in pairs)
    differ = any(a is not None and b is not None and a != b for a, b in pairs)
    # Of somebody of whom nothing is told there is only the role to agree with.
    is_bare = all(b is None for _, b in pairs) or all(a is None for a, _ in pairs)
    return not differ and (agree or is_bare)


def _completed(known: Party, told: Party) -> Party:
    values = {
        f.name: getattr(told, f.name) for f in fields(known) if getattr(known, f.name) is None
    }
    return replace(known, **values)
