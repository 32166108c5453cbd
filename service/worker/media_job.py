"""The job that examines a recording: its facts, its waveform, and a copy that plays everywhere; never another original.

The recording is read by ranges, chunk by verified chunk, into the memory of a confined child process; what is derived
is sealed as it comes. Nothing of it is in the clear on any disk.

Order: the worker's own opening in the log (committed), the key, the blobs, their headers, then one commit of facts,
objects and log entries. A crash leaves at worst orphaned blobs and unused headers, and the job is done anew.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from service.archive.alarm import raise_alarm
from service.archive.digest import append_proving
from service.archive.objects import SealedObject, seal_object
from service.archive.payload import (
    Payload,
    get_file_key,
    open_blob,
    open_payload,
    require_committed,
)
from service.archive.records import SealedRecording, recording_of
from service.archive.vault import Vault, seal_value
from service.crypto.fields import FieldSealer
from service.domain.actor import SYSTEM
from service.domain.contact import RecordingState
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.domain.ids import new_id
from service.log.entry import EntryType, LogEntry, encode_entry
from service.worker.media.facts import MediaFacts
from service.worker.media.peaks import encode_peaks
from service.worker.media.run import MediaLimits, MediaResult, examine
from storage.errors import BrokenError, StaleError, StorageError
from storage.ports import Add, Append, BlobStore, Change, LogStore, Replace, Store, Write
from storage.rows import ObjectRow, RecordingRow

PURPOSE: Final = "media"
"""Why the worker opens recordings, in the log."""

_ATTEMPTS: Final = 4
_QUEUED_PIECES: Final = 4
_MOST_BYTES: Final = 1 << 40
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class _Found:
    """A recording that is to be examined, with what opens its row."""

    row: RecordingRow
    object: ObjectRow
    sealed: SealedRecording = field(repr=False)
    sealer: FieldSealer = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Derived:
    facts: MediaFacts
    objects: tuple[SealedObject, ...]


@dataclass(frozen=True, slots=True)
class MediaJob:
    """Examines recordings, each once."""

    store: Store
    log: LogStore
    blobs: BlobStore
    vault: Vault
    limits: MediaLimits = field(default_factory=MediaLimits)

    async def run(self, recording_id: str, now: datetime) -> None:
        """Examine a recording, unless that was done before, or it is not there any more.

        One that cannot be decoded is examined too: its facts say so.

        Raises:
            TamperedError: It does not authenticate. An alarm was raised.
            UnavailableError: Not now; nothing was changed but the log, which shows the attempt.
            storage.errors.StorageError: As before.
        """
        try:
            found = await self._find(recording_id)
            if found is None:
                return
            derived = await self._derive(found, now=now)
        except ErasedError:
            return
        except TamperedError:
            await raise_alarm(
                self.store,
                "media",
                about=recording_id,
                contact_id=None,
                actor_id=SYSTEM.id,
                now=now,
            )
            raise
        await self._keep(found, derived, now=now)

    async def _find(self, recording_id: str) -> _Found | None:
        """Return the recording if it is there and was not examined yet.

        Raises:
            ErasedError: The key of its contact was destroyed.
            TamperedError: Its row is not what was sealed there, or names an object that is not its own.
        """
        rows = await self.store.find(RecordingRow, {"id": recording_id})
        if not rows or rows[0].state != RecordingState.PRESENT or rows[0].object_id is None:
            return None
        row = rows[0]
        sealer = await self.vault.get_sealer(row.contact_id)
        sealed = recording_of(row, sealer)
        if sealed.facts is not None:
            return None
        objects = await self.store.find(ObjectRow, {"id": row.object_id})
        if not objects or objects[0].owner_id != row.id:
            raise TamperedError(f"{row.id} names an object that is not its own")
        return _Found(row, objects[0], sealed, sealer)

    async def _derive(self, found: _Found, *, now: datetime) -> _Derived:
        """Open the recording and seal what examining it gives. An error leaves no blob behind."""
        await self.store.commit([_opened(found, now=now)])
        made: list[SealedObject] = []

        async def seal(kind: str, pieces: AsyncIterator[bytes]) -> None:
            made.append(await self._seal(kind, pieces, now=now))

        try:
            async with AsyncExitStack() as stack:
                payload = await self._open(stack, found.object)
                result = await _Rendering(partial(seal, "rendition")).examine(
                    _Source(payload),
                    content_type=found.sealed.content_type,
                    name=found.sealed.name,
                    limits=self.limits,
                )
            if result.peaks is not None:
                await seal("peaks", _once(encode_peaks(result.peaks)))
        except BaseException:
            await self._discard(made)
            raise
        return _Derived(result.facts, tuple(made))

    async def _open(self, stack: AsyncExitStack, row: ObjectRow) -> Payload:
        file_key = await get_file_key(self.vault, row.id)
        reader = await open_blob(stack, self.blobs, row.id)
        payload = await open_payload(reader, row, file_key=file_key)
        await require_committed(payload, row, log=self.log)
        return payload

    async def _seal(
        self, kind: str, pieces: AsyncIterator[bytes], *, now: datetime
    ) -> SealedObject:
        return await seal_object(
            new_id("ob"),
            pieces,
            kind=kind,
            blobs=self.blobs,
            seal_header=self.vault.ring.seal_header,
            limit_bytes=_MOST_BYTES,
            now=now,
        )

    async def _keep(self, found: _Found, derived: _Derived, *, now: datetime) -> None:
        """Store what was derived, once; what turns out not to be wanted any more is removed.

        Raises:
            storage.errors.StorageError: It was not stored, or nobody knows (BrokenError); then orphans may be left.
        """
        current: _Found | None = found
        try:
            await self.vault.keys.put_keys([one.header for one in derived.objects])
            for _ in range(_ATTEMPTS):
                if current is None or current.object.id != found.object.id:
                    await self._discard(derived.objects)
                    return
                try:
                    await self.store.commit(_examined(current, derived, now=now))
                except StaleError:
                    current = await self._find(found.row.id)
                else:
                    return
        except BrokenError:
            # It may be stored all the same, and then its blobs must stay.
            raise
        except ErasedError:
            await self._discard(derived.objects)
            return
        except (StorageError, TamperedError):
            await self._discard(derived.objects)
            raise
        await self._discard(derived.objects)
        raise UnavailableError(f"{found.row.id} kept changing while it was examined")

    async def _discard(self, objects: Sequence[SealedObject]) -> None:
        """Remove objects that no row names: keys first, so that a blob that stays opens for nobody."""
        if not objects:
            return
        ids = [one.row.id for one in objects]
        try:
            await self.vault.keys.destroy_keys(ids)
            for object_id in ids:
                await self.blobs.remove(object_id)
        except StorageError:
            # What brought us here is the graver news; orphans are looked for every day.
            _log.warning("media.orphans_left", extra={"objects": len(ids)})


def _opened(found: _Found, *, now: datetime) -> Append:
    """Return the entry that the worker opened the recording itself."""
    entry = LogEntry(
        type=EntryType.OPENING_MADE,
        at=now,
        actor=SYSTEM.id,
        about=(found.row.id, found.row.contact_id, found.object.id),
        data={"purpose": PURPOSE},
    )
    return Append(encode_entry(entry), entry.about)


def _examined(found: _Found, derived: _Derived, *, now: datetime) -> Change:
    """Return the writes that keep what was found out, with entries that commit to the row and to each blob."""
    row, version = found.row, found.row.version + 1
    sealed = seal_value(
        found.sealer,
        msgspec.structs.replace(found.sealed, facts=facts_of(derived.facts)),
        table="recordings",
        row=row.id,
        version=version,
    )
    row = replace(row, version=version, sealed=sealed)
    examined = LogEntry(
        type=EntryType.RECORDING_EXAMINED,
        at=now,
        actor=SYSTEM.id,
        about=(row.contact_id, row.id),
        data={"derived": len(derived.objects)},
    )
    writes: list[Write] = [Replace(row), append_proving(examined, [row])]
    for one in derived.objects:
        stored = replace(one.row, owner_id=row.id, contact_id=row.contact_id)
        entry = LogEntry(
            type=EntryType.RENDITION_MADE,
            at=now,
            actor=SYSTEM.id,
            about=(row.contact_id, row.id, stored.id),
            data={
                "kind": stored.kind,
                "blob_sha256": stored.sha256.hex(),
                "plain_bytes": stored.plain_bytes,
            },
        )
        writes += [Add(stored), Append(encode_entry(entry), entry.about)]
    return writes


def facts_of(facts: MediaFacts) -> dict[str, object]:
    """Return ``facts`` as they are kept in a recording's sealed field; durations in seconds."""
    claimed = facts.claimed_duration
    return {
        "container": facts.container,
        "codec": facts.codec,
        "channels": facts.channels,
        "sample_rate_hz": facts.sample_rate_hz,
        "duration_seconds": facts.duration.total_seconds(),
        "claimed_duration_seconds": None if claimed is None else claimed.total_seconds(),
        "flags": sorted(facts.flags),
        "problems": list(facts.problems),
        "is_browser_playable": facts.is_browser_playable,
    }


class _Source:
    """A payload as the examination reads it."""

    def __init__(self, payload: Payload) -> None:
        self.size_bytes = payload.size_bytes
        self._payload = payload

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(await self._payload.read(offset, offset + length)) if length else b""


class _Rendering:
    """Seals a rendition while it is made. Nothing is begun before its first piece comes."""

    def __init__(
        self, seal: Callable[[AsyncIterator[bytes]], Coroutine[None, None, None]]
    ) -> None:
        self._seal = seal
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED_PIECES)
        self._sealing: asyncio.Task[None] | None = None

    async def examine(
        self, source: _Source, *, content_type: str, name: str, limits: MediaLimits
    ) -> MediaResult:
        """Examine ``source``; on return a rendition is sealed whole, or nothing is left of it."""
        try:
            # Where sealing fails, the group ends the examination, which would wait for ever for room in the queue.
            async with asyncio.TaskGroup() as group:
                result = await examine(
                    source,
                    content_type=content_type,
                    name=name,
                    sink=partial(self._take, group),
                    limits=limits,
                )
                if self._sealing is not None and result.rendition is None:
                    self._sealing.cancel()
                elif self._sealing is not None:
                    await self._pieces.put(None)
        except BaseExceptionGroup as group_of_one:
            raise group_of_one.exceptions[0] from None
        return result

    async def _take(self, group: asyncio.TaskGroup, piece: bytes) -> None:
        if self._sealing is None:
            self._sealing = group.create_task(self._seal(self._gathered()))
        await self._pieces.put(piece)

    async def _gathered(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece


async def _once(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
