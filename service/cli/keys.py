"""``taltio keys list|intake|rotate|destroy``."""

import argparse
from datetime import UTC, datetime

from service.cli.progress import Progress
from service.config import Config
from service.domain.actor import OPERATOR
from service.domain.times import format_time
from service.keys.intake_files import write_intake_files
from service.wiring import key_provider, opened_archive, rotation_of


async def list_epochs(config: Config, _: argparse.Namespace) -> int:
    """Print every epoch: number, kind, when it was made, its state, how many keys it opens."""
    async with opened_archive(config) as archive:
        for use in await rotation_of(archive).find_epochs():
            epoch = use.epoch
            made = format_time(epoch.created_at)
            print(f"{epoch.number}\t{epoch.kind}\t{made}\t{epoch.state}\t{use.keys} keys")
    return 0


async def write_intake(config: Config, options: argparse.Namespace) -> int:
    """Write what a process needs that only takes deliveries in."""
    written = write_intake_files(
        key_provider(config).load(), options.directory, archive=config.archive.directory
    )
    print(f"{written} is all that intake needs of the keys. It opens nothing.")
    print("Copy it to [keys] directory (mode 0700) of each machine of the role intake,")
    print("owned by the account of the service, mode 0400; again after each rotation.")
    return 0


async def rotate(config: Config, _: argparse.Namespace) -> int:
    """Begin a new epoch and move every key to it, or finish what was interrupted."""
    async with opened_archive(config) as archive:
        rotation = rotation_of(archive)
        done = await rotation.rotate(
            actor=OPERATOR, now=datetime.now(UTC), progress=Progress("keys rewrapped")
        )
        current = archive.vault.ring.current_epoch
    print(f"epoch {current} is current; {done} keys rewrapped")
    print("A running service takes it up within seconds. Back up the keys directory now.")
    return 0


async def destroy(config: Config, options: argparse.Namespace) -> int:
    """Destroy an epoch that opens nothing any more."""
    async with opened_archive(config) as archive:
        copies = await rotation_of(archive).destroy(
            options.number, actor=OPERATOR, now=datetime.now(UTC)
        )
    print(f"epoch {options.number} is destroyed")
    for sentence in copies:
        print(sentence)
    return 0
