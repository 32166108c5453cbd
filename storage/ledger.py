"""A ledger: a file of lines that only ever grows, each durable before anybody relies on it."""
# ruff: noqa: D102  # the port says what the methods promise

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from storage.errors import BrokenError, FullError, StorageError, UnavailableError
from storage.soundness import Soundness
from storage.syncing import sync_directory
from storage.waiting import settled

_PIECE: Final = 64 * 1024
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(slots=True)
class _Known:
    """What the lines say up to the one that ends at ``end`` and is ``last``; read and changed under the file's lock."""

    said: set[Hashable] = field(default_factory=set)
    last: bytes = b""
    end: int = 0


@dataclass(frozen=True, slots=True)
class FileLedger:
    """`storage.ports.Ledger` in the file at ``path``, beside other processes.

    A sync that fails here ends writing in all stores that share ``soundness``; without it, here alone. A line of
    which ``say`` tells the same as of one that stands in the file is not written a second time: that one is synced.
    """

    path: Path
    soundness: Soundness = field(default_factory=Soundness, compare=False, repr=False)
    say: Callable[[bytes], Hashable] | None = None
    _known: _Known = field(default_factory=_Known, init=False, compare=False, repr=False)

    async def append(self, follow: Callable[[bytes], bytes]) -> None:
        await settled(asyncio.to_thread(self._append, follow))

    async def read(self) -> Sequence[bytes]:
        return await settled(asyncio.to_thread(self._read))

    def _append(self, follow: Callable[[bytes], bytes]) -> None:
        self.soundness.require()
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
        # Whoever had the lock before may have found the disk broken.
        self.soundness.require()
        last, end = _last_line(file)
        line = follow(last)
        if b"\n" in line or not line:
            raise ValueError("a line of the ledger has no line break and is not empty")
        added = b"" if self._is_said(file, line, last, end) else line + b"\n"
        try:
            self._write(file, added, end)
        except OSError as error:
            # Half a line, or one of which nobody knows whether it will stay.
            with suppress(OSError):
                os.ftruncate(file, end)
            raise self._failed(error) from error
        if self.say is not None and added:
            self._known.said.add(self.say(line))
            self._known.last, self._known.end = line, end + len(added)

    def _write(self, file: int, data: bytes, end: int) -> None:
        """Let ``data`` follow what ends at ``end``; on return all of it survives a power cut."""
        # What a crash cut short was never acted upon.
        os.ftruncate(file, end)
        _write_at(file, data, end)
        # Also where nothing is added: a process that was killed may have written the line and never synced it.
        os.fsync(file)
        sync_directory(self.path.parent)
        sync_directory(self.path.parent.parent)

    def _is_said(self, file: int, line: bytes, last: bytes, end: int) -> bool:
        """Tell whether a line says the same. The file is read whole the first time, and where others added to it."""
        if self.say is None:
            return False
        known = self._known
        if (known.last, known.end) != (last, end):
            lines = _read_at(file, end).split(b"\n")[:-1]
            known.said, known.last, known.end = {self.say(one) for one in lines}, last, end
        return self.say(line) in known.said

    def _failed(self, error: OSError) -> StorageError:
        if error.errno != errno.EIO:
            return _translated(error)
        place = f"{self.path.parent.name}/{self.path.name}"
        return self.soundness.lose(BrokenError(f"{place}: {error.strerror}"))

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


def _read_at(file: int, length: int) -> bytes:
    """Return the first ``length`` bytes."""
    pieces: list[bytes] = []
    at = 0
    while at < length and (piece := os.pread(file, length - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _translated(error: OSError) -> UnavailableError:
    kind = FullError if error.errno in _FULL else UnavailableError
    return kind(f"the ledger cannot be used: {error.strerror}")
