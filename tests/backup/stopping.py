"""Run as a program: makes or restores a backup again and again, each time stopping dead a step later, until it is done.

Each attempt works in a copy of its own, which the test then looks at. No cleaning up runs, as with ``kill -9``.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from service.config import parse_config
from tests.backup.conftest import DAY, PLACES, Backups
from tests.conftest import CONFIG, NOW

STOPPED = 9
MOST_STEPS = 4000
STEPS = (
    "open",
    "write",
    "fsync",
    "fdatasync",
    "link",
    "unlink",
    "rename",
    "replace",
    "mkdir",
    "rmdir",
    "sync",
)


def config_in(folder: Path):
    return parse_config(PLACES + CONFIG, base=folder)


async def create(folder: Path) -> None:
    await Backups(config_in(folder)).make(now=NOW + 36 * DAY)


async def restore(folder: Path) -> None:
    await Backups(config_in(folder)).restore("--ledger", folder / "lost" / "ledger")


def die_at(step: int) -> None:
    """Let the process end before its ``step``-th system call of those that leave something behind."""
    left = [step]

    def counted(original):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os._exit(STOPPED)
            return original(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def main(deed: str, template: Path, directory: Path, first: int, stride: int) -> None:
    for at in range(first, MOST_STEPS, stride):
        folder = Path(shutil.copytree(template, directory / str(at)))
        child = os.fork()
        if not child:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            die_at(at)
            asyncio.run({"create": create, "restore": restore}[deed](folder))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            print(at)  # noqa: T201  # the answer
            return
        if code != STOPPED:
            raise SystemExit(f"attempt {at} ended with {code}")
    raise SystemExit("no end in sight")


if __name__ == "__main__":
    name, template, directory, first, stride = sys.argv[1:]
    main(name, Path(template), Path(directory), int(first), int(stride))
