"""The payload of a stored object, opened chunk by chunk; what is given out has been verified.

Before the first byte is given out, everything that can be checked at once has been: lengths against the
object's row and the closed form of the format, the final chunk, the row against the log, and for objects of
ordinary size the whole blob against the log.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from service.archive.vault import Vault, require_epoch
from service.crypto.secret import FileKey
from service.crypto.stream import (
    CHUNK_BYTES,
    NONCE_BYTES,
    SEALED_CHUNK_BYTES,
    PayloadOpener,
)
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.log.entry import EntryType, decode_entry
from service.log.errors import FormatError
from storage.errors import MissingError, StorageError
from storage.ports import BlobReader, BlobStore, LogStore
from storage.rows import ObjectRow

BATCH_BYTES: Final = 16 * CHUNK_BYTES
"""How much of a long range is read and opened at a time."""

_INLINE_BYTES: Final = 4 * SEALED_CHUNK_BYTES
"""Up to here opening costs less than a hop to a thread and back."""

HASHED_BYTES: Final = 32 * 1024 * 1024
"""Blobs up to this size are compared with the log, whole, before they are opened; larger ones when they are
verified."""

COMMITTING: Final = frozenset(
    {
        EntryType.RECORDING_RECEIVED,
        EntryType.RECORDING_ATTACHED,
        EntryType.MAIL_RECEIVED,
        EntryType.VCON_RECEIVED,
        EntryType.MESSAGE_ARCHIVED,
        EntryType.ATTACHMENT_ARCHIVED,
        EntryType.RENDITION_MADE,
    }
)
"""The entries that say what an object is. Others, such as openings, only mention it."""


@dataclass(slots=True)
class Payload:
    """An opened object. ``size_bytes`` is the true length of its plaintext."""

    reader: BlobReader
    opener: PayloadOpener = field(repr=False)
    size_bytes: int

    async def read(self, start: int, stop: int) -> memoryview:
        """Return the bytes ``start`` to, not with, ``stop``, every chunk of them verified.

        Raises:
            TamperedError: A chunk does not authenticate. Nothing is returned.
            UnavailableError: The blob could not be read.
        """
        covering = self.opener.covering(start, stop)
        length = covering.sealed_stop - covering.sealed_start
        try:
            sealed = await self.reader.read(covering.sealed_start, length)
        except StorageError as error:
            raise UnavailableError("the blob could not be read") from error
        if length > _INLINE_BYTES:
            # Other requests are answered meanwhile: the cipher does not hold the interpreter.
            plain = await asyncio.to_thread(
                self.opener.open_chunks, covering.first_chunk, sealed
            )
        else:
            plain = self.opener.open_chunks(covering.first_chunk, sealed)
        return memoryview(plain)[covering.skip_bytes : covering.skip_bytes + stop - start]

    async def read_range(self, start: int, stop: int) -> AsyncGenerator[memoryview]:
        """Yield the same bytes in batches that end where chunks do, so that each chunk is opened once.

        While one batch is on its way, the next one is opened. Close the iterator when it is not read to its end.

        Raises:
            TamperedError: A chunk does not authenticate. What was yielded before stands.
            UnavailableError: The blob could not be read.
        """
        opening: deque[asyncio.Task[memoryview]] = deque()
        left = _batches(start, stop)
        try:
            while True:
                for first, end in islice(left, 2 - len(opening)):
                    opening.append(asyncio.create_task(self.read(first, end)))
                if not opening:
                    return
                batch = await opening[0]
                del opening[0]
                yield batch
        finally:
            # The blob may be closed next, so that nobody may be reading it any more.
            for task in opening:
                task.cancel()
            await asyncio.gather(*opening, return_exceptions=True)


def _batches(start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        end = min(stop, (start // CHUNK_BYTES) * CHUNK_BYTES + BATCH_BYTES)
        # The end of a range that begins within a chunk is not worth a read of its own.
        if stop - end <= CHUNK_BYTES:
            end = stop
        yield start, end
        start = end


async def get_file_key(vault: Vault, object_id: str) -> FileKey:
    """Return the key that seals the object.

    Raises:
        ErasedError: Its header was destroyed, or the epoch that opened it.
        TamperedError: The header was changed, or belongs to another epoch.
        UnavailableError: The keys are not at hand.
    """
    try:
        header = (await vault.keys.get_keys([object_id])).get(object_id)
    except StorageError as error:
        raise UnavailableError("the key store could not be read") from error
    if header is None:
        raise ErasedError(f"the header of {object_id} was destroyed")
    return vault.ring.open_header(require_epoch(header.wrapped_by, object_id), header.wrapped)


async def open_payload(reader: BlobReader, row: ObjectRow, *, file_key: FileKey) -> Payload:
    """Open the blob of ``row``.

    Raises:
        TamperedError: The blob has another length, or its end does not authenticate under this key: it was
            changed, or belongs to another object.
        UnavailableError: It could not be read.
    """
    if reader.size_bytes != row.sealed_bytes:
        raise TamperedError(f"the blob {row.id} has another length than when it was made")
    try:
        opener = PayloadOpener(file_key, await reader.read(0, NONCE_BYTES), row.sealed_bytes)
        end = opener.end_covering()
        opener.verify_end(
            await reader.read(end.sealed_start, end.sealed_stop - end.sealed_start)
        )
    except StorageError as error:
        raise UnavailableError(f"the blob {row.id} could not be read") from error
    if opener.plain_bytes != row.plain_bytes:
        raise TamperedError(f"{row.id} holds another number of bytes than its row says")
    return Payload(reader, opener, opener.plain_bytes)


async def open_blob(stack: AsyncExitStack, blobs: BlobStore, name: str) -> BlobReader:
    """Open the blob for as long as ``stack`` lives.

    Raises:
        TamperedError: It is missing.
        UnavailableError: It could not be opened.
    """
    try:
        return await stack.enter_async_context(blobs.open(name))
    except MissingError as error:
        raise TamperedError(f"the blob {name} is missing") from error
    except StorageError as error:
        raise UnavailableError(f"the blob {name} could not be opened") from error


async def find_committed(log: LogStore, row: ObjectRow) -> Sequence[str]:
    """Return the SHA-256 of the object's blob as the log states it, in hexadecimal.

    Raises:
        TamperedError: No entry ties the object to what it belongs to, or one cannot be read.
    """
    try:
        found = [decode_entry(one.entry) for one in await log.log_about(row.id)]
    except FormatError as error:
        raise TamperedError(f"a log entry about {row.id} is none") from error
    entries = [entry for entry in found if entry.type in COMMITTING and row.id in entry.about]
    if row.owner_id is None or not any(row.owner_id in entry.about for entry in entries):
        raise TamperedError(f"the log does not know {row.id} as belonging to {row.owner_id}")
    stated = (entry.data.get("blob_sha256") for entry in entries)
    return [value for value in stated if isinstance(value, str)]


async def require_committed(payload: Payload, row: ObjectRow, *, log: LogStore) -> None:
    """Check that the log commits to this object and, up to ``HASHED_BYTES``, to this very blob.

    A valid age file that somebody put in the place of another has no entry of its own.

    Raises:
        TamperedError: There is no such entry, or it states another hash.
        UnavailableError: The log or the blob could not be read.
    """
    try:
        stated = await find_committed(log, row)
        if not stated or any(one != row.sha256.hex() for one in stated):
            raise TamperedError(f"the log commits to another blob than {row.id}")
        if row.sealed_bytes <= HASHED_BYTES and await hash_blob(payload.reader) != row.sha256:
            raise TamperedError(f"the blob {row.id} is not the one in the log")
    except StorageError as error:
        raise UnavailableError(f"{row.id} could not be compared with the log") from error


async def hash_blob(reader: BlobReader) -> bytes:
    """Return the SHA-256 of a whole blob, with constant memory."""
    digest = hashlib.sha256()
    for offset in range(0, reader.size_bytes, BATCH_BYTES):
        data = await reader.read(offset, BATCH_BYTES)
        if len(data) < CHUNK_BYTES:
            digest.update(data)
        else:
            await asyncio.to_thread(digest.update, data)
    return digest.digest()
