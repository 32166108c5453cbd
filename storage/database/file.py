"""The file of an SQLite database: that it is there, that it is ours, and that it can keep our promises."""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from storage.database.connection import connect, translated
from storage.errors import MissingError, UnavailableError
from storage.migrations import History, require_known, upgrade

# Their locks or their shared memory do not reach from one machine to the next, or not at all.
_REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs"}
_ESCAPES: Final = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


def prepare(path: Path, history: History, *, create: bool) -> None:
    """Make sure that ``path`` is a database in WAL mode, at the head of ``history``.

    An older one is brought forward in one transaction; killed meanwhile, it is as it was.

    Args:
        path: The file.
        history: What it is to hold.
        create: Make it where it is missing; otherwise that is an error.

    Raises:
        MissingError: There is no such file.
        UnavailableError: It is not ours, newer than this program, or on an unfit file system.
    """
    require_local(path)
    try:
        if not path.exists():
            if not create:
                raise MissingError(f"{path}: there is no such database")
            _create(path, history)
        with closing(connect(path, "secure_delete=ON")) as db:
            _require_wal(db, path)
            revision = _get_revision(db, path, history)
            _carry_over(db)
            if revision != history.head:
                _upgrade(db, history)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error


def require_local(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse ``path`` on a file system of another machine (sqlite.org/wal.html, "disadvantages").

    Raises:
        UnavailableError: It lies on one.
    """
    if not mounts.exists():
        return
    kind = _filesystem(path.resolve(), mounts.read_text())
    if kind in _REMOTE:
        raise UnavailableError(
            f"{path}: lies on a network file system ({kind}), where SQLite cannot keep rows safe; "
            "use a local disk, or PostgreSQL"
        )


def _filesystem(path: Path, mounts: str) -> str | None:
    """Find the kind of file system that holds ``path`` (proc_pid_mountinfo(5))."""
    kinds: dict[str, str] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        for escape, character in _ESCAPES.items():
            point = point.replace(escape, character)
        # A later mount hides an earlier one at the same place.
        kinds[point] = after.split(" ")[0]
    return next((kinds[str(p)] for p in (path, *path.parents) if str(p) in kinds), None)


def _create(path: Path, history: History) -> None:
    """Make the database under another name first, so that under its own it is whole or missing."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Of two processes that start at once, one waits and then finds it made.
        fcntl.flock(directory, fcntl.LOCK_EX)
        if path.exists():
            return
        for left in path.parent.glob(f".{path.name}.new*"):
            left.unlink()
        fresh = path.with_name(f".{path.name}.new")
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with closing(connect(fresh)) as db:
            _require_wal(db, fresh)
            _upgrade(db, history)
        os.link(fresh, path)
        os.fsync(directory)
        fresh.unlink()
    finally:
        os.close(directory)


def _require_wal(db: sqlite3.Connection, path: Path) -> None:
    (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise UnavailableError(f"{path}: the file system cannot hold a write-ahead log")


def _carry_over(db: sqlite3.Connection) -> None:
    """Bring into the database, synced, what a process that ended early left in the write-ahead log.

    That process may have seen a sync fail. Then the log holds what only the kernel's memory holds, and what were
    written behind it would be lost with it in a power cut, for a log is read up to its first gap.
    """
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _get_revision(db: sqlite3.Connection, path: Path, history: History) -> str:
    """Return the database's revision.

    Raises:
        UnavailableError: It is not ours, or newer than this program.
    """
    named = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    if not db.execute(named, (history.table,)).fetchone():
        raise UnavailableError(f"{path}: is not a Taltio database of kind {history.name!r}")
    versions = db.execute(f"SELECT version_num FROM {history.table}").fetchall()  # noqa: S608  # our own name
    return require_known([version for (version,) in versions], history, str(path))


def _upgrade(db: sqlite3.Connection, history: History) -> None:
    from sqlalchemy import create_engine, event  # noqa: PLC0415  # only where there is something to do
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  # as above
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415  # as above

    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)

    # IMMEDIATE: of two processes that start at once, one waits and then finds nothing to do.
    event.listen(engine, "begin", lambda _: db.execute("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            upgrade(connection, history)
    except DBAPIError as error:
        raise error.orig or error from error
    finally:
        engine.dispose()
