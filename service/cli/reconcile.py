"""``taltio sources reconcile NAME FILE.csv``, ``taltio sources completeness``."""

import argparse
import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from service.config import Config
from service.domain.actor import OPERATOR, Role
from service.domain.errors import InvalidInputError
from service.sources.statements import read_statement
from service.wiring import opened_archive

_OPERATOR: Final = replace(OPERATOR, roles=frozenset({Role.ADMIN}))


async def reconcile(config: Config, options: argparse.Namespace) -> int:
    """Compare a statement; print a line for each day. Exit code 1 when something is missing."""
    data = await asyncio.to_thread(_read, options.file)
    async with opened_archive(config) as archive:
        await archive.book.refresh()
        rule = archive.interpreter.rules.get(options.name)
        if rule is None:
            raise InvalidInputError(f"no source is called {options.name}: taltio sources list")
        days = await archive.reconciling.reconcile(
            options.name,
            read_statement(data, rule=rule),
            actor=_OPERATOR,
            now=datetime.now(UTC),
            is_trial=options.dry_run,
        )
    print("day", "said", "missing", "without_recording", "unknown", sep="\t")
    for one in days:
        counts = (one.said, one.missing, one.without_recording, one.unknown)
        print(one.day.isoformat(), *counts, sep="\t")
    return int(any(one.missing or one.without_recording for one in days))


async def completeness(config: Config, _: argparse.Namespace) -> int:
    """Print the last months of each source, newest first."""
    async with opened_archive(config) as archive:
        await archive.book.refresh()
        months = await archive.completeness.find(actor=_OPERATOR, now=datetime.now(UTC))
    names = ("source", "month", "days", "said", "here", "late", "missing")
    print(*names, "recordings_lost", "recordings_expected", "share", sep="\t")
    for one in months:
        share = "-" if one.share is None else f"{one.share:.4f}"
        counts = (one.days, one.said, one.here, one.late, one.missing)
        recordings = (one.recordings_lost, one.recordings_expected)
        print(one.source, f"{one.first:%Y-%m}", *counts, *recordings, share, sep="\t")
    return 0


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from error
