"""Long work on threads that can be stopped, and a place for what it leaves lying about meanwhile."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final, TypeVar

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much of it is."""

_SCRATCH: Final = ".backup-"
_ZEROS: Final = bytes(1024**2)


class StoppedError(Exception):
    """The work was asked to stop."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


async def on_thread(step: Callable[[Callable[[], None]], T]) -> T:
    """Run ``step`` on a thread. When cancelled, what it is given raises at its next call, and the end is waited for."""
    stopped = Event()

    def check() -> None:
        if stopped.is_set():
            raise StoppedError

    work: Awaitable[T] = asyncio.ensure_future(asyncio.to_thread(step, check))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stopped.set()
        with suppress(BaseException):
            await work
        raise


def create_private(path: Path) -> BinaryIO:
    """Create a file that only this user can read, and open it to write.

    Raises:
        OSError: It is there already, or cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """Make a private folder in ``directory`` for the block; what was in it is overwritten before it goes.

    Wrapped keys must not outlast their destruction in the free blocks of a disk.
    """
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=directory))
    try:
        yield folder
    finally:
        wipe(folder)


def clear_scratch(directory: Path) -> None:
    """Wipe the folders that something killed left in ``directory``. Call it while nothing else uses one."""
    for left in directory.glob(f"{_SCRATCH}*"):
        wipe(left)


def wipe(folder: Path) -> None:
    """Overwrite the files of ``folder`` and remove it. That reaches the bytes on plain disks."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_nlink == 1:
            _overwrite(file)
    shutil.rmtree(folder, ignore_errors=True)


def _overwrite(file: Path) -> None:
    with suppress(OSError), file.open("r+b") as out:
        left = file.stat().st_size
        while left > 0:
            left -= out.write(_ZEROS[:left] if left < len(_ZEROS) else _ZEROS)
        out.flush()
        os.fsync(out.fileno())
