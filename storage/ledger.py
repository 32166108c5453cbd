"""A ledger: a file of lines that only ever grows, each durable before anybody relies on it."""
# ruff: noqa: D102  # the port says what the methods promise

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.errors import FullError, UnavailableError
from storage.syncing import sync_directory
from storage.waiting import settled

_PIECE: Final = 64 * 1024
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class FileLedger:
    """`storage.ports.Ledger` in the file at ``path``, beside other processes."""

    path: Path

    async def append(self, follow: Callable[[bytes], bytes]) -> None:
        await settled(asyncio.to_thread(self._append, follow))

    async def read(self) -> Sequence[bytes]:
        return await settled(asyncio.to_thread(self._read))

    def _append(self, follow: Callable[[bytes], bytes]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _translated(error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._add(file, follow)
        except OSError as error:
            raise _translated(error) from error
        finally:
            os.close(file)

    def _add(self, file: int, follow: Callable[[bytes], bytes]) -> None:
        last, end = _last_line(file)
        line = follow(last)
        if b"\n" in line or not line:
            raise ValueError("a line of the ledger has no line break and is not empty")
        # What a crash cut short was never acted upon.
        os.ftruncate(file, end)
        try:
            _write_at(file, line + b"\n", end)
            os.fsync(file)
        except OSError:
            # Half a line, or one of which nobody knows whether it will stay.
            with suppress(OSError):
                os.ftruncate(file, end)
            raise
        sync_directory(self.path.parent)
        sync_directory(self.path.parent.parent)

    def _read(self) -> list[bytes]:
        try:
            return self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _translated(error) from error


def _last_line(file: int) -> tuple[bytes, int]:
    """Return the last whole line (empty when there is none), and where the next one begins."""
    start = size = os.fstat(file).st_size
    tail = b""
    while start > 0 and tail[: tail.rfind(b"\n") + 1].count(b"\n") < 2:  # noqa: PLR2004  # one before it, one after
        length = min(_PIECE, start)
        start -= length
        tail = os.pread(file, length, start) + tail
    whole = tail.rfind(b"\n")
    if whole < 0:
        return b"", 0
    return tail[tail.rfind(b"\n", 0, whole) + 1 : whole], size - len(tail) + whole + 1


def _write_at(file: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written


def _translated(error: OSError) -> UnavailableError:
    kind = FullError if error.errno in _FULL else UnavailableError
    return kind(f"the ledger cannot be used: {error.strerror}")
