"""``taltio backup create|list|verify``."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from service.archive.checks import Outcome
from service.backup.bringing_up import BringingUp
from service.backup.check import BackupVerifier, Verdict
from service.backup.drill import Drill, Drilled
from service.backup.manifest import KEY_FIELD, Kind, Manifest
from service.backup.places import Listed, find_backups, is_ahead
from service.backup.records import Record, find_records
from service.backup.restore import Restoring
from service.cli.backup_access import Stages, bringing_up_of
from service.cli.tables import human_size, table_lines
from service.cli.verify_command import EXIT_CODES, find_ring
from service.config import Config
from service.domain.actor import OPERATOR
from service.domain.errors import ArchiveError
from service.domain.times import format_time
from service.keys.ring import KeyRing
from service.wiring import opened_archive, opened_stores
from service.wiring_backups import backup_places, drill_of, opened_maker, opened_pool
from storage.backups import translated
from storage.errors import MissingError, StorageError
from storage.ports import BlobStore

_TITLES: Final = (
    "BACKUP", "CONTACTS", "OBJECTS", "BLOBS", "ROWS AND LOG", "KEYS", "MADE AT", "STATE",
)  # fmt: skip
_SIZES: Final = 6
_WORDS: Final = {Outcome.FAILED: "ALTERED", Outcome.UNKNOWN: "Could not be checked"}


async def create(config: Config, options: argparse.Namespace) -> int:
    """Make a backup; exit code 1 when blobs of the archive turned out to be damaged."""
    async with opened_archive(config) as archive, opened_maker(archive) as maker:
        made = await maker.create(
            actor=OPERATOR.id, now=datetime.now(UTC), progress=Stages(), is_first=options.first
        )
    manifest, copied = made.manifest, made.copied
    print(
        f"{manifest.name} is made: {manifest.rows.get('contacts', 0):,} contacts, {copied.objects:,} objects "
        f"({human_size(copied.object_bytes)}), of which {copied.new:,} are new ({human_size(copied.new_bytes)})."
    )
    for name in made.removed:
        print(f"Its time was over, and it is removed: {name}")
    for object_id in manifest.damaged:
        print(f"ALTERED or missing in the archive, and not backed up: {object_id}")
    return 1 if manifest.damaged else 0


async def list_backups(config: Config, _: argparse.Namespace) -> int:
    """Print a table of the backups, newest first."""
    places, ring = backup_places(config), find_ring(config)
    key = None if ring is None else ring.index_key(KEY_FIELD)
    archives = find_backups(places, Kind.ARCHIVE, key)
    keys = {one.name: one for one in find_backups(places, Kind.KEYS, key)}
    names = sorted({*keys, *(one.name for one in archives)}, reverse=True)
    by_name = {one.name: one for one in archives}
    rows = [_row(name, by_name.get(name), keys.get(name)) for name in names]
    for line in table_lines(_TITLES, rows, right=_SIZES):
        print(line)
    if not archives:
        print("There is no backup yet: taltio backup create", file=sys.stderr)
    return 0


def _row(name: str, archive: Listed | None, keys: Listed | None) -> tuple[str, ...]:
    manifest = archive.manifest if archive else None
    key_manifest = keys.manifest if keys else None
    known = manifest or key_manifest
    troubles = [
        f"NOT BELIEVED: {one.trouble}" for one in (archive, keys) if one and one.trouble
    ]
    if manifest and manifest.damaged:
        troubles.append(f"without {len(manifest.damaged)} damaged objects")
    if known and is_ahead(known, now=datetime.now(UTC)):
        troubles.append("FROM THE FUTURE: a clock was wrong, or is")
    if archive is None:
        troubles.append("keys alone")
    return (
        name,
        f"{manifest.rows.get('contacts', 0):,}" if manifest else "-",
        f"{manifest.objects:,}" if manifest else "-",
        human_size(manifest.object_bytes) if manifest else "-",
        human_size(manifest.file_bytes) if manifest else "-",
        human_size(key_manifest.file_bytes) if key_manifest else "-",
        format_time(known.made_at.replace(microsecond=0)) if known else "-",
        "; ".join(troubles) or "complete",
    )


async def verify(config: Config, options: argparse.Namespace) -> int:
    """Read and check backups, or try one out."""
    with translated(_scratch(config)):
        return await _verify(config, options)


async def _verify(config: Config, options: argparse.Namespace) -> int:
    ring = find_ring(config)
    bringing_up = bringing_up_of(config, ring, options.identity)
    places = bringing_up.unpacker.places
    with places.archive.steady(), places.keys.steady():
        async with opened_pool(places) as pool:
            if options.drill:
                return await _drill(config, ring, bringing_up, pool, options.names)
            verdict = await BackupVerifier(bringing_up, pool, _scratch(config)).verify(
                names=options.names,
                records=await _records(config),
                progress=Stages(),
                now=datetime.now(UTC),
            )
    for line in _lines(verdict):
        print(line)
    return EXIT_CODES[verdict.outcome]


async def _drill(
    config: Config,
    ring: KeyRing | None,
    bringing_up: BringingUp,
    pool: BlobStore,
    names: Sequence[str],
) -> int:
    if ring is None:
        print("Could not be checked: without the keys nothing can be opened.")
        return EXIT_CODES[Outcome.UNKNOWN]
    drill = drill_of(_scratch(config), ring, bringing_up, pool)
    wanted: Sequence[str | None] = names or [None]
    outcomes = {await _drill_one(drill, name) for name in wanted}
    if Outcome.FAILED in outcomes:
        return EXIT_CODES[Outcome.FAILED]
    return max(EXIT_CODES[one] for one in outcomes)


async def _drill_one(drill: Drill, name: str | None) -> Outcome:
    """Try one backup out and say what came of it; what is wrong with one keeps no other from being tried."""
    now = datetime.now(UTC)
    try:
        choose = partial(Restoring(drill.bringing_up).choose, name, now=now)
        manifest = await asyncio.to_thread(choose)
    except MissingError as error:
        # As verifying says of a backup that somebody asks for and that is not there.
        verdict = Verdict()
        verdict.add(name or "", str(error))
    except (ArchiveError, StorageError) as error:
        verdict = Verdict()
        verdict.add(name or "", error)
    else:
        drilled = await drill.run(manifest, now=now)
        _tell_drill(drilled, manifest)
        return drilled.verdict.outcome
    for line in _troubles(verdict):
        print(line)
    return verdict.outcome


def _tell_drill(drilled: Drilled, manifest: Manifest) -> None:
    for line in _troubles(drilled.verdict):
        print(line)
    if not drilled.is_up:
        print(f"{manifest.name} could not be brought up.")
        return
    if drilled.erased:
        print(f"{drilled.erased} of the objects that were chosen are erased by now.")
    print(
        f"{manifest.name} was brought up: {drilled.rows:,} rows in {len(manifest.rows)} tables compared, "
        f"{drilled.hashes} random blobs hashed, {drilled.opened} random recordings opened from end to end. "
        "It is removed again."
    )


def _lines(verdict: Verdict) -> Iterator[str]:
    yield from _troubles(verdict)
    yield (
        f"Read {verdict.backups:,} backups of rows and keys and {verdict.blobs:,} blobs "
        f"({human_size(verdict.blob_bytes)})."
    )
    yield {
        Outcome.PASSED: "Verified: every file is what was written, and every blob that a backup needs is there.",
        Outcome.FAILED: "ALTERED: what is named above is not what was backed up.",
        Outcome.UNKNOWN: "Could not be checked in full: see above. Nothing was found to be altered.",
    }[verdict.outcome]


def _troubles(verdict: Verdict) -> Iterator[str]:
    for one in verdict.troubles:
        yield f"{_WORDS[one.outcome]}: {one.name or 'the backups'}: {one.text}"


async def _records(config: Config) -> Sequence[Record] | None:
    """Return what the archive's log says was backed up; None where the archive is not at hand."""
    try:
        async with opened_stores(config, create=False) as stores:
            return await find_records(stores.log)
    except StorageError as error:
        print(
            f"taltio: without the archive, backups that are missing are not noticed: {error}",
            file=sys.stderr,
        )
        return None


def _scratch(config: Config) -> Path:
    """Return where opened rows may lie meanwhile: with the archive, where it is at hand."""
    directory = config.archive.directory
    return directory if directory.is_dir() else Path(tempfile.gettempdir())
