"""Receiving: what a source delivers is sealed, logged and durable before it is acknowledged.

No private key is needed here. Each delivery is sealed under a random key of its own, wrapped by the intake session of
this process; a recording's bytes are sealed to the epoch's recipient as they stream.

Order of writes: blob (for uploads), keys, then one commit of row and log entry. A crash leaves at worst an orphaned
blob or an unused key; what was acknowledged is whole.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from service.archive.intake_memory import Recent, Sessions
from service.archive.objects import SealedObject, seal_object
from service.crypto.blind_index import BlindIndex
from service.crypto.fields import FieldSealer
from service.crypto.wrap import new_key
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.keys.intake import IntakeKeys
from service.keys.session import IntakeSession
from service.log.entry import EntryType, LogEntry, commitment, encode_entry
from storage.errors import ConflictError, StaleError, StorageError, UnavailableError
from storage.ports import Add, Append, BlobStore, Change, KeyStore, Store, Write
from storage.rows import DeliveryRow, KeyRow, ObjectRow

ID_REUSED = "id_reused"
"""The remark on a delivery whose identification stood for other bytes already."""

_SALT_BYTES = 16


class ReceivedRecording(msgspec.Struct, frozen=True):
    """What is known of a recording when its bytes have been received; the body of its delivery.

    ``sha256`` is that of the bytes as received; ``commitment`` is HMAC-SHA-256 of it under ``salt``.
    """

    source_id: str
    name: str
    content_type: str
    sha256: str
    salt: bytes
    commitment: str


class SealedDelivery(msgspec.Struct, frozen=True):
    """The sealed field of a delivery: how the sender identified it, and its bytes as they came."""

    ident: str
    remarks: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A delivery that is durable. ``is_duplicate``: the same bytes were kept before, as ``row``'s twin."""

    row: DeliveryRow
    delivery: SealedDelivery
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording's sealed bytes, and the writes that belong to the same acknowledgement.

    One that ``yields`` gives way to what came first under its identification, whatever its bytes are.
    """

    sealed: SealedObject
    writes: tuple[Write, ...]
    yields: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """What receiving needs: stores, and keys that open nothing."""

    store: Store
    keys: KeyStore
    blobs: BlobStore
    intake_keys: Callable[[], IntakeKeys]
    index: BlindIndex
    sessions: Sessions
    max_recording_bytes: int
    recent: Recent = field(default_factory=Recent, repr=False)


async def keep_delivery(
    intake: Intake,
    *,
    source: str,
    kind: str,
    ident: str,
    body: bytes,
    now: datetime,
    compared: bytes | None = None,
    remarks: tuple[str, ...] = (),
    upload: Upload | None = None,
) -> Kept:
    """Keep what ``source`` sent. On return it survives a power cut.

    The same bytes under the same identification are kept once; other bytes under it are kept too, with the remark
    ``id_reused``, unless ``upload`` yields. ``compared`` is what of ``body`` stays the same when it is sent
    again, where that is not all of it. ``remarks`` travel with the delivery to whoever understands it.

    Raises:
        storage.errors.StorageError: Nothing was kept, unless it says otherwise.
    """
    told = body if compared is None else compared
    digest = upload.sealed.sha256 if upload else hashlib.sha256(told).hexdigest()
    dedupe = intake.index.token("delivery", f"{source}\n{kind}\n{ident}")
    new = _New(source, kind, dedupe, intake.index.token("body", digest), upload, now)
    delivery = SealedDelivery(ident=ident, remarks=remarks, body=body)
    twin = await _find_twin(intake, new) if dedupe in intake.recent else None
    if twin is None:
        try:
            return await _keep(intake, new, delivery)
        except ConflictError as error:
            twin = await _require_twin(intake, new, error)
    if twin.body_token == new.body_token or (upload and upload.yields):
        return await _kept_before(intake, new, delivery)
    # The identification stands for other bytes already. These are kept beside them, once.
    dedupe = intake.index.token("delivery", f"{source}\n{kind}\n{ident}\n{digest}")
    new = replace(new, dedupe=dedupe)
    delivery = SealedDelivery(ident=ident, remarks=(*remarks, ID_REUSED), body=body)
    if dedupe in intake.recent and await _find_twin(intake, new) is not None:
        return await _kept_before(intake, new, delivery)
    try:
        return await _keep(intake, new, delivery)
    except ConflictError as error:
        await _require_twin(intake, new, error)
        return await _kept_before(intake, new, delivery)


async def _kept_before(intake: Intake, new: "_New", delivery: SealedDelivery) -> Kept:
    """Acknowledge what is there already, once that is durable: it may be seen while its own commit is in doubt.

    Raises:
        storage.errors.StorageError: It may be lost again.
    """
    await intake.store.commit([])
    return Kept(new.row(delivery), delivery, is_duplicate=True)


@dataclass(frozen=True, slots=True)
class _New:
    """What the row of a delivery says in the clear."""

    source: str
    kind: str
    dedupe: bytes
    body_token: bytes
    upload: Upload | None
    now: datetime

    def row(
        self, delivery: SealedDelivery, *, row_id: str = "", sealed: bytes = b""
    ) -> DeliveryRow:
        """Return the row; made once, because it has many columns."""
        return DeliveryRow(
            id=row_id,
            version=1,
            source=self.source,
            kind=self.kind,
            dedupe=self.dedupe,
            body_token=self.body_token,
            received_at=to_microseconds(self.now),
            size_bytes=len(delivery.body),
            sealed=sealed,
            state="received",
            reason=None,
            await_token=None,
            contact_id=None,
            object_id=self.upload.sealed.row.id if self.upload else None,
        )


async def _find_twin(intake: Intake, new: _New) -> DeliveryRow | None:
    """Return the delivery that came under the identification of ``new``, if one did."""
    intake.recent.add(new.dedupe)
    where = {"source": new.source, "dedupe": new.dedupe}
    return next(iter(await intake.store.find(DeliveryRow, where, limit=1)), None)


async def _require_twin(intake: Intake, new: _New, error: ConflictError) -> DeliveryRow:
    """Return the delivery because of which that of ``new`` was refused.

    Raises:
        UnavailableError: There is none: something else was in the way, and nothing was kept.
    """
    twin = await _find_twin(intake, new)
    if twin is None:
        raise UnavailableError(
            "a delivery was refused as one that is there, and is not"
        ) from error
    return twin


async def _keep(intake: Intake, new: _New, delivery: SealedDelivery) -> Kept:
    row_id, upload, now = new_id("dl"), new.upload, new.now
    session_id, session, is_stored = intake.sessions.current(now)
    key = new_key()
    plain = msgspec.msgpack.encode(delivery)
    sealed = FieldSealer(key).seal(
        plain, table="deliveries", row=row_id, column="sealed", version=1
    )
    row = new.row(delivery, row_id=row_id, sealed=sealed)
    keys = [
        KeyRow(
            id=row_id,
            kind="delivery",
            wrapped_by=session_id,
            wrapped=session.wrap(key, now=now),
            made_at=row.received_at,
        )
    ]
    if not is_stored:
        keys.append(_session_row(session_id, session, now=now))
    if upload:
        keys.append(upload.sealed.header)
    try:
        await intake.keys.put_keys(keys)
    except StaleError as error:
        raise UnavailableError(
            "the epoch to which intake seals was destroyed, and it knows of no newer one (taltio keys intake)"
        ) from error
    intake.sessions.mark_stored(session_id)
    try:
        also = upload.writes if upload else ()
        await intake.store.commit(_kept(row, also, now=now))
    except ConflictError:
        await intake.keys.destroy_keys([key.id for key in keys if key.kind == "delivery"])
        raise
    intake.recent.add(row.dedupe)
    return Kept(row, delivery, is_duplicate=False)


def _kept(row: DeliveryRow, also: tuple[Write, ...], *, now: datetime) -> Change:
    entry = LogEntry(
        type=EntryType.DELIVERY_RECEIVED,
        at=now,
        actor="system",
        about=(row.id, *((row.object_id,) if row.object_id else ())),
        data={
            "source": row.source,
            "kind": row.kind,
            "size_bytes": row.size_bytes,
            "sealed_sha256": hashlib.sha256(row.sealed).hexdigest(),
        },
    )
    return [Add(row), *also, Append(encode_entry(entry), entry.about)]


def _session_row(session_id: str, session: IntakeSession, *, now: datetime) -> KeyRow:
    return KeyRow(
        id=session_id,
        kind="session",
        wrapped_by=f"epoch:{session.epoch}",
        wrapped=session.sealed,
        made_at=to_microseconds(now),
    )


async def keep_recording(
    intake: Intake,
    chunks: AsyncIterator[bytes],
    *,
    source: str,
    source_id: str,
    name: str,
    content_type: str,
    now: datetime,
    yields: bool = False,
) -> Kept:
    """Keep a recording whose contact may or may not be known yet, sealing it as it streams.

    With ``yields`` it is kept only if nothing was under this name before, whatever its bytes are.

    Raises:
        TooLargeError: It is larger than is taken.
        storage.errors.StorageError: Nothing was kept, unless it says otherwise.
    """
    object_id = new_id("ob")
    sealed = await seal_object(
        object_id,
        chunks,
        kind="recording",
        blobs=intake.blobs,
        seal_header=intake.intake_keys().seal_header,
        limit_bytes=intake.max_recording_bytes,
        now=now,
    )
    received = received_recording(
        sealed, source_id=source_id, name=name, content_type=content_type
    )
    entry = recording_entry(sealed, received, source=source, now=now)
    try:
        kept = await keep_delivery(
            intake,
            source=source,
            kind="recording",
            ident=_ident(source_id, name),
            body=msgspec.msgpack.encode(received),
            now=now,
            upload=Upload(sealed, (Add(sealed.row), entry), yields),
        )
    except StorageError:
        await remove_unless_stored(object_id, intake.store, intake.keys, intake.blobs)
        raise
    if kept.is_duplicate:
        await intake.keys.destroy_keys([object_id])
        await intake.blobs.remove(object_id)
    return kept


async def find_kept_recording(
    intake: Intake, *, source: str, source_id: str, name: str
) -> DeliveryRow | None:
    """Return the delivery of what was kept first under this name; None where there is none, or it is erased."""
    ident = _ident(source_id, name)
    dedupe = intake.index.token("delivery", f"{source}\nrecording\n{ident}")
    where = {
        "source": source,
        "dedupe": dedupe,
        "state": ["received", "understood", "waiting", "trial", "failed"],
    }
    return next(iter(await intake.store.find(DeliveryRow, where, limit=1)), None)


def _ident(source_id: str, name: str) -> str:
    return f"{source_id}\n{name}"


async def remove_unless_stored(
    object_id: str, store: Store, keys: KeyStore, blobs: BlobStore
) -> None:
    """Remove the bytes of an object whose commit failed, so that a full disk does not fill up further.

    They stay where it cannot be told whether the commit happened: bytes that nobody finds are better than a
    recording without bytes.
    """
    with suppress(StorageError):
        if not await store.count(ObjectRow, {"id": object_id}):
            await keys.destroy_keys([object_id])
            await blobs.remove(object_id)


def received_recording(
    sealed: SealedObject,
    *,
    source_id: str,
    name: str,
    content_type: str,
    random: Callable[[int], bytes] = os.urandom,
) -> ReceivedRecording:
    """Return what is known of ``sealed``, with a commitment to what was received."""
    salt = random(_SALT_BYTES)
    return ReceivedRecording(
        source_id=source_id,
        name=name,
        content_type=content_type,
        sha256=sealed.sha256,
        salt=salt,
        commitment=commitment(salt, bytes.fromhex(sealed.sha256)),
    )


def recording_entry(
    sealed: SealedObject, received: ReceivedRecording, *, source: str, now: datetime
) -> Append:
    """Return the log entry that commits to the blob and to what was received."""
    entry = LogEntry(
        type=EntryType.RECORDING_RECEIVED,
        at=now,
        actor="system",
        about=(sealed.row.id,),
        data={
            "source": source,
            "blob_sha256": sealed.row.sha256.hex(),
            "plain_bytes": sealed.row.plain_bytes,
            "commitment": received.commitment,
        },
    )
    return Append(encode_entry(entry), entry.about)
