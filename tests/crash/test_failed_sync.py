"""A sync fails: the service takes nothing more, says why, and never tries that sync again."""

import asyncio
import signal

import aiohttp
import pytest

from tests.crash.history import Item
from tests.crash.tracing import failing_calls
from tests.crash.workload import RefusedError, items_of, send
from tests.system.programs import run, until

SYNCS = "fsync,fdatasync"
PLACES = [
    pytest.param("keys.db-wal", "contact", id="keys", marks=pytest.mark.long),
    pytest.param("taltio.db-wal", "contact", id="rows and log"),
    pytest.param("", "recording", id="blob"),
]


async def refusal_of(client, item, tokens) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await send(client, item, tokens)
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize(("file", "kind"), PLACES)
async def test_a_failed_sync_ends_taking_and_is_not_tried_again(
    make_site, tmp_path, file, kind
):
    site = make_site(checkpoint_seconds=60)
    failing, spare = (
        next(item for item in items_of(name) if item.kind == kind)
        for name in ("pbx/call-1", "pbx/call-2")
    )
    async with site.serving() as service, aiohttp.ClientSession(service.address) as client:
        kept, sound = items_of("pbx/call-0")
        for item in (kept, sound):
            site.history.sent(item)
            await send(client, item, site.tokens)
            site.history.acknowledged(item)
        async with failing_calls(
            service.process.pid,
            tmp_path,
            calls=SYNCS,
            # The next one fails and all after it would succeed: what a second try would see, and believe.
            inject="error=EIO:when=1",
            paths=[site.data / file] if file else [],
        ) as trace:
            for item in items_of(failing.name):
                site.history.sent(item)
            refused = await refusal_of(client, failing, site.tokens)
            assert (refused.status, refused.code) == (503, "storage_failed")
            assert "disk failed" in refused.detail
            assert any("EIO" in line for line in trace.lines())
        async with failing_calls(
            service.process.pid, tmp_path, calls=SYNCS, inject="delay_enter=0"
        ) as trace:
            for item in (failing, spare, *items_of("pbx/call-3"), *items_of("hook/call-4")):
                refused = await refusal_of(client, item, site.tokens)
                assert (refused.status, refused.code) == (503, "storage_failed")
            async with client.get("/readyz") as answer:
                problems = (await answer.json())["problems"]
                assert answer.status == 503
                assert "a sync failed" in problems["durability"]
            async with client.get("/healthz") as answer:
                assert answer.status == 200
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(service.process.wait(), 30) == 2
        assert [line for line in trace.lines() if "sync(" in line] == []
        said = "".join(service.said)
        assert "storage.broken" in said
        assert "because a sync failed" in said
    assert await site.completed() >= 1
    assert "nothing is altered or missing" in await run(site.folder, "verify")


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["ledger", pytest.param("log", marks=pytest.mark.long)])
async def test_a_failed_sync_of_the_published_log_ends_taking_too(make_site, tmp_path, folder):
    site = make_site(checkpoint_seconds=1)
    first, _ = items_of("pbx/call-0")
    async with site.serving() as service, aiohttp.ClientSession(service.address) as client:
        await asyncio.sleep(1.5)
        async with failing_calls(
            service.process.pid,
            tmp_path,
            calls=SYNCS,
            inject="error=EIO:when=1",
            paths=[site.data / folder],
        ):
            site.history.sent(first)
            await send(client, first, site.tokens)
            site.history.acknowledged(first)
            await until(lambda: "storage.broken" in "".join(service.said))
        refused = await refusal_of(client, Item("contact", "pbx/call-2", ""), site.tokens)
        assert refused.code == "storage_failed"
    assert await site.completed() == 0
