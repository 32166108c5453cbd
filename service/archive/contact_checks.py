"""Every check of one contact's rows and bytes; what the log proves of it is checked in `service.archive.log_checks`.

Nothing here raises for what is wrong: each check says whether it passed, failed, or could not be done.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from service.archive.checks import Check, Code, failed, passed, unknown
from service.archive.digest import ProvenRow
from service.archive.evidence import (
    ContactRows,
    Evidence,
    check_complete,
    check_digest,
    read_evidence,
)
from service.archive.examine import Examined, examine
from service.archive.records import SealedRecording, contact_of, message_of
from service.archive.vault import Vault, open_value, require_epoch
from service.crypto.fields import FieldSealer
from service.crypto.secret import FileKey
from service.crypto.stream import sealed_length
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.log.entry import commitment
from storage.errors import StorageError
from storage.ports import BlobStore, LogStore, Store, StoredEntry
from storage.rows import ContactRow, KeyRow, MessageRow, ObjectRow, RecordingRow

NO_KEYS = "The keys are not at hand here."
NO_KEY = "Its key is not in the key store."

_AT_ONCE: Final = 16
"""So many rows or objects are worked through without a thread, which would cost more than it gives."""

_READERS: Final = 4
"""So many objects of one contact are read at a time."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a recording or message seals of the bytes that were received."""

    sha256: str
    salt: bytes = field(repr=False)
    commitment: str


@dataclass(frozen=True, slots=True)
class ContactChecker:
    """Checks contacts. Without ``vault`` only what needs no key is checked, and the rest is unknown."""

    store: Store
    log: LogStore
    blobs: BlobStore
    vault: Vault | None

    async def read(self, contact_ids: Collection[str]) -> Mapping[str, ContactRows]:
        """Return the rows of the contacts, also of those whose own row is missing."""
        ids = list(contact_ids)
        where = {"contact_id": ids}
        contacts = {row.id: row for row in await self.store.find(ContactRow, {"id": ids})}
        recordings = await self.store.find(RecordingRow, where)
        messages = await self.store.find(MessageRow, where)
        objects = await self.store.find(ObjectRow, where)
        return {
            one: ContactRows(
                id=one,
                contact=contacts.get(one),
                recordings=[row for row in recordings if row.contact_id == one],
                messages=[row for row in messages if row.contact_id == one],
                objects={row.id: row for row in objects if row.contact_id == one},
            )
            for one in ids
        }

    async def get_evidence(
        self, rows: ContactRows, also: Sequence[StoredEntry] = ()
    ) -> tuple[Evidence, tuple[Check, ...]]:
        """Return what the log says of the contact, and a failed check for each entry that is not what it should be.

        ``also`` are entries that are about it without being listed so.
        """
        stored = [*await self.log.log_about(rows.id), *also]
        # A message's entry is about its contact and its object; of a recording's object there is one from before.
        messages = {message.object_id for message in rows.messages}
        for object_id in rows.objects.keys() - messages:
            stored += await self.log.log_about(object_id)
        subjects = (rows.id, *rows.objects)
        return await _beside(len(stored), lambda: read_evidence(stored, subjects))

    async def check(
        self,
        rows: ContactRows,
        evidence: Evidence,
        *,
        wants_plain_hash: bool,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> tuple[Check, ...]:
        """Return every check of the rows and bytes of one contact."""
        sealer: FieldSealer | Exception
        try:
            sealer = await self._sealer(rows.id)
        except (TamperedError, UnavailableError, ErasedError) as error:
            sealer = error
        count = len(rows.recordings) + len(rows.messages)
        checks, sealed = await _beside(count, lambda: _check_rows(rows, evidence, sealer))
        objects = list(rows.objects.values())
        wanted = sealed if wants_plain_hash else {}
        bytes_of = self.check_bytes(
            objects, evidence, sealed, wants_plain=wanted, on_bytes=on_bytes
        )
        return (*checks, *await bytes_of)

    async def check_bytes(
        self,
        objects: Sequence[ObjectRow],
        evidence: Evidence,
        sealed: Mapping[str, Sealed] = MappingProxyType({}),
        *,
        wants_plain: Collection[str] = (),
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> tuple[Check, ...]:
        """Return every check of the bytes of ``objects``, of which the rows say what is ``sealed``."""
        headers = await self._headers([stored.id for stored in objects])
        keys = await _beside(
            len(objects), lambda: [self._file_key(stored, headers) for stored in objects]
        )
        checks: list[list[Check]] = [[] for _ in objects]
        left = iter(range(len(objects)))

        async def work() -> None:
            for number in left:
                stored, key = objects[number], keys[number]
                found = await examine(
                    stored,
                    blobs=self.blobs,
                    file_key=key if isinstance(key, FileKey) else None,
                    wants_plain_hash=isinstance(key, FileKey) and stored.id in wants_plain,
                    on_bytes=on_bytes,
                )
                checks[number] = _check_bytes(stored, found, key, evidence, sealed, wants_plain)
                # What is read from memory gives nobody else a turn.
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(_READERS, len(objects))):
                tasks.create_task(work())
        return tuple(check for group in checks for check in group)

    async def _sealer(self, contact_id: str) -> FieldSealer:
        if self.vault is None:
            raise UnavailableError(NO_KEYS)
        try:
            return await self.vault.get_sealer(contact_id)
        except ErasedError:
            raise ErasedError(NO_KEY) from None
        except StorageError as error:
            raise UnavailableError("The key store could not be read.") from error

    async def _headers(self, ids: Sequence[str]) -> Mapping[str, KeyRow] | None:
        if self.vault is None or not ids:
            return None
        try:
            return await self.vault.keys.get_keys(ids)
        except StorageError:
            return None

    def _file_key(
        self, stored: ObjectRow, headers: Mapping[str, KeyRow] | None
    ) -> FileKey | Check:
        if self.vault is None or headers is None:
            return unknown(Code.HEADER, stored.id, NO_KEYS)
        header = headers.get(stored.id)
        if header is None:
            return unknown(Code.HEADER, stored.id, NO_KEY)
        try:
            epoch = require_epoch(header.wrapped_by, stored.id)
            return self.vault.ring.open_header(epoch, header.wrapped)
        except TamperedError as error:
            return failed(Code.HEADER, stored.id, str(error))
        except (ErasedError, UnavailableError) as error:
            return unknown(Code.HEADER, stored.id, str(error))


async def _beside(count: int, work: Callable[[], T]) -> T:
    """Return what ``work`` returns; in a thread when it goes through many."""
    return work() if count <= _AT_ONCE else await asyncio.to_thread(work)


def _check_bytes(
    stored: ObjectRow,
    found: Examined,
    key: FileKey | Check,
    evidence: Evidence,
    sealed: Mapping[str, Sealed],
    wants_plain: Collection[str],
) -> list[Check]:
    is_key = isinstance(key, FileKey)
    checks = [key] if isinstance(key, Check) else [passed(Code.HEADER, stored.id)]
    checks += check_object(stored, found, evidence, has_key=is_key)
    if stored.id in sealed:
        checks.append(
            check_received(
                stored, found, sealed[stored.id], evidence, wants_plain=stored.id in wants_plain
            )
        )
    return checks


def check_object(
    stored: ObjectRow, found: Examined, evidence: Evidence, *, has_key: bool
) -> list[Check]:
    """Return the checks of the bytes of one object, after they were read."""
    if not found.is_present:
        return [failed(Code.BLOB_PRESENT, stored.id, "The stored bytes are missing.")]
    if found.unreadable is not None or found.blob_sha256 is None:
        return [unknown(Code.BLOB_PRESENT, stored.id, "The stored bytes could not be read.")]
    checks = [passed(Code.BLOB_PRESENT, stored.id), _check_hash(stored, found, evidence)]
    if found.fault is not None:
        checks.append(failed(Code.CHUNKS, stored.id, found.fault))
    elif has_key:
        checks.append(passed(Code.CHUNKS, stored.id))
    else:
        checks.append(
            unknown(Code.CHUNKS, stored.id, "Without the key this cannot be checked.")
        )
    return checks


def check_received(
    stored: ObjectRow,
    found: Examined,
    sealed: Sealed,
    evidence: Evidence,
    *,
    wants_plain: bool,
) -> Check:
    """Check that what was received is what the log committed to, and, where it is wanted, what is stored.

    Bytes that are missing, cannot be read or do not open were compared with nothing.
    """
    stated = evidence.stated(stored.id, "commitment")
    expected = commitment(sealed.salt, bytes.fromhex(sealed.sha256))
    if not stated or stated != {expected} or sealed.commitment != expected:
        told = "The log committed to something else when it arrived."
        return failed(Code.RECEIVED, stored.id, told)
    if wants_plain and found.plain_sha256 is None:
        told = "The stored bytes could not be opened, and so not be compared."
        return unknown(Code.RECEIVED, stored.id, told)
    if found.plain_sha256 is not None and found.plain_sha256 != sealed.sha256:
        told = "What is stored is not what was delivered."
        return failed(Code.RECEIVED, stored.id, told)
    return passed(Code.RECEIVED, stored.id)


def _check_hash(stored: ObjectRow, found: Examined, evidence: Evidence) -> Check:
    stated = evidence.stated(stored.id, "blob_sha256")
    digest = found.blob_sha256.hex() if found.blob_sha256 else ""
    if not stated:
        return failed(Code.BLOB_HASH, stored.id, "The log knows nothing of these bytes.")
    if stated != {digest}:
        told = "The stored bytes are not those that the log noted when they arrived."
        return failed(Code.BLOB_HASH, stored.id, told)
    shown = (stored.sha256.hex(), stored.sealed_bytes, sealed_length(stored.plain_bytes))
    if shown != (digest, found.sealed_bytes, found.sealed_bytes):
        told = "The record of the bytes was changed; the bytes themselves are right."
        return failed(Code.BLOB_HASH, stored.id, told)
    return passed(Code.BLOB_HASH, stored.id)


def _check_rows(
    rows: ContactRows, evidence: Evidence, sealer: FieldSealer | Exception
) -> tuple[list[Check], dict[str, Sealed]]:
    """Return the checks of the rows, and what the rows seal of each object."""
    checks, sealed = [check_complete(rows, evidence)], dict[str, Sealed]()
    if rows.contact is not None:
        contact = rows.contact
        checks.append(
            _check_row(Code.CONTACT_ROW, contact, evidence, sealer, _opens_contact(contact))
        )
    for recording in rows.recordings:
        opens = _opens_recording(recording, sealed)
        checks.append(_check_row(Code.RECORDING_ROW, recording, evidence, sealer, opens))
    for message in rows.messages:
        opens = _opens_message(message, sealed)
        checks.append(_check_row(Code.MESSAGE_ROW, message, evidence, sealer, opens))
    return checks, sealed


def _check_row(
    code: Code,
    row: ProvenRow,
    evidence: Evidence,
    sealer: FieldSealer | Exception,
    opens: Callable[[FieldSealer], None],
) -> Check:
    problem = check_digest(row, evidence)
    if problem is not None:
        return failed(code, row.id, problem)
    try:
        if isinstance(sealer, Exception):
            raise sealer
        opens(sealer)
    except (TamperedError, ValueError):
        # ValueError: a column shows what no contact has, such as a channel that does not exist.
        return failed(code, row.id, "It is not what was sealed there.")
    except (ErasedError, UnavailableError) as error:
        return unknown(code, row.id, str(error))
    return passed(code, row.id)


def _opens_contact(row: ContactRow) -> Callable[[FieldSealer], None]:
    def opens(sealer: FieldSealer) -> None:
        contact_of(row, sealer)

    return opens


def _opens_recording(
    row: RecordingRow, sealed: dict[str, Sealed]
) -> Callable[[FieldSealer], None]:
    def opens(sealer: FieldSealer) -> None:
        place = {"table": "recordings", "row": row.id}
        value = open_value(sealer, row.sealed, SealedRecording, **place, version=row.version)
        if row.object_id is not None:
            sealed[row.object_id] = Sealed(value.sha256, value.salt, value.commitment)

    return opens


def _opens_message(row: MessageRow, sealed: dict[str, Sealed]) -> Callable[[FieldSealer], None]:
    def opens(sealer: FieldSealer) -> None:
        value = message_of(row, sealer)
        sealed[row.object_id] = Sealed(value.sha256, value.salt, value.commitment)
        for part in value.mail.parts if value.mail else ():
            sealed[part.object_id] = Sealed(part.sha256, part.salt, part.commitment)

    return opens
