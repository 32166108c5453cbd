"""Small files for others to read: each is there whole or not at all, and survives a power cut once written."""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from storage.errors import BrokenError, MissingError, UnavailableError
from storage.soundness import Soundness
from storage.syncing import sync_directory

_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_PATH = re.compile(rf"{_SEGMENT}(/{_SEGMENT}){{0,12}}")


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """Files below ``directory``, by relative path. Blocking: call from a thread.

    Who writes beside the process's other stores shares their ``soundness``, which a disk that fails here ends.
    """

    directory: Path
    soundness: Soundness | None = field(default=None, compare=False, repr=False)

    def read(self, path: str) -> bytes:
        """Return the file at ``path``.

        Raises:
            MissingError: There is none.
        """
        try:
            return self._path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise MissingError(f"there is no {path}") from error

    def has(self, path: str, data: bytes) -> bool:
        """Tell whether the file at ``path`` is ``data``."""
        try:
            return self.read(path) == data
        except MissingError:
            return False

    @contextmanager
    def held(self, name: str, *, waits: bool = False) -> Iterator[None]:
        """Hold the lock ``name`` for this block alone, of all processes that share the directory.

        The lock ends with the process, however that ends. Its file stays, for removing it would let two in.

        Raises:
            UnavailableError: Another holds it, and it is not to be waited for.
            OSError: Its file cannot be opened.
        """
        path = self._path(name)
        _make_folders(path.parent)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise UnavailableError(f"another process holds {name}") from error
            yield
        finally:
            os.close(lock)

    def write(self, path: str, data: bytes) -> None:
        """Let ``data`` be the file at ``path``, whole or not at all. On return it survives a power cut.

        Raises:
            OSError: It was not written, or may not survive.
            BrokenError: The disk failed, now or before; only where ``soundness`` is shared.
        """
        if self.soundness is None:
            self._write(path, data)
            return
        self.soundness.require()
        try:
            self._write(path, data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            failure = BrokenError(f"{self.directory.name}/{path}: {error.strerror}")
            raise self.soundness.lose(failure) from error

    def _write(self, path: str, data: bytes) -> None:
        target = self._path(path)
        made = _make_folders(target.parent)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        for folder in (target.parent, *made):
            sync_directory(folder)

    def remove_folder(self, path: str) -> None:
        """Remove the files of one folder and the folder, if it is there."""
        folder = self._path(path)
        if folder.is_dir():
            for file in folder.iterdir():
                file.unlink(missing_ok=True)
            folder.rmdir()

    def set_aside(self, name: str) -> None:
        """Let everything, if there is anything, move to a directory beside this one; an empty one takes its place.

        It is called ``name``, or where that is taken, ``name`` with a number. Nothing is ever replaced.
        """
        if self.directory.exists() and any(self.directory.iterdir()):
            self.directory.rename(_free(self.directory.with_name(name)))
        _make_folders(self.directory)
        sync_directory(self.directory.parent)

    def _path(self, path: str) -> Path:
        if not _PATH.fullmatch(path):
            raise MissingError("this is not a path of a published file")
        return self.directory / path


def _free(wanted: Path) -> Path:
    numbered = (wanted.with_name(f"{wanted.name}-{number}") for number in count(2))
    return next(path for path in chain([wanted], numbered) if not path.exists())


def _make_folders(folder: Path) -> list[Path]:
    """Make ``folder``; return the folders whose listing changed by it."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o755, exist_ok=True)
    return [new.parent for new in missing]
