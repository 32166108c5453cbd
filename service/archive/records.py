"""Rows and the values that they hold: how contacts, recordings, customers and the rest are kept.

Each pair of functions is inverse to the other. What a row shows in the clear is what it needs to be found and counted;
everything else is in its sealed field.
"""

from collections.abc import Collection
from datetime import datetime

import msgspec

from service.archive.mail_records import SealedMail
from service.archive.vault import open_value, seal_value
from service.crypto.fields import FieldSealer
from service.domain.contact import (
    AnnouncedRecording,
    Channel,
    Contact,
    Direction,
    MessageChange,
    Party,
    PartyRole,
    RecordingState,
)
from service.domain.customer import Certainty, Customer, Link, LinkState
from service.domain.pauses import RecordingPause
from service.domain.times import from_microseconds, to_microseconds
from storage.rows import ContactRow, CustomerRow, LinkRow, MessageRow, RecordingRow


class SealedContact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is personal in a contact."""

    source_id: str
    queue: str | None = None
    subject: str | None = None
    customer_number: str | None = None
    metering_point: str | None = None
    parties: tuple[Party, ...] = ()
    not_recorded_reason: str | None = None
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


class SealedRecording(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is personal or provable in a recording.

    ``sha256`` is that of the bytes as received, in hexadecimal; ``commitment`` is HMAC-SHA-256 of it under ``salt`` and
    stands in the log. ``cause`` says why a recording is lost. ``facts`` are those of `service.worker.media`.
    ``announced`` is where its source said that it can be fetched, and what it said of it.
    """

    name: str = ""
    content_type: str = ""
    sha256: str = ""
    salt: bytes = b""
    commitment: str = ""
    cause: str = ""
    facts: dict[str, object] | None = None
    announced: AnnouncedRecording | None = None

    @property
    def is_internal(self) -> bool:
        """Whether it belongs to a note among the company's own, which the customer never saw."""
        return self.announced is not None and self.announced.is_internal


class SealedMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is personal in a message, apart from its text.

    ``mail`` is what a mail has beside it; the rest is as in `MessageText`.
    """

    sender: str
    sha256: str
    salt: bytes
    commitment: str
    mail: SealedMail | None = None
    ident: str = ""
    change: MessageChange | None = None
    changed_at: datetime | None = None
    is_internal: bool = False
    writer: PartyRole | None = None


def message_of(row: MessageRow, sealer: FieldSealer) -> SealedMessage:
    """Return what is sealed in ``row``.

    Raises:
        TamperedError: The sealed field is not what was sealed there.
    """
    return open_value(
        sealer, row.sealed, SealedMessage, table="messages", row=row.id, version=1
    )


def recording_of(row: RecordingRow, sealer: FieldSealer) -> SealedRecording:
    """Return what is sealed in ``row``.

    Raises:
        TamperedError: The sealed field is not what was sealed there.
    """
    return open_value(
        sealer,
        row.sealed,
        SealedRecording,
        table="recordings",
        row=row.id,
        version=row.version,
    )


def contact_row(contact: Contact, *, source_token: bytes, sealer: FieldSealer) -> ContactRow:
    """Return the row of ``contact``, sealed."""
    sealed = SealedContact(
        source_id=contact.source_id,
        queue=contact.queue,
        subject=contact.subject,
        customer_number=contact.customer_number,
        metering_point=contact.metering_point,
        parties=contact.parties,
        not_recorded_reason=contact.not_recorded_reason,
        announced=contact.announced,
        started_at_as_sent=contact.started_at_as_sent,
        ended_at_as_sent=contact.ended_at_as_sent,
        answered_at=contact.answered_at,
        outcome=contact.outcome,
        notice=contact.notice,
        notice_version=contact.notice_version,
        recording_pauses=contact.recording_pauses,
        is_stated=contact.is_stated,
        aliases=contact.aliases,
    )
    return ContactRow(
        id=contact.id,
        version=contact.version,
        source=contact.source,
        source_token=source_token,
        channel=contact.channel.value,
        direction=contact.direction.value,
        started_at=to_microseconds(contact.started_at),
        ended_at=None if contact.ended_at is None else to_microseconds(contact.ended_at),
        created_at=to_microseconds(contact.created_at),
        recording_state=None
        if contact.recording_state is None
        else contact.recording_state.value,
        state="kept",
        sealed=seal_value(
            sealer, sealed, table="contacts", row=contact.id, version=contact.version
        ),
    )


def contact_of(row: ContactRow, sealer: FieldSealer) -> Contact:
    """Return the contact of ``row``.

    Raises:
        TamperedError: The sealed field is not what was sealed there.
    """
    sealed = open_value(
        sealer, row.sealed, SealedContact, table="contacts", row=row.id, version=row.version
    )
    state = row.recording_state
    return Contact(
        id=row.id,
        version=row.version,
        source=row.source,
        source_id=sealed.source_id,
        channel=Channel(row.channel),
        direction=Direction(row.direction),
        started_at=from_microseconds(row.started_at),
        ended_at=None if row.ended_at is None else from_microseconds(row.ended_at),
        created_at=from_microseconds(row.created_at),
        queue=sealed.queue,
        subject=sealed.subject,
        customer_number=sealed.customer_number,
        metering_point=sealed.metering_point,
        parties=sealed.parties,
        recording_state=None if state is None else RecordingState(state),
        not_recorded_reason=sealed.not_recorded_reason,
        announced=sealed.announced,
        started_at_as_sent=sealed.started_at_as_sent,
        ended_at_as_sent=sealed.ended_at_as_sent,
        answered_at=sealed.answered_at,
        outcome=sealed.outcome,
        notice=sealed.notice,
        notice_version=sealed.notice_version,
        recording_pauses=sealed.recording_pauses,
        is_stated=sealed.is_stated,
        aliases=sealed.aliases,
    )


def customer_row(
    customer: Customer, *, number_token: bytes, sealer: FieldSealer, now: datetime
) -> CustomerRow:
    """Return the row of ``customer``, sealed."""
    return CustomerRow(
        id=customer.id,
        version=customer.version,
        number_token=number_token,
        updated_at=to_microseconds(now),
        state="kept",
        sealed=seal_value(
            sealer, customer, table="customers", row=customer.id, version=customer.version
        ),
    )


def customer_of(row: CustomerRow, sealer: FieldSealer) -> Customer:
    """Return the customer of ``row``.

    Raises:
        TamperedError: The sealed field is not what was sealed there.
    """
    return open_value(
        sealer, row.sealed, Customer, table="customers", row=row.id, version=row.version
    )


def link_row(link: Link, contact_id: str, *, version: int = 1) -> LinkRow:
    """Return the row of ``link``."""
    return LinkRow(
        contact_id=contact_id,
        customer_id=link.customer_id,
        version=version,
        state=link.state.value,
        reasons=",".join(link.reasons),
        certainty=link.certainty.value,
        made_by=link.made_by,
        made_at=to_microseconds(link.made_at),
    )


def link_of(row: LinkRow) -> Link:
    """Return the link of ``row``."""
    return Link(
        customer_id=row.customer_id,
        state=LinkState(row.state),
        reasons=tuple(row.reasons.split(",")) if row.reasons else (),
        certainty=Certainty(row.certainty),
        made_by=row.made_by,
        made_at=from_microseconds(row.made_at),
    )


def decide_recording_state(states: Collection[str]) -> RecordingState | None:
    """Return what a contact shows for its recordings: the best that became of any of them."""
    order = (
        RecordingState.PRESENT,
        RecordingState.EXPECTED,
        RecordingState.LOST,
        RecordingState.ERASED,
    )
    return next((state for state in order if state.value in states), None)
