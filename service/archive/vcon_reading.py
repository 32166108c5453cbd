"""Understanding vCons: each is opened, held against what was received, and the recordings in it are sealed.

Order: the blobs of the recordings become durable here; the interpreter stores their keys and then their rows, with the
contact. A crash between leaves orphaned blobs, and the vCon is read again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

import msgspec

from service.archive.arrivals import Arrival, CarriedPart
from service.archive.objects import SealedObject, seal_object
from service.archive.payload import BATCH_BYTES, get_file_key, open_blob, open_payload
from service.archive.receive import (
    SealedDelivery,
    received_recording,
    recording_entry,
    remove_unless_stored,
)
from service.archive.receive_vcon import ReceivedVcon
from service.archive.vault import Vault
from service.domain.errors import InvalidInputError, NotFoundError, TamperedError
from service.domain.ids import new_id
from service.domain.times import from_microseconds
from service.sources.events import SourceRule
from service.sources.vcon.contact import CarriedRecording, UnderstoodVcon, understand_vcon
from storage.ports import BlobStore, Store
from storage.rows import DeliveryRow, ObjectRow

RuleOf = Callable[[str], SourceRule]


@dataclass(frozen=True, slots=True)
class VconReading:
    """Makes arrivals of the vCons that were delivered. One is in memory at a time, whole."""

    store: Store
    blobs: BlobStore
    vault: Vault
    rule_of: RuleOf
    max_recording_bytes: int

    async def arrival(
        self,
        row: DeliveryRow,
        delivery: SealedDelivery,
        stored: ObjectRow | None,
        *,
        now: datetime,
    ) -> Arrival:
        """Return what is to be worked into a contact; what was sealed for it is removed with `tidy`.

        Raises:
            InvalidInputError: It cannot be understood, or is not to be believed (`NotBelievedError`).
            TamperedError, UnavailableError, NotFoundError: Its bytes cannot be opened.
            storage.errors.StorageError: A store is not at hand.
        """
        understood = await self.understand(row, delivery, stored, now=now)
        carried: list[CarriedPart] = []
        try:
            for one in understood.recordings:
                sealed = await self._seal(one, now=now)
                received = received_recording(
                    sealed,
                    source_id=understood.facts.source_id,
                    name=one.name,
                    content_type=one.content_type,
                    random=self.vault.random,
                )
                entry = recording_entry(sealed, received, source=row.source, now=now)
                carried.append(CarriedPart(received, sealed, entry))
        except BaseException:
            await self._discard([one.sealed for one in carried])
            raise
        return Arrival(
            source=row.source,
            source_id=understood.facts.source_id,
            facts=understood.facts,
            carried=tuple(carried),
            delivery=row,
            remarks=(*delivery.remarks, *understood.remarks),
        )

    async def understand(
        self,
        row: DeliveryRow,
        delivery: SealedDelivery,
        stored: ObjectRow | None,
        *,
        now: datetime,
    ) -> UnderstoodVcon:
        """Return what a delivered vCon tells, and seal nothing.

        Raises:
            InvalidInputError, TamperedError, UnavailableError, NotFoundError: As `arrival`.
        """
        received = msgspec.msgpack.decode(delivery.body, type=ReceivedVcon)
        if stored is None:
            raise NotFoundError(f"the bytes of {row.id} are not recorded")
        body = await self._read(stored, received)
        # Checking a signature and unpacking megabytes take a while, and others are waiting.
        return await asyncio.to_thread(
            understand_vcon,
            body,
            self.rule_of(row.source),
            received_at=from_microseconds(row.received_at),
            now=now,
        )

    async def tidy(self, arrivals: Sequence[Arrival]) -> None:
        """Remove what was sealed for ``arrivals`` and not stored, because it was there before or was refused."""
        await self._discard([part.sealed for one in arrivals for part in one.carried])

    async def _read(self, stored: ObjectRow, received: ReceivedVcon) -> bytes:
        digest, pieces = hashlib.sha256(), []
        async with AsyncExitStack() as stack:
            file_key = await get_file_key(self.vault, stored.id)
            reader = await open_blob(stack, self.blobs, stored.id)
            payload = await open_payload(reader, stored, file_key=file_key)
            async for batch in payload.read_range(0, payload.size_bytes):
                digest.update(batch)
                pieces.append(bytes(batch))
        if digest.hexdigest() != received.sha256:
            raise TamperedError(f"{stored.id} is not the vCon that was received")
        return b"".join(pieces)

    async def _seal(self, recording: CarriedRecording, *, now: datetime) -> SealedObject:
        if len(recording.data) > self.max_recording_bytes:
            raise InvalidInputError("a recording in it is larger than recordings may be")
        return await seal_object(
            new_id("ob"),
            _chunks(recording.data),
            kind="recording",
            blobs=self.blobs,
            seal_header=self.vault.ring.seal_header,
            limit_bytes=self.max_recording_bytes,
            now=now,
        )

    async def _discard(self, objects: Sequence[SealedObject]) -> None:
        for one in objects:
            await remove_unless_stored(one.row.id, self.store, self.vault.keys, self.blobs)


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), BATCH_BYTES):
        yield data[start : start + BATCH_BYTES]
