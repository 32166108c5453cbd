"""``python -m bench [--long] [--write] [NAME…]``."""

import argparse
import compileall
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.machine import describe
from bench.results import Result, table, write
from bench.rows import (
    adapters,
    bytes_in,
    bytes_out,
    finding,
    intake,
    mail,
    object_store,
    postgres,
    process,
    storm,
    verification,
)
from bench.sizes import GIB, LONG, NORMAL, TINY, Sizes

Row = Callable[[Sizes, Path], Result]

ROWS: Final[Mapping[str, Row]] = {
    "kept": intake.kept,
    "understood": intake.understood,
    "upload": bytes_in.uploaded,
    "ranges": bytes_out.ranges,
    "playback": bytes_out.played,
    "lookup": finding.found,
    "memory": process.memory,
    "start": process.started,
    "verify": verification.verified,
    **adapters.ROWS,
    **mail.ROWS,
    "import": intake.imported,
    "storm": storm.stormed,
    "s3-upload": object_store.uploaded,
    "s3-ranges": object_store.ranges,
    "pg-kept": postgres.kept,
    "pg-two": postgres.kept_by_two,
    "pg-lookup": postgres.found,
}
_ROOT: Final = Path(__file__).resolve().parent.parent
_PAGE: Final = _ROOT / "docs" / "performance.md"
_ROOM_BYTES: Final = 12 * GIB
_LONG_ROOM_BYTES: Final = 40 * GIB


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, print the table; return 0 when every figure is what it must be."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    # As an installation does; some environments keep Python from it, and every start would compile everything again.
    for package in ("service", "storage", "bench"):
        compileall.compile_dir(_ROOT / package, quiet=1)
    sizes = LONG if options.long else TINY if options.tiny else NORMAL
    with tempfile.TemporaryDirectory(prefix="taltio-bench-", dir=options.directory) as folder:
        directory = Path(folder)
        _require_room(directory, sizes)
        machine = describe(directory)
        print(machine, file=sys.stderr, flush=True)
        begun = time.monotonic()
        results = [_measure(name, sizes, directory) for name in options.rows or ROWS]
    measured = f"{machine}\n\n{table(results)}\n\nMeasured in {time.monotonic() - begun:.0f} s."
    print(measured)
    if options.write:
        write(_PAGE, measured)
    return 0 if all(result.is_reached for result in results) else 1


def _measure(name: str, sizes: Sizes, directory: Path) -> Result:
    begun = time.monotonic()
    place = directory / name
    place.mkdir()
    try:
        result = ROWS[name](sizes, place)
    finally:
        shutil.rmtree(place)
        # What was written is not to be written out while the next row is measured.
        os.sync()
    seconds = time.monotonic() - begun
    print(
        f"{name}: {result.figure:.3g} {result.figure_unit} ({seconds:.0f} s)",
        file=sys.stderr,
        flush=True,
    )
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="NAME", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--long", action="store_true", help="ten million contacts, more rounds")
    parser.add_argument(
        "--tiny", action="store_true", help="only see that it runs; the figures mean nothing"
    )
    parser.add_argument("--write", action="store_true", help=f"put the table into {_PAGE.name}")
    parser.add_argument(
        "--directory", type=Path, help="where files are written; /tmp by default"
    )
    return parser


def _require_room(directory: Path, sizes: Sizes) -> None:
    needed = {id(LONG): _LONG_ROOM_BYTES, id(NORMAL): _ROOM_BYTES}.get(id(sizes), 0)
    if shutil.disk_usage(directory).free < needed:
        raise SystemExit(f"bench: {directory} has less than {needed / GIB:.0f} GiB of room")


if __name__ == "__main__":
    sys.exit(main())
