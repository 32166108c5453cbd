"""What the log says about one contact, held against its rows: pure, so that the rule can be read aloud."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.archive.checks import Check, Code, failed, passed
from service.archive.digest import ProvenRow, find_committed_rows, row_digest, version_of
from service.domain.contact import RecordingState
from service.log.entry import EntryType, LogEntry, decode_entry
from service.log.errors import FormatError
from storage.ports import StoredEntry
from storage.rows import ContactRow, MessageRow, ObjectRow, RecordingRow

EVIDENCE: Final = frozenset(
    {
        EntryType.CONTACT_CREATED,
        EntryType.CONTACT_AMENDED,
        EntryType.CONTACT_ERASED,
        EntryType.RECORDING_RECEIVED,
        EntryType.RECORDING_ATTACHED,
        EntryType.RECORDING_EXPECTED,
        EntryType.RECORDING_LOST,
        EntryType.RECORDING_HEALED,
        EntryType.RECORDING_EXAMINED,
        EntryType.RENDITION_MADE,
        EntryType.MESSAGE_ARCHIVED,
    }
)
"""The entries that make a contact what it is; others, such as openings, only mention it."""

_WITHOUT: Final = frozenset(
    {None, RecordingState.NOT_RECORDED.value, RecordingState.ERASED.value}
)
"""What a contact without recordings is marked as."""

_ARRIVALS: Final = frozenset({EntryType.RECORDING_ATTACHED, EntryType.MESSAGE_ARCHIVED})


@dataclass(frozen=True, slots=True)
class Evidence:
    """The entries that make a contact what it is, in the order of the log, each as stored and as read."""

    entries: tuple[tuple[StoredEntry, LogEntry], ...]

    @property
    def read(self) -> tuple[LogEntry, ...]:
        """The entries as read."""
        return tuple(entry for _, entry in self.entries)

    @property
    def is_erased(self) -> bool:
        """Whether the contact was erased on purpose."""
        return any(entry.type is EntryType.CONTACT_ERASED for entry in self.read)

    def stated(self, object_id: str, name: str) -> frozenset[str]:
        """Return every value that the entries about the object state under ``name``."""
        values = (entry.data.get(name) for entry in self.read if object_id in entry.about)
        return frozenset(value for value in values if isinstance(value, str))


@dataclass(frozen=True, slots=True)
class ContactRows:
    """The rows of one contact. ``contact`` is None when its own row is missing."""

    id: str
    contact: ContactRow | None
    recordings: Sequence[RecordingRow]
    messages: Sequence[MessageRow]
    objects: Mapping[str, ObjectRow]


def read_evidence(stored: Iterable[StoredEntry]) -> tuple[Evidence, tuple[Check, ...]]:
    """Return the evidence among ``stored``, and a failed check for each entry that cannot be read."""
    entries, checks = {}, []
    for one in stored:
        try:
            entry = decode_entry(one.entry)
        except FormatError as error:
            checks.append(failed(Code.LOG_ENTRY, f"entry-{one.index}", error.detail))
            continue
        if entry.type in EVIDENCE:
            entries[one.index] = (one, entry)
    return Evidence(tuple(entries[index] for index in sorted(entries))), tuple(checks)


def check_complete(rows: ContactRows, evidence: Evidence) -> Check:
    """Check that the rows are those of which the log tells, no fewer and no more."""
    problem = next(_misfits(rows, evidence), None)
    if problem is not None:
        return failed(Code.COMPLETE, rows.id, problem)
    return passed(Code.COMPLETE, rows.id)


def check_digest(row: ProvenRow, evidence: Evidence) -> str | None:
    """Return what is wrong with ``row``, which must be the newest that the log commits to; None when nothing is."""
    committed = find_committed_rows(evidence.read).get(row.id)
    if committed is None:
        return "The log does not know it."
    version, digest = committed
    if version != version_of(row):
        return f"It is version {version_of(row)}; the log knows version {version}."
    if digest != row_digest(row):
        return "It is not what the log noted when it was written."
    return None


def _misfits(rows: ContactRows, evidence: Evidence) -> Iterator[str]:
    yield from _misfits_of_contact(rows)
    if not any(entry.type is EntryType.CONTACT_CREATED for entry in evidence.read):
        yield "The log does not know when this contact was made."
    arrived = _arrived(rows.id, evidence)
    yield from _missing(rows, arrived)
    if not evidence.is_erased:
        for row in rows.recordings:
            if (row.state == RecordingState.PRESENT) != (row.id in arrived):
                yield f"{row.id} is marked {row.state}; the log knows otherwise."
    for message in rows.messages:
        if message.id not in arrived:
            yield f"The log does not know {message.id}."
    known = [set(entry.about) for entry in evidence.read]
    for stored in rows.objects.values():
        if not any({stored.id, stored.owner_id} <= about for about in known):
            yield f"The log does not know {stored.id} as belonging to {stored.owner_id}."


def _misfits_of_contact(rows: ContactRows) -> Iterator[str]:
    if rows.contact is None:
        yield "The contact is in the log, and its record is missing."
    elif not rows.recordings and rows.contact.recording_state not in _WITHOUT:
        state = rows.contact.recording_state
        yield f"The contact is marked {state}, and the record of its recording is missing."


def _missing(rows: ContactRows, arrived: Mapping[str, str]) -> Iterator[str]:
    kept: dict[str, str | None] = {row.id: row.object_id for row in rows.recordings}
    kept.update({row.id: row.object_id for row in rows.messages})
    for part_id, object_id in arrived.items():
        if part_id not in kept:
            yield f"The log knows {part_id}, and its record is missing."
        elif kept[part_id] != object_id:
            yield f"{part_id} is not tied to the bytes that the log names."
        elif object_id not in rows.objects:
            yield f"The record of the bytes of {part_id} is missing."


def _arrived(contact_id: str, evidence: Evidence) -> dict[str, str]:
    """Return the object of each recording and message that the log says arrived for the contact."""
    arrived = {}
    for entry in evidence.read:
        if entry.type in _ARRIVALS and entry.about[0] == contact_id:
            _, part_id, object_id = entry.about[:3]
            arrived[part_id] = object_id
    return arrived
