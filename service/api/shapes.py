"""The shapes of what the interface answers, from which its description is made.

A field that may be missing is left out of an answer when nothing is known. Tests hold real answers against these.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from service.archive.checks import AnchorKind, Code, Outcome, State
from service.domain.contact import Channel, Direction, MessageChange, PartyRole, RecordingState
from service.domain.customer import Certainty, LinkState
from service.domain.purpose import Purpose
from service.domain.retention import ErasureState, Ground, HoldState

_ID = r"_[a-z2-7]{26}$"
ActorId = Annotated[str, Meta(description="A user, a token, `system` or `operator`.")]
ContactId = Annotated[str, Meta(pattern="^ct" + _ID)]
CustomerId = Annotated[str, Meta(pattern="^cu" + _ID)]
GrantId = Annotated[str, Meta(pattern="^gr" + _ID)]
HoldId = Annotated[str, Meta(pattern="^ho" + _ID)]
ErasureId = Annotated[str, Meta(pattern="^er" + _ID)]
ItemId = Annotated[str, Meta(pattern="^at" + _ID)]
MessageId = Annotated[str, Meta(pattern="^ms" + _ID)]
RecordingId = Annotated[str, Meta(pattern="^rc" + _ID)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Date = Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Cursor = Annotated[str, Meta(description="For the next page; null on the last one.")]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


class Shape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all have in common: nothing but what is named."""


class ShownParty(Shape, frozen=True, kw_only=True):
    """Somebody who took part. A telephone that is none is shown as it was sent."""

    role: PartyRole
    phone: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    agent_id: str | UnsetType = UNSET


class ShownPause(Shape, frozen=True, kw_only=True):
    """That a recording was paused on purpose; without an `end`, nobody told that it went on.

    `start_seconds` and `end_seconds`: where in the recording, where that is known.
    """

    recording: str
    start: datetime
    end: datetime | UnsetType = UNSET
    reason: str
    who: str | UnsetType = UNSET
    start_seconds: Seconds | UnsetType = UNSET
    end_seconds: Seconds | UnsetType = UNSET


class ShownLink(Shape, frozen=True, kw_only=True):
    """Whose contact it is: why, and how sure that is."""

    customer: CustomerId
    state: LinkState
    certainty: Certainty
    reasons: list[str]
    made_by: ActorId
    made_at: datetime


class KnownContact(Shape, frozen=True, kw_only=True):
    """A contact that was there before; whoever delivers is told no more of it."""

    id: ContactId
    source: str
    source_id: str


class ShownContact(Shape, frozen=True, kw_only=True):
    """A contact without its contents. Times as sent are there where they say more than the time, such as an offset.

    `not_delivered`: it is known from its source's statement alone.
    """

    id: ContactId
    source: str
    source_id: str
    channel: Channel
    direction: Direction
    started_at: datetime
    started_at_as_sent: str | UnsetType = UNSET
    ended_at: datetime | UnsetType = UNSET
    ended_at_as_sent: str | UnsetType = UNSET
    answered_at: datetime | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    notice: Literal["played", "not_played"] | UnsetType = UNSET
    notice_version: str | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    customer_number: str | UnsetType = UNSET
    metering_point: str | UnsetType = UNSET
    parties: list[ShownParty]
    recording: RecordingState | UnsetType = UNSET
    not_recorded_reason: str | UnsetType = UNSET
    recording_pauses: list[ShownPause] | UnsetType = UNSET
    not_delivered: bool | UnsetType = UNSET
    links: list[ShownLink]


class MatchedBy(Shape, frozen=True, kw_only=True):
    """A criterion, and where it was met: `party:customer`, `stated`, `link:phone`, `contact`."""

    criterion: str
    met_by: str


class FoundContact(ShownContact, frozen=True, kw_only=True):
    """A contact that a lookup found, and why."""

    matched_by: list[MatchedBy]


class NamedCustomer(Shape, frozen=True, kw_only=True):
    """Enough of a customer to name them."""

    id: CustomerId
    customer_number: str
    name: str | UnsetType = UNSET
    protected: bool


class Searched(Shape, frozen=True, kw_only=True, rename={"start": "from", "stop": "to"}):
    """What was looked for, as it was understood: a telephone number in E.164, times in UTC."""

    customer_number: str | UnsetType = UNSET
    phone: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    metering_point: str | UnsetType = UNSET
    agent: str | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    channel: Channel | UnsetType = UNSET
    direction: Direction | UnsetType = UNSET
    recording: RecordingState | UnsetType = UNSET
    start: datetime | UnsetType = UNSET
    stop: datetime | UnsetType = UNSET


class ContactPage(Shape, frozen=True, kw_only=True):
    """Contacts, newest first, and the ids of those that matched and cannot be opened.

    `customers` are registered with every identifier that was looked for; their histories have contacts that carry
    another one. `more_customers` when so many are that none is named. `searched` is there when nothing was found.
    """

    contacts: list[FoundContact]
    unreadable: list[ContactId]
    customers: list[NamedCustomer]
    more_customers: bool
    searched: Searched | UnsetType = UNSET
    next: Cursor | None


class CustomerContactPage(ContactPage, frozen=True, kw_only=True):
    """A customer's contacts; the first page also tells of those that were erased."""

    erased: list["ShownTombstone"]


class ShownRecording(Shape, frozen=True, kw_only=True):
    """What is known of a recording without opening it."""

    id: RecordingId
    state: RecordingState
    name: str | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    size_bytes: Count | UnsetType = UNSET
    sha256: Sha256 | UnsetType = UNSET
    received_at: datetime | UnsetType = UNSET
    expected_until: datetime | UnsetType = UNSET
    cause: str | UnsetType = UNSET
    facts: dict[str, Any] | UnsetType = UNSET
    renditions: list[Literal["playable"]]


class ShownAttachment(Shape, frozen=True, kw_only=True):
    """What is known of an attachment without opening it; its name is part of the content."""

    number: Count
    content_type: str
    size_bytes: Count


class ShownMessage(Shape, frozen=True, kw_only=True, rename={"sender": "from"}):
    """What is known of a message without opening it.

    With `change` it is a version that was edited or deleted at `changed_at`; `of` is the first version, null where that
    is not there. `internal`: the customer never saw it.
    """

    id: MessageId
    sender: str
    at: datetime
    size_bytes: Count
    attachments: list[ShownAttachment] | UnsetType = UNSET
    flags: list[str] | UnsetType = UNSET
    source_id: str | UnsetType = UNSET
    change: MessageChange | UnsetType = UNSET
    changed_at: datetime | UnsetType = UNSET
    of: MessageId | UnsetType | None = UNSET
    internal: bool | UnsetType = UNSET


class ShownOpening(Shape, frozen=True, kw_only=True):
    """That somebody opened a recording or message of the contact."""

    id: str
    object: str
    opened_at: datetime
    actor: ActorId


class FullContact(ShownContact, frozen=True, kw_only=True):
    """A contact with everything that may be shown without opening it."""

    recordings: list[ShownRecording]
    messages: list[ShownMessage]
    openings: list[ShownOpening]


class ShownOccupancy(Shape, frozen=True, kw_only=True):
    """A metering point of a customer, and from when to when."""

    metering_point: str
    occupied_from: Date | UnsetType = UNSET
    occupied_to: Date | UnsetType = UNSET


class ShownCustomer(Shape, frozen=True, kw_only=True):
    """A customer. The personal identity code is never part of it."""

    id: CustomerId
    customer_number: str
    name: str | UnsetType = UNSET
    business_id: str | UnsetType = UNSET
    phones: list[str]
    emails: list[str]
    language: str | UnsetType = UNSET
    protected: bool
    metering_points: list[ShownOccupancy]


class AddedRecording(Shape, frozen=True, kw_only=True):
    """A recording that is durable and sealed; `sha256` is of the bytes as they were sent."""

    id: RecordingId
    size_bytes: Count
    sha256: Sha256


class LinkDecision(Shape, frozen=True, kw_only=True):
    """What a person decides about a link."""

    state: Literal["linked", "unlinked"]


class ShownItem(Shape, frozen=True, kw_only=True):
    """Something that needs a person, and why: `reason` is the first of `reasons`.

    `can_be_retried`: trying it again can end it. Trying is answered in any case, with the item as it is then.
    """

    id: ItemId
    reason: str
    reasons: list[str]
    fields: list[str]
    about: str
    source: str | None
    raised_at: datetime
    open: bool
    can_be_retried: bool


class ItemList(Shape, frozen=True, kw_only=True):
    """What needs a person, newest first."""

    items: list[ShownItem]
    next: Cursor | None
    previous: (
        Annotated[str, Meta(description="For the page before; null on the first one.")] | None
    )


class Explanation(Shape, frozen=True, kw_only=True):
    """In words, what is wrong with a delivery; null when the item is about something else."""

    explanation: str | None


class ShownGrant(Shape, frozen=True, kw_only=True):
    """A purpose-bound permission to open contacts."""

    id: GrantId
    purpose: Purpose
    contacts: list[ContactId]
    created_at: datetime
    expires_at: datetime
    complaint: str | UnsetType = UNSET
    request: str | UnsetType = UNSET
    withdrawn_at: datetime | UnsetType = UNSET


class GrantPage(Shape, frozen=True, kw_only=True):
    """The asker's own grants, newest first."""

    grants: list[ShownGrant]
    next: Cursor | None


class ShownReconciledDay(Shape, frozen=True, kw_only=True):
    """What came of a day.

    `said` are the contacts that the source says it handled; `missing` did not come, `without_recording` have none that
    should, and `unknown` came and are not said.
    """

    day: date
    said: int
    missing: int
    without_recording: int
    unknown: int


class ReconciledDays(Shape, frozen=True, kw_only=True):
    """The days of a statement."""

    days: list[ShownReconciledDay]


class ShownMonth(Shape, frozen=True, kw_only=True):
    """A month of a source. `share` of what it said is here; null where it said nothing."""

    source: str
    month: str
    days: int
    said: int
    here: int
    late: int
    missing: int
    recordings_lost: int
    recordings_expected: int
    share: float | None


class CompletenessPage(Shape, frozen=True, kw_only=True):
    """The last twelve months of each source, newest first."""

    months: list[ShownMonth]


class HoldRequest(Shape, frozen=True, kw_only=True):
    """What is to be held, and why: a contact, or a customer's contacts that began within a period, also later ones."""

    contact: ContactId | UnsetType = UNSET
    customer: CustomerId | UnsetType = UNSET
    period_from: str | UnsetType = UNSET
    period_to: str | UnsetType = UNSET
    reason: str
    reference: str | UnsetType = UNSET
    review_on: Date | UnsetType = UNSET


class ShownHold(Shape, frozen=True, kw_only=True):
    """A legal hold; until it is `released`, nothing that it covers can be erased."""

    id: HoldId
    state: HoldState
    contact: ContactId | UnsetType = UNSET
    customer: CustomerId | UnsetType = UNSET
    period_from: datetime | UnsetType = UNSET
    period_to: datetime | UnsetType = UNSET
    reason: str
    reference: str | UnsetType = UNSET
    owner: ActorId
    placed_at: datetime
    review_on: Date
    release_requested_by: ActorId | UnsetType = UNSET
    released_by: ActorId | UnsetType = UNSET
    released_at: datetime | UnsetType = UNSET


class HoldPage(Shape, frozen=True, kw_only=True):
    """Holds, newest first."""

    holds: list[ShownHold]
    next: Cursor | None


class ErasureRequest(Shape, frozen=True, kw_only=True):
    """The contact that is to be erased, and why. `reference` names the request or order that it follows."""

    contact: ContactId
    ground: Ground
    reference: str | UnsetType = UNSET


class ShownErasure(Shape, frozen=True, kw_only=True):
    """An erasure of one contact; `erasing` once it is decided, `erased` once its keys are destroyed."""

    id: ErasureId
    contact: ContactId
    ground: Ground
    reference: str | UnsetType = UNSET
    state: ErasureState
    requested_by: ActorId
    requested_at: datetime
    approved_by: ActorId | UnsetType = UNSET
    approved_at: datetime | UnsetType = UNSET
    finished_at: datetime | UnsetType = UNSET


class ErasurePage(Shape, frozen=True, kw_only=True):
    """Erasures, newest first."""

    erasures: list[ShownErasure]
    next: Cursor | None


class ShownTombstone(Shape, frozen=True, kw_only=True):
    """A contact that was erased, when and why. `finished` once what opened it is destroyed."""

    id: ContactId
    channel: Channel
    direction: Direction
    started_at: datetime
    ground: Ground
    erased_at: datetime
    finished: bool


class Heard(Shape, frozen=True, kw_only=True):
    """What counts as heard: seconds of the recording, from where to where, and their sum."""

    heard: list[tuple[Seconds, Seconds]]
    heard_seconds: Seconds


class ShownCheck(Shape, frozen=True, kw_only=True):
    """One check: of what, what it found, in words, and why where it did not pass."""

    code: Code
    outcome: Outcome
    about: str
    text: str
    detail: str | UnsetType = UNSET


class ProvenEntry(Shape, frozen=True, kw_only=True):
    """An entry of the log and its proof (C2SP tlog-proof), as the exact text that verifies."""

    index: Count
    entry: str
    proof: str


class ShownAnchor(Shape, frozen=True, kw_only=True):
    """What outside of the archive vouches for the first `tree_size` entries: a file, a witness, a timestamp by `name`.

    `at` is the time that a witness or authority signed; `path` is where the published log keeps a timestamp.
    """

    kind: AnchorKind
    name: str
    tree_size: Count
    at: datetime | UnsetType = UNSET
    path: str | UnsetType = UNSET


class Proof(Shape, frozen=True, kw_only=True):
    """The entries about a contact, proven for a log of `tree_size` entries; null when nothing is published yet."""

    tree_size: Count | None
    entries: list[ProvenEntry]
    anchors: list[ShownAnchor]


class ShownVerification(Shape, frozen=True, kw_only=True):
    """Whether a contact is intact."""

    state: State
    checked_at: datetime
    checks: list[ShownCheck]
    proof: Proof


class Kept(Shape, frozen=True, kw_only=True):
    """What was sent is durable; `duplicate` when it had been before."""

    kept: Literal[True]
    duplicate: Literal[True] | UnsetType = UNSET


class Health(Shape, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"]


class Readiness(Shape, frozen=True, kw_only=True):
    """Whether everything that this process needs is there, and what is not. `warnings` stop nothing."""

    status: Literal["ready", "not ready"]
    role: Literal["all", "intake", "desk", "worker"]
    problems: dict[str, str] | UnsetType = UNSET
    warnings: dict[str, str] | UnsetType = UNSET


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """A problem (RFC 9457). `code` is stable; `detail` is for people; `incident` is what to quote to the operator."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    incident: str | UnsetType = UNSET
