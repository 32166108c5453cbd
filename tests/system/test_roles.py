"""Several processes on one archive, each with its role."""

import asyncio
import json
import re
import time

import aiohttp
import pytest

from tests.postgres import new_database
from tests.system.processes import AUDIO, deliver, shared_archive, upload
from tests.system.programs import run, until


@pytest.fixture
async def shared(cluster, tmp_path):
    async with shared_archive(tmp_path, await new_database(cluster)) as opened:
        yield opened


async def get(client, url, **headers):
    async with client.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def contacts(client, desk, shared):
    """Return the contacts of the archive by source id; none may be there twice."""
    found, cursor = {}, ""
    while cursor is not None:
        path = f"{desk}/api/v1/contacts?limit=200" + (f"&cursor={cursor}" if cursor else "")
        status, body = await get(client, path, **shared.as_role("complaint_handler"))
        assert status == 200, body
        page = json.loads(body)
        for contact in page["contacts"]:
            assert contact["source_id"] not in found, "a contact is there twice"
            found[contact["source_id"]] = contact
        cursor = page["next"]
    return found


async def heard(client, desk, shared, contact_id):
    """Open the contact's recording under a new grant, and return bytes 100 to 199 of it."""
    handler = shared.as_role("complaint_handler")
    _, body = await get(client, f"{desk}/api/v1/contacts/{contact_id}", **handler)
    (recording,) = json.loads(body)["recordings"]
    order = {"purpose": "verify_contact", "contacts": [contact_id]}
    async with client.post(f"{desk}/api/v1/grants", json=order, headers=handler) as answer:
        grant = (await answer.json())["id"]
    headers = {**handler, "Access-Grant": grant, "Range": "bytes=100-199"}
    return await get(client, f"{desk}/api/v1/recordings/{recording['id']}/content", **headers)


@pytest.mark.slow
async def test_what_one_takes_in_another_understands_and_a_third_lets_people_hear(shared):
    worker = await shared.prepare()
    one, two, desk = [await shared.start(role) for role in ("intake", "intake", "desk")]
    async with aiohttp.ClientSession() as client:
        begun = time.monotonic()
        assert await deliver(client, one.address, "c-1") == 200
        sender = shared.tokens["integration"]
        assert await upload(client, two.address, "c-1", sender) == 200
        found = {}
        while found.get("c-1", {}).get("recording") != "present":
            await asyncio.sleep(0.05)
            found = await contacts(client, desk.address, shared)
            assert time.monotonic() - begun < 30, found
        print("understood after", time.monotonic() - begun)
        status, body = await heard(client, desk.address, shared, found["c-1"]["id"])
        assert (status, body) == (206, AUDIO[100:200])
    for process in (one, two, desk, worker):
        assert await process.interrupt() == 0
    assert "nothing is altered or missing" in await run(shared.folder, "verify")
