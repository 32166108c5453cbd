"""Files of an export: written into a directory that gets its name only when everything in it is whole and durable."""

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from service.domain.errors import InvalidInputError
from storage.syncing import sync_directory


@dataclass(frozen=True, slots=True)
class Package:
    """A directory in the making. Files are readable by their owner alone."""

    directory: Path

    async def write(self, name: str, data: bytes) -> None:
        """Write a small file, whole and synced."""
        await asyncio.to_thread(self._write, name, data)

    @asynccontextmanager
    async def opened(self, name: str) -> AsyncIterator["PackageFile"]:
        """Open a file to be written bit by bit; it is synced at the end."""
        path = self.directory / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            yield PackageFile(descriptor)
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)

    def _write(self, name: str, data: bytes) -> None:
        path = self.directory / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file that is being written."""

    descriptor: int

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``."""
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.write(self.descriptor, view[written:])


@asynccontextmanager
async def new_package(parent: Path, name: str) -> AsyncIterator[Package]:
    """Make the directory ``name`` in ``parent``. Left by an error, however, nothing remains of it.

    Raises:
        InvalidInputError: There is one already, or none can be made there.
    """
    final = parent / name
    if final.exists():
        raise InvalidInputError(f"{final} is there already; it is not overwritten")
    temporary = parent / f".{name}.{secrets.token_hex(8)}"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInputError(
            f"nothing can be written to {parent}: {error.strerror}"
        ) from error
    try:
        yield Package(temporary)
        await asyncio.to_thread(_finish, temporary, final)
    finally:
        if temporary.exists():
            await asyncio.to_thread(shutil.rmtree, temporary)


def _finish(temporary: Path, final: Path) -> None:
    for folder, _, _ in os.walk(temporary):
        sync_directory(Path(folder))
    # Onto an empty directory rename would succeed; the caller saw that there was none.
    temporary.rename(final)
    sync_directory(final.parent)
