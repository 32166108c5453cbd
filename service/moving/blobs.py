"""Copying blobs to where they are going, and reading each one back from there to compare its hash."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.archive.verify_rows import pages
from service.moving.rows import Findings, Tell
from storage.errors import ConflictError, MissingError
from storage.ports import BlobReader, BlobStore, Store
from storage.rows import ObjectRow

MARKER: Final = "taltio-migrate"
"""The blob that says which move has the place, while blobs are moved there; no archive gives a blob this name."""

AT_ONCE: Final = 4
"""So many blobs are copied or read at the same time, each with a connection of its own."""

_PIECE_BYTES: Final = 1024**2
_NAMES: Final = 500


@dataclass(frozen=True, slots=True)
class Known:
    """A blob, and the hash that its row says it has; None where no row names it."""

    name: str
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class BlobMove:
    """Moves the blobs of ``source``, of which the rows of ``store`` tell, to ``target``."""

    source: BlobStore
    target: BlobStore
    store: Store
    findings: Findings
    _named: set[str] = field(default_factory=set)

    async def claim(self, move: str) -> None:
        """Let ``move`` have the place.

        Raises:
            ConflictError: There are blobs in it, or another move has it.
        """
        if (found := await self._marked_by()) is None:
            async for _ in self.target.names():
                raise ConflictError(
                    "blobs: the new place is not empty, and not of this move; name an empty one"
                )
            await self.reclaim(move)
        elif found != move:
            raise ConflictError(
                "blobs: another move has begun at the new place; name an empty one"
            )

    async def reclaim(self, move: str) -> None:
        """Let ``move``, which released the place or finds it empty, have it as it is."""
        if await self._marked_by() != move:
            async with self.target.create(MARKER) as writer:
                await writer.write(move.encode())
                await writer.finish()

    async def release(self, move: str) -> None:
        """Let the place be used, if ``move`` has it."""
        if await self._marked_by() == move:
            await self.target.remove(MARKER)

    async def copy(self, *, tell: Tell) -> None:
        """Copy what is not there yet.

        A blob that is not what its row says is named, and not copied.

        Raises:
            StorageError: A place cannot do it now. What is there stays.
        """
        is_begun = await self._is_begun()
        if is_begun:
            await self._remove_extra()

        async def one(blob: Known) -> None:
            if not (is_begun and await _exists(self.target, blob.name)):
                await self._copy(blob)
            tell(1)

        await each(self._known(), one)

    async def compare(self, *, tell: Tell) -> tuple[int, int]:
        """Read every blob back and compare; return how many there are, and their bytes.

        Raises:
            StorageError: A place cannot be read now.
        """
        count = size = 0

        async def one(blob: Known) -> None:
            nonlocal count, size
            size += await self._compare(blob)
            count += 1
            tell(1)

        await each(self._known(), one)
        there = 0
        async for name in self.target.names():
            there += name != MARKER
        if there > count:
            self.findings.add(f"blobs: {there:,} at the new place, {count:,} at the old one")
        return count, size

    async def compare_names(self) -> None:
        """Name what has come to the new place or gone from it since the move.

        Raises:
            StorageError: A place cannot be read now.
        """
        there = here = 0
        async for name in self.target.names():
            if name == MARKER:
                continue
            there += 1
            if not await _exists(self.source, name):
                self._name(Known(name, None), "is at the new place alone")
        async for _ in self.source.names():
            here += 1
        if there < here:
            self.findings.add(f"blobs: {here - there:,} are at the new place no more")

    async def _known(self) -> AsyncIterator[Known]:
        """Yield every blob that a row names, and then every other that is there."""
        async for rows in pages(self.store, ObjectRow):
            for row in rows:
                yield Known(row.id, row.sha256)
        async for name in self._unnamed():
            yield Known(name, None)

    async def _unnamed(self) -> AsyncIterator[str]:
        names: list[str] = []
        async for name in self.source.names():
            names.append(name)
            if len(names) == _NAMES:
                for one in await self._without_row(names):
                    yield one
                names = []
        for one in await self._without_row(names):
            yield one

    async def _without_row(self, names: Sequence[str]) -> Sequence[str]:
        rows = await self.store.find(ObjectRow, {"id": list(names)})
        known = {row.id for row in rows}
        return [name for name in names if name not in known]

    async def _remove_extra(self) -> None:
        """Remove what was copied and is at the old place no more: it was erased in between."""
        async for name in self.target.names():
            if name != MARKER and not await _exists(self.source, name):
                # One that a row names was lost at the old place: this copy is the last.
                for extra in await self._without_row([name]):
                    await self.target.remove(extra)

    async def _is_begun(self) -> bool:
        async for name in self.target.names():
            if name != MARKER:
                return True
        return False

    async def _copy(self, blob: Known) -> None:
        try:
            async with (
                self.source.open(blob.name) as reader,
                self.target.create(blob.name) as writer,
            ):
                digest = hashlib.sha256()
                async for piece in _pieces(reader):
                    digest.update(piece)
                    await writer.write(piece)
                if blob.sha256 not in {None, digest.digest()}:
                    self._name(blob, "is altered at the old place, and not copied")
                    return
                await writer.finish()
        except MissingError:
            self._name(blob, "is missing at the old place")
        except ConflictError:
            # An answer was lost and it was there, or somebody else's: its hash is compared in any case.
            return

    async def _compare(self, blob: Known) -> int:
        try:
            async with self.target.open(blob.name) as reader:
                digest = await _digest(reader)
                size = reader.size_bytes
            wanted = blob.sha256
            if wanted is None:
                async with self.source.open(blob.name) as reader:
                    wanted = await _digest(reader)
        except MissingError:
            self._name(blob, "is missing at the new place")
            return 0
        if digest != wanted:
            # Removed, so that the next attempt copies it anew.
            await self.target.remove(blob.name)
            self._name(blob, "is not the same at the new place, and removed there")
        return size

    def _name(self, blob: Known, text: str) -> None:
        # What was not copied is not there either; once is enough.
        if blob.name not in self._named:
            self._named.add(blob.name)
            self.findings.add(f"blob {blob.name}: {text}")

    async def _marked_by(self) -> str | None:
        try:
            async with self.target.open(MARKER) as reader:
                return (await reader.read(0, reader.size_bytes)).decode("ascii", "replace")
        except MissingError:
            return None


async def each(blobs: AsyncIterator[Known], step: Callable[[Known], Awaitable[None]]) -> None:
    """Do ``step`` for each of ``blobs``, some at the same time; the first error ends all.

    Raises:
        ExceptionGroup: What steps raised.
    """
    turn = asyncio.Lock()

    async def work() -> None:
        while True:
            async with turn:
                blob = await anext(blobs, None)
            if blob is None:
                return
            await step(blob)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())


async def _exists(blobs: BlobStore, name: str) -> bool:
    try:
        async with blobs.open(name):
            return True
    except MissingError:
        return False


async def _pieces(reader: BlobReader) -> AsyncIterator[bytes]:
    offset = 0
    while piece := await reader.read(offset, _PIECE_BYTES):
        yield piece
        offset += len(piece)


async def _digest(reader: BlobReader) -> bytes:
    digest = hashlib.sha256()
    async for piece in _pieces(reader):
        digest.update(piece)
    return digest.digest()
