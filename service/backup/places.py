"""Where backups are, whose they are, and what opens them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from service.backup.manifest import KEY_FIELD, MANIFEST, Kind, Manifest, read_manifest
from service.crypto.recipients import Identity, Recipient
from service.crypto.secret import IndexKey
from service.domain.errors import ArchiveError, TamperedError, UnavailableError
from service.keys.ring import KeyRing
from storage.backups import BackupFolders
from storage.errors import MissingError, StorageError

POOL = "blobs"
AHEAD: Final = timedelta(minutes=10)
"""So far the clocks of two machines may be apart. What was made later than that from now was made by a wrong one."""


@dataclass(frozen=True, slots=True)
class Places:
    """The two directories: of rows, log and blobs; and apart from it, of the key store."""

    archive: BackupFolders
    keys: BackupFolders

    def of(self, kind: Kind) -> BackupFolders:
        """Return the backups of one kind."""
        return self.archive if kind is Kind.ARCHIVE else self.keys

    @property
    def pool(self) -> Path:
        """The directory of the blobs, which all backups share."""
        return self.archive.directory / POOL


@dataclass(frozen=True, slots=True)
class Listed:
    """A backup as it is listed: what it says of itself, or why that cannot be believed."""

    name: str
    manifest: Manifest | None
    trouble: ArchiveError | StorageError | None = None


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long backups are kept. The newest one is, however old."""

    archive: timedelta
    keys: timedelta

    def of(self, kind: Kind) -> timedelta:
        """Return how long one kind is kept."""
        return self.archive if kind is Kind.ARCHIVE else self.keys


@dataclass(frozen=True, slots=True)
class BackupKeys:
    """What authenticates manifests, and what opens sealed files. Without ``index_key`` manifests are only claims."""

    index_key: IndexKey | None = field(repr=False)
    identities: Sequence[Identity] = field(default=(), repr=False)

    @classmethod
    def of_ring(cls, ring: KeyRing | None, more: Sequence[Identity] = ()) -> "BackupKeys":
        """Return what the keys of the archive can do, and the identities ``more``."""
        if ring is None:
            return cls(None, tuple(more))
        ring.require_at_hand()
        own = [epoch.keys.identity for epoch in ring.epochs if epoch.keys is not None]
        return cls(ring.index_key(KEY_FIELD), (*reversed(own), *more))


def recipients_of(ring: KeyRing, more: Sequence[Recipient]) -> tuple[Recipient, ...]:
    """Return whom backups are sealed to: the current epoch, the offline recipients of epochs, and ``more``.

    The epoch's own identity opens what is needed for checking by itself; without it nobody reads the rows anyway.
    """
    current = ring.epochs[-1].recipient
    chosen = {str(one): one for one in (current, *ring.escrow, *more)}
    return tuple(chosen.values())


def find_backups(places: Places, kind: Kind, key: IndexKey | None) -> Sequence[Listed]:
    """Return the backups of one kind, oldest first.

    Raises:
        UnavailableError: Their directory cannot be read.
    """
    folders = places.of(kind)
    return [_listed(folders, name, kind, key) for name in folders.names()]


def _listed(folders: BackupFolders, name: str, kind: Kind, key: IndexKey | None) -> Listed:
    try:
        return Listed(name, read_manifest(folders, name, kind=kind, key=key))
    except MissingError:
        return Listed(name, None, TamperedError(f"{name}: {MANIFEST} is missing"))
    except (ArchiveError, StorageError) as error:
        return Listed(name, None, error)
    except OSError as error:
        return Listed(name, None, UnavailableError(f"{name}: {error.strerror}"))


def is_ahead(manifest: Manifest, *, now: datetime) -> bool:
    """Tell whether a backup says that it was made in the future: some clock was wrong, or is."""
    return manifest.made_at > now + AHEAD


def newest_at(listed: Sequence[Listed], *, now: datetime) -> datetime | None:
    """Return when the newest backup that can be believed was made; those from the future tell nothing."""
    made = (one.manifest for one in listed if one.manifest)
    return max((one.made_at for one in made if not is_ahead(one, now=now)), default=None)


def newest_of(listed: Sequence[Listed], *, now: datetime) -> Manifest:
    """Return the newest of backups, of which there are some; another one is never taken in its place silently.

    Raises:
        TamperedError: It is not as the archive wrote it.
        UnavailableError: It cannot be read, a newer program made it, or it says that it was made in the future.
    """
    newest = listed[-1]
    if newest.manifest is None:
        if isinstance(newest.trouble, ArchiveError):
            raise newest.trouble
        raise UnavailableError(f"{newest.name}: {newest.trouble}")
    if is_ahead(newest.manifest, now=now):
        raise UnavailableError(
            f"{newest.name} says that it was made in the future, so it cannot be told which backup is the newest: set "
            "the clock, or move it away if the clock was wrong when it was made"
        )
    return newest.manifest
