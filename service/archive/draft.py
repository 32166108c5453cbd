"""A draft: what becomes of one contact when things arrive, gathered into one change.

Nothing here stores anything. A draft begins with the contact as it is stored, or with nothing; arrivals are worked
into it one after the other; then it tells what to write.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from service.archive.receive import ReceivedRecording
from service.archive.records import (
    SealedMessage,
    SealedRecording,
    contact_row,
    decide_recording_state,
)
from service.archive.vault import open_value, seal_value
from service.crypto.blind_index import BlindIndex
from service.crypto.fields import FieldSealer
from service.domain.contact import (
    Amendment,
    Channel,
    Contact,
    ContactFacts,
    RecordingState,
    decide_amendment,
)
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, Value, encode_entry
from storage.ports import Add, Append, Change, Put, Replace, Write
from storage.rows import (
    AttentionRow,
    ContactRow,
    DeliveryRow,
    JobRow,
    MessageRow,
    ObjectRow,
    RecordingRow,
)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that has been sealed already."""

    token: bytes
    sent_at: datetime
    object: ObjectRow
    sealed: SealedMessage


@dataclass(slots=True)
class Draft:
    """One contact in the making. ``stored`` is its row as read; None for a new one."""

    source: str
    source_token: bytes
    index: BlindIndex
    now: datetime
    actor: str
    grace: timedelta
    sealer: FieldSealer | None = None
    stored: ContactRow | None = None
    contact: Contact | None = None
    recordings: dict[bytes, RecordingRow] = field(default_factory=dict)
    contradictions: tuple[str, ...] = ()
    has_new_identifiers: bool = False
    is_duplicate: bool = False
    is_refused: bool = False
    recording_id: str | None = None
    _amended: list[str] = field(default_factory=list)
    _changed_recordings: dict[str, RecordingRow] = field(default_factory=dict)
    _new_recordings: set[str] = field(default_factory=set)
    _message_tokens: set[bytes] = field(default_factory=set)
    _writes: list[Write] = field(default_factory=list)

    @property
    def is_new(self) -> bool:
        """Whether the contact is not stored yet."""
        return self.stored is None

    def require_contact(self) -> Contact:
        """Return the contact, which must have been begun."""
        if self.contact is None or self.sealer is None:
            raise ValueError("the draft has no contact yet")
        return self.contact

    # -- facts

    def add_facts(self, facts: ContactFacts, *, contact_id: str | None = None) -> None:
        """Work facts in: begin the contact (as ``contact_id``), or amend it."""
        if self.contact is None:
            self._begin(facts, contact_id or new_id("ct"))
        else:
            amendment = decide_amendment(self.contact, facts)
            self._amend(amendment)
        self._announce(facts)

    def _begin(self, facts: ContactFacts, contact_id: str) -> None:
        if facts.channel is None or facts.direction is None or facts.started_at is None:
            raise ValueError("a contact begins with its channel, direction and start")
        is_call = facts.channel is Channel.CALL
        self.contact = Contact(
            id=contact_id,
            version=1,
            source=self.source,
            source_id=facts.source_id,
            channel=facts.channel,
            direction=facts.direction,
            started_at=facts.started_at,
            ended_at=facts.ended_at,
            created_at=self.now,
            queue=facts.queue,
            subject=facts.subject,
            customer_number=facts.customer_number,
            metering_point=facts.metering_point,
            parties=facts.parties,
            recording_state=RecordingState.NOT_RECORDED if is_call else None,
            not_recorded_reason=facts.not_recorded_reason,
        )
        self.has_new_identifiers = True
        self.note(
            EntryType.CONTACT_CREATED,
            {"source": self.source, "channel": facts.channel, "direction": facts.direction},
        )

    def _amend(self, amendment: Amendment) -> None:
        self.contact = amendment.contact
        self.contradictions += amendment.contradictions
        self._amended.extend(name for name in amendment.changed if name not in self._amended)
        if {"parties", "customer_number", "metering_point"} & set(amendment.changed):
            self.has_new_identifiers = True

    def _announce(self, facts: ContactFacts) -> None:
        """Expect a recording that is announced and not there."""
        if facts.recording != "expected" or self.recordings:
            return
        contact = self.require_contact()
        row = RecordingRow(
            id=new_id("rc"),
            version=1,
            contact_id=contact.id,
            name_token=self._name_token(""),
            state=RecordingState.EXPECTED.value,
            expected_until=to_microseconds(self.now + self.grace),
            received_at=None,
            object_id=None,
            sealed=b"",
        )
        self._keep_recording(row, SealedRecording(), is_new=True)
        self.note(EntryType.RECORDING_EXPECTED, {}, row.id)

    # -- recordings

    def add_recording(self, received: ReceivedRecording, stored: ObjectRow) -> None:
        """Work in a recording whose bytes are stored as ``stored``.

        The same bytes under the same name change nothing (``is_duplicate``); others under it are a contradiction, and
        what is archived stands. An expected or lost recording is what arrived, and heals.
        """
        contact = self.require_contact()
        token = self._name_token(received.name)
        known = self.recordings.get(token)
        if known is not None and known.object_id is not None:
            self.recording_id = known.id
            if self._opened(known).sha256 == received.sha256:
                self.is_duplicate = True
            else:
                self.contradictions += ("recording",)
            return
        awaited = known or self.recordings.get(self._name_token(""))
        row = RecordingRow(
            id=awaited.id if awaited else new_id("rc"),
            version=awaited.version if awaited else 1,
            contact_id=contact.id,
            name_token=token,
            state=RecordingState.PRESENT.value,
            expected_until=None,
            received_at=to_microseconds(self.now),
            object_id=stored.id,
            sealed=b"",
        )
        self.recording_id = row.id
        sealed = SealedRecording(
            name=received.name,
            content_type=received.content_type,
            sha256=received.sha256,
            salt=received.salt,
            commitment=received.commitment,
        )
        if awaited is not None:
            self.recordings.pop(awaited.name_token)
        self._keep_recording(row, sealed, is_new=awaited is None)
        self._writes += [
            Put(replace(stored, owner_id=row.id, contact_id=contact.id)),
            Put(media_job(row.id, now=self.now)),
        ]
        self.note(
            EntryType.RECORDING_ATTACHED, {"commitment": received.commitment}, row.id, stored.id
        )
        if awaited is not None and awaited.state == RecordingState.LOST.value:
            self.note(EntryType.RECORDING_HEALED, {}, row.id)

    def _keep_recording(
        self, row: RecordingRow, sealed: SealedRecording, *, is_new: bool
    ) -> None:
        if self.sealer is None:
            raise ValueError("the draft has no key yet")
        if is_new:
            self._new_recordings.add(row.id)
        elif row.id not in self._changed_recordings:
            row = replace(row, version=row.version + 1)
        row = replace(
            row,
            sealed=seal_value(
                self.sealer, sealed, table="recordings", row=row.id, version=row.version
            ),
        )
        self.recordings[row.name_token] = row
        self._changed_recordings[row.id] = row

    def _opened(self, row: RecordingRow) -> SealedRecording:
        if self.sealer is None:
            raise ValueError("the draft has no key yet")
        return open_value(
            self.sealer,
            row.sealed,
            SealedRecording,
            table="recordings",
            row=row.id,
            version=row.version,
        )

    def _name_token(self, name: str) -> bytes:
        return self.index.token("recording_name", f"{self.require_contact().id}\n{name}")

    # -- messages, remarks, deliveries

    def has_message(self, token: bytes) -> bool:
        """Whether the message was worked in already."""
        return token in self._message_tokens

    def add_message(self, message: NewMessage) -> None:
        """Work in a message whose text is stored."""
        contact = self.require_contact()
        if self.sealer is None:
            raise ValueError("the draft has no key yet")
        self._message_tokens.add(message.token)
        row = MessageRow(
            id=new_id("ms"),
            contact_id=contact.id,
            message_token=message.token,
            sent_at=to_microseconds(message.sent_at),
            object_id=message.object.id,
            sealed=b"",
        )
        sealed = seal_value(
            self.sealer, message.sealed, table="messages", row=row.id, version=1
        )
        stored = replace(message.object, owner_id=row.id, contact_id=contact.id)
        self._writes += [Add(replace(row, sealed=sealed)), Add(stored)]
        if "messages" not in self._amended:
            self._amended.append("messages")
        self.note(
            EntryType.MESSAGE_ARCHIVED,
            {"blob_sha256": stored.sha256.hex(), "commitment": message.sealed.commitment},
            row.id,
            stored.id,
        )

    def add_writes(self, writes: Sequence[Write]) -> None:
        """Let ``writes`` belong to the change."""
        self._writes += writes

    def remark(self, reason: str, *, about: str | None = None) -> None:
        """Raise attention to ``reason``."""
        subject = about or self.require_contact().id
        self._writes += raise_attention(
            reason, about=subject, source=self.source, actor=self.actor, now=self.now
        )

    def settle(self, delivery: DeliveryRow) -> None:
        """Mark ``delivery`` as understood."""
        contact_id = self.require_contact().id
        self._writes.append(
            Replace(
                replace(
                    delivery,
                    version=delivery.version + 1,
                    state="understood",
                    reason=None,
                    await_token=None,
                    contact_id=contact_id,
                )
            )
        )

    def note(self, kind: EntryType, data: dict[str, Value], *about: str) -> None:
        """Append a log entry about the contact and ``about``."""
        entry = LogEntry(
            type=kind,
            at=self.now,
            actor=self.actor,
            about=(self.require_contact().id, *about),
            data=data,
        )
        self._writes.append(Append(encode_entry(entry), entry.about))

    # -- result

    def change(self, also: Sequence[Write] = ()) -> Change:
        """Return everything to be written, ``also`` included; empty when nothing changed or it is refused.

        The contact's own row comes first, so that what refers to it never stands alone.
        """
        contact = self.require_contact()
        if self.is_refused:
            return []
        states = {row.state for row in self.recordings.values()}
        state = decide_recording_state(states) or contact.recording_state
        is_changed = bool(self._amended) or state != contact.recording_state
        contact = replace(contact, recording_state=state)
        rows: list[Write] = []
        if self.stored is None:
            rows.append(Add(self._row(contact)))
        elif is_changed:
            contact = replace(contact, version=self.stored.version + 1)
            rows.append(Replace(self._row(contact)))
            if self._amended:
                self.note(EntryType.CONTACT_AMENDED, {"fields": tuple(self._amended)})
        self.contact = contact
        rows += [
            Add(row) if row.id in self._new_recordings else Replace(row)
            for row in self._changed_recordings.values()
        ]
        return [*rows, *self._writes, *also]

    def _row(self, contact: Contact) -> ContactRow:
        if self.sealer is None:
            raise ValueError("the draft has no key yet")
        return contact_row(contact, source_token=self.source_token, sealer=self.sealer)


def media_job(recording_id: str, *, now: datetime) -> JobRow:
    """Return the job that examines a recording: facts, peaks, a playable rendition."""
    return JobRow(
        id=new_id("jb"),
        kind="media",
        subject=recording_id,
        state="queued",
        run_at=to_microseconds(now),
        attempts=0,
        claimed_until=0,
        last_error=None,
    )


def raise_attention(
    reason: str, *, about: str, source: str | None, actor: str, now: datetime
) -> list[Write]:
    """Return the writes that put ``about`` on the list of what needs attention."""
    row = AttentionRow(
        id=new_id("at"),
        version=1,
        reason=reason,
        about=about,
        source=source,
        raised_at=to_microseconds(now),
        state="open",
        settled_by=None,
        settled_at=None,
        sealed=None,
    )
    entry = LogEntry(
        type=EntryType.ATTENTION_RAISED,
        at=now,
        actor=actor,
        about=(row.id, about),
        data={"reason": reason},
    )
    return [Add(row), Append(encode_entry(entry), entry.about)]
