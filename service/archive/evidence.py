"""What the log says about one contact, held against its rows: pure, so that the rule can be read aloud."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
        EntryType.RECORDING_CALLED_OFF,
        EntryType.RECORDING_EXAMINED,
        EntryType.RENDITION_MADE,
        EntryType.MAIL_RECEIVED,
        EntryType.MESSAGE_ARCHIVED,
        EntryType.ATTACHMENT_ARCHIVED,
    }
)
"""The entries that make a contact what it is; others, such as openings, only mention it."""

_WITHOUT: Final = frozenset(
    {None, RecordingState.NOT_RECORDED.value, RecordingState.ERASED.value}
)
"""What a contact without recordings is marked as."""

_ARRIVALS: Final = frozenset({EntryType.RECORDING_ATTACHED, EntryType.MESSAGE_ARCHIVED})
_NAMING: Final = _ARRIVALS | {EntryType.ATTACHMENT_ARCHIVED}
_ARRIVED_ABOUT: Final = 3
"""They are about the contact, the recording or message, and the object."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The entries that make a contact what it is, in the order of the log, each as stored and as read.

    ``committed`` is the newest version of each row that they commit to, and its digest, by the row's id.

    Raises:
        FormatError: An entry does not say of rows what such an entry says.
    """

    entries: tuple[tuple[StoredEntry, LogEntry], ...]
    committed: Mapping[str, tuple[int, str]] = field(init=False, repr=False, compare=False)
    _about: Mapping[str, Sequence[LogEntry]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        about: dict[str, list[LogEntry]] = defaultdict(list)
        for entry in self.read:
            for subject in entry.about:
                about[subject].append(entry)
        object.__setattr__(self, "_about", dict(about))
        object.__setattr__(self, "committed", find_committed_rows(self.read))

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
        values = (entry.data.get(name) for entry in self._about.get(object_id, ()))
        return frozenset(value for value in values if isinstance(value, str))

    def ties(self, object_id: str, owner_id: str | None) -> bool:
        """Tell whether an entry says that the object belongs to ``owner_id``."""
        return any(owner_id in entry.about for entry in self._about.get(object_id, ()))


@dataclass(frozen=True, slots=True)
class ContactRows:
    """The rows of one contact. ``contact`` is None when its own row is missing."""

    id: str
    contact: ContactRow | None
    recordings: Sequence[RecordingRow]
    messages: Sequence[MessageRow]
    objects: Mapping[str, ObjectRow]


def read_evidence(
    stored: Iterable[StoredEntry], subjects: Collection[str]
) -> tuple[Evidence, tuple[Check, ...]]:
    """Return the evidence among ``stored``, and a failed check for each entry that is not as one about ``subjects`` is.

    What lies in the log and is no entry, or none of these subjects, is named as altered and is no evidence.
    """
    entries: dict[int, tuple[StoredEntry, LogEntry]] = {}
    checks: dict[int, Check] = {}
    for one in stored:
        try:
            entry = read_entry(one)
        except FormatError as error:
            checks[one.index] = failed(Code.LOG_ENTRY, f"entry-{one.index}", error.detail)
            continue
        if not any(subject in entry.about for subject in subjects):
            told = "It is listed as one about this, and is about something else."
            checks[one.index] = failed(Code.LOG_ENTRY, f"entry-{one.index}", told)
        elif entry.type in EVIDENCE:
            entries[one.index] = (one, entry)
    evidence = Evidence(tuple(entries[index] for index in sorted(entries)))
    return evidence, tuple(checks[index] for index in sorted(checks))


def read_entry(stored: StoredEntry) -> LogEntry:
    """Return the entry that is stored.

    Raises:
        FormatError: It is none, or does not say what an entry of its type says.
    """
    entry = decode_entry(stored.entry)
    if entry.type in _NAMING and len(entry.about) < _ARRIVED_ABOUT:
        raise FormatError("An entry about something that arrived does not name it.")
    find_committed_rows([entry])
    return entry


def check_complete(rows: ContactRows, evidence: Evidence) -> Check:
    """Check that the rows are those of which the log tells, no fewer and no more."""
    problem = next(_misfits(rows, evidence), None)
    if problem is not None:
        return failed(Code.COMPLETE, rows.id, problem)
    return passed(Code.COMPLETE, rows.id)


def check_digest(row: ProvenRow, evidence: Evidence) -> str | None:
    """Return what is wrong with ``row``, which must be the newest that the log commits to; None when nothing is."""
    committed = evidence.committed.get(row.id)
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
    yield from _missing_beside(rows, evidence)
    if not evidence.is_erased:
        for row in rows.recordings:
            if (row.state == RecordingState.PRESENT) != (row.id in arrived):
                yield f"{row.id} is marked {row.state}; the log knows otherwise."
    for message in rows.messages:
        if message.id not in arrived:
            yield f"The log does not know {message.id}."
    for stored in rows.objects.values():
        if not evidence.ties(stored.id, stored.owner_id):
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


def _missing_beside(rows: ContactRows, evidence: Evidence) -> Iterator[str]:
    """Tell of what a mail has beside its text, as long as the contact was not erased."""
    if evidence.is_erased:
        return
    for entry in evidence.read:
        if entry.type is EntryType.ATTACHMENT_ARCHIVED and entry.about[0] == rows.id:
            _, part_id, object_id = entry.about[:_ARRIVED_ABOUT]
            if object_id not in rows.objects:
                yield f"The record of the bytes {object_id} of {part_id} is missing."


def _arrived(contact_id: str, evidence: Evidence) -> dict[str, str]:
    """Return the object of each recording and message that the log says arrived for the contact."""
    arrived = {}
    for entry in evidence.read:
        if entry.type in _ARRIVALS and entry.about[0] == contact_id:
            _, part_id, object_id = entry.about[:3]
            arrived[part_id] = object_id
    return arrived
