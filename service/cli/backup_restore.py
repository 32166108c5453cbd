"""``taltio backup restore``: an archive from a backup, in a place where nothing is."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import msgspec

from service.archive.replay import replay_erasures
from service.backup.afterwards import Afterwards
from service.backup.manifest import Manifest
from service.backup.placing import Placing, begin_placing, end_placing, find_placing, place
from service.backup.restore import Restoring, Target
from service.backup_sites import Claim, claims_of, sites_of_restore
from service.cli.backup_access import Stages, bringing_up_of
from service.cli.tables import human_size
from service.config import Config
from service.domain.actor import OPERATOR
from service.domain.errors import InvalidInputError
from service.domain.times import format_time
from service.keys.ring import KeyRing
from service.log.checkpoint import decode_checkpoint
from service.serving import clock, log_keeper
from service.wiring import Archive, disposal_of, key_provider, opened_archive, opened_blobs
from service.wiring_backups import config_at, opened_pool, restore_target
from service.worker.signed import CHECKPOINT, STATE, UNKNOWN, LogState
from storage.backups import translated
from storage.errors import MissingError, StorageError
from storage.ports import BlobStore
from storage.soundness import Soundness
from storage.waiting import settled

_SHOWN = 20


async def restore(config: Config, options: argparse.Namespace) -> int:
    """Restore a backup; exit code 1 when some of its blobs are missing or altered, or older keys were asked for."""
    target = restore_target(config)
    async with claims_of(config) as claims:
        if (placing := await asyncio.to_thread(find_placing, target)) is not None:
            return await _go_on(placing, target, claims)
        target.require_empty()
        target.require_room_beside()
        for claim in claims:
            await claim.require_empty()
        _require_ledger(options.ledger)
        manifest, missing = await _stage(config, options, target, claims)
        begin = partial(begin_placing, target, name=manifest.name, missing=missing)
        with translated(target.directory):
            placing = await asyncio.to_thread(begin, has_older_keys=options.older_keys)
        await _put_in_place(target, claims)
    print(f"{target.directory} is the archive as it was at {format_time(manifest.made_at)}.")
    return _tell(placing)


async def _stage(
    config: Config, options: argparse.Namespace, target: Target, claims: Sequence[Claim]
) -> tuple[Manifest, list[str]]:
    """Bring a backup up beside its place; return which, and the names of blobs that are missing."""
    provider, staged = key_provider(config), target.staged()
    ring = KeyRing(provider.load(), load=provider.load)
    bringing_up = bringing_up_of(config, ring, options.identity)
    places = bringing_up.unpacker.places
    with places.archive.steady(), places.keys.steady():
        async with opened_pool(places) as pool, AsyncExitStack() as on_failure:
            restoring = Restoring(bringing_up)
            manifest, keys = await asyncio.to_thread(_choose, restoring, options)
            staged_config = config_at(config, staged)
            sites = sites_of_restore(staged_config, staged)
            for what, site in zip((manifest, keys), sites, strict=True):
                site.snapshots.require_known(what.snapshot)
            print(f"Restoring {manifest.name} to {target.directory}.", flush=True)
            for claim in claims:
                await claim.take()
                on_failure.push_async_callback(_give_up, claim)
            with translated(staged.directory):
                await restoring.bring_back(
                    manifest, keys, staged, sites=sites, ledger=options.ledger
                )
                missing = await _finish(staged_config, manifest, pool, options.ledger)
            on_failure.pop_all()
    return manifest, missing


def _choose(restoring: Restoring, options: argparse.Namespace) -> tuple[Manifest, Manifest]:
    """Return which backup of the archive is restored, and which of the key store."""
    now, bringing_up = clock(), restoring.bringing_up
    manifest = restoring.choose(options.name, now=now)
    if not options.older_keys:
        return manifest, bringing_up.newest_keys(now=now, rows=manifest)
    keys = bringing_up.older_keys(now=now)
    print(
        f"taltio: WARNING: the key store of {keys.name} is restored, whatever newer ones there are. Keys that were "
        "destroyed since are back, but for what the ledger says was erased; what came in since opens no more.",
        file=sys.stderr,
        flush=True,
    )
    return manifest, keys


async def _go_on(placing: Placing, target: Target, claims: Sequence[Claim]) -> int:
    """Do what is left of an earlier restore, which had everything but the places; what else was asked for must wait."""
    await _put_in_place(target, claims)
    print(
        f"An earlier restore was stopped while it put things in place. That is finished: {target.directory} is the "
        f"archive of the backup {placing.name}."
    )
    return _tell(placing)


async def _put_in_place(target: Target, claims: Sequence[Claim]) -> None:
    """Let everything be where it belongs, and only then let anybody open it."""
    with translated(target.directory):
        await asyncio.to_thread(place, target)
        for claim in claims:
            await claim.release()
        await asyncio.to_thread(end_placing, target)


async def _give_up(claim: Claim) -> None:
    # What went wrong is told; that it cannot be removed either, the next attempt finds out.
    with suppress(StorageError):
        await settled(claim.give_up())


def _require_ledger(ledger: Path | None) -> None:
    if ledger is not None and not (ledger / STATE).is_file():
        raise InvalidInputError(
            f"{ledger} is no ledger of an archive: name the directory ledger/ of the archive that was lost"
        )


async def _finish(
    config: Config, manifest: Manifest, pool: BlobStore, ledger: Path | None
) -> list[str]:
    """Make what was brought back fit to answer; return the names of blobs that are missing."""
    async with opened_blobs(config, create=True, soundness=Soundness()):
        pass  # An archive is opened only where its blobs are; this one's are still to come.
    async with opened_archive(config) as archive:
        now, stores = clock(), archive.stores
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


def _tell(placing: Placing) -> int:
    missing = placing.missing
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
    return 1 if missing or placing.has_older_keys else 0
