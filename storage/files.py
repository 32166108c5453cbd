"""Blobs as files: each written once, whole and durable before anyone sees it, and never replaced.

A blob is written as ``incoming/…``, synced, linked to its name, and its folder is synced. A crash leaves at worst
a file in ``incoming``, which the next start removes. Folders go by the last two characters of the name, because
those of an id are random.
"""
# ruff: noqa: D102  # the ports say what the methods promise

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from storage.errors import (
    BrokenError,
    ConflictError,
    FullError,
    MissingError,
    UnavailableError,
)
from storage.handles import Handle, Handles
from storage.names import require_blob_name
from storage.soundness import Soundness
from storage.syncing import sync_directory
from storage.waiting import settled

T = TypeVar("T")

THREADS: Final = 8
"""So many files are synced or read from the disk at the same time."""

# Up to here copying costs less than a hop to a thread and back.
_INLINE_BYTES: Final = 256 * 1024
_INCOMING: Final = "incoming"
_READ_NOW: Final = getattr(os, "RWF_NOWAIT", None)


class FileBlobs:
    """`storage.ports.BlobStore` in a directory, beside other processes."""

    def __init__(
        self,
        directory: Path,
        pool: ThreadPoolExecutor,
        handles: Handles,
        *,
        soundness: Soundness,
    ) -> None:
        self._directory = directory
        self._pool = pool
        self._handles = handles
        self.soundness = soundness
        self._durable_folders: set[Path] = set()
        self.scratch = memoryview(bytearray(_INLINE_BYTES))

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, directory: Path, *, create: bool, soundness: Soundness | None = None
    ) -> AsyncIterator[Self]:
        """Use the blobs in ``directory``, without what a crash left behind.

        ``soundness`` is shared with the process's other stores; without it, it is for itself.

        Raises:
            MissingError: There is no such directory or nothing in it, and ``create`` does not allow to begin there.
            UnavailableError: It cannot be used.
        """
        with (
            ThreadPoolExecutor(THREADS, thread_name_prefix="blobs") as pool,
            Handles() as handles,
        ):
            blobs = cls(directory, pool, handles, soundness=soundness or Soundness())
            await blobs.run(partial(_prepare, directory, create=create))
            yield blobs

    @asynccontextmanager
    async def create(self, name: str) -> AsyncIterator["FileBlobWriter"]:
        path = Path(self._path(name))
        self.soundness.require()
        with self.translating(is_writing=True):
            temporary, file = _begin(self._directory / _INCOMING)
        writer = FileBlobWriter(self, file, temporary, path)
        try:
            yield writer
        finally:
            if writer.is_open:
                await self.run(writer.discard, is_writing=True)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator["FileBlobReader"]:
        with self.translating():
            handle = self._handles.take(self._path(name))
        try:
            yield FileBlobReader(self, handle)
        finally:
            self._handles.give_back(handle)

    async def remove(self, name: str) -> None:
        path = self._path(name)
        self.soundness.require()
        await self.run(partial(_remove, Path(path)), is_writing=True)
        self._handles.forget(path)

    async def names(self) -> AsyncIterator[str]:
        for folder in await self.run(partial(os.listdir, self._directory)):
            if len(folder) == 2:  # noqa: PLR2004  # as `_path` names them
                for name in await self.run(partial(os.listdir, self._directory / folder)):
                    yield name

    async def find_fault(self) -> str | None:
        # Left without being finished: nothing is synced and nothing remains.
        async with self.create("ready") as writer:
            await writer.write(b"ready?")
        return None

    async def tidy(self, *, begun_before: datetime) -> int:
        return await self.run(partial(_sweep, self._directory / _INCOMING, begun_before))

    def _path(self, name: str) -> str:
        require_blob_name(name)
        return f"{self._directory}/{name[-2:]:_>2}/{name}"

    async def run(self, step: Callable[[], T], *, is_writing: bool = False) -> T:
        """Run ``step`` on a thread to its end, also when cancelled meanwhile."""
        with self.translating(is_writing=is_writing):
            return await settled(asyncio.get_running_loop().run_in_executor(self._pool, step))

    @contextmanager
    def translating(self, *, is_writing: bool = False) -> Iterator[None]:
        """Raise what the system says in the archive's words; remember a failed sync for ever."""
        try:
            yield
        except FileNotFoundError as error:
            raise MissingError(f"{_called(error)} is not there") from error
        except FileExistsError as error:
            raise ConflictError(f"{_called(error)} is already there") from error
        except OSError as error:
            text = f"blobs: {error.strerror}"
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise FullError(text) from error
            if error.errno == errno.EIO and is_writing:
                raise self.soundness.lose(BrokenError(text)) from error
            raise UnavailableError(text) from error

    def publish(self, file: int, temporary: Path, path: Path) -> None:
        """Make a written file durable, then visible, then that durable too."""
        os.fdatasync(file)
        self._require_folder(path.parent)
        # link() refuses to replace; rename() would silently overwrite an archived blob.
        os.link(temporary, path)
        try:
            sync_directory(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _require_folder(self, folder: Path) -> None:
        """Make ``folder`` and sync that; once by each process, for another may have stopped in between."""
        if folder not in self._durable_folders:
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)
            self._durable_folders.add(folder)


class FileBlobWriter:
    """A blob in ``incoming``."""

    def __init__(self, blobs: FileBlobs, file: int, temporary: Path, path: Path) -> None:
        self._blobs = blobs
        self._file: int | None = file
        self._temporary = temporary
        self._path = path

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._blobs.soundness.require()
        if len(data) > _INLINE_BYTES:
            await self._blobs.run(partial(_write_all, self._open_file, data), is_writing=True)
        else:
            with self._blobs.translating(is_writing=True):
                _write_all(self._open_file, data)

    async def finish(self) -> None:
        self._blobs.soundness.require()
        await self._blobs.run(self._finish, is_writing=True)

    @property
    def is_open(self) -> bool:
        """Whether there is still something to discard."""
        return self._file is not None

    @property
    def _open_file(self) -> int:
        if self._file is None:
            raise ValueError(f"{self._path.name} is finished")
        return self._file

    def _finish(self) -> None:
        self._blobs.publish(self._open_file, self._temporary, self._path)
        self.discard()

    def discard(self) -> None:
        """Give up the file in ``incoming``, whether or not it has another name by now."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)
            # What cannot be removed now goes with the next start; the blob's own name tells its state.
            with suppress(OSError):
                self._temporary.unlink()


class FileBlobReader:
    """An open blob."""

    def __init__(self, blobs: FileBlobs, handle: Handle) -> None:
        self._blobs = blobs
        self._handle = handle

    @property
    def size_bytes(self) -> int:
        return self._handle.size_bytes

    async def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size_bytes - offset)
        if length <= 0:
            return b""
        if length <= _INLINE_BYTES and _READ_NOW is not None:
            # What the page cache holds is copied here and now; nothing waits for the disk.
            buffer = self._blobs.scratch[:length]
            with suppress(OSError):
                if os.preadv(self._handle.file, [buffer], offset, _READ_NOW) == length:
                    return bytes(buffer)
        return await self._blobs.run(partial(_read_all, self._handle.file, offset, length))


def _prepare(directory: Path, *, create: bool) -> None:
    """Make the directories durable, and remove what nobody writes any more."""
    incoming = directory / _INCOMING
    if create:
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_directory(directory.parent)
    elif not directory.is_dir() or not any(directory.iterdir()):
        # Blobs that were used have a folder at the least. Below a mount point without its mount there is nothing.
        raise MissingError(f"{directory} has no blobs: is it mounted?")
    incoming.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory)
    _sweep(incoming)


def _sweep(incoming: Path, begun_before: datetime | None = None) -> int:
    """Remove what nobody writes any more; return how many."""
    removed = 0
    for temporary in incoming.iterdir():
        with suppress(FileNotFoundError):
            if begun_before and temporary.stat().st_mtime >= begun_before.timestamp():
                continue
            file = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                # Its writer, in whatever process, holds the lock as long as it lives.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink()
                removed += 1
            except BlockingIOError:
                continue
            finally:
                os.close(file)
    return removed


def _begin(incoming: Path) -> tuple[Path, int]:
    """Open a new file in ``incoming`` and lock it."""
    while True:
        temporary = incoming / os.urandom(16).hex()
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        fcntl.flock(file, fcntl.LOCK_EX)
        # A start of another process may have removed it before the lock was taken.
        if os.fstat(file).st_nlink:
            return temporary, file
        os.close(file)


def _write_all(file: int, data: bytes | bytearray | memoryview) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(file, left) :]


def _read_all(file: int, offset: int, length: int) -> bytes:
    data = os.pread(file, length, offset)
    while len(data) < length:
        more = os.pread(file, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    # Also when it was gone: an earlier call may have been stopped before this.
    with suppress(FileNotFoundError):
        sync_directory(path.parent)


def _called(error: OSError) -> str:
    return Path(error.filename2 or error.filename or "blob").name
