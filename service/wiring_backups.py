"""Builds what makes, tries and restores backups."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from service.backup.bringing_up import BringingUp
from service.backup.create import BackupMaker
from service.backup.drill import Drill
from service.backup.places import BackupKeys, Keeping, Places
from service.backup.restore import ERASURES, Target
from service.backup.unpack import Unpacker
from service.backup_sites import snapshots_of, temporary_sites
from service.config import Config, PostgresUrl, StorageUrl
from service.crypto.recipients import parse_recipient
from service.databases import key_place
from service.domain.errors import InvalidInputError, UnavailableError
from service.keys.ring import KeyRing
from service.wiring import LEDGER_DIRECTORY, Archive, marker_of
from storage.backups import BackupFolders
from storage.files import FileBlobs
from storage.ports import BlobStore
from storage.tables import TABLES


def backup_places(config: Config) -> Places:
    """Return where backups are.

    Raises:
        InvalidInputError: The settings name no place for them.
    """
    archive, keys = config.backup.directory, config.backup.keys_directory
    if archive is None or keys is None:
        raise InvalidInputError(
            "backups have no place yet: set [backup] directory and keys_directory"
        )
    return Places(BackupFolders(archive), BackupFolders(keys))


@asynccontextmanager
async def opened_pool(places: Places, *, create: bool = False) -> AsyncIterator[BlobStore]:
    """Open the blobs that backups share.

    Raises:
        storage.errors.StorageError: They are not there, or cannot be used.
    """
    if not create and not await asyncio.to_thread(places.archive.names):
        raise UnavailableError(f"{places.archive.directory} holds no backup")
    # Asked first, so that nothing is made below a mount point without its mount.
    await asyncio.to_thread(places.archive.names)
    async with FileBlobs.opened(places.pool, create=create) as pool:
        yield pool


@asynccontextmanager
async def opened_maker(archive: Archive) -> AsyncIterator[BackupMaker]:
    """Open what makes backups of an open archive.

    Raises:
        InvalidInputError: The settings name no place for them.
        storage.errors.StorageError: The place cannot be used.
    """
    config, stores = archive.config, archive.stores
    places = backup_places(config)
    rows, keys = snapshots_of(config)
    async with opened_pool(places, create=True) as pool:
        yield BackupMaker(
            store=stores.store,
            log=stores.log,
            blobs=stores.blobs,
            pool=pool,
            rows=rows,
            keys=keys,
            ring=archive.vault.ring,
            places=places,
            directory=config.archive.directory,
            erasures=config.archive.directory / LEDGER_DIRECTORY / ERASURES,
            name=config.archive.name,
            recipients=[parse_recipient(one) for one in config.backup.recipients],
            keep=Keeping(
                archive=timedelta(days=config.backup.keep_days),
                keys=timedelta(days=config.backup.keep_keys_days),
            ),
        )


def drill_of(
    scratch_in: Path, ring: KeyRing, bringing_up: BringingUp, pool: BlobStore
) -> Drill:
    """Return what tries backups out, in a temporary place below ``scratch_in``."""
    tables = {table.name: row for row, table in TABLES.items()}
    return Drill(bringing_up, pool, scratch_in, ring, marker_of(ring), tables)


@asynccontextmanager
async def opened_daily(archive: Archive) -> AsyncIterator[tuple[BackupMaker, Drill]]:
    """Open what the running service makes its backups with, and tries them out with.

    Raises:
        storage.errors.StorageError: The place cannot be used.
    """
    ring = archive.vault.ring
    async with opened_maker(archive) as maker:
        unpacker = Unpacker(maker.places, BackupKeys.of_ring(ring))
        bringing_up = BringingUp(unpacker, temporary_sites(archive.config))
        yield maker, drill_of(archive.config.archive.directory, ring, bringing_up, maker.pool)


def restore_target(config: Config) -> Target:
    """Return where an archive is to be restored.

    Raises:
        InvalidInputError: Its rows, keys or blobs are where a backup is not restored to.
    """
    directory, blobs = config.archive.directory, config.storage.blobs
    if not isinstance(blobs, StorageUrl):
        raise InvalidInputError(
            "a backup is restored to files, not to a bucket: set [storage] blobs to a directory"
        )
    rows, keys = config.storage.database, key_place(config)
    return Target(
        directory=directory,
        rows=rows.path if isinstance(rows, StorageUrl) else None,
        keys=keys.path if isinstance(keys, StorageUrl) else None,
        blobs=blobs.path,
        ledger=directory / LEDGER_DIRECTORY,
        servers=tuple(str(one) for one in (rows, keys) if isinstance(one, PostgresUrl)),
    )


def config_at(config: Config, target: Target) -> Config:
    """Return ``config`` for the archive at ``target`` instead, which this process is restoring."""
    storage = config.storage

    def place(
        path: Path | None, otherwise: StorageUrl | PostgresUrl
    ) -> StorageUrl | PostgresUrl:
        if path is not None:
            return StorageUrl("sqlite", path)
        if isinstance(otherwise, StorageUrl):
            return otherwise
        return replace(otherwise, is_restoring=True)

    return replace(
        config,
        archive=replace(config.archive, directory=target.directory),
        storage=replace(
            storage,
            database=place(target.rows, storage.database),
            keys=place(target.keys, key_place(config)),
            blobs=StorageUrl("file", target.blobs),
        ),
    )
