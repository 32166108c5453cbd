"""Blobs from one store to another: each written once, whole, and only if it is what its row says it is."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.archive.verify_rows import pages
from storage.errors import ConflictError, MissingError
from storage.ports import BlobReader, BlobStore, Store
from storage.rows import ObjectRow

_PIECE_BYTES: Final = 1024**2
_AT_ONCE: Final = 4
_BATCH: Final = 500


@dataclass(slots=True)
class Copied:
    """What became of the blobs: ``objects`` are there now, of which ``new`` were written; ``damaged`` are not."""

    objects: int = 0
    object_bytes: int = 0
    new: int = 0
    new_bytes: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BlobCopier:
    """Brings the blobs of every object of ``store`` from ``source`` to ``target``."""

    store: Store
    source: BlobStore
    target: BlobStore

    async def copy_all(self, progress: Callable[[int, int], None]) -> Copied:
        """Copy what is not there yet; on return that survives a power cut. Stopped, it goes on where it was.

        An object that is removed meanwhile is left out.

        Raises:
            storage.errors.StorageError: The target takes nothing more, or a source cannot be read.
        """
        copied, total = Copied(), await self.store.count(ObjectRow, {})
        seen = 0
        async for rows in pages(self.store, ObjectRow):
            await self._copy_some(rows, copied)
            seen += len(rows)
            progress(seen, max(seen, total))
        progress(seen, seen)
        return copied

    async def _copy_some(self, rows: Sequence[ObjectRow], copied: Copied) -> None:
        waiting = iter(rows)

        async def work() -> None:
            for row in waiting:
                await self._copy(row, copied)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(work())
        except ExceptionGroup as failed:
            # What stopped one stopped all; one reason is enough.
            raise failed.exceptions[0] from failed

    async def _copy(self, row: ObjectRow, copied: Copied) -> None:
        if not await self._is_there(row):
            if not await self._bring(row):
                if await self.store.count(ObjectRow, {"id": row.id}):
                    copied.damaged.append(row.id)
                return
            copied.new += 1
            copied.new_bytes += row.sealed_bytes
        copied.objects += 1
        copied.object_bytes += row.sealed_bytes

    async def _is_there(self, row: ObjectRow) -> bool:
        try:
            async with self.target.open(row.id) as reader:
                if reader.size_bytes == row.sealed_bytes:
                    return True
        except MissingError:
            return False
        # Not ours to keep: a blob is linked to its name when it is whole, so this one was cut afterwards.
        await self.target.remove(row.id)
        return False

    async def _bring(self, row: ObjectRow) -> bool:
        """Copy one blob; tell whether it is what its row says. Otherwise nothing of it is kept."""
        try:
            async with self.source.open(row.id) as reader, self.target.create(row.id) as writer:
                digest = hashlib.sha256()
                async for piece in _pieces(reader):
                    digest.update(piece)
                    await writer.write(piece)
                if digest.digest() != row.sha256:
                    return False
                await writer.finish()
        except MissingError:
            return False
        except ConflictError:
            # Another program brought it meanwhile.
            return await self._is_there(row)
        return True


async def hash_of(blobs: BlobStore, name: str) -> bytes | None:
    """Return the SHA-256 of a blob; None when it is missing.

    Raises:
        UnavailableError: It cannot be read.
    """
    try:
        async with blobs.open(name) as reader:
            digest = hashlib.sha256()
            async for piece in _pieces(reader):
                await asyncio.to_thread(digest.update, piece)
            return digest.digest()
    except MissingError:
        return None


async def unnamed_in(store: Store, blobs: BlobStore) -> list[str]:
    """Return the names of blobs that no object of ``store`` has, sorted."""
    found: list[str] = []
    async for names in _batches(blobs):
        known = {row.id for row in await store.find(ObjectRow, {"id": names})}
        found += [name for name in names if name not in known]
    return sorted(found)


async def _batches(blobs: BlobStore) -> AsyncIterator[list[str]]:
    names: list[str] = []
    async for name in blobs.names():
        names.append(name)
        if len(names) == _BATCH:
            yield names
            names = []
    if names:
        yield names


async def _pieces(reader: BlobReader) -> AsyncIterator[bytes]:
    offset = 0
    while piece := await reader.read(offset, _PIECE_BYTES):
        yield piece
        offset += len(piece)
