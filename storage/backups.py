"""Backups as folders of files in one directory: each is there whole or not at all, and never changed.

A folder is written as ``.new-…`` and gets its name at last; one that is removed loses its name first. So whatever
stops half-way, the names that are listed are whole backups. Blocking: call from a thread.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.errors import ConflictError, FullError, MissingError, UnavailableError
from storage.syncing import sync_directory

_NAME: Final = re.compile(r"\d{8}T\d{6}Z(-\d{1,4})?", re.ASCII)
_FILE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}", re.ASCII)
_NEW, _OLD, _LOCK = ".new-", ".old-", ".lock"


@dataclass(frozen=True, slots=True)
class BackupFolders:
    """The backups in ``directory``, by name: the time at which each was made, such as ``20261122T023000Z``."""

    directory: Path

    def names(self) -> list[str]:
        """Return the names of the backups, oldest first.

        Raises:
            UnavailableError: The directory is not there, or cannot be read.
        """
        with translated(self.directory):
            # Not made where it is missing: another machine's directory that is not mounted would be one of ours.
            found = [path.name for path in self.directory.iterdir() if path.is_dir()]
        return sorted((name for name in found if _NAME.fullmatch(name)), key=_order)

    def file(self, name: str, file: str) -> Path:
        """Return where ``file`` of the backup ``name`` is.

        Raises:
            MissingError: There is no such file.
        """
        path = self.directory / name / file
        if not (_NAME.fullmatch(name) and _FILE.fullmatch(file) and path.is_file()):
            raise MissingError(f"there is no {name}/{file}")
        return path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who changes the backups, and clear away what was stopped half-way.

        Raises:
            UnavailableError: Somebody else works on them, or the directory cannot be used.
        """
        with self._held(os.O_RDWR | os.O_CREAT):
            self._clear()
            yield

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Let nobody change the backups meanwhile. Where this process may only read them, that is up to others.

        Raises:
            UnavailableError: Somebody else works on them.
        """
        is_writable = self.directory.is_dir() and os.access(self.directory, os.W_OK)
        with self._held(os.O_RDWR | os.O_CREAT) if is_writable else nullcontext():
            yield

    @contextmanager
    def _held(self, flags: int) -> Iterator[None]:
        with translated(self.directory):
            lock = os.open(self.directory / _LOCK, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise UnavailableError(
                f"{self.directory}: somebody else works on the backups now; try again later"
            ) from error
        finally:
            os.close(lock)

    @contextmanager
    def begin(self, name: str) -> Iterator["NewBackup"]:
        """Begin a backup; left without ``finish``, nothing of it remains."""
        folder = self.directory / f"{_NEW}{name}"
        with translated(self.directory):
            folder.mkdir(mode=0o700)
        try:
            yield NewBackup(folder, self.directory / name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Remove a backup. It loses its name at once, whatever happens next."""
        with translated(self.directory):
            old = self.directory / f"{_OLD}{name}"
            (self.directory / name).rename(old)
            sync_directory(self.directory)
            shutil.rmtree(old)

    def free_name(self, wanted: str) -> str:
        """Return ``wanted``, or where that is taken, the same with a number."""
        taken, number, name = set(self.names()), 1, wanted
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def _clear(self) -> None:
        with translated(self.directory):
            for path in self.directory.iterdir():
                if path.name.startswith((_NEW, _OLD)):
                    shutil.rmtree(path)


@dataclass(frozen=True, slots=True)
class NewBackup:
    """A backup that is being written and that nobody lists yet."""

    folder: Path
    target: Path

    def path(self, file: str) -> Path:
        """Return where ``file`` is to be written. Its writer syncs it."""
        if not _FILE.fullmatch(file):
            raise ValueError(f"{file!r} cannot be the name of a file")
        return self.folder / file

    def write(self, file: str, data: bytes) -> None:
        """Write a small file durably."""
        with translated(self.folder), self.path(file).open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())

    def finish(self) -> None:
        """Give the backup its name. On return it survives a power cut.

        Raises:
            ConflictError: The name is taken.
        """
        with translated(self.folder):
            sync_directory(self.folder)
            try:
                self.folder.rename(self.target)
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise ConflictError(f"{self.target.name} is already there") from error
                raise
            sync_directory(self.target.parent)


def _order(name: str) -> tuple[str, int]:
    at, _, number = name.partition("-")
    return at, int(number or 1)


@contextmanager
def translated(directory: Path) -> Iterator[None]:
    """Raise what the system says of files in ``directory`` in the archive's words."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnavailableError(f"{directory} is not there: is it mounted?") from error
    except OSError as error:
        text = f"{directory}: {error.strerror}"
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise FullError(text) from error
        raise UnavailableError(text) from error
