"""Bringing rows and keys of a backup up, as they were, brought up to this program's tables."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from service.backup.create import SUFFIX
from service.backup.manifest import Kind, Manifest
from service.backup.places import Listed, find_backups, is_ahead, newest_of
from service.backup.unpack import Unpacker
from service.backup.working import on_thread, scratch
from service.domain.errors import TamperedError, UnavailableError
from storage.ports import KeyStore, LogStore, Snapshots, Store


class Rows(Store, LogStore, Protocol):
    """Rows and their log, in one."""


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Site(Generic[T_co]):
    """Where a store is put back and then opened.

    ``scratch_in`` is a directory on whose disk the copy lies meanwhile. ``carries_out`` where a copy is not only read
    but done as it says.
    """

    snapshots: Snapshots
    scratch_in: Path
    opened: Callable[[], AbstractAsyncContextManager[T_co]]
    carries_out: bool = False


OpenSite = Callable[[Path], AbstractAsyncContextManager[Site[T_co]]]
"""Makes a temporary site, of which what are files lies in the directory."""


@dataclass(frozen=True, slots=True)
class Sites:
    """How temporary sites of rows and of keys are made, by engine."""

    rows: Mapping[str, OpenSite[Rows]]
    keys: Mapping[str, OpenSite[KeyStore]]


@dataclass(frozen=True, slots=True)
class BringingUp:
    """Puts stores of backups back."""

    unpacker: Unpacker
    sites: Sites

    def rows_of(
        self, manifest: Manifest, *, scratch_in: Path
    ) -> AbstractAsyncContextManager[Rows]:
        """Bring the rows of a backup up in a temporary place, for the block; raises as ``put_back``."""
        return self._temporary(manifest, self.sites.rows, scratch_in)

    def keys_of(
        self, manifest: Manifest, *, scratch_in: Path
    ) -> AbstractAsyncContextManager[KeyStore]:
        """Bring the keys of a backup up in a temporary place, for the block; raises as ``put_back``."""
        return self._temporary(manifest, self.sites.keys, scratch_in)

    async def put_back(self, manifest: Manifest, site: Site[object]) -> None:
        """Let the rows or keys of a backup be the store of ``site``, where none is yet.

        Raises:
            TamperedError: They are not what was backed up.
            UnavailableError: They cannot be opened here, or are a newer program's.
        """
        site.snapshots.require_known(manifest.snapshot)
        if site.carries_out and self.unpacker.keys.index_key is None:
            raise UnavailableError(
                f"{manifest.name}: without the keys nobody knows who wrote it, and a database would do what it says"
            )
        file = _store_file(manifest)

        def step(check: Callable[[], None]) -> None:
            with scratch(site.scratch_in) as folder:
                plain = folder / file.removesuffix(SUFFIX)
                self.unpacker.unpack(manifest, file, plain, check=check)
                site.snapshots.put_back(plain, check=check)

        await on_thread(step)

    @asynccontextmanager
    async def _temporary(
        self, manifest: Manifest, sites: Mapping[str, OpenSite[T]], scratch_in: Path
    ) -> AsyncIterator[T]:
        opened_site = sites.get(manifest.engine)
        if opened_site is None:
            raise UnavailableError(
                f"{manifest.name} is of {manifest.engine}, and [storage] names no server to bring it up on"
            )
        with scratch(scratch_in) as folder:
            async with opened_site(folder) as site:
                await self.put_back(manifest, site)
                async with site.opened() as store:
                    yield store

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
