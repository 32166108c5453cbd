"""What Asterisk told, told again to the program as it is started: calls by its manager, a recording by ARI."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.imap import until
from tests.system.programs import run, started

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "asterisk"
SECRET = "invented-and-long-enough-for-a-test"
CALL = "1795340871.8"

pytestmark = pytest.mark.skipif(
    not SAMPLES.exists(), reason="the captures beside the checkout are absent"
)


@asynccontextmanager
async def manager():
    """A manager that tells all of the capture to whoever logs in; yield its port and who is connected."""
    writers = []

    async def talk(reader, writer):
        writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            login = await reader.readuntil(b"\r\n\r\n")
            assert f"Secret: {SECRET}\r\n".encode() in login
            writer.write((SAMPLES / "ami.txt").read_bytes())
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"Response: Success\r\nPing: Pong\r\n\r\n")

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], writers
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@asynccontextmanager
async def interface():
    """ARI that tells all of the capture on each line; yield its port."""
    known = aiohttp.encode_basic_auth("taltio", SECRET)
    lines = (SAMPLES / "ari.jsonl").read_text().splitlines()

    async def answer(request):
        assert request.headers["Authorization"] == known
        match request.path:
            case "/ari/events":
                socket = web.WebSocketResponse()
                await socket.prepare(request)
                for line in lines:
                    if line.startswith("{"):
                        await socket.send_str(line)
                async for _ in socket:
                    continue
                return socket
            case "/ari/recordings/stored":
                return web.json_response([])
            case path if path == f"/ari/recordings/stored/arkisto-{CALL}/file":
                body = (SAMPLES / "ari.jsonl.wav").read_bytes()
                return web.Response(body=body, content_type="audio/wav")
            case path if path.endswith("/variable"):
                return web.json_response({"value": path.split("/")[3]})
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def write(folder, *lines):
    for name, text in (("ami", SECRET), ("ari", f"Basic taltio:{SECRET}")):
        (folder / name).write_text(f"{text}\n")
        (folder / name).chmod(0o400)
    settings = [
        '[web]\nlisten = "127.0.0.1:0"\n[[sources]]\nname = "pbx"\nkind = "asterisk"',
        'timezone = "Europe/Helsinki"\ncompany_numbers = ["+358 20 1234567"]',
        *lines,
    ]
    (folder / "config.toml").write_text("\n".join(settings) + "\n")


def of_ari(port):
    origin = f"http://127.0.0.1:{port}"
    return (
        f'ari = "{origin}/ari"\nfetch_origins = ["{origin}"]\n'
        f'fetch_networks = ["127.0.0.0/8"]\nfetch_credentials = ["{origin} ari"]'
    )


async def seen(client, token, are_enough):
    """Return the contacts as soon as they are enough, each as it is shown."""
    headers = {"Authorization": f"Bearer {token.strip()}"}
    async with asyncio.timeout(40):
        while True:
            async with client.get("/api/v1/contacts", headers=headers) as answer:
                found = (await answer.json())["contacts"]
            shown = []
            for one in found:
                path = f"/api/v1/contacts/{one['id']}"
                async with client.get(path, headers=headers) as answer:
                    shown.append(await answer.json())
            if are_enough(shown):
                return shown
            await asyncio.sleep(0.1)


def handler(folder):
    return run(folder, "tokens", "create", "--name", "t", "--role", "complaint_handler")


def hides(folder, service):
    written = [path for path in (folder / "data").rglob("*") if path.is_file()]
    for hidden in (SECRET, "+358401234567"):
        assert not [path for path in written if hidden.encode() in path.read_bytes()]
        assert hidden not in "".join(service.said)


async def test_each_call_of_the_manager_is_found_and_the_time_without_it_is_a_gap(tmp_path):
    async with manager() as (port, writers):
        write(
            tmp_path, f'ami = "127.0.0.1:{port}"\nami_user = "taltio"\nami_secret_file = "ami"'
        )
        async with started(tmp_path, "serve") as service:
            token = await handler(tmp_path)
            async with aiohttp.ClientSession(service.address) as client:
                # Of five records three are of the extension h: of one call nothing else, so that it waits.
                shown = await seen(client, token, lambda them: len(them) == 2)
                writers[-1].transport.abort()
                await until(lambda: len(writers) == 2)
                # What it tells again is there already.
                await asyncio.sleep(1)
                again = await seen(client, token, lambda them: len(them) >= 2)
            assert await service.interrupt() == 0
        assert {one["id"] for one in again} == {one["id"] for one in shown}
    assert {one["direction"] for one in shown} == {"inbound"}
    with sqlite3.connect(tmp_path / "data/taltio.db") as db:
        ((kept,),) = db.execute("SELECT count(*) FROM deliveries WHERE kind = 'event'")
        causes = db.execute(
            "SELECT cause, until IS NULL FROM source_gaps ORDER BY since"
        ).fetchall()
    db.close()
    assert kept == 5
    # It was stopped soon after it was cut: one gap, which lasts.
    assert causes == [("ami_connection_lost", 1)]
    hides(tmp_path, service)


async def test_a_recording_of_ari_is_brought_to_its_call(tmp_path):
    async with interface() as port:
        write(tmp_path, of_ari(port))
        async with started(tmp_path, "serve") as service:
            token = await handler(tmp_path)
            async with aiohttp.ClientSession(service.address) as client:
                (shown,) = await seen(
                    client,
                    token,
                    lambda them: [one["recording"] for one in them] == ["present"],
                )
            assert await service.interrupt() == 0
    (recording,) = shown["recordings"]
    size = (SAMPLES / "ari.jsonl.wav").stat().st_size
    assert (recording["name"], recording["size_bytes"]) == (f"arkisto-{CALL}.wav", size)
    assert shown["started_at"].startswith("2026-11-22T09:47:51")
    hides(tmp_path, service)
