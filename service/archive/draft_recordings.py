"""The recordings of one contact in the making: announced, arrived, healed, or called off."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from service.archive.receive import ReceivedRecording
from service.archive.records import SealedRecording
from service.archive.vault import open_value, seal_value
from service.crypto.blind_index import BlindIndex
from service.crypto.fields import FieldSealer
from service.domain.contact import RecordingState
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType
from storage.ports import Add, Put, Remove, Replace, Write
from storage.rows import JobRow, ObjectRow, RecordingRow

Note = Callable[..., None]
"""Takes the type of a log entry, its data, and the ids that it is about beside the contact."""

_AWAITED = frozenset({RecordingState.EXPECTED.value, RecordingState.LOST.value})


@dataclass(frozen=True, slots=True)
class Attached:
    """What became of a recording that arrived: which one it is now, and whether its bytes were there before.

    ``contradicts``: the name stands for other bytes, or for a recording that was erased.
    """

    id: str
    is_duplicate: bool = False
    contradicts: bool = False


@dataclass(slots=True)
class RecordingsDraft:
    """The recordings of the contact ``contact_id``; ``stored`` are its rows as read, by their name tokens."""

    contact_id: str
    sealer: FieldSealer
    index: BlindIndex
    now: datetime
    note: Note
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

    def call_off(self) -> None:
        """Expect nothing any more, because the source says that there is no recording."""
        row = self.rows.get(self._token(""))
        if row is None or row.state not in _AWAITED:
            return
        del self.rows[row.name_token]
        before = self.stored.get(row.name_token)
        if before is not None:
            # Replaced first, so that nothing is removed which changed since it was read.
            gone = replace(before, version=before.version + 1)
            self._writes += [Replace(gone), Remove(RecordingRow, (row.id,))]

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
        if known is None or known.state in _AWAITED:
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
        return Attached(row.id)

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
        sealed = open_value(
            self.sealer,
            row.sealed,
            SealedRecording,
            table="recordings",
            row=row.id,
            version=row.version,
        )
        return sealed.sha256 == received.sha256

    def _token(self, name: str) -> bytes:
        return self.index.token("recording_name", f"{self.contact_id}\n{name}")


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
