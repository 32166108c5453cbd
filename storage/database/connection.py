"""One SQLite connection on a thread of its own, and what its errors mean to the archive.

Everything that belongs together runs as one function on that thread: one hop, and nothing that a
cancelled caller could leave half done.
"""

import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import aiosqlite

from storage.errors import BrokenError, ConflictError, FullError, StorageError, UnavailableError
from storage.waiting import settled

P = ParamSpec("P")
T = TypeVar("T")

WAIT_SECONDS: Final = 10.0
"""How long a connection waits for another process that writes."""

_TAKEN: Final = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


class Connection:
    """A connection, and the thread on which alone it is used."""

    def __init__(self, driver: aiosqlite.Connection) -> None:
        self._driver = driver
        self.waiting = 0

    async def run(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``step`` on the connection's thread, whole, even where the caller is cancelled."""
        self.waiting += 1
        try:
            # The library's own methods are built on this one; none of them takes a function.
            result: T = await self._driver._execute(  # type: ignore[no-untyped-call]  # noqa: SLF001  # see above
                lambda: step(self._driver._conn, *args, **kwargs)  # noqa: SLF001  # see above
            )
        finally:
            self.waiting -= 1
        return result


@asynccontextmanager
async def connected(path: Path, *pragmas: str) -> AsyncIterator[Connection]:
    """Open the database file at ``path``, which exists, and close it again.

    Raises:
        StorageError: It cannot be opened.
    """
    driver = aiosqlite.Connection(lambda: connect(path, *pragmas), 64)
    try:
        try:
            _ = await settled(driver)
        except sqlite3.Error as error:
            raise translated(error, path) from error
        yield Connection(driver)
    finally:
        await settled(driver.close())


def connect(path: Path, *pragmas: str) -> sqlite3.Connection:
    """Connect to the file at ``path`` on this thread, with every commit synced, and run ``pragmas``."""
    # mode=rw: a missing file is an error, not a new archive.
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=WAIT_SECONDS,
        isolation_level=None,
        cached_statements=512,
    )
    try:
        for pragma in ("synchronous=FULL", *pragmas):
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def translated(error: Exception, path: Path, *, is_committing: bool = False) -> StorageError:
    """Say in the archive's words what ``error`` means; what it says of contents is left out.

    A failed write leaves nothing behind that a later commit could build on. A failed sync does, and so
    may anything that fails while committing: then the store is broken.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return StorageError(f"{path.name}: a value cannot be stored ({type(error).__name__})")
    name, primary = error.sqlite_errorname, code & 0xFF  # type: ignore[attr-defined]  # goes with the code
    text = f"{path.name}: {name}"
    if code in _TAKEN:
        return ConflictError(str(error))
    refusal = _refusal_of(path.parent) if code == sqlite3.SQLITE_IOERR_WRITE else None
    if primary == sqlite3.SQLITE_FULL or refusal in _FULL:
        return FullError(text)
    # What a read-only disk refuses was not written: neither the disk nor what was synced before is in doubt.
    is_disk = primary == sqlite3.SQLITE_IOERR and refusal != errno.EROFS
    if is_disk and (is_committing or code in _UNSAFE):
        return BrokenError(text)
    if primary in {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}:
        return StorageError(f"{path.name}: a value cannot be stored ({name})")
    return UnavailableError(text)


_UNSAFE: Final = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
}


def _refusal_of(directory: Path) -> int | None:
    """Return why nothing can be written there: SQLite reports all but a full disk as a failed write."""
    probe = directory / f".room-{os.getpid()}-{os.urandom(8).hex()}"
    try:
        file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, bytes(65536), 0)
        finally:
            os.close(file)
    except OSError as error:
        return error.errno
    finally:
        with suppress(OSError):
            probe.unlink()
    return None
