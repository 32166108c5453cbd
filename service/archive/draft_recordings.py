"""The recordings of one contact in the making: announced, arrived, healed, or called off."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from service.archive.receive import ReceivedRecording
from service.archive.records import SealedRecording, recording_of
from service.archive.vault import seal_value
from service.crypto.blind_index import BlindIndex
from service.crypto.fields import FieldSealer
from service.domain.contact import AnnouncedRecording, RecordingState
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType
from storage.ports import Add, Put, Remove, Replace, Write
from storage.rows import JobRow, ObjectRow, RecordingRow

Note = Callable[..., None]
"""Takes the type of a log entry, its data, and the ids that it is about beside the contact."""

MAIL_CHECK: Final = "mail_check"
"""The kind of the job that checks the signatures of a mail."""
FETCHED_WITHIN: Final = timedelta(days=3)
"""Longer than fetching is tried: what is not there by then, and was not given up, is lost all the same."""

AWAITED: Final = frozenset({RecordingState.EXPECTED.value, RecordingState.LOST.value})
"""The states of recordings that may still come."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What became of a recording that arrived: which one it is now, and whether its bytes were there before.

    ``contradicts``: the name stands for other bytes, or for a recording that was erased. ``is_stored``: the bytes that
    arrived are among the contact's from now on.
    """

    id: str
    is_stored: bool = field(default=False, kw_only=True)
    is_duplicate: bool = False
    contradicts: bool = False


@dataclass(slots=True)
class RecordingsDraft:
    """The recordings of the contact ``contact_id``; ``stored`` are its rows as read, by their name tokens.

    ``fetched_as`` is the kind of the jobs that fetch them.
    """

    contact_id: str
    sealer: FieldSealer
    index: BlindIndex
    now: datetime
    note: Note
    fetched_as: str
    stored: Mapping[bytes, RecordingRow]
    rows: dict[bytes, RecordingRow] = field(init=False)
    _writes: list[Write] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = dict(self.stored)

    @property
    def states(self) -> set[str]:
        """The states of all recordings."""
        return {row.state for row in self.rows.values()}

    def expect(self, until: datetime) -> None:
        """Expect a recording until then, unless one is there or expected already; what is expected may take longer."""
        row = self.rows.get(self._token(""))
        if row is None and not self.rows:
            row = RecordingRow(
                id=new_id("rc"),
                version=0,
                contact_id=self.contact_id,
                name_token=self._token(""),
                state=RecordingState.EXPECTED.value,
                expected_until=to_microseconds(until),
                received_at=None,
                object_id=None,
                sealed=b"",
            )
            self._keep(row, SealedRecording())
            self.note(EntryType.RECORDING_EXPECTED, {}, row.id)
        elif row is not None and row.expected_until is not None:
            later = max(row.expected_until, to_microseconds(until))
            if later != row.expected_until:
                self._keep(replace(row, expected_until=later), SealedRecording())

    def announce(self, told: Sequence[AnnouncedRecording]) -> list[str]:
        """Let recordings be fetched, unless they are there, being fetched, or erased; each URL once.

        Another URL for one that is awaited takes the place of the first, for many are good for minutes only. Returns
        the ids of those that are there with other bytes than ``told`` says.
        """
        urls = {self._announced(row) for row in self.rows.values()} if told else set()
        others = [self._announce(one, urls) for one in told]
        return [other for other in others if other is not None]

    def _announce(self, told: AnnouncedRecording, urls: Collection[str | None]) -> str | None:
        token = self._token(told.name)
        known = self.rows.get(token)
        if known is None and told.url in urls:
            return None
        awaited = known or self.rows.get(self._token(""))
        if awaited is not None and awaited.state not in AWAITED:
            is_there = awaited.state == RecordingState.PRESENT
            is_other = is_there and told.sha256 not in {None, self._open(awaited).sha256}
            return awaited.id if is_other else None
        is_expected = awaited is not None and awaited.state == RecordingState.EXPECTED
        if awaited is not None and is_expected and self._open(awaited).announced == told:
            return None
        row = RecordingRow(
            id=awaited.id if awaited else new_id("rc"),
            version=0,
            contact_id=self.contact_id,
            name_token=token,
            state=RecordingState.EXPECTED.value,
            expected_until=to_microseconds(self.now + FETCHED_WITHIN),
            received_at=None,
            object_id=None,
            sealed=b"",
        )
        if awaited is not None:
            del self.rows[awaited.name_token]
        content_type = told.content_type or ""
        self._keep(
            row, SealedRecording(name=told.name, content_type=content_type, announced=told)
        )
        self._writes.append(Put(fetch_job(row.id, self.fetched_as, now=self.now)))
        self.note(EntryType.RECORDING_EXPECTED, {}, row.id)
        return None

    def call_off(self, *, with_named: bool) -> None:
        """Expect nothing any more, because the source says that there is no recording; nor fetch any that it named."""
        unnamed = self._token("")
        for row in list(self.rows.values()):
            if row.state in AWAITED and (with_named or row.name_token == unnamed):
                self._call_off(row)

    def _call_off(self, row: RecordingRow) -> None:
        del self.rows[row.name_token]
        before = next((one for one in self.stored.values() if one.id == row.id), None)
        if before is not None:
            # Replaced first, so that nothing is removed which changed since it was read.
            gone = replace(before, version=before.version + 1)
            self._writes += [
                Replace(gone),
                Remove(RecordingRow, (row.id,)),
                Remove(JobRow, (fetch_job_id(row.id),)),
            ]
            self.note(EntryType.RECORDING_CALLED_OFF, {}, row.id)

    def attach(
        self, received: ReceivedRecording, stored: ObjectRow, *, is_strict: bool
    ) -> Attached:
        """Work in a recording whose bytes are stored as ``stored``.

        The same bytes under the same name change nothing. Other bytes under it are a contradiction, and both stand: the
        second is archived beside the first, unless ``is_strict``. An expected or lost recording is what arrived, and
        heals. What was erased stays erased.
        """
        token = self._token(received.name)
        known = self.rows.get(token)
        if known is None or known.state in AWAITED:
            return self._attach(token, received, stored)
        beside = self._token(f"{received.name}\n{received.sha256}")
        for same in (known, self.rows.get(beside)):
            if same is not None and same.object_id is not None and self._is(same, received):
                return Attached(same.id, is_duplicate=True)
        if is_strict or known.state == RecordingState.ERASED.value:
            return Attached(known.id, contradicts=True)
        return replace(self._attach(beside, received, stored), contradicts=True)

    def _attach(self, token: bytes, received: ReceivedRecording, stored: ObjectRow) -> Attached:
        awaited = self.rows.get(token) or self.rows.get(self._token(""))
        row = RecordingRow(
            id=awaited.id if awaited else new_id("rc"),
            version=awaited.version if awaited else 0,
            contact_id=self.contact_id,
            name_token=token,
            state=RecordingState.PRESENT.value,
            expected_until=None,
            received_at=to_microseconds(self.now),
            object_id=stored.id,
            sealed=b"",
        )
        sealed = SealedRecording(
            name=received.name,
            content_type=received.content_type,
            sha256=received.sha256,
            salt=received.salt,
            commitment=received.commitment,
            announced=self._open(awaited).announced if awaited else None,
        )
        if awaited is not None:
            del self.rows[awaited.name_token]
        self._keep(row, sealed)
        self._writes += [
            Put(replace(stored, owner_id=row.id, contact_id=self.contact_id)),
            Put(media_job(row.id, now=self.now)),
        ]
        self.note(
            EntryType.RECORDING_ATTACHED, {"commitment": received.commitment}, row.id, stored.id
        )
        if awaited is not None and awaited.state == RecordingState.LOST.value:
            self.note(EntryType.RECORDING_HEALED, {}, row.id)
        return Attached(row.id, is_stored=True)

    def writes(self) -> list[Write]:
        """Return what is to be written."""
        known = {row.id for row in self.stored.values()}
        before = set(self.stored.values())
        changed = [row for row in self.rows.values() if row not in before]
        rows: list[Write] = [Replace(row) if row.id in known else Add(row) for row in changed]
        return rows + self._writes

    def changed(self) -> Mapping[str, RecordingRow]:
        """Return the rows that differ from what is stored, by id."""
        before = set(self.stored.values())
        return {row.id: row for row in self.rows.values() if row not in before}

    def _keep(self, row: RecordingRow, sealed: SealedRecording) -> None:
        """Let ``row`` stand, sealed as the version after the stored one."""
        stored = next((one.version for one in self.stored.values() if one.id == row.id), 0)
        version = stored + 1
        value = seal_value(self.sealer, sealed, table="recordings", row=row.id, version=version)
        self.rows[row.name_token] = replace(row, version=version, sealed=value)

    def _is(self, row: RecordingRow, received: ReceivedRecording) -> bool:
        return self._open(row).sha256 == received.sha256

    def _announced(self, row: RecordingRow) -> str | None:
        """Return the URL under which a recording was announced; None where there is none."""
        told = self._open(row).announced if row.state != RecordingState.ERASED else None
        return told.url if told else None

    def _open(self, row: RecordingRow) -> SealedRecording:
        return recording_of(row, self.sealer)

    def _token(self, name: str) -> bytes:
        return self.index.token("recording_name", f"{self.contact_id}\n{name}")


def media_job(recording_id: str, *, now: datetime) -> JobRow:
    """Return the job that examines a recording: facts, peaks, a playable rendition."""
    return _job(new_id("jb"), "media", recording_id, now=now)


def fetch_job(recording_id: str, kind: str, *, now: datetime) -> JobRow:
    """Return the job of ``kind`` that fetches a recording. Each has one: put again, it begins anew."""
    return _job(fetch_job_id(recording_id), kind, recording_id, now=now)


def fetch_job_id(recording_id: str) -> str:
    """Return the id of the job that fetches a recording."""
    return f"jb_{recording_id.removeprefix('rc_')}"


def mail_check_job(object_id: str, *, now: datetime) -> JobRow:
    """Return the job that checks the signatures of a mail, which is named by its bytes."""
    return _job(new_id("jb"), MAIL_CHECK, object_id, now=now)


def _job(job_id: str, kind: str, subject: str, *, now: datetime) -> JobRow:
    return JobRow(
        id=job_id,
        kind=kind,
        subject=subject,
        state="queued",
        run_at=to_microseconds(now),
        attempts=0,
        claimed_until=0,
        last_error=None,
    )
