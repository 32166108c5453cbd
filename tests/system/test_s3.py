"""The whole service over an object store: what comes in is kept there, played, verified and exported."""

import base64
import io
import json
import os
import subprocess
import sys

import obstore
import pytest

from service.config import parse_config
from service.domain.actor import Role
from storage.rows import ObjectRow
from storage.s3.blobs import S3Blobs
from storage.s3.multipart import PART_BYTES
from tests.system.programs import ENVIRONMENT, run
from tests.system.world import NOBODY, SOURCES, contact, write_secret

LONG = os.urandom(2 * PART_BYTES + 12_345)


@pytest.fixture
def prefix():
    return f"system/{os.urandom(8).hex()}"


@pytest.fixture
def config(tmp_path, seaweed, prefix):
    write_secret(tmp_path)
    text = f"""
[archive]
name = "archive.example.org"
[storage]
blobs = "s3://archive/{prefix}"
region = "eu-test-1"
endpoint = "{seaweed.endpoint}"
country = "FI"
credentials_file = "{seaweed.credentials_file}"
filer = "{seaweed.filer}"
{SOURCES}"""
    (tmp_path / "config.toml").write_text(text)
    return parse_config(text, base=tmp_path)


async def blob_of(world, recording):
    (row,) = await world.archive.stores.store.find(ObjectRow, {"owner_id": recording})
    return row.id


async def test_the_main_path_runs_on_an_object_store(world, tmp_path, seaweed, prefix):
    machine, handler = (
        await world.token(Role.INTEGRATION),
        await world.token(Role.COMPLAINT_HANDLER),
    )
    made = await world.ask(
        machine, "POST", "/api/v1/contacts", body=contact("c-s3", messages=[])
    )
    shown = f"/api/v1/contacts/{made.json['id']}"
    stored = await world.ask(
        machine,
        "PUT",
        f"{shown}/recordings/a.bin",
        body=io.BytesIO(LONG),
        Content_Type="application/octet-stream",
    )
    assert stored.status == 201, stored.body
    (recording,) = (await world.ask(handler, "GET", shown)).json["recordings"]

    order = {"purpose": "verify_contact", "contacts": [made.json["id"]]}
    grant = (await world.ask(handler, "POST", "/api/v1/grants", body=order)).json["id"]
    content = f"/api/v1/recordings/{recording['id']}/content"
    part = await world.ask(
        handler, "GET", content, Access_Grant=grant, Range="bytes=5300000-5399999"
    )
    assert (part.status, part.body) == (206, LONG[5_300_000:5_400_000])
    whole = await world.ask(handler, "GET", content, Access_Grant=grant)
    assert (whole.status, whole.body) == (200, LONG)

    verdict = await world.ask(handler, "GET", f"{shown}/verification")
    assert verdict.json["state"] == "pending"
    await world.service.keeper.publish(now=world.now)
    assert "nothing is altered or missing" in (await run(tmp_path, "verify")).lower()
    await world.person(Role.COMPLAINT_HANDLER, "aino")
    await run(
        tmp_path,
        *("contacts", "export", made.json["id"], "--format", "vcon"),
        *("--out", str(tmp_path / "out"), "--actor", "aino", "--purpose", "verify_contact"),
    )
    embedded = base64.urlsafe_b64encode(LONG).rstrip(b"=")
    exported = [file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert any(embedded in data for data in exported)

    async with S3Blobs.opened(seaweed.place(prefix)) as blobs:
        name = await blob_of(world, recording["id"])
        assert name in [one async for one in blobs.names()]
        async with blobs.open(name) as reader:
            assert LONG[:1000] not in await reader.read(0, reader.size_bytes)
    assert not (tmp_path / "data" / "blobs").exists()


async def test_a_blob_changed_in_the_bucket_is_found_altered(world, seaweed, prefix):
    handler = await world.token(Role.COMPLAINT_HANDLER)
    recording = await blob_of(world, world.ids["recording"])
    async with S3Blobs.opened(seaweed.place(prefix)) as blobs:
        async with blobs.open(recording) as reader:
            data = bytearray(await reader.read(0, reader.size_bytes))
        data[-1] ^= 1
        await obstore.put_async(blobs._objects, recording, bytes(data))
        verdict = await world.ask(
            handler, "GET", f"/api/v1/contacts/{world.ids['contact']}/verification"
        )
        assert verdict.json["state"] == "altered"
        await blobs.remove(recording)
    verdict = await world.ask(
        handler, "GET", f"/api/v1/contacts/{world.ids['contact']}/verification"
    )
    assert verdict.json["state"] == "altered"


async def test_readyz_tells_that_the_object_store_does_not_sync(world, seaweed, prefix):
    assert (await world.ask(NOBODY, "GET", "/readyz")).json == {
        "status": "ready",
        "role": "all",
    }
    at = f"-locationPrefix=/buckets/archive/{prefix}"
    seaweed.shell(f"fs.configure {at} -fsync=false -apply")
    try:
        answer = await world.ask(NOBODY, "GET", "/readyz")
        assert answer.status == 503
        assert "does not sync" in answer.json["problems"]["blobs"]
    finally:
        seaweed.shell(f"fs.configure {at} -delete -apply")


def test_an_installation_on_files_loads_no_library_of_an_object_store(tmp_path):
    program = (
        "import asyncio, json, sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from service.config import parse_config; from service.wiring import key_provider, opened_archive\n"
        "config = parse_config('', base=Path(sys.argv[1]))\n"
        "key_provider(config).create(now=datetime.now(UTC))\n"
        "async def main():\n"
        "    async with opened_archive(config, create=True): pass\n"
        "asyncio.run(main())\n"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] == 'obstore']))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    )
    assert json.loads(told.stdout) == []
