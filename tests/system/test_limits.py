"""Slow clients, greedy clients and storms of retries, against the running program."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime

import aiohttp
import pytest

from tests.system.programs import run, started
from tests.system.world import signed, write_secret

CONFIG = """
[web]
listen = "127.0.0.1:0"
{web}
[limits]
{limits}
[[sources]]
name = "pbx"
kind = "api"
[[sources]]
name = "hook"
kind = "standard-webhooks"
secret_file = "hook.secret"
"""


@contextlib.asynccontextmanager
async def serving(folder, *, limits="", web=""):
    (folder / "config.toml").write_text(CONFIG.format(limits=limits, web=web))
    if not (folder / "hook.secret").exists():
        write_secret(folder)
    async with (
        started(folder, "serve") as service,
        aiohttp.ClientSession(
            service.address, connector=aiohttp.TCPConnector(limit=200)
        ) as client,
    ):
        yield service, client


def connection(service):
    host, port = service.address.removeprefix("http://").split(":")
    return asyncio.open_connection(host, int(port))


async def trickled(service, head, *, every=0.1, most=10.0):
    """Send ``head``, then a byte now and then; return what came back and after how long it was closed."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    reader, writer = await connection(service)
    answer = asyncio.ensure_future(reader.read())
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(head)
            while not answer.done() and clock() < begun + most:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(every)
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(answer, 1), clock() - begun
        return b"", clock() - begun
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def deliver(client, ident):
    body = json.dumps(
        {
            "source_id": ident,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-20T14:02:00+02:00",
            "parties": [{"role": "customer", "phone": "+358401234567"}],
        }
    ).encode()
    headers = signed(body, ident, datetime.now(UTC)) | {"Content-Type": "application/json"}
    async with client.post("/intake/hook", data=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def token(folder, role):
    return (await run(folder, "tokens", "create", "--name", "t", "--role", role)).strip()


async def measured(client, admin, name):
    async with client.get("/metrics", headers={"Authorization": f"Bearer {admin}"}) as answer:
        text = await answer.text()
    return next(
        float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(f"{name} ")
    )


@pytest.mark.slow
async def test_slow_heads_are_closed_in_time_and_hold_nobody_up(tmp_path):
    async with serving(tmp_path, limits="head_seconds = 1\nconnections_per_address = 60") as (
        service,
        client,
    ):
        head = b"POST /intake/hook HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
        slow = [asyncio.ensure_future(trickled(service, head)) for _ in range(40)]
        await asyncio.sleep(0.3)
        for number in range(10):
            status, _, _ = await asyncio.wait_for(deliver(client, f"call-{number}"), 5)
            assert status == 200
        for answer, seconds in await asyncio.gather(*slow):
            assert answer == b""
            assert 0.9 < seconds < 5


@pytest.mark.slow
async def test_a_recording_that_trickles_is_given_up_and_leaves_nothing(tmp_path):
    async with serving(tmp_path, limits="body_seconds = 1") as (service, _):
        sender = await token(tmp_path, "integration")
        head = (
            "PUT /intake/pbx/c-1/recordings/a.wav HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {sender}\r\nContent-Length: 1000000\r\n\r\n"
        )
        answer, seconds = await trickled(service, head.encode())
        assert b" 20" not in answer
        assert 0.9 < seconds < 5
        blobs = [path for path in (tmp_path / "data/blobs").rglob("*") if path.is_file()]
        assert blobs == []


@pytest.mark.slow
async def test_who_asks_too_much_is_told_when_to_come_back_and_others_go_on(tmp_path):
    limits = "requests_per_address = 2\nrequests_per_sender = 1"
    proxy = 'trusted_proxies = ["127.0.0.1"]'
    async with serving(tmp_path, limits=limits, web=proxy) as (_, client):

        async def ask(address, path="/healthz", **headers):
            headers["X-Forwarded-For"] = address
            async with client.get(path, headers=headers) as answer:
                told = await answer.json(content_type=None)
                return answer.status, answer.headers.get("Retry-After"), told

        asked = [await ask("192.0.2.1") for _ in range(22)]
        refused = [one for one in asked if one[0] == 429]
        assert refused
        assert all(one[0] == 200 for one in asked[:20]), "ten seconds' worth at once"
        assert all(int(wait) >= 1 for _, wait, _ in refused)
        assert {told["code"] for _, _, told in refused} == {"too_many_requests"}
        # Another address goes on; a name that the client itself adds in front is not believed.
        assert (await ask("192.0.2.2"))[0] == 200
        assert (await ask("198.51.100.7, 192.0.2.1"))[0] == 429
        # The neighbours in one IPv6 network of 64 bits are one; the proxy itself is not counted.
        many = [await ask(f"2001:db8::{number:x}") for number in range(1, 30)]
        assert many[-1][0] == 429
        async with client.get("/healthz") as answer:
            assert answer.status == 200

        # A token is one sender from wherever it asks.
        reader = {"Authorization": f"Bearer {await token(tmp_path, 'agent')}"}
        path = "/api/v1/contacts?phone=0401234567"
        asked = [await ask(f"203.0.113.{n}", path, **reader) for n in range(12)]
        assert [one[0] for one in asked[:10]] == [200] * 10
        assert asked[-1][0] == 429
        other = {"Authorization": f"Bearer {await token(tmp_path, 'agent')}"}
        assert (await ask("203.0.113.99", path, **other))[0] == 200


@pytest.mark.slow
async def test_one_address_has_so_many_connections_and_no_more(tmp_path):
    async with serving(tmp_path, limits="connections_per_address = 5") as (service, _):
        pairs = [await connection(service) for _ in range(5)]
        reader, writer = await connection(service)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 503 ")
        first, first_writer = pairs[0]
        first_writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in await asyncio.wait_for(first.readline(), 5), "others are served"
        for _, one in [*pairs, (reader, writer)]:
            one.close()


@pytest.mark.slow
async def test_a_storm_of_retries_keeps_each_delivery_once_and_acknowledges_nothing_else(
    tmp_path,
):
    idents = [f"call-{number}" for number in range(150)]
    put_off, kept = [], {}

    async def insist(client, ident):
        """Send as impatient senders do: two at once, at once again when put off."""
        while ident not in kept:
            for status, headers, body in await asyncio.gather(
                deliver(client, ident), deliver(client, ident)
            ):
                assert status in {200, 503}
                if status == 200:
                    kept[ident] = json.loads(body)
                else:
                    assert int(headers["Retry-After"]) >= 1
                    put_off.append(json.loads(body)["code"])
            await asyncio.sleep(0.01)

    # How often somebody may ask is another limit, and a machine that is busy for a moment meets it.
    limits = "deliveries_at_once = 3\nrequests_per_address = 0\nrequests_per_sender = 0"
    async with serving(tmp_path, limits=limits) as (service, client):
        admin = await token(tmp_path, "admin")
        async with asyncio.timeout(60):
            await asyncio.gather(*(insist(client, ident) for ident in idents))
        assert set(put_off) == {"overloaded"}
        # Whatever was acknowledged is durable at that moment.
        await service.kill()

    async with serving(tmp_path) as (_, client):
        for ident in idents:
            status, _, body = await deliver(client, ident)
            assert (status, json.loads(body)) == (200, {"kept": True, "duplicate": True})
        async with asyncio.timeout(60):
            while await measured(client, admin, "taltio_contacts") < len(idents):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.1)
        assert await measured(client, admin, "taltio_contacts") == len(idents)
        assert await measured(client, admin, "taltio_attention_open") == 0
