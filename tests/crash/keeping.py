"""Keeping a delivery or an upload where a step fails. As a program: stops dead, one step later each time."""

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.archive.receive import keep_delivery, keep_recording
from service.config import Config, parse_config
from service.wiring import Archive, opened_archive
from tests.archive.test_spine import call, chunks
from tests.attempts import STOPPED, stop_later_each_time
from tests.conformance.faults import FaultyConnection, sqlite_error
from tests.conftest import CONFIG, NOW

SOUND = bytes(range(256)) * 1200
CALLS = ("open", "mkdir", "write", "fdatasync", "link", "fsync", "unlink", "close")
ACKNOWLEDGED = "acknowledged"


@dataclass
class Steps:
    """Counts steps. In place of step ``at`` it raises what suits, or calls ``happens``."""

    at: int
    number: int = 0
    name: str = ""
    happens: Callable[[], None] | None = None
    taken: int = 0

    def around(self, step):
        """Take a step of the database."""
        return self.take(step, lambda: sqlite_error(self.name))

    def take(self, step, failure: Callable[[], Exception]):
        self.taken += 1
        if self.taken != self.at:
            return step()
        if self.happens is not None:
            self.happens()
        raise failure()

    @property
    def has_happened(self) -> bool:
        return self.taken >= self.at


@contextmanager
def stepping(archive: Archive, steps: Steps) -> Iterator[None]:
    """Let every statement and every call that changes files be a step, inside the block."""
    drivers = [
        archive.stores.log._writer._driver,
        archive.stores.keys.keys._keys._writer._driver,
    ]
    whole = {name: getattr(os, name) for name in CALLS}

    def failing(name):
        def call_of(*args, **kwargs):
            error = OSError(steps.number or errno.EIO, "made to fail")
            return steps.take(lambda: whole[name](*args, **kwargs), lambda: error)

        return call_of

    for driver in drivers:
        driver._connection = FaultyConnection(driver._connection, steps)
    for name in CALLS:
        setattr(os, name, failing(name))
    try:
        yield
    finally:
        for name, function in whole.items():
            setattr(os, name, function)
        for driver in drivers:
            driver._connection = driver._connection._db


def config_in(folder: Path) -> Config:
    return parse_config(CONFIG, base=folder)


async def keep(archive: Archive, deed: str):
    """Keep a delivery or an upload."""
    if deed == "upload":
        return await keep_recording(
            archive.intake,
            chunks(SOUND[:100_000], SOUND[100_000:]),
            source="pbx",
            source_id="c-1",
            name="a.wav",
            content_type="audio/wav",
            now=NOW,
        )
    return await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident="w-1", body=call(), now=NOW
    )


async def _attempt(folder: Path, deed: str, at: int) -> None:
    steps = Steps(at, happens=lambda: os._exit(STOPPED))
    async with opened_archive(config_in(folder)) as archive:
        with stepping(archive, steps):
            await keep(archive, deed)
        (folder / ACKNOWLEDGED).touch()
        os._exit(0)


def main(deed: str, template: Path, directory: Path, stride: int) -> None:
    """Keep it until it is kept."""

    def attempt(at: int) -> None:
        folder = Path(shutil.copytree(template, directory / str(at)))
        asyncio.run(_attempt(folder, deed, at))

    stop_later_each_time(attempt, stride)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
