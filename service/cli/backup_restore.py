"""``taltio backup restore``: an archive from a backup, in a place where nothing is."""

import argparse
import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from service.archive.replay import replay_erasures
from service.backup.afterwards import Afterwards
from service.backup.manifest import Manifest
from service.backup.restore import Restoring, Target, put_in_place
from service.cli.backup_access import Stages, bringing_up_of
from service.cli.tables import human_size
from service.config import Config
from service.domain.actor import OPERATOR
from service.domain.errors import InvalidInputError
from service.domain.times import format_time
from service.keys.ring import KeyRing
from service.log.checkpoint import decode_checkpoint
from service.serving import log_keeper
from service.wiring import Archive, disposal_of, key_provider, opened_archive
from service.wiring_backups import config_at, opened_pool, restore_target
from service.worker.signed import CHECKPOINT, STATE, UNKNOWN, LogState
from storage.backups import translated
from storage.errors import MissingError
from storage.ports import BlobStore

_SHOWN = 20


async def restore(config: Config, options: argparse.Namespace) -> int:
    """Restore a backup; exit code 1 when some of its blobs are missing or altered."""
    target = restore_target(config)
    target.require_empty()
    _require_ledger(options.ledger)
    provider = key_provider(config)
    ring = KeyRing(provider.load(), load=provider.load)
    bringing_up = bringing_up_of(config, ring, options.identity)
    places = bringing_up.unpacker.places
    with places.archive.steady(), places.keys.steady():
        async with opened_pool(places) as pool:
            restoring = Restoring(bringing_up)
            manifest = await asyncio.to_thread(restoring.choose, options.name)
            print(f"Restoring {manifest.name} to {target.directory}.", flush=True)
            staged = target.staged()
            with translated(staged.directory):
                await restoring.bring_back(manifest, staged, ledger=options.ledger)
                missing = await _finish(
                    config_at(config, staged), manifest, pool, options.ledger
                )
    with translated(target.directory):
        await asyncio.to_thread(put_in_place, target)
    return _tell(manifest, target, missing)


def _require_ledger(ledger: Path | None) -> None:
    if ledger is not None and not (ledger / STATE).is_file():
        raise InvalidInputError(
            f"{ledger} is no ledger of an archive: name the directory ledger/ of the archive that was lost"
        )


async def _finish(
    config: Config, manifest: Manifest, pool: BlobStore, ledger: Path | None
) -> list[str]:
    """Make what was brought back fit to answer; return the names of blobs that are missing."""
    async with opened_archive(config) as archive:
        now, stores = datetime.now(UTC), archive.stores
        afterwards = Afterwards(stores.store, stores.keys, stores.blobs)
        keeper = log_keeper(archive)
        if ledger is None:
            await asyncio.to_thread(_forget_position, archive)
        await afterwards.record(manifest, actor=OPERATOR.id, now=now)
        # Where the backup does not continue what was signed, this begins a new log, before anything is put into it.
        await keeper.publish(now=now)
        again = await replay_erasures(disposal_of(archive), now=now)
        await afterwards.sign_everybody_out()
        copied, missing = await afterwards.bring_blobs(pool, partial(Stages(), "objects"))
        await keeper.publish(now=now)
    print(f"{again:,} contacts that were erased since are erased again.")
    print(
        f"{copied.objects:,} objects ({human_size(copied.object_bytes)}) are back.", flush=True
    )
    return missing


def _forget_position(archive: Archive) -> None:
    """Let a new log begin: without the ledger nobody knows what was signed after the backup."""
    keeper = log_keeper(archive)
    try:
        origin = decode_checkpoint(keeper.published.read(CHECKPOINT)).origin
    except MissingError:
        origin = keeper.name
    suffix = origin.removeprefix(keeper.name).removeprefix("/")
    generation = int(suffix) if suffix.isdigit() else 1
    state = LogState(origin=origin, first=UNKNOWN, generation=generation)
    keeper.ledger.write(STATE, msgspec.json.encode(state))


def _tell(manifest: Manifest, target: Target, missing: list[str]) -> int:
    print(f"{target.directory} is the archive as it was at {format_time(manifest.made_at)}.")
    print(
        "Everybody has to sign in again. What was changed since is as it was then: users that were disabled, tokens"
    )
    print(
        "that were revoked, settings of roles. Go through them, then: taltio verify, taltio serve"
    )
    for name in missing[:_SHOWN]:
        print(f"Missing or ALTERED in the backup: {name}")
    if missing:
        print(
            f"{len(missing):,} objects did not come back. Look for an older copy of the directory of backups."
        )
    return 1 if missing else 0
