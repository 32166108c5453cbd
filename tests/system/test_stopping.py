"""Told to stop, the program finishes what has begun, takes nothing new, and does not wait for ever."""

import asyncio
import contextlib
import json
import signal
from datetime import UTC, datetime

import aiohttp
import pytest

from tests.system.programs import run, started
from tests.system.test_limits import CONFIG, connection, token
from tests.system.world import signed, write_secret

SOUND = bytes(range(256)) * 800
BODY = json.dumps(
    {
        "source_id": "call-1",
        "channel": "call",
        "direction": "inbound",
        "started_at": "2026-11-20T14:02:00+02:00",
        "parties": [{"role": "customer", "phone": "+358401234567"}],
    }
).encode()


@pytest.fixture
def folder(tmp_path):
    write_secret(tmp_path)
    return tmp_path


@pytest.fixture
async def connect():
    """Connect to a service; closed at the end, however it went."""
    writers = []

    async def connecting(service):
        reader, writer = await connection(service)
        writers.append(writer)
        return reader, writer

    yield connecting
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def configure(folder, *, seconds):
    text = CONFIG.format(web=f"shutdown_seconds = {seconds}", limits="")
    (folder / "config.toml").write_text(text)


async def begin(connecting, head, first):
    """Begin a request; return its connection."""
    reader, writer = await connecting
    lines = [head, "Host: localhost", "", ""]
    writer.write("\r\n".join(lines).encode() + first)
    await writer.drain()
    return reader, writer


def upload(sender):
    return (
        "PUT /intake/pbx/call-1/recordings/a.wav HTTP/1.1\r\nContent-Type: audio/wav\r\n"
        f"Authorization: Bearer {sender}\r\nContent-Length: {len(SOUND)}"
    )


def delivery():
    headers = signed(BODY, "msg-1", datetime.now(UTC))
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /intake/hook HTTP/1.1\r\n{told}Content-Length: {len(BODY)}"


async def status_of(reader):
    return (await asyncio.wait_for(reader.readline(), 20)).split(b" ")[1:2]


@pytest.mark.slow
async def test_an_upload_and_a_delivery_that_have_begun_end_well_and_nothing_new_begins(
    folder, connect
):
    configure(folder, seconds=20)
    async with started(folder, "serve") as service:
        sender = await token(folder, "integration")
        uploading = await begin(connect(service), upload(sender), SOUND[:100_000])
        delivering = await begin(connect(service), delivery(), BODY[:10])
        idle = await connect(service)
        await asyncio.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await connect(service)
        assert await asyncio.wait_for(idle[0].read(), 5) == b"", "who asks nothing is let go"
        for at in range(100_000, len(SOUND), 20_000):
            uploading[1].write(SOUND[at : at + 20_000])
            await uploading[1].drain()
            await asyncio.sleep(0.1)
        delivering[1].write(BODY[10:])
        for reader, _ in (uploading, delivering):
            assert await status_of(reader) == [b"200"]
        assert await asyncio.wait_for(service.process.wait(), 30) == 0
    assert "nothing is altered or missing" in await run(folder, "verify")
    reader = await token(folder, "complaint_handler")
    async with started(folder, "serve") as service:
        shown = await contacts(service, reader)
        assert [one["source_id"] for one in shown if one["source"] == "hook"] == ["call-1"]
        assert await service.interrupt() == 0


async def contacts(service, reader):
    """Return every contact, as soon as there are some."""
    headers = {"Authorization": f"Bearer {reader}"}
    async with aiohttp.ClientSession(service.address) as client, asyncio.timeout(20):
        while True:
            async with client.get(
                "/api/v1/contacts?phone=0401234567", headers=headers
            ) as answer:
                found = (await answer.json())["contacts"]
            if found:
                return found
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_an_upload_that_does_not_end_is_cut_off_and_leaves_nothing(folder, connect):
    configure(folder, seconds=1)
    async with started(folder, "serve") as service:
        sender = await token(folder, "integration")
        reader, _ = await begin(connect(service), upload(sender), SOUND[:100_000])
        await asyncio.sleep(0.5)
        begun = asyncio.get_running_loop().time()
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(service.process.wait(), 20) == 0
        assert asyncio.get_running_loop().time() - begun < 12
        with contextlib.suppress(ConnectionError):
            assert b" 200 " not in await reader.read()
    assert [path for path in (folder / "data/blobs").rglob("*") if path.is_file()] == []
    assert "nothing is altered or missing" in await run(folder, "verify")
