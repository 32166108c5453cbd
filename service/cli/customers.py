"""``taltio customers import FILE.csv``."""

import argparse
import sys
from datetime import UTC, datetime

from service.archive.register import read_register
from service.cli.progress import Progress
from service.config import Config
from service.domain.actor import OPERATOR
from service.domain.errors import InvalidInputError
from service.wiring import opened_archive


async def import_customers(config: Config, options: argparse.Namespace) -> int:
    """Bring the customers of a file in; tell which rows were left out, and why."""
    try:
        # utf-8-sig: spreadsheet programs put a byte order mark first.
        with options.file.open(encoding="utf-8-sig", newline="") as file:
            lines = file.readlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{options.file} cannot be read as UTF-8 text: {error}"
        ) from error
    async with opened_archive(config) as archive:
        imported = await archive.register.bring_in(
            read_register(lines, region=config.archive.default_region),
            actor=OPERATOR,
            now=datetime.now(UTC),
            progress=Progress("customers"),
        )
    for wrong in imported.wrong:
        print(f"line {wrong.line}: {wrong.reason}", file=sys.stderr)
    print(
        f"{imported.added} added, {imported.changed} changed, {imported.unchanged} unchanged, "
        f"{len(imported.wrong)} rows left out, {imported.relinked} contacts linked again"
    )
    if imported.wrong and not imported.added + imported.changed + imported.unchanged:
        raise InvalidInputError(
            f"nothing of {options.file} came in; mend its rows as said above"
        )
    return 0
