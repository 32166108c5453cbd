"""What the desk shows: frozen values, in the clear, already permitted. Times are aware UTC."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from service.archive.lookup import Reason
from service.domain.contact import Contact, MessageChange, PartyRole, RecordingState
from service.domain.customer import Customer, Link
from service.domain.pauses import PausePlace, RecordingPause
from service.domain.purpose import Grant, Purpose
from service.domain.retention import Ground


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerSummary:
    """Enough of a customer to name them."""

    id: str
    number: str
    name: str | None = None
    is_protected: bool = False

    def __repr__(self) -> str:
        return f"CustomerSummary(id={self.id!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundContact:
    """A contact in a list: why it matched, and the customers it is linked to."""

    contact: Contact = field(repr=False)
    matched_by: tuple[Reason, ...] = ()
    customers: tuple[CustomerSummary, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPage:
    """Contacts, newest first; ``next_cursor`` is None on the last page.

    ``unreadable`` are the ids of those that belong here and cannot be opened. ``customers`` are registered with every
    identifier that was searched; ``has_more_customers`` when not all of them are named.
    """

    found: tuple[FoundContact, ...]
    next_cursor: str | None = None
    unreadable: tuple[str, ...] = ()
    customers: tuple[CustomerSummary, ...] = ()
    has_more_customers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerHistory:
    """A customer and one page of their contacts."""

    customer: Customer
    page: FoundPage


class Playback(StrEnum):
    """How a browser can play a recording: the original, a ``rendition``, none yet, or not at all."""

    ORIGINAL = "original"
    RENDITION = "rendition"
    PREPARING = "preparing"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseView:
    """A pause of a recording, and where in it that is; ``place`` is None where that is not within it, or not known."""

    pause: RecordingPause
    place: PausePlace | None = None

    @property
    def at(self) -> timedelta:
        """Where in the recording it begins; at its beginning where that is not known."""
        return timedelta(seconds=self.place.start if self.place else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingView:
    """One recording, or the lack of one; ``state`` and ``cause`` say which and why.

    ``channels`` says who is heard on each channel, None where that is unknown; it is empty while the media is not
    examined. ``heard`` are the seconds that the asking actor has heard, as sorted, disjoint ranges. ``file_name`` is
    that of a file which is neither sound nor film, such as a picture that was sent in a chat; None for any other. The
    customer never saw what ``is_internal``.
    """

    id: str
    state: RecordingState
    cause: str | None = None
    expected_until: datetime | None = None
    received_at: datetime | None = None
    erased_at: datetime | None = None
    size_bytes: int = 0
    codec: str = ""
    duration: timedelta | None = None
    channels: tuple[PartyRole | None, ...] = ()
    playback: Playback = Playback.PREPARING
    flags: tuple[str, ...] = ()
    heard: tuple[tuple[float, float], ...] = ()
    pauses: tuple[PauseView, ...] = ()
    file_name: str | None = field(default=None, repr=False)
    is_internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """A link and whose it is. ``made_by_name`` is None when the archive made it by rule."""

    link: Link
    customer: CustomerSummary
    made_by_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningView:
    """Who opened a recording or message of a contact, when, and why. ``reference`` names complaint or request."""

    opened_at: datetime
    actor_name: str
    is_own: bool
    purpose: Purpose
    reference: str | None
    what: str
    sent: timedelta | None = None
    heard: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionItem:
    """Something that a person should look at. ``reasons`` are stable codes; ``fields`` are those that contradict.

    ``detail`` explains in English and is safe to show. ``can_retry`` when trying it again can end it.
    """

    id: str
    reasons: tuple[str, ...]
    about: str
    source: str | None
    raised_at: datetime
    contact_id: str | None = None
    fields: tuple[str, ...] = ()
    detail: str | None = None
    can_retry: bool = True
    is_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPage:
    """What waits for a person, newest first, and the cursors of the pages after and before."""

    items: tuple[AttentionItem, ...]
    next_cursor: str | None = None
    previous_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactDetail:
    """A contact without its content. ``grant`` is the asking actor's own, valid now, for this contact.

    ``pauses`` are those of recordings that are not shown, such as one that is still expected.
    """

    contact: Contact = field(repr=False)
    links: tuple[LinkView, ...] = ()
    recordings: tuple[RecordingView, ...] = ()
    message_count: int = 0
    grant: Grant | None = None
    openings: tuple[OpeningView, ...] = ()
    attention: tuple[AttentionItem, ...] = ()
    pauses: tuple[PauseView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldView:
    """A hold that keeps a contact.

    ``can_release``: the asking actor can be the second person. ``can_request``: they can be the first one.
    """

    id: str
    is_of_customer: bool
    reason: str = field(repr=False)
    reference: str | None
    owner_name: str
    placed_at: datetime
    review_on: date
    requested_by_name: str | None
    can_request: bool
    can_release: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureView:
    """That somebody asked for a contact to be erased. ``can_approve``: the asking actor can be the second person."""

    id: str
    ground: Ground
    requested_by_name: str
    requested_at: datetime
    can_approve: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DisposalView:
    """What keeps a contact, and whether its erasure was asked for."""

    holds: tuple[HoldView, ...] = ()
    erasure: ErasureView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentView:
    """An attachment of a mail; ``name`` and ``content_type`` are the sender's words."""

    number: int
    name: str = field(repr=False)
    content_type: str
    size_bytes: int
    is_risky: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """One thing that was found out about who sent a mail.

    ``words`` and ``reason`` name the words for it, ``domain`` whom it is about. ``is_good`` is None where nobody knows.
    """

    words: str
    domain: str = ""
    reason: str | None = None
    is_good: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailView:
    """What a mail shows beside its text. Addresses are as the mail has them; ``headers`` are pairs of a fact and words.

    ``flags`` say what a person should know of it; ``has_html`` whether it has a formatted text that can be shown.
    """

    subject: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    received_at: datetime
    flags: tuple[str, ...]
    attachments: tuple[AttachmentView, ...]
    has_html: bool
    verdicts: tuple[VerdictView, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    """The public keys that the verdicts rest on: where each was published, and what it was."""
    checked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedMail:
    """One mail in the clear, for a page of its own. ``html`` is its formatted text, safe and masked; None: it has none.

    ``message.hidden`` counts what is hidden in what is shown: in ``html`` where there is one.
    """

    message: "OpenedMessage"
    html: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedMessage:
    """A message in the clear. ``fault`` is an error's code when it could not be opened; ``text`` is then empty.

    In ``hidden`` places of the text a card number or identity code is not shown.
    """

    id: str
    sender: str = field(repr=False)
    sent_at: datetime
    text: str = field(repr=False)
    role: PartyRole | None = None
    fault: str | None = None
    mail: MailView | None = None
    hidden: int = 0
    change: MessageChange | None = None
    changed_at: datetime | None = None
    is_internal: bool = False
    is_replaced: bool = False
    """A later version of it follows."""
    of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """Loudness over time: for each channel one byte per bucket, 0 for silence, 255 for full scale."""

    seconds_per_bucket: float
    channels: tuple[bytes, ...] = field(repr=False)


class IntegrityState(StrEnum):
    """The four honest answers to "is it intact?"."""

    ANCHORED = "anchored"
    PENDING = "pending"
    UNCHECKED = "unchecked"
    ALTERED = "altered"


class CheckOutcome(StrEnum):
    """What one check found. ``unknown`` means that it could not be done, not that it failed."""

    PASSED = "passed"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One kind of check by its code, such as ``blob_hash``, and the worst that it found.

    ``details`` say for whoever runs the archive, in English and with ids, what was found of what; safe to show.
    """

    code: str
    outcome: CheckOutcome
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorView:
    """What outside of the archive vouches: ``directory``, ``witness`` or ``timestamp``, by name, and when it signed."""

    kind: str
    name: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The answer about one contact, the checks behind it, where its log entry stands, and who vouches outside."""

    state: IntegrityState
    checks: tuple[CheckView, ...]
    checked_at: datetime
    entry_index: int | None = None
    tree_size: int | None = None
    anchors: tuple[AnchorView, ...] = ()
