"""Sealing a stream: bytes are hashed, sealed and written while the next ones arrive.

A large stream is worked on in batches by threads, for neither hashes nor the cipher nor writing hold the interpreter:
one batch is hashed as it came, and sealed and hashed as it will be stored, while the one before is written.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

from service.crypto.stream import PayloadSealer
from service.domain.errors import TooLargeError
from storage.ports import BlobWriter

BATCH_BYTES = 1 << 20
"""From here on threads work while the next batch arrives; below, the hop would cost more than it gives."""

_MOST_CHUNKS = 1024
"""So many chunks are a batch in any case: a stream of single bytes would otherwise fill the memory with objects."""


class Sealing:
    """Seals and hashes batches in order, and hands them to the writer."""

    def __init__(self, sealer: PayloadSealer, writer: BlobWriter) -> None:
        self._sealer = sealer
        self._writer = writer
        self._writing: asyncio.Task[None] | None = None
        self.plain_digest = hashlib.sha256()
        self.blob_digest = hashlib.sha256()
        self.plain_bytes = 0
        self.sealed_bytes = 0

    async def take(self, chunks: Sequence[bytes]) -> None:
        """Seal ``chunks`` and begin to write what has become ready."""
        size = sum(map(len, chunks))
        self.plain_bytes += size
        if size < BATCH_BYTES:
            self._hash(chunks)
            sealed = self._seal(chunks, size)
        else:
            _, sealed = await asyncio.gather(
                asyncio.to_thread(self._hash, chunks),
                asyncio.to_thread(self._seal, chunks, size),
            )
        self.sealed_bytes += len(sealed)
        await self._written()
        if size < BATCH_BYTES:
            await self._writer.write(sealed)
        else:
            self._writing = asyncio.create_task(self._writer.write(sealed))

    async def finish(self) -> None:
        """Write the final chunk; on return everything is written."""
        last = self._sealer.finish()
        self.blob_digest.update(last)
        self.sealed_bytes += len(last)
        await self._written()
        await self._writer.write(last)

    async def aclose(self) -> None:
        """Return when nothing is being written any more."""
        if self._writing is not None:
            self._writing.cancel()
            # What went wrong with it must be asked for by somebody.
            await asyncio.gather(self._writing, return_exceptions=True)

    def _hash(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            self.plain_digest.update(chunk)

    def _seal(self, chunks: Sequence[bytes], size: int) -> bytearray:
        sealed = bytearray(self._sealer.room_bytes(size))
        with memoryview(sealed) as out:
            written = 0
            # Also of nothing at all: a payload begins with its nonce.
            for chunk in chunks or (b"",):
                written += self._sealer.update_into(chunk, out[written:])
        self.blob_digest.update(sealed)
        return sealed

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None


async def seal_all(chunks: AsyncIterator[bytes], sealing: Sealing, *, limit_bytes: int) -> None:
    """Gather chunks to batches; while one is sealed, the next one arrives. On return everything is written.

    Raises:
        TooLargeError: More than ``limit_bytes`` came.
        storage.errors.StorageError: As ``BlobWriter``.
    """
    gathered: list[bytes] = []
    received = size = 0
    sealed: asyncio.Task[None] | None = None
    try:
        async for chunk in chunks:
            received += len(chunk)
            size += len(chunk)
            if received > limit_bytes:
                raise TooLargeError(f"more than {limit_bytes} bytes")
            gathered.append(chunk)
            if size >= BATCH_BYTES or len(gathered) >= _MOST_CHUNKS:
                if sealed is not None:
                    await sealed
                sealed = asyncio.create_task(sealing.take(gathered))
                gathered, size = [], 0
        if sealed is not None:
            await sealed
        await sealing.take(gathered)
        await sealing.finish()
    finally:
        if sealed is not None:
            sealed.cancel()
            # Also when it is done: what went wrong with it must be asked for by somebody.
            await asyncio.gather(sealed, return_exceptions=True)
        await sealing.aclose()
