"""The power goes off: whatever was not synced by then is gone, and what was acknowledged is there all the same."""

import asyncio
import os
import random
import sys

import aiohttp
import pytest

from tests.crash.disks import Disk, mounted_disk
from tests.crash.workload import contact_of, work
from tests.system.programs import COMMAND, ENVIRONMENT, until

DISKS_LONG, CUTS_LONG = 4, 8


@pytest.fixture
def disk(tmp_path):
    with mounted_disk(tmp_path) as mounted:
        yield mounted


async def cut_while_working(disk: Disk, site, choose: random.Random) -> None:
    async with site.serving() as service:
        working = asyncio.create_task(
            work(service.address, site.history, site.names, site.tokens)
        )
        before = site.history.acknowledgements
        await until(lambda: site.history.acknowledgements >= before + 5)
        await asyncio.sleep(choose.uniform(0, 1.0))
        # What returns from a sync later may be the simulation's doing: see `History.end`.
        site.history.end()
        disk.cut_power()
        await require_refusal(service.address, site.tokens)
        await service.kill()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    disk.unmount()
    disk.mount()
    site.history.begin()


async def require_refusal(address: str, tokens) -> None:
    """A disk that is gone is acknowledged nothing on."""
    headers = {"Authorization": f"Bearer {tokens.sender}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(address) as client,
        client.post(
            "/api/v1/contacts", data=contact_of("pbx/never"), headers=headers
        ) as answer,
    ):
        assert answer.status == 503, await answer.text()


async def cut_while_starting(disk: Disk, site, choose: random.Random) -> None:
    """Cut at any moment of a start; the first start makes keys and archive."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        cwd=site.folder,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await asyncio.sleep(choose.uniform(0.1, 1.5))
    disk.cut_power()
    if process.returncode is None:
        process.kill()
    await process.wait()
    disk.unmount()
    disk.mount()


@pytest.mark.slow
async def test_what_was_acknowledged_survives_a_power_cut(disk, make_site):
    site, choose = make_site(disk.point), random.Random(1)  # noqa: S311  # chooses moments
    await cut_while_working(disk, site, choose)
    await cut_while_working(disk, site, choose)
    assert await site.completed() > 3


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(DISKS_LONG))
async def test_what_was_acknowledged_survives_tens_of_power_cuts(disk, make_site, number):
    site, choose = make_site(disk.point), random.Random(number)  # noqa: S311  # chooses moments
    await cut_while_starting(disk, site, choose)
    for cut in range(CUTS_LONG - 1):
        if cut == 3:
            await cut_while_starting(disk, site, choose)
        else:
            await cut_while_working(disk, site, choose)
    read = await site.completed()
    print(  # noqa: T201  # a long run tells what it did
        f"{CUTS_LONG} cuts, {site.history.acknowledgements} acknowledged, {read} recordings read",
        file=sys.stderr,
    )


async def test_a_cut_takes_what_was_not_synced(disk):
    """What the tests above rely on: without it they would show nothing."""
    synced, not_synced = disk.point / "synced", disk.point / "not synced"
    for path in (synced, not_synced):
        with path.open("wb") as file:
            file.write(b"x" * 100_000)
            file.flush()
            if path is synced:
                os.fsync(file.fileno())
    disk.cut_power()
    disk.unmount()
    disk.mount()
    assert synced.read_bytes() == b"x" * 100_000
    assert not not_synced.exists() or not_synced.read_bytes() != b"x" * 100_000
