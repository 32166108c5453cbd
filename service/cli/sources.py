"""``taltio sources import NAME DIR``."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from service.cli.progress import Progress
from service.config import Config
from service.config.sections import SourceConfig
from service.domain.errors import InvalidInputError
from service.sources.files import FileKind
from service.sources.kinds import KINDS
from service.wiring import opened_archive
from service.worker.files import FileIntake, Found, Tally, bring_in, find_files


async def import_files(config: Config, options: argparse.Namespace) -> int:
    """Keep the files that a source left in a directory, beside the running service; say what became of them."""
    source, recognise = _source(config, options.name)
    files = await asyncio.to_thread(_files, options.directory, options.move_to)
    before = datetime.now(UTC).timestamp() - options.settle
    settled = [one for one in files if one.written_at <= before]
    async with opened_archive(config) as archive:
        intake = FileIntake(
            archive.intake, source.name, recognise, config.intake.max_delivery_bytes
        )
        tally = await bring_in(
            settled,
            intake,
            move_to=options.move_to,
            clock=lambda: datetime.now(UTC),
            progress=Progress("files"),
        )
    tally.still_written += len(files) - len(settled)
    _tell(tally)
    if tally.refused:
        raise InvalidInputError("some files could not be kept; each is told of above")
    return 0


def _source(config: Config, name: str) -> tuple[SourceConfig, FileKind]:
    source = next((one for one in config.sources if one.name == name), None)
    if source is None:
        raise InvalidInputError(f"no [[sources]] is called {name}")
    recognise = KINDS[source.kind].files
    if recognise is None:
        raise InvalidInputError(f'{name} is of the kind "{source.kind}", which leaves no files')
    return source, recognise


def _files(directory: Path, move_to: Path | None) -> list[Found]:
    """Return the files of ``directory``, if those that are kept can be moved to ``move_to`` at once."""
    try:
        if move_to is not None:
            move_to.mkdir(mode=0o700, exist_ok=True)
            if move_to.stat().st_dev != directory.stat().st_dev:
                raise InvalidInputError(
                    f"{move_to} is on another file system than {directory}: files are moved, never copied"
                )
        return find_files(directory, without=move_to)
    except OSError as error:
        raise InvalidInputError(f"{error.filename}: {error.strerror}") from error


def _tell(tally: Tally) -> None:
    for name in tally.unknown:
        print(f"{name!r}: not a file of this source", file=sys.stderr)
    for name, reason in tally.refused.items():
        print(f"{name!r}: {reason}", file=sys.stderr)
    print(
        f"{tally.kept} kept, {tally.there_already} there already, {tally.still_written} still being written, "
        f"{len(tally.unknown)} not of this source, {len(tally.refused)} could not be kept"
    )
