"""Examining a stored object: every byte read once, hashed, and authenticated chunk by chunk; nothing is given out."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from service.archive.payload import open_blob
from service.crypto.errors import PayloadError
from service.crypto.secret import FileKey
from service.crypto.stream import NONCE_BYTES, SEALED_CHUNK_BYTES, PayloadOpener
from service.domain.errors import TamperedError, UnavailableError
from storage.errors import StorageError
from storage.ports import BlobStore
from storage.rows import ObjectRow

BATCH_CHUNKS: Final = 32
"""Chunks that are read and worked through at a time: 2 MiB."""

INLINE_BYTES: Final = 4 * SEALED_CHUNK_BYTES
"""Less than this is worked through at once; a thread would cost more than it gives."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found.

    ``blob_sha256`` is None when the blob is missing (``is_present`` is False) or could not be read (``unreadable`` says
    why). ``fault`` says what does not authenticate; it is None too when there was no key. ``plain_sha256`` is that of
    the whole plaintext, where it was asked for and everything authenticates.
    """

    is_present: bool = True
    unreadable: str | None = None
    sealed_bytes: int = 0
    blob_sha256: bytes | None = None
    fault: str | None = None
    plain_sha256: str | None = None


async def examine(
    row: ObjectRow,
    *,
    blobs: BlobStore,
    file_key: FileKey | None,
    wants_plain_hash: bool,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Examined:
    """Read the blob of ``row`` from end to end and say what was found. Never raises for what is wrong with it.

    Without ``file_key`` only the hash of the blob is made. Memory: two batches.
    """
    async with AsyncExitStack() as stack:
        try:
            reader = await open_blob(stack, blobs, row.id)
        except TamperedError:
            return Examined(is_present=False)
        except UnavailableError as error:
            return Examined(unreadable=str(error))
        size = reader.size_bytes
        try:
            work = _Work(file_key, await reader.read(0, NONCE_BYTES), size, wants_plain_hash)
            for offset in range(NONCE_BYTES, size, BATCH_CHUNKS * SEALED_CHUNK_BYTES):
                sealed = await reader.read(offset, BATCH_CHUNKS * SEALED_CHUNK_BYTES)
                if len(sealed) < INLINE_BYTES:
                    work.take(sealed)
                else:
                    await asyncio.to_thread(work.take, sealed)
                on_bytes(len(sealed))
        except StorageError as error:
            return Examined(unreadable=str(error))
    return work.examined(size)


@dataclass(slots=True)
class _Work:
    """The digests and the opener; ``take`` may run in a thread, one call at a time."""

    file_key: FileKey | None = field(repr=False)
    nonce: bytes
    size: int
    wants_plain_hash: bool
    fault: str | None = None
    _opener: PayloadOpener | None = field(init=False, default=None)
    _next_chunk: int = 0
    _blob: "hashlib._Hash" = field(init=False)
    _plain: "hashlib._Hash" = field(init=False)
    _room: bytearray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._blob = hashlib.sha256(self.nonce)
        self._plain = hashlib.sha256()
        self._room = bytearray(min(self.size, BATCH_CHUNKS * SEALED_CHUNK_BYTES))
        if self.file_key is not None:
            try:
                self._opener = PayloadOpener(self.file_key, self.nonce, self.size)
            except PayloadError as error:
                self.fault = str(error)

    def take(self, sealed: bytes) -> None:
        """Hash the next batch, and authenticate its chunks until one does not."""
        self._blob.update(sealed)
        if self._opener is None or self.fault is not None:
            return
        try:
            length = self._opener.open_chunks_into(self._next_chunk, sealed, self._room)
        except PayloadError as error:
            self.fault = str(error)
            return
        self._next_chunk += -(-len(sealed) // SEALED_CHUNK_BYTES)
        if self.wants_plain_hash:
            self._plain.update(memoryview(self._room)[:length])

    def examined(self, size: int) -> Examined:
        """Return what was found after the last batch."""
        if self._opener is not None and self.fault is None and not self._opener.is_end_verified:
            self.fault = "The end is missing."
        is_whole = self._opener is not None and self.fault is None
        return Examined(
            sealed_bytes=size,
            blob_sha256=self._blob.digest(),
            fault=self.fault,
            plain_sha256=self._plain.hexdigest()
            if is_whole and self.wants_plain_hash
            else None,
        )
