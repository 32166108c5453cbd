"""Bringing rows and keys of a backup up in a directory, as they were, brought up to this program's tables."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from service.backup.create import SUFFIX
from service.backup.manifest import Kind, Manifest
from service.backup.places import Listed, find_backups, is_ahead, newest_of
from service.backup.unpack import Unpacker
from service.backup.working import on_thread, scratch
from service.domain.errors import TamperedError, UnavailableError
from storage.ports import KeyStore, LogStore, Snapshots, Store


class OpenRows(Protocol):
    """Opens the rows of a store that was put back."""

    def __call__(self, path: Path) -> AbstractAsyncContextManager["Rows"]:
        """Open the rows at ``path``."""
        ...


class OpenKeys(Protocol):
    """Opens a key store that was put back."""

    def __call__(self, path: Path) -> AbstractAsyncContextManager[KeyStore]:
        """Open the keys at ``path``."""
        ...


class Rows(Store, LogStore, Protocol):
    """Rows and their log, in one."""


SnapshotsAt = Callable[[Path], Snapshots]
"""Returns what puts a store back at a path."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How stores are put back: rows and keys, each at a path, and how they are opened there."""

    rows_at: SnapshotsAt
    keys_at: SnapshotsAt
    open_rows: OpenRows
    open_keys: OpenKeys


@dataclass(frozen=True, slots=True)
class BringingUp:
    """Puts stores of backups back."""

    unpacker: Unpacker
    engine: Engine

    async def put_back(self, manifest: Manifest, target: Path) -> None:
        """Let the rows or keys of a backup be the store at ``target``, which is not there yet.

        Raises:
            TamperedError: They are not what was backed up.
            UnavailableError: They cannot be opened here, or are a newer program's.
        """
        at = self.engine.rows_at if manifest.kind is Kind.ARCHIVE else self.engine.keys_at
        snapshots = at(target)
        snapshots.require_known(manifest.snapshot)
        file = _store_file(manifest)

        def step(check: Callable[[], None]) -> None:
            with scratch(target.parent) as folder:
                plain = folder / file.removesuffix(SUFFIX)
                self.unpacker.unpack(manifest, file, plain, check=check)
                snapshots.put_back(plain)

        await on_thread(step)

    def newest_keys(self, *, now: datetime, rows: Manifest | None = None) -> Manifest:
        """Return the newest backup of keys, for ``rows`` of its time or before: what was erased before it stays erased.

        It suits older rows too, because keys are stored before the rows that need them. An older one, in which erased
        keys are and newer ones are not, is never taken in its place.

        Raises:
            TamperedError: It is not as the archive wrote it, or the one that was made with ``rows`` is missing.
            UnavailableError: There is none, or it cannot be used.
        """
        newest = newest_of(self._listed_keys(), now=now)
        if rows is not None and newest.made_at < rows.made_at:
            raise TamperedError(
                f"the newest backup of the key store, {newest.name}, is older than the rows, {rows.name}"
            )
        return newest

    def older_keys(self, *, now: datetime) -> Manifest:
        """Return the newest backup of keys that can be used, whatever newer ones there are.

        Raises:
            UnavailableError: There is none.
        """
        believed = (one.manifest for one in self._listed_keys() if one.manifest)
        found = [one for one in believed if not is_ahead(one, now=now)]
        if not found:
            raise UnavailableError("no backup of the key store can be used")
        return found[-1]

    def _listed_keys(self) -> Sequence[Listed]:
        places, key = self.unpacker.places, self.unpacker.keys.index_key
        listed = find_backups(places, Kind.KEYS, key)
        if not listed:
            raise UnavailableError(f"{places.keys.directory} holds no backup of the key store")
        return listed


def _store_file(manifest: Manifest) -> str:
    """Return the name of the file that holds the copy of the store."""
    found = [name for name in manifest.files if name.endswith((".db.age", ".dump.age"))]
    if len(found) != 1:
        raise TamperedError(f"{manifest.name}: it does not say which file holds the store")
    return found[0]
