"""The clients that senders use, through a connection that is cut again and again, and a program that is killed."""

import asyncio
import io
import json
import os
import sys
from pathlib import Path

import aiohttp
import aiotus
import pytest
from tusclient.client import TusClient

from service.config import parse_config
from service.domain.actor import Role
from storage.rows import ObjectRow, UploadRow
from tests.cutting import cutting
from tests.system.programs import run, started
from tests.system.world import SOURCES, write_secret

BASE = "/api/v1/uploads"
BODY = os.urandom(1_500_000)
CUTS, AFTER = 3, 150_000
TUS = Path(__file__).resolve().parents[1] / "tus"
MODULES = Path(sys.prefix) / "tus" / "node_modules"


@pytest.fixture
async def cutter():
    async with cutting(cuts=CUTS, after=AFTER) as cutter:
        yield cutter


@pytest.fixture
def config(tmp_path, cutter):
    """The service behind the middleman, as its address says."""
    write_secret(tmp_path)
    return parse_config(f'[web]\npublic_url = "{cutter.address}"\n{SOURCES}', base=tmp_path)


def _tuspy(place, token, path, metadata):
    client = TusClient(place, headers={"Authorization": f"Bearer {token}"})
    with path.open("rb") as file:
        uploader = client.uploader(
            file_stream=file,
            chunk_size=200_000,
            metadata=metadata,
            retries=30,
            retry_delay=0,
            upload_checksum=True,
        )
        uploader.upload()
        assert uploader.offset == len(BODY)


async def with_tuspy(place, token, path, metadata):
    await asyncio.to_thread(_tuspy, place, token, path, metadata)


async def with_aiotus(place, token, path, metadata):
    told = {key: value.encode() for key, value in metadata.items()}
    config = aiotus.RetryConfiguration(retry_attempts=30, max_retry_period_seconds=0.1)
    with path.open("rb") as file:
        made = await aiotus.upload(
            place,
            file,
            told,
            config=config,
            headers={"Authorization": f"Bearer {token}"},
            chunksize=200_000,
        )
    assert made is not None


async def with_aiotus_in_parallel(place, token, path, metadata):
    told = {key: value.encode() for key, value in metadata.items()}
    body = path.read_bytes()
    pieces = [io.BytesIO(body[i : i + 400_000]) for i in range(0, len(body), 400_000)]
    config = aiotus.RetryConfiguration(retry_attempts=30, max_retry_period_seconds=0.1)
    made = await aiotus.upload_multiple(
        place, pieces, told, config=config, headers={"Authorization": f"Bearer {token}"}
    )
    assert made is not None


async def _node(place, token, path, metadata, parallel):
    process = await asyncio.create_subprocess_exec(
        "node",
        str(TUS / "upload.cjs"),
        place,
        str(path),
        json.dumps(metadata),
        str(parallel),
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES), "TOKEN": token},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def with_tus_js(place, token, path, metadata):
    await _node(place, token, path, metadata, 1)


async def with_tus_js_in_parallel(place, token, path, metadata):
    await _node(place, token, path, metadata, 3)


@pytest.mark.parametrize(
    "upload",
    [with_tuspy, with_aiotus, with_aiotus_in_parallel, with_tus_js, with_tus_js_in_parallel],
)
async def test_a_client_uploads_through_a_connection_that_is_cut(
    world, tmp_path, cutter, upload
):
    path = tmp_path / "puhelu.wav"
    path.write_bytes(BODY)
    sender = await world.token(Role.INTEGRATION)
    token = sender.headers["Authorization"].removeprefix("Bearer ")
    contact_id = await world.new_contact()
    metadata = {"contact": contact_id, "filename": "puhelu ä.wav", "filetype": "audio/wav"}
    cutter.target = world.address
    await upload(cutter.address + BASE, token, path, metadata)
    assert cutter.done == CUTS
    handler = await world.token(Role.COMPLAINT_HANDLER)
    grant = await world.ask(
        handler,
        "POST",
        "/api/v1/grants",
        body={"purpose": "verify_contact", "contacts": [contact_id]},
    )
    shown = await world.ask(handler, "GET", f"/api/v1/contacts/{contact_id}")
    (recording,) = shown.json["recordings"]
    assert recording["name"] == "puhelu ä.wav"
    place = f"/api/v1/recordings/{recording['id']}/content"
    kept = await world.ask(handler, "GET", place, Access_Grant=grant.json["id"])
    assert kept.body == BODY
    store = world.archive.stores.store
    assert await store.count(ObjectRow, {"kind": "part"}) == 0
    assert await store.count(UploadRow, {"state": ["open"], "kind": ["whole", "final"]}) == 0


async def test_a_kill_in_the_middle_of_a_request_costs_no_part_that_was_kept(tmp_path):
    write_secret(tmp_path)
    (tmp_path / "config.toml").write_text('[web]\nlisten = "127.0.0.1:0"\n' + SOURCES)
    part = 8 * 1024 * 1024
    body = os.urandom(part + 400_000)
    metadata = "source cGJ4,source_id Yy1r,filename YS53YXY="
    headers = {"Tus-Resumable": "1.0.0"}
    async with aiohttp.ClientSession() as http:
        async with started(tmp_path, "serve") as running:
            made = await run(
                tmp_path, "tokens", "create", "--name", "t", "--role", "integration"
            )
            headers["Authorization"] = f"Bearer {made.strip()}"
            told = {"Upload-Length": str(len(body)), "Upload-Metadata": metadata}
            async with http.post(running.address + BASE, headers=headers | told) as begun:
                place = begun.headers["Location"]
            sending = asyncio.create_task(
                _send_slowly(http, running.address + place, headers, body)
            )
            while await _offset(http, running.address + place, headers) < part:
                assert not sending.done()
                await asyncio.sleep(0.05)
            await running.kill()
            await asyncio.gather(sending, return_exceptions=True)
        async with started(tmp_path, "serve") as running:
            offset = await _offset(http, running.address + place, headers)
            assert part <= offset < len(body)
            more = {
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
            }
            async with http.patch(
                running.address + place, headers=headers | more, data=body[offset:]
            ) as answer:
                assert answer.status == 204
            assert await _offset(http, running.address + place, headers) == len(body)


async def _offset(http, place, headers):
    async with http.head(place, headers=headers) as answer:
        return int(answer.headers["Upload-Offset"])


async def _send_slowly(http, place, headers, body):
    """Send all but the last bytes, and then wait for ever."""

    async def bytes_of():
        yield body[:-1000]
        await asyncio.Event().wait()

    more = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    async with http.patch(place, headers=headers | more, data=bytes_of()):
        pass
