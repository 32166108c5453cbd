"""The rows of the archive: plain values, sealed where they would tell something.

One frozen class per table; ``storage/tables.py`` describes the same columns to the database, and a test
holds the two together. Times are integer microseconds since 1970-01-01 UTC. Fields named ``sealed`` are
opaque here. Fields named ``…token`` are keyed hashes. A ``version`` starts at 1 and grows by one with
each replacement.
"""

from dataclasses import dataclass
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Base of every row; ``KEY`` names the columns of its primary key."""

    KEY: ClassVar[tuple[str, ...]] = ("id",)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow(Row):
    """What a source sent, raw and sealed, and how far it has been understood.

    ``dedupe`` is unique within a source: one identification arrives once. ``body_token`` tells its bytes from others.
    ``state`` is ``received``, ``understood``, ``waiting`` (for its contact), ``trial`` (its source is not live) or
    ``failed``; when its time is over, ``erasing`` until its keys are destroyed, then ``erased``. ``await_token`` is
    the contact it waits for.
    ``object_id`` names the recording's bytes, for uploads.
    """

    id: str
    version: int
    source: str
    kind: str
    dedupe: bytes
    body_token: bytes
    received_at: int
    size_bytes: int
    sealed: bytes
    state: str
    reason: str | None
    await_token: bytes | None
    contact_id: str | None
    object_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow(Row):
    """One contact. (``source``, ``source_token``) is unique. ``recording_state`` is None for mails and chats."""

    id: str
    version: int
    source: str
    source_token: bytes
    channel: str
    direction: str
    started_at: int
    ended_at: int | None
    created_at: int
    recording_state: str | None
    state: str
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactTokenRow(Row):
    """One thing by which a contact is found. ``started_at`` repeats the contact's, for order."""

    KEY: ClassVar[tuple[str, ...]] = ("token", "started_at", "contact_id")

    token: bytes
    started_at: int
    contact_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerRow(Row):
    """One customer, sealed; ``number_token`` is unique."""

    id: str
    version: int
    number_token: bytes
    updated_at: int
    state: str
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerTokenRow(Row):
    """One thing by which a customer is found; for metering points with the occupancy, half-open."""

    KEY: ClassVar[tuple[str, ...]] = ("token", "customer_id", "valid_from")

    token: bytes
    customer_id: str
    field: str
    valid_from: int
    valid_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow(Row):
    """A contact's tie to a customer. ``state``: ``linked``, ``candidate`` or ``unlinked`` (by hand).

    That of a tombstone, which is shown in the customer's history, is ``erased``.
    """

    KEY: ClassVar[tuple[str, ...]] = ("contact_id", "customer_id")

    contact_id: str
    customer_id: str
    version: int
    state: str
    reasons: str
    certainty: str
    made_by: str
    made_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRow(Row):
    """One recording of a contact, or the lack of one.

    ``state``: ``present``, ``expected``, ``not_recorded``, ``lost`` or ``erased``. (``contact_id``,
    ``name_token``) is unique; an expected one has an empty name's token. ``expected_until`` is set while expected.
    """

    id: str
    version: int
    contact_id: str
    name_token: bytes
    state: str
    expected_until: int | None
    received_at: int | None
    object_id: str | None
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow(Row):
    """One sealed object: its blob is stored under ``id``, its age header in the key store under ``id``.

    ``kind``: ``recording``, ``message``, ``rendition`` or ``peaks``. ``owner_id`` is the recording or message; it is
    None until the delivery that brought it is understood. ``sha256`` is that of the blob.
    One of the kind ``part`` belongs to an upload that is not over; ``made_at`` grows from part to part.
    """

    id: str
    kind: str
    owner_id: str | None
    contact_id: str | None
    plain_bytes: int
    sealed_bytes: int
    sha256: bytes
    made_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow(Row):
    """One message of a mail or chat; (``contact_id``, ``message_token``) is unique."""

    id: str
    contact_id: str
    message_token: bytes
    sent_at: int
    object_id: str
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRow(Row):
    """A contact that its source says it handled. ``state``: ``missing``, or ``late`` when it was delivered since."""

    KEY = ("contact_id",)

    contact_id: str
    source: str
    started_at: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciledRow(Row):
    """A day of a source that was compared with a statement of it; ``day`` as ``2026-11-22``.

    ``said``: the contacts of the statement; ``unknown``: those that were delivered and it does not say.
    """

    KEY = ("source", "day")

    source: str
    day: str
    said: int
    unknown: int
    compared_at: int
    compared_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow(Row):
    """A time in which a source may have handled what it could not deliver. ``until`` is None while it lasts.

    ``state``: ``open``, or ``closed`` when all of it was compared with a statement.
    """

    id: str
    version: int
    source: str
    cause: str
    since: int
    until: int | None
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxRow(Row):
    """How far a mailbox of a source was read. ``token`` stands for its server, account and name.

    Every mail with a UID below ``next_uid`` is kept or accounted for, as long as the mailbox says ``uid_validity`` (RFC
    9051, section 2.3.1.1). ``read_at``: when it was last read to its end; None until it was.
    """

    KEY: ClassVar[tuple[str, ...]] = ("source", "token")

    source: str
    token: bytes
    version: int
    uid_validity: int
    next_uid: int
    read_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRow(Row):
    """Something a person should look at. ``state``: ``open`` or ``settled``; ``about`` is an id."""

    id: str
    version: int
    reason: str
    about: str
    source: str | None
    raised_at: int
    state: str
    settled_by: str | None
    settled_at: int | None
    sealed: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRow(Row):
    """A purpose-bound permission to open the contacts of its ``GrantContactRow`` rows."""

    id: str
    version: int
    actor_id: str
    purpose: str
    created_at: int
    expires_at: int
    withdrawn_at: int | None
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantContactRow(Row):
    """One contact that a grant covers."""

    KEY: ClassVar[tuple[str, ...]] = ("grant_id", "contact_id")

    grant_id: str
    contact_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRow(Row):
    """One grant used on one object; (``grant_id``, ``object_id``) is unique. Coverage is sealed-free: seconds only."""

    id: str
    version: int
    grant_id: str
    object_id: str
    actor_id: str
    contact_id: str
    opened_at: int
    sent: str
    heard: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow(Row):
    """A person who signs in. ``roles`` is a sorted, comma-separated list; ``login_token`` is unique."""

    id: str
    version: int
    login_token: bytes
    roles: str
    state: str
    failures: int
    locked_until: int
    created_at: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow(Row):
    """A machine's token; ``secret_hash`` is SHA-256 of the secret and unique.

    ``mark`` is a keyed hash of what the row shows, for those who cannot open ``sealed``.
    """

    id: str
    version: int
    secret_hash: bytes
    role: str
    source: str | None
    created_at: int
    revoked_at: int | None
    mark: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow(Row):
    """A signed-in browser; ``id`` is the hexadecimal SHA-256 of the cookie."""

    id: str
    user_id: str
    csrf: str
    created_at: int
    seen_at: int
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow(Row):
    """A recording that is sent in pieces (tus 1.0). Its objects of the kind ``part`` hold ``offset_bytes`` together.

    ``kind``: ``whole``, ``partial`` or ``final`` (of partial ones). ``state``: ``open``, ``done`` (the recording is
    kept), or ``removing`` until nothing is left. ``length_bytes`` is None while the sender has not told it.
    ``actor_id`` is who may go on.
    """

    id: str
    version: int
    actor_id: str
    kind: str
    state: str
    offset_bytes: int
    length_bytes: int | None
    touched_at: int
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteRow(Row):
    """A one-time link to set a password; ``id`` is the hexadecimal SHA-256 of its secret."""

    id: str
    user_id: str
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow(Row):
    """A source that was connected while the service ran; ``name`` is unique. ``state``: ``connecting`` or ``live``.

    ``for_intake`` is what intake knows its deliveries by, sealed under a key of intake; ``sealed`` is everything else.
    """

    id: str
    version: int
    name: str
    kind: str
    state: str
    created_at: int
    live_at: int | None
    for_intake: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRow(Row):
    """The last time that deliveries of a source were understood anew. ``state``: ``running`` or ``done``.

    ``scope`` says which; those received until ``begun_at``, in the order of their ids, ``after`` being the last.
    """

    KEY: ClassVar[tuple[str, ...]] = ("source",)

    source: str
    version: int
    scope: str
    state: str
    begun_by: str
    begun_at: int
    finished_at: int | None
    total: int
    done: int
    changed: int
    failed: int
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(Row):
    """Work to be done beside requests. (``kind``, ``subject``) is unique while it is not done.

    ``state``: ``queued``, ``claimed`` or ``dead``; a job that is done is removed. ``claimed_until`` ends a lease.
    """

    id: str
    kind: str
    subject: str
    state: str
    run_at: int
    attempts: int
    claimed_until: int
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRow(Row):
    """A legal hold: of ``contact_id``, or of ``customer_id`` and what began within the period (half-open, may be open).

    ``state``: ``placed``, ``release_requested`` or ``released``. ``owner_id`` is who placed it.
    """

    id: str
    version: int
    contact_id: str | None
    customer_id: str | None
    period_from: int | None
    period_to: int | None
    state: str
    owner_id: str
    placed_at: int
    review_on: str
    requested_by: str | None
    released_by: str | None
    released_at: int | None
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureRow(Row):
    """An erasure of one contact. ``state``: ``requested``, ``withdrawn``, ``erasing`` or ``erased``.

    ``erasing``: it is decided and being done; ``parts`` are then the ids, comma-separated, of what is to be destroyed.
    """

    id: str
    version: int
    contact_id: str
    ground: str
    state: str
    requested_by: str
    requested_at: int
    approved_by: str | None
    approved_at: int | None
    finished_at: int | None
    parts: str
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRow(Row):
    """Nothing but a version: who decides on many rows requires it, who adds to them replaces it."""

    id: str
    version: int


CLOSED: Final = "closed"
"""The kind of a key row that closes a wrapper: see `storage.ports.KeyStore.put_keys`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow(Row):
    """One wrapped key or header in the key store.

    ``kind``: ``row``, ``header``, ``delivery`` or ``session``. ``wrapped_by`` names the epoch (``epoch:1``) or the
    intake session (its id) that opens it. One of the kind ``CLOSED`` is no key: it closes the wrapper that is its id.
    """

    id: str
    kind: str
    wrapped_by: str
    wrapped: bytes
    made_at: int
