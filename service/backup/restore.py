"""Restoring a backup to where nothing is: first beside that place, and put there at last, whole.

Order: rows, keys, published log, ledger; then the log begins anew where it must, and what was erased since is erased
again, before any blob is brought; the blobs; the places. Killed anywhere before the last step, nothing is there, and
the next attempt goes on with the blobs that were brought. The last step is written down before it begins
(`service.backup.placing`): killed within it, the next attempt does what is left of it and nothing else.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from service.backup.bringing_up import BringingUp, Rows, Site
from service.backup.create import ERASURES_FILE, LOG_FILE
from service.backup.manifest import Kind, Manifest, read_manifest
from service.backup.places import find_backups, newest_of
from service.backup.working import on_thread
from service.domain.errors import UnavailableError
from storage.errors import ConflictError
from storage.ports import KeyStore

STAGED: Final = ".restoring"
ERASURES: Final = "erasures"
"""The file of the erasure ledger, in the ledger's directory."""

# What SQLite keeps beside a database, and reads into whatever database is called so (sqlite.org/tempfiles.html).
_BESIDE: Final = ("-wal", "-shm", "-journal")

_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class Target:
    """Where an archive is: its directory, its rows, its keys, its blobs, its ledger.

    ``rows`` and ``keys`` are None where a server keeps them; ``servers`` says where that is.
    """

    directory: Path
    rows: Path | None
    keys: Path | None
    blobs: Path
    ledger: Path
    servers: tuple[str, ...] = ()

    def staged(self) -> "Target":
        """Return where it is brought up before it is put there."""
        return Target(
            directory=self._stage(self.directory),
            rows=None if self.rows is None else self._stage(self.rows),
            keys=None if self.keys is None else self._stage(self.keys),
            blobs=self._stage(self.blobs),
            ledger=self._stage(self.ledger),
            servers=self.servers,
        )

    def require_room_beside(self) -> None:
        """Refuse a place beside which this account may not write: what is restored is brought up there, and renamed.

        Raises:
            UnavailableError: It may not.
        """
        for path in sorted({staged.parent for staged, _ in self.moves()}):
            there = next(one for one in (path, *path.parents) if one.exists())
            if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
                raise UnavailableError(
                    f"{there} is not this account's to write, and what is restored is brought up in it and then "
                    "renamed: let the setting name a directory within one that belongs to the service's account, such "
                    "as /var/lib/taltio/data in /var/lib/taltio, and run this as that account"
                )

    def require_empty(self) -> None:
        """Refuse a place where something is.

        Raises:
            ConflictError: Something is there. It was kept.
        """
        for path in (self.directory, self.blobs):
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise ConflictError(
                    f"{path} is not empty, and a backup is restored to an empty place only: move it away (its ledger "
                    "is needed: --ledger), or let [archive] directory name another"
                )
            if path.is_mount():
                raise ConflictError(
                    f"{path} is a mount point, and what is restored takes its place by being renamed: let the setting "
                    "name a directory within it"
                )
        for path in self._databases():
            for file in with_beside(path):
                if os.path.lexists(file):
                    raise ConflictError(f"{file} is there already: move it away first")

    def moves(self) -> Iterator[tuple[Path, Path]]:
        """Yield what is to be renamed to what at last, the archive's own directory being the very last."""
        paths = (self.blobs, *self._databases())
        outside = [path for path in paths if not path.is_relative_to(self.directory)]
        for path in (*outside, self.directory):
            yield self._stage(path), path

    def clear(self) -> None:
        """Remove what an earlier attempt left here, apart from blobs, and make the directories."""
        if self.directory.exists():
            _log.info("backup.restore_goes_on", extra={"directory": str(self.directory)})
        parents = (path.parent for path in self._databases())
        for path in (self.directory, self.blobs, *parents):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._databases():
            for file in with_beside(path):
                file.unlink(missing_ok=True)
        for left in self.directory.iterdir():
            if left != self.blobs:
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _databases(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.rows, self.keys) if path is not None)

    def _stage(self, path: Path) -> Path:
        staged = self.directory.with_name(self.directory.name + STAGED)
        if path.is_relative_to(self.directory):
            return staged / path.relative_to(self.directory)
        return path.with_name(path.name + STAGED)


@dataclass(frozen=True, slots=True)
class Restoring:
    """Restores backups."""

    bringing_up: BringingUp

    def choose(self, name: str | None, *, now: datetime) -> Manifest:
        """Return the backup ``name``, or the newest one.

        Raises:
            MissingError, TamperedError: There is none, or it is not as the archive wrote it.
            UnavailableError: There is none at all, a newer program made it, or the newest is from the future. Or the
                newest is gone: its key store is there, and an older one is taken only when it is named.
        """
        unpacker = self.bringing_up.unpacker
        places, key = unpacker.places, unpacker.keys.index_key
        if name is not None:
            return read_manifest(places.archive, name, kind=Kind.ARCHIVE, key=key)
        listed = find_backups(places, Kind.ARCHIVE, key)
        if not listed:
            raise UnavailableError(f"{places.archive.directory} holds no backup")
        newest = newest_of(listed, now=now)
        of_keys = places.keys.names()
        if of_keys and of_keys[-1] > newest.name:
            raise UnavailableError(
                f"the backup {of_keys[-1]} is missing in {places.archive.directory}, though "
                f"{places.keys.directory} has its key store: look for another copy of it. To restore an older one all "
                f"the same, name it: {newest.name}"
            )
        return newest

    async def bring_back(
        self,
        manifest: Manifest,
        keys: Manifest,
        staged: Target,
        *,
        sites: tuple[Site[Rows], Site[KeyStore]],
        ledger: Path | None,
    ) -> None:
        """Bring log and ledger of a backup to ``staged``, its rows and ``keys`` to ``sites``, but for blobs all anew.

        Without ``ledger``, what newer backups know of erasures since takes its place; the log must then begin anew.

        Raises:
            TamperedError, UnavailableError: It is not as it was written, cannot be opened, or is a newer program's.
            OSError: There is no room, or a directory cannot be written.
        """
        await on_thread(lambda _: staged.clear())
        for what, site in zip((manifest, keys), sites, strict=True):
            await self.bringing_up.put_back(what, site)
        unpacker = self.bringing_up.unpacker

        def step(check: Callable[[], None]) -> None:
            unpacker.unpack_log(manifest, LOG_FILE, staged.directory)
            if ledger is not None:
                shutil.copytree(ledger, staged.ledger)
                return
            staged.ledger.mkdir(mode=0o755)
            if ERASURES_FILE in keys.files:
                unpacker.unpack(keys, ERASURES_FILE, staged.ledger / ERASURES, check=check)

        await on_thread(step)


def with_beside(database: Path) -> Iterator[Path]:
    """Yield the file of an SQLite database, and those that belong to it."""
    yield database
    yield from (database.with_name(f"{database.name}{end}") for end in _BESIDE)
