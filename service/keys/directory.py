"""A directory for key files: private, apart from the archive, its files written once.

Nothing in it is ever replaced. A file appears whole and durable, or not at all.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.domain.errors import UnavailableError
from service.keys.errors import KeysMissingError, KeysRefusedError

_MAX_FILE_BYTES = 65536
_OTHERS = 0o077
_NEW = ".new-"


class KeyDirectory:
    """The key files of one archive, by name."""

    __slots__ = ("_archive", "path")

    def __init__(self, path: Path, *, archive: Path) -> None:
        self.path = path
        self._archive = archive

    def make(self) -> None:
        """Make the directory, unless it is there.

        Raises:
            KeysRefusedError: It would lie within the archive, or cannot be made.
        """
        self._require_apart()
        with _reported(self.path, "made"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            _sync(self.path.parent)

    def require_safe(self) -> None:
        """Refuse a directory in which keys would not be safe.

        Raises:
            KeysMissingError: There is no such directory.
            KeysRefusedError: Others can look into it, it belongs to somebody else, or it lies
                within the archive, or the archive within it.
        """
        self._require_apart()
        try:
            found = self.path.stat()
        except FileNotFoundError:
            raise KeysMissingError(
                f"There is no key directory {self.path}. Restore it from its backup; a new"
                " archive makes its own when it is first started."
            ) from None
        except OSError as error:
            raise _refusal(self.path, "read", error) from error
        if not stat.S_ISDIR(found.st_mode):
            raise KeysRefusedError(f"{self.path} is not a directory.")
        _require_private(self.path, found, "700")

    def names(self) -> frozenset[str]:
        """Return the names of the key files."""
        with _reported(self.path, "read"):
            found = [path.name for path in self.path.iterdir()]
        return frozenset(name for name in found if not name.startswith("."))

    def read(self, name: str) -> bytes:
        """Return a file that only the service can read.

        Raises:
            KeysMissingError: It is not there.
            KeysRefusedError: Others can read it, it belongs to somebody else, it is a
                symbolic link or no plain file.
        """
        path = self.path / name
        try:
            descriptor = os.open(
                path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            )
        except FileNotFoundError:
            raise KeysMissingError(
                f"{path} is missing. Restore it from the backup of the key directory."
            ) from None
        except OSError as error:
            raise _refusal(path, "read", error) from error
        with os.fdopen(descriptor, "rb") as file, _reported(path, "read"):
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES:
                raise KeysRefusedError(f"{path} is not a key file.")
            _require_private(path, found, "400")
            return file.read(_MAX_FILE_BYTES)

    def add(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet. On return it survives a power cut.

        Raises:
            KeysRefusedError: It is there already, or cannot be written. Nothing was changed.
        """
        path, temporary = self.path / name, self.path / f"{_NEW}{secrets.token_hex(8)}"
        with _reported(path, "written"):
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400
            )
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                # link() refuses to replace; rename() would silently overwrite a key.
                os.link(temporary, path)
            finally:
                temporary.unlink()
            _sync(self.path)

    def remove(self, name: str) -> None:
        """Remove a file for good, if it is there. On return its name is gone for good.

        Its bytes are overwritten first. That reaches them on plain disks; copy-on-write file
        systems and flash memory may keep the old ones until they need the room.
        """
        path = self.path / name
        with _reported(path, "removed"):
            try:
                path.chmod(0o600)
                with path.open("r+b") as file:
                    file.write(bytes(path.stat().st_size))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
            except FileNotFoundError:
                return
            _sync(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who changes the directory, and clear what a killed one left.

        Raises:
            KeysRefusedError: As ``require_safe``.
            UnavailableError: Another process is changing it now.
        """
        self.require_safe()
        with _reported(self.path, "locked"):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UnavailableError(f"Another process is changing {self.path}.") from error
            with _reported(self.path, "cleared"):
                for leftover in list(self.path.glob(f"{_NEW}*")):
                    # Not overwritten: killed right after link(), it is one with a finished file.
                    leftover.unlink()
            yield
        finally:
            os.close(descriptor)

    def _require_apart(self) -> None:
        keys, archive = self.path.resolve(), self._archive.resolve()
        if _is_within(keys, archive) or _is_within(archive, keys):
            raise KeysRefusedError(
                f"The keys ({keys}) must not lie in the archive's directory ({archive}), nor"
                " the archive in theirs: whoever copies one would have both. Set"
                " [keys] directory to another place."
            )


def _is_within(inner: Path, outer: Path) -> bool:
    if inner.is_relative_to(outer):
        return True
    # Two paths can lead to one directory without a symbolic link, such as a bind mount.
    return outer.exists() and any(
        place.exists() and place.samefile(outer) for place in (inner, *inner.parents)
    )


def _require_private(path: Path, found: os.stat_result, mode: str) -> None:
    if found.st_uid != os.geteuid():
        # What root runs once is not root's for that: the service could not read its keys afterwards.
        give = f", or give the file away: chown {os.geteuid()} {path}" if os.geteuid() else ""
        raise KeysRefusedError(
            f"{path} belongs to user {found.st_uid}, and this runs as user {os.geteuid()}. Run"
            f" it as the owner{give}"
        )
    if found.st_mode & _OTHERS:
        raise KeysRefusedError(
            f"{path} can be used by other users of this machine (mode"
            f" {stat.S_IMODE(found.st_mode):o}). Consider what it protects compromised if"
            f" they are not trusted, and close it: chmod {mode} {path}"
        )


@contextmanager
def _reported(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refusal(path, verb, error) from error


def _refusal(path: Path, verb: str, error: OSError) -> KeysRefusedError:
    return KeysRefusedError(f"{path} cannot be {verb}: {error.strerror or error}.")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
