"""Objects: recordings and messages, sealed and hashed as they stream into the blob store.

An object is an age file in two places: its header in the key store, its payload in the blob store, both under the
object's id. Nothing of it is in the clear on any disk, and nothing is visible until it is whole.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from service.archive.sealing import Sealing, seal_all
from service.crypto.secret import FileKey
from service.crypto.stream import PayloadSealer
from service.domain.times import to_microseconds
from storage.errors import ConflictError, StorageError
from storage.ports import BlobStore, BlobWriter
from storage.rows import KeyRow, ObjectRow

SealHeader = Callable[[FileKey], tuple[int, bytes]]
"""Makes an age header for a file key: the number of the epoch it is for, and the header."""


@dataclass(frozen=True, slots=True)
class SealedObject:
    """A stored object: its row, its header for the key store, and the SHA-256 of what was received."""

    row: ObjectRow
    header: KeyRow = field(repr=False)
    sha256: str


async def seal_object(
    object_id: str,
    chunks: AsyncIterator[bytes],
    *,
    kind: str,
    blobs: BlobStore,
    seal_header: SealHeader,
    limit_bytes: int,
    now: datetime,
) -> SealedObject:
    """Seal what ``chunks`` yield into the blob ``object_id`` with constant memory; on return the blob is durable.

    The caller stores the header and then the row; until then nobody can find the blob, and a crash leaves an orphan.
    An error, also one of ``chunks``, leaves nothing.

    Raises:
        TooLargeError: More than ``limit_bytes`` came.
        storage.errors.StorageError: As ``BlobWriter``.
    """
    file_key = FileKey.generate()
    epoch, header = seal_header(file_key)
    async with blobs.create(object_id) as writer:
        sealing = Sealing(PayloadSealer(file_key), writer)
        await seal_all(chunks, sealing, limit_bytes=limit_bytes)
        await _finish(writer, object_id, blobs)
    made_at = to_microseconds(now)
    return SealedObject(
        row=ObjectRow(
            id=object_id,
            kind=kind,
            owner_id=None,
            contact_id=None,
            plain_bytes=sealing.plain_bytes,
            sealed_bytes=sealing.sealed_bytes,
            sha256=sealing.blob_digest.digest(),
            made_at=made_at,
        ),
        header=KeyRow(
            id=object_id,
            kind="header",
            wrapped_by=f"epoch:{epoch}",
            wrapped=header,
            made_at=made_at,
        ),
        sha256=sealing.plain_digest.hexdigest(),
    )


async def _finish(writer: BlobWriter, object_id: str, blobs: BlobStore) -> None:
    """Make the blob visible; where that fails, leave nothing under its name but what was there before."""
    try:
        await writer.finish()
    except ConflictError:
        raise
    except BaseException:
        # It may have become visible all the same: a sync that was cancelled goes on to its end.
        with suppress(StorageError):
            await blobs.remove(object_id)
        raise
