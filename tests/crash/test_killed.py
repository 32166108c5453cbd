"""Killed without warning, again and again: what was acknowledged is there, equal, once, and in the log."""

import asyncio
import random
import sys
from contextlib import suppress

import pytest

from tests.crash.workload import work
from tests.system.programs import COMMAND, ENVIRONMENT, until

ROUNDS_LONG, KILLS_LONG = 10, 22


async def killed_while_working(site, choose: random.Random) -> None:
    async with site.serving() as service:
        working = asyncio.create_task(
            work(service.address, site.history, site.names, site.tokens)
        )
        before = site.history.acknowledgements
        await until(lambda: site.history.acknowledgements >= before + 3)
        await asyncio.sleep(choose.uniform(0, 0.8))
        await service.kill()
        await working


async def killed_while_starting(site, choose: random.Random) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        cwd=site.folder,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await asyncio.sleep(choose.uniform(0, 1.0))
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@pytest.mark.slow
async def test_what_was_acknowledged_survives_being_killed(make_site):
    site, choose = make_site(), random.Random(1)  # noqa: S311  # chooses moments
    await killed_while_starting(site, choose)
    for _ in range(3):
        await killed_while_working(site, choose)
    await killed_while_starting(site, choose)
    assert await site.completed() > 3


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(ROUNDS_LONG))
async def test_what_was_acknowledged_survives_being_killed_hundreds_of_times(make_site, number):
    site, choose = make_site(), random.Random(number)  # noqa: S311  # chooses moments
    for kill in range(KILLS_LONG):
        if kill % 6 == 0:
            await killed_while_starting(site, choose)
        else:
            await killed_while_working(site, choose)
    read = await site.completed()
    print(  # noqa: T201  # a long run tells what it did
        f"{KILLS_LONG} kills, {site.history.acknowledgements} acknowledged, {read} recordings read",
        file=sys.stderr,
    )
