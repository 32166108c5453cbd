"""Copies of an archive that an older program wrote, made before this one brings it forward. The way back."""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final

from storage.database.connection import connect, translated
from storage.errors import UnavailableError
from storage.migrations import ARCHIVE, KEYS, History, require_known
from storage.syncing import sync_directory

_PAGES: Final = 4096
_UNFINISHED: Final = ".unfinished"
_STAMP: Final = "%Y%m%dT%H%M%SZ"


def copy_older(
    rows: Path | None, keys: Path | None, into: Path, *, now: datetime
) -> Path | None:
    """Copy both databases into a new folder below ``into`` when one is older than this program; return the folder.

    ``rows`` or ``keys`` is None where it is no file of SQLite. On return the copies survive a power cut. Killed
    before, nothing was brought forward, and the next call begins anew.

    Raises:
        UnavailableError: One cannot be read or copied, or was written by a newer program.
        FullError: There is no room for the copies.
    """
    given = [(path, history) for path, history in ((rows, ARCHIVE), (keys, KEYS)) if path]
    there = {path: history for path, history in given if path.exists()}
    if all(_revision(path, history) == history.head for path, history in there.items()):
        return None
    try:
        return _copy_all(there, into, into / now.strftime(_STAMP))
    except OSError as error:
        raise UnavailableError(f"{into}: {error.strerror}") from error


def remove_copies(into: Path, *, made_before: datetime) -> int:
    """Remove the copies below ``into`` that were made before then, and say how many.

    The old keys in them open what was erased since.
    """
    limit, removed = made_before.strftime(_STAMP), 0
    if not into.is_dir():
        return 0
    for folder in sorted(into.iterdir()):
        if folder.is_dir() and folder.name[:16] < limit:
            shutil.rmtree(folder)
            removed += 1
    return removed


def _copy_all(there: Mapping[Path, History], into: Path, target: Path) -> Path:
    into.mkdir(mode=0o700, exist_ok=True)
    for left in into.glob(f"*{_UNFINISHED}"):
        shutil.rmtree(left)
    fresh = target.with_name(target.name + _UNFINISHED)
    fresh.mkdir(mode=0o700)
    for path in there:
        _copy(path, fresh / path.name)
    sync_directory(fresh)
    fresh.rename(target)
    sync_directory(into)
    sync_directory(into.parent)
    return target


def _revision(path: Path, history: History) -> str:
    """Return the revision of a database, or that of this program where opening it will say what is wrong with it."""
    try:
        with closing(connect(path, "query_only=ON")) as db:
            versions = db.execute(f"SELECT version_num FROM {history.table}").fetchall()  # noqa: S608  # our own name
    except sqlite3.OperationalError:
        return history.head
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return require_known([version for (version,) in versions], history, str(path))


def _copy(path: Path, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    try:
        with (
            closing(connect(path, "query_only=ON")) as db,
            closing(connect(target, "synchronous=OFF")) as copy,
        ):
            db.backup(copy, pages=_PAGES)
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise translated(error, path) from error
    if found != "ok":
        raise UnavailableError(f"{path.name} is damaged: it was not brought forward")
    with target.open("rb") as file:
        os.fsync(file.fileno())
