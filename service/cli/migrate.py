"""``taltio migrate``: the archive to a database server, an object store, or both. Exit code 0, 1 or 2."""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from service.cli.backup_access import Stages
from service.cli.tables import human_size
from service.config import Config, StorageUrl
from service.config.changing import OF_BUCKETS, with_storage
from service.databases import key_place
from service.domain.errors import InvalidInputError
from service.moving.move import Plan
from service.moving.record import Move, MoveRecord, State, destinations
from service.moving.rows import Findings
from service.wiring import held_alone_to_move, places_of
from service.wiring_moving import moved_places, opened_mover, require_unused, storage_of

EXIT_DIFFERS: Final = 1
"""Something is not the same at both places, or is altered."""

_FEW: Final = 10
_AGAIN: Final = (
    "The archive is not moved, and nothing may use it until it is or the move is given up. Mend what is named (a "
    "blob: from a backup) and run the same command again. If a row or an entry is named, or the archive was used "
    "meanwhile: taltio migrate --back, and then the same command copies all rows anew."
)

_USED: Final = "The archive stays where it was moved to: the places differ by now, so the old one must not be used."


async def migrate(config: Config, options: argparse.Namespace) -> int:
    """Move the archive, or take a move back."""
    said = _said(options)
    if options.back:
        if said or options.dry_run:
            raise InvalidInputError(
                "--back takes nothing else: where the archive went is known"
            )
        return await _give_up(config)
    if not {"database", "blobs"} & said.keys():
        raise InvalidInputError(
            "name where the archive is to go: --to postgresql://…, --blobs s3://…, or both"
        )
    target = with_storage(config, _whole(config, said), base=Path.cwd())
    storage = storage_of(config, target)
    with held_alone_to_move(config):
        await require_unused(config)
        record = MoveRecord(config.archive.directory)
        move = record.find(moved_places(config, storage), storage)
        async with opened_mover(config, target, storage, progress=Stages()) as mover:
            plan = await mover.plan()
            for line in _plan_lines(config, plan, move):
                print(line, flush=True)
            if options.dry_run:
                return 0
            if not await mover.move(move, plan):
                return _tell_differences(mover.findings, _AGAIN)
    for line in _end_lines(config, move):
        print(line)
    return 0


def _said(options: argparse.Namespace) -> dict[str, str]:
    given = {
        "database": options.to,
        **{name: getattr(options, name) for name in ("keys", "blobs", *OF_BUCKETS)},
    }
    return {name: value for name, value in given.items() if value is not None}


def _whole(config: Config, said: Mapping[str, str]) -> Mapping[str, str]:
    """Add what follows from what was said: keys on SQLite go with the rows."""
    if "database" in said and "keys" not in said and isinstance(key_place(config), StorageUrl):
        return {**said, "keys": ""}
    return said


async def _give_up(config: Config) -> int:
    with held_alone_to_move(config):
        await require_unused(config)
        record = MoveRecord(config.archive.directory)
        move = record.find_left(places_of(config))
        if move is None:
            raise InvalidInputError(
                "nothing was moved from where the settings say the archive is; to take a move back, first put the "
                "old [storage] back into the settings"
            )
        if move.state is State.MOVING:
            record.put(msgspec.structs.replace(move, state=State.GIVEN_UP))
        else:
            target = with_storage(config, move.storage, base=Path.cwd())
            async with opened_mover(config, target, move.storage, progress=Stages()) as mover:
                if not await mover.give_up(move):
                    return _tell_differences(mover.findings, _USED, most=_FEW)
    print(
        f"The move to {' and '.join(destinations(move))} is given up; the archive may be used where it was.\n"
        "What was copied is still there, and nobody can use it as an archive. The same taltio migrate as before "
        "copies rows anew and keeps the blobs that are there; otherwise destroy what is there."
    )
    return 0


def _plan_lines(config: Config, plan: Plan, move: Move) -> Iterator[str]:
    if move.state is State.MOVED:
        yield "The archive is moved already."
        return
    what = []
    if "database" in move.storage:
        what.append(f"{plan.rows:,} rows, {plan.entries:,} log entries and {plan.keys:,} keys")
    if "blobs" in move.storage:
        what.append(f"{plan.blobs:,} blobs ({human_size(plan.blob_bytes)})")
    goes_on = ", going on where it was" if move.state is State.MOVING else ""
    yield (
        f"To be moved of {config.archive.name}: {', '.join(what)}; from {' and '.join(move.left)} to "
        f"{' and '.join(destinations(move))}{goes_on}."
    )


def _tell_differences(findings: Findings, advice: str, *, most: int | None = None) -> int:
    named = findings.named[:most]
    for text in named:
        print(f"DIFFERS: {text}")
    if findings.count > len(named):
        print(f"… and {findings.count - len(named):,} more")
    print(advice)
    return EXIT_DIFFERS


def _end_lines(config: Config, move: Move) -> Iterator[str]:
    if move.state is not State.MOVED:
        yield "Verified: all that was moved was read back and is the same at the new place."
    yield "Change these lines of the settings, and no others of [storage]:"
    yield ""
    yield "[storage]"
    for name, value in move.storage.items():
        if value:
            # TOML writes texts as JSON does.
            yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
        elif name == "keys" and config.storage.keys is not None:
            yield "# keys: take the line out"
    yield ""
    yield (
        f"Then: taltio verify, and taltio serve. {config.archive.directory} with log/ and ledger/, the keys directory "
        f"{config.keys.directory} and the anchors stay in use; on another machine, put them there as they are now."
    )
    yield (
        f"Keep {' and '.join(move.left)} until taltio verify has passed and there is a backup of the new place; then "
        "destroy that, for what is erased from now on is not erased there. How: docs/operations.md, Moving up."
    )
