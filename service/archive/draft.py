"""A draft: what becomes of one contact when things arrive, gathered into one change.

Nothing here stores anything. A draft begins with the contact as it is stored, or with nothing; arrivals are worked
into it one after the other; then it tells what to write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from service.archive.digest import ProvenRow, append_proving
from service.archive.draft_recordings import Attached, RecordingsDraft
from service.archive.missing import LATE, MISSING, missing_row
from service.archive.receive import ReceivedRecording
from service.archive.records import (
    SealedMessage,
    contact_row,
    decide_recording_state,
)
from service.archive.remarks import Remark, contradiction, joined, raise_remarks
from service.archive.vault import seal_value
from service.crypto.blind_index import BlindIndex
from service.crypto.fields import FieldSealer
from service.domain.contact import (
    EXPECTED,
    MAX_ALIASES,
    NONE,
    Channel,
    Contact,
    ContactFacts,
    RecordingState,
    decide_amendment,
    merge_parties,
)
from service.domain.ids import new_id
from service.domain.pauses import merge_pauses
from service.domain.times import format_time, to_microseconds
from service.log.entry import EntryType, LogEntry, Value
from storage.ports import Add, Append, Change, Put, Replace, Require, Write
from storage.rows import (
    AttentionRow,
    ContactRow,
    DeliveryRow,
    MessageRow,
    ObjectRow,
    RecordingRow,
)

RECORDED_THOUGH_NONE = "recorded_though_none"
"""A recording came although its source says that there is none; perhaps nobody was to be recorded."""


_FOUND_BY: Final = frozenset(
    {"aliases", "customer_number", "metering_point", "parties", "started_at"}
)
"""What tokens and links are made of."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that has been sealed already."""

    token: bytes
    sent_at: datetime
    object: ObjectRow
    sealed: SealedMessage
    beside: tuple[ObjectRow, ...] = ()
    """What a mail has beside its text: the mail as it came first, which is stored already."""


@dataclass(frozen=True, slots=True)
class _Note:
    """A log entry about the contact and ``about``, in the making."""

    type: EntryType
    data: Mapping[str, Value]
    about: tuple[str, ...]


@dataclass(slots=True)
class Draft:
    """One contact in the making. ``stored`` is its row as read, and ``contact`` what it says; None for a new one."""

    contact_id: str
    source: str
    source_token: bytes
    sealer: FieldSealer
    index: BlindIndex
    now: datetime
    actor: str
    grace: timedelta
    fetched_as: str
    stored: ContactRow | None = None
    contact: Contact | None = None
    stored_recordings: Mapping[bytes, RecordingRow] = field(default_factory=dict)
    has_new_identifiers: bool = False
    is_refused: bool = False
    recordings: RecordingsDraft = field(init=False)
    _amended: list[str] = field(default_factory=list)
    _remarks: list[Remark] = field(default_factory=list)
    _contradictions: list[Remark] = field(default_factory=list)
    _notes: list[_Note] = field(default_factory=list)
    _messages: dict[bytes, MessageRow] = field(default_factory=dict)
    _writes: list[Write] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recordings = RecordingsDraft(
            contact_id=self.contact_id,
            sealer=self.sealer,
            index=self.index,
            now=self.now,
            note=self.note,
            fetched_as=self.fetched_as,
            stored=self.stored_recordings,
        )

    @property
    def is_new(self) -> bool:
        """Whether the contact is not stored yet."""
        return self.stored is None

    def require_contact(self) -> Contact:
        """Return the contact, which must have been begun."""
        if self.contact is None:
            raise ValueError("the draft has no contact yet")
        return self.contact

    # -- facts

    def add_facts(self, facts: ContactFacts, *, is_strict: bool = False) -> tuple[str, ...]:
        """Work facts in: begin the contact, or amend it; return the names of fields that contradict.

        With ``is_strict`` a contradiction refuses the whole draft; otherwise what fits is taken, and the rest is
        remarked upon with what was told.
        """
        if self.contact is None:
            self._begin(facts)
            if facts.is_stated:
                self._writes.append(Put(missing_row(self.require_contact(), state=MISSING)))
            self._announce_recordings(facts)
            self._announce({"announced"}, facts)
            return ()
        amendment = decide_amendment(self.contact, facts)
        if amendment.contradictions:
            if is_strict:
                self.is_refused = True
                return amendment.contradictions
            self._contradictions.append(
                contradiction({n: _told(facts, n) for n in amendment.contradictions})
            )
        self.contact = amendment.contact
        self._amended.extend(name for name in amendment.changed if name not in self._amended)
        if _FOUND_BY & set(amendment.changed):
            self.has_new_identifiers = True
        if "is_stated" in amendment.changed:
            self._writes.append(Put(missing_row(self.contact, state=LATE)))
        others = self._announce_recordings(facts)
        self._announce(set(amendment.changed), facts)
        if others and is_strict:
            self.is_refused = True
        elif others:
            self._contradictions.append(contradiction(others))
        return (*amendment.contradictions, *others)

    def _begin(self, facts: ContactFacts) -> None:
        if facts.channel is None or facts.direction is None or facts.started_at is None:
            raise ValueError("a contact begins with its channel, direction and start")
        self.contact = Contact(
            id=self.contact_id,
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
            parties=merge_parties((), facts.parties),
            recording_state=None,
            not_recorded_reason=facts.not_recorded_reason,
            announced=facts.recording,
            started_at_as_sent=facts.started_at_as_sent,
            ended_at_as_sent=facts.ended_at_as_sent,
            answered_at=facts.answered_at,
            outcome=facts.outcome,
            recording_pauses=merge_pauses((), facts.recording_pauses)[0],
            is_stated=facts.is_stated,
            aliases=facts.aliases[:MAX_ALIASES],
        )
        self.has_new_identifiers = True
        self.note(
            EntryType.CONTACT_CREATED,
            {
                "source": self.source,
                "channel": facts.channel,
                "direction": facts.direction,
                **({"stated": 1} if facts.is_stated else {}),
            },
        )

    def _announce_recordings(self, facts: ContactFacts) -> Mapping[str, str]:
        """Let recordings be fetched; return what contradicts one that is there."""
        others = self.recordings.announce(facts.recordings)
        return {"recording": ",".join(others)} if others else {}

    def _announce(self, changed: set[str], facts: ContactFacts) -> None:
        """Expect the recording that is announced until the grace time after the end is over, or nothing any more.

        One that was named after it was said that there is none is fetched: a person learns of it when it is there.
        """
        contact = self.require_contact()
        if contact.announced == NONE:
            self.recordings.call_off(with_named=facts.denies_all)
        elif contact.announced == EXPECTED and changed & {"announced", "ended_at"}:
            self.recordings.expect(max(self.now, contact.ended_at or self.now) + self.grace)

    # -- recordings, messages, deliveries

    def add_recording(
        self, received: ReceivedRecording, stored: ObjectRow, *, is_strict: bool = False
    ) -> Attached:
        """Work in a recording whose bytes are stored as ``stored``; see `RecordingsDraft.attach`."""
        attached = self.recordings.attach(received, stored, is_strict=is_strict)
        if attached.contradicts and is_strict:
            self.is_refused = True
        elif attached.contradicts:
            self._contradictions.append(contradiction({"recording": attached.id}))
        return attached

    def has_message(self, token: bytes) -> bool:
        """Whether the message was worked in already."""
        return token in self._messages

    def add_message(self, message: NewMessage) -> None:
        """Work in a message whose text is stored."""
        row = MessageRow(
            id=new_id("ms"),
            contact_id=self.contact_id,
            message_token=message.token,
            sent_at=to_microseconds(message.sent_at),
            object_id=message.object.id,
            sealed=b"",
        )
        sealed = seal_value(
            self.sealer, message.sealed, table="messages", row=row.id, version=1
        )
        row = self._messages[message.token] = replace(row, sealed=sealed)
        stored = replace(message.object, owner_id=row.id, contact_id=self.contact_id)
        self._writes += [Add(row), Add(stored)]
        if "messages" not in self._amended:
            self._amended.append("messages")
        self.note(
            EntryType.MESSAGE_ARCHIVED,
            {
                "blob_sha256": stored.sha256.hex(),
                "commitment": message.sealed.commitment,
                **({"change": message.sealed.change} if message.sealed.change else {}),
            },
            row.id,
            stored.id,
        )
        self._add_beside(row, message)

    def _add_beside(self, row: MessageRow, message: NewMessage) -> None:
        parts = {} if message.sealed.mail is None else message.sealed.mail.by_object
        for number, one in enumerate(message.beside):
            stored = replace(one, owner_id=row.id, contact_id=self.contact_id)
            self._writes.append(Put(stored) if number == 0 else Add(stored))
            part = parts[stored.id]
            self.note(
                EntryType.ATTACHMENT_ARCHIVED,
                {
                    "kind": part.kind.value,
                    "blob_sha256": stored.sha256.hex(),
                    "commitment": part.commitment,
                },
                row.id,
                stored.id,
            )

    def add_writes(self, writes: Sequence[Write]) -> None:
        """Let ``writes`` belong to the change."""
        self._writes += writes

    def end_arrival(self, reasons: Sequence[str]) -> None:
        """Raise attention to what the arrival that was worked in contradicts, and to ``reasons``, as one thing."""
        together = [*self._contradictions, *map(Remark, reasons)]
        self._contradictions.clear()
        if together:
            self._remarks.append(joined(together))

    def settle(self, delivery: DeliveryRow) -> None:
        """Mark ``delivery`` as understood."""
        understood = replace(
            delivery,
            version=delivery.version + 1,
            state="understood",
            reason=None,
            await_token=None,
            contact_id=self.contact_id,
        )
        self._writes.append(Replace(understood))

    def note(self, kind: EntryType, data: Mapping[str, Value], *about: str) -> None:
        """Append a log entry about the contact and ``about``."""
        self._notes.append(_Note(kind, data, (self.contact_id, *about)))

    # -- result

    @property
    def remarks(self) -> Sequence[Remark]:
        """What a person should look at."""
        contact = self.require_contact()
        is_news = bool(self.recordings.changed()) or "announced" in self._amended
        is_recorded = RecordingState.PRESENT.value in self.recordings.states
        if contact.announced == NONE and is_recorded and is_news:
            return [*self._remarks, Remark(RECORDED_THOUGH_NONE)]
        return self._remarks

    def change(
        self, also: Sequence[Write] = (), *, noted: Sequence[AttentionRow] = ()
    ) -> Change:
        """Return everything to be written, ``also`` included; empty when nothing changed or it is refused.

        The contact's own row comes first, so that what refers to it never stands alone. Remarks that are ``noted``
        already, as open items about the contact, are not raised again.
        """
        if self.is_refused:
            return []
        remarks = self.remarks
        row = self._contact_row()
        rows: list[ProvenRow] = [*self.recordings.changed().values(), *self._messages.values()]
        first: list[Write] = []
        if row is not None:
            first = [Add(row) if self.is_new else Replace(row)]
            rows.insert(0, row)
        rest = [
            *self.recordings.writes(),
            *self._writes,
            *self._entries(rows),
            *raise_remarks(
                remarks,
                contact_id=self.contact_id,
                sealer=self.sealer,
                noted=noted,
                source=self.source,
                actor=self.actor,
                now=self.now,
            ),
            *also,
        ]
        if rest and not first and self.stored is not None:
            # Nothing is added to a contact that is erased meanwhile.
            first = [Require(ContactRow, (self.stored.id,), self.stored.version)]
        return [*first, *rest]

    def _contact_row(self) -> ContactRow | None:
        """Return the contact's row as it is to be, and let ``contact`` be what it says; None when it stays."""
        contact = self.require_contact()
        state = decide_recording_state(self.recordings.states)
        if state is None and contact.channel is Channel.CALL:
            state = RecordingState.NOT_RECORDED
        if self.stored is not None:
            if not self._amended and state == contact.recording_state:
                return None
            if self._amended:
                self.note(EntryType.CONTACT_AMENDED, {"fields": tuple(self._amended)})
            contact = replace(contact, version=self.stored.version + 1)
        self.contact = replace(contact, recording_state=state)
        return contact_row(self.contact, source_token=self.source_token, sealer=self.sealer)

    def _entries(self, rows: Sequence[ProvenRow]) -> list[Append]:
        """Return the log entries. Each row is committed to by the first that is about it."""
        left = {row.id: row for row in rows}
        entries = []
        for note in self._notes:
            proven = [left.pop(row_id) for row_id in note.about if row_id in left]
            if note is self._notes[-1]:
                proven += left.values()
            entry = LogEntry(
                type=note.type, at=self.now, actor=self.actor, about=note.about, data=note.data
            )
            entries.append(append_proving(entry, proven))
        return entries


def _told(facts: ContactFacts, name: str) -> str:
    value = getattr(facts, name)
    if isinstance(value, datetime):
        return format_time(value)
    # Parties have no place here: that they are too many is all there is to tell.
    return str(value) if isinstance(value, str | StrEnum) else ""
