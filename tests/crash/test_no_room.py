"""No room, no handles, a disk that is read-only for a while: refused, and going on by itself."""

import asyncio
import resource
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.crash.disks import mounted_disk, require_mounting
from tests.crash.tracing import failing_calls
from tests.crash.workload import RefusedError, items_of, send
from tests.system.programs import run

REFUSALS = {(507, "full"), (503, "unavailable")}
NO_CONNECTION = (0, "")


async def keep(client, site, *names: str) -> None:
    for name in names:
        for item in items_of(name):
            site.history.sent(item)
            await send(client, item, site.tokens)
            site.history.acknowledged(item)


async def refusals(client, site, *names: str) -> set[tuple[int, str]]:
    """Send what is not to be taken; return how it was refused."""
    found = set()
    for name in names:
        for item in items_of(name):
            site.history.sent(item)
            try:
                await send(client, item, site.tokens)
            except RefusedError as refusal:
                found.add((refusal.status, refusal.code))
            except aiohttp.ClientConnectionError:
                found.add(NO_CONNECTION)
            else:
                site.history.acknowledged(item)
                found.add((200, "taken"))
    return found


@asynccontextmanager
async def talking(site):
    async with site.serving() as service:
        # One connection, made before handles run out.
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(service.address, connector=connector) as client:
            yield service, client


async def problems_of(client) -> dict[str, str]:
    async with client.get("/readyz") as answer:
        return (await answer.json()).get("problems", {})


async def until_ready(client) -> None:
    """A part of the work beside requests that failed is told of for half a minute."""
    async with asyncio.timeout(90):
        while set(await problems_of(client)) - {"loops"}:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_a_full_disk_is_refused_on_and_room_is_enough_to_go_on(tmp_path, make_site):
    with mounted_disk(tmp_path) as disk:
        site = make_site(disk.point)
        async with talking(site) as (service, client):
            await keep(client, site, "pbx/call-0")
            filler = disk.fill()
            names = [f"{source}/full-{n}" for n in range(12) for source in ("pbx", "hook")]
            # What lies reserved in files is used up first; soon nothing is taken.
            await refusals(client, site, *names)
            found = await refusals(client, site, *(f"pbx/fuller-{n}" for n in range(12)))
            assert found - {(200, "taken")} <= REFUSALS
            assert (507, "full") in found
            assert "free" in (await problems_of(client))["blobs"]
            filler.unlink()
            await until_ready(client)
            await keep(client, site, "pbx/call-1", "hook/call-2")
            assert "storage.broken" not in "".join(service.said)
        assert await site.completed() >= 3


@pytest.mark.slow
async def test_without_handles_nothing_is_taken_until_there_are_some(make_site):
    site = make_site()
    async with talking(site) as (service, client):
        await keep(client, site, "pbx/call-0")
        process = service.process.pid
        handles = Path(f"/proc/{process}/fd")
        used = max(int(handle.name) for handle in handles.iterdir()) + 1
        before = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (used, before[1]))
        lowest = len(list(handles.iterdir()))
        assert lowest <= used
        # Numbers below the limit that are free are used up by connections that nobody answers.
        idle = [
            await asyncio.open_connection(*service.address.removeprefix("http://").split(":"))
            for _ in range(used - lowest + 2)
        ]
        found = set()
        for n in range(6):
            found |= await refusals(client, site, f"pbx/none-{n}")
        assert (503, "unavailable") in found
        # What needs a handle for its connection may have that ended.
        assert found - {(200, "taken"), NO_CONNECTION} == {(503, "unavailable")}
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)
        for _, writer in idle:
            writer.close()
        await until_ready(client)
        await keep(client, site, "pbx/call-1", "hook/call-2")
    assert await site.completed() >= 3


@pytest.mark.slow
async def test_a_disk_that_is_read_only_for_a_while_is_refused_on(make_site, tmp_path):
    site = make_site()
    async with talking(site) as (service, client):
        await keep(client, site, "pbx/call-0")
        async with failing_calls(
            service.process.pid, tmp_path, calls="pwrite64,linkat,link", inject="error=EROFS"
        ):
            found = await refusals(client, site, "pbx/call-1", "hook/call-2", "pbx/call-3")
            assert found == {(503, "unavailable")}
        await until_ready(client)
        await keep(client, site, "pbx/call-1", "hook/call-2")
        assert "storage.broken" not in "".join(service.said)
    assert await site.completed() >= 3


@pytest.mark.slow
async def test_on_a_disk_that_is_read_only_the_service_does_not_start_and_says_why(
    tmp_path, make_site
):
    require_mounting()
    with mounted_disk(tmp_path) as disk:
        site = make_site(disk.point)
        async with talking(site) as (_, client):
            await keep(client, site, "pbx/call-0")
        command = ["mount", "-o", "remount,ro", disk.point]
        subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221  # at once
        said = await run(site.folder, "serve", code=2)
        assert "read-only" in said.lower()
        assert "Traceback" not in said
        command = ["mount", "-o", "remount,rw", disk.point]
        subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221  # at once
        assert await site.completed() == 1
