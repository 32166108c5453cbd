"""Several processes on one archive, each with its role."""

import asyncio
import itertools
import json
import re
import secrets
import socket
import time

import aiohttp
import pytest

from tests.postgres import new_database
from tests.system.processes import AUDIO, deliver, shared_archive, upload
from tests.system.programs import ENVIRONMENT, run, started


@pytest.fixture
async def shared(request, cluster, tmp_path):
    """An archive whose blobs are in files, or else in a bucket: then intake shares no directory with anybody."""
    is_bucket = getattr(request, "param", "files") == "a bucket"
    bucket = bucket_settings(request.getfixturevalue("seaweed")) if is_bucket else ""
    async with shared_archive(tmp_path, await new_database(cluster), bucket=bucket) as opened:
        yield opened


def bucket_settings(seaweed):
    return (
        f'blobs = "s3://archive/roles-{secrets.token_hex(8)}"\nregion = "eu-test-1"\ncountry = "FI"\n'
        f'endpoint = "{seaweed.endpoint}"\ncredentials_file = "{seaweed.credentials_file}"\n'
    )


NUMBERS = {
    "contacts": {"desk"},
    "openings_open": {"desk"},
    "keys_at_hand": {"desk", "worker"},
    "jobs_dead": {"worker"},
    "checkpoint_age_seconds": {"worker"},
    "backup_age_seconds": {"worker"},
    "deliveries_waiting": {"intake", "worker"},
    "session_key_age_seconds": {"intake"},
    "deliveries_open": {"intake", "desk"},
}
"""Numbers of ``/metrics``, and the roles that they concern."""


async def get(client, url, **headers):
    async with client.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def answered(client, url, wanted, **headers):
    """Ask until the answer has the status ``wanted``; return what it says."""
    for _ in range(150):
        status, body = await get(client, url, **headers)
        if status == wanted:
            return json.loads(body)
        await asyncio.sleep(0.2)
    raise AssertionError(body)


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
@pytest.mark.parametrize("shared", ["files", "a bucket"], indirect=True)
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
        status, body = await heard(client, desk.address, shared, found["c-1"]["id"])
        assert (status, body) == (206, AUDIO[100:200])
    for process in (one, two, desk, worker):
        assert await process.interrupt() == 0
    assert "nothing is altered or missing" in await run(shared.folder, "verify")


async def send_until(addresses, client, numbers, acknowledged, over, token):
    """Deliver contacts and their recordings to whichever intake answers, each until it is acknowledged."""
    while not over.is_set():
        source_id = f"call-{next(numbers)}"
        for send in (deliver, lambda c, a, s: upload(c, a, s, token)):
            status = 0
            while status != 200 and not over.is_set():
                try:
                    status = await send(client, secrets.choice(addresses), source_id)  # any
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
            if status == 200:
                acknowledged[send is deliver].add(source_id)


async def understood(client, shared, desk, wanted, recorded):
    """Wait until every contact is there, each once and with the recording that was acknowledged for it."""
    async with asyncio.timeout(60):
        while True:
            found = await contacts(client, desk.address, shared)
            present = {one for one, told in found.items() if told["recording"] == "present"}
            if wanted <= found.keys() and recorded & found.keys() <= present:
                return found
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_killing_a_worker_and_an_intake_loses_nothing_and_doubles_nothing(shared):
    worker = await shared.prepare()
    other = await shared.start("worker")
    one, two, desk = [await shared.start(role) for role in ("intake", "intake", "desk")]
    acknowledged = {True: set(), False: set()}
    numbers, over = itertools.count(), asyncio.Event()
    token = shared.tokens["integration"]
    async with aiohttp.ClientSession() as client:
        async with asyncio.TaskGroup() as senders:
            for _ in range(4):
                senders.create_task(
                    send_until(
                        [one.address, two.address], client, numbers, acknowledged, over, token
                    )
                )
            await asyncio.sleep(1.5)
            await worker.kill()
            await asyncio.sleep(1)
            await one.kill()
            await asyncio.sleep(1.5)
            over.set()
        assert len(acknowledged[True]) > 20
        found = await understood(client, shared, desk, acknowledged[True], acknowledged[False])
        status, body = await heard(
            client, desk.address, shared, found[min(acknowledged[False])]["id"]
        )
        assert (status, body) == (206, AUDIO[100:200])
        numbers_told = (
            await get(client, f"{other.address}/metrics", **shared.as_role("admin"))
        )[1].decode()
        assert "taltio_jobs_dead 0\n" in numbers_told
    for process in (two, desk, other):
        assert await process.interrupt() == 0
    assert "nothing is altered or missing" in await run(shared.folder, "verify")


@pytest.mark.slow
async def test_each_process_serves_what_its_role_says(shared):
    worker = await shared.prepare()
    intake, desk = [await shared.start(role) for role in ("intake", "desk")]
    admin = shared.as_role("admin")
    async with aiohttp.ClientSession() as client:
        for process in (intake, worker):
            for path in ("/", "/sign-in", "/api/v1/contacts", "/log/checkpoint"):
                problem = await answered(client, process.address + path, 404)
                assert problem["code"] == "served_elsewhere"
                assert "role desk" in problem["detail"]
        for process in (desk, worker):
            assert await deliver(client, process.address, "c-1") == 404
            assert await upload(client, process.address, "c-1", "tlt_x") == 404
        for process, role in ((intake, "intake"), (desk, "desk"), (worker, "worker")):
            told = await answered(client, f"{process.address}/readyz", 200)
            assert told == {"status": "ready", "role": role}
            status, told = await get(client, f"{process.address}/metrics", **admin)
            assert status == 200
            assert f'taltio_process{{role="{role}"}} 1' in told.decode()
            measured = set(re.findall(r"(?m)^# TYPE taltio_(\w+) ", told.decode()))
            assert measured & NUMBERS.keys() == {
                name for name, roles in NUMBERS.items() if role in roles
            }
            assert {"deliveries_total", "request_seconds", "storage_broken"} <= measured
        assert (await get(client, f"{intake.address}/metrics"))[0] == 401
        sender = shared.as_role("integration")
        assert (await get(client, f"{intake.address}/metrics", **sender))[0] == 403


@pytest.mark.slow
async def test_intake_has_limits_a_journal_and_a_manager_as_every_other_process(
    cluster, tmp_path
):
    more = '[limits]\nrequests_per_sender = 1\n[journal]\nformat = "json"\n'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {**ENVIRONMENT, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        async with (
            shared_archive(tmp_path, await new_database(cluster), more) as shared,
            aiohttp.ClientSession() as client,
        ):
            await shared.prepare()
            forgotten = shared.outside / "keys" / "epoch-0001.key"
            forgotten.write_text("copied by mistake")
            forgotten.chmod(0o400)
            intake = await shared.stack.enter_async_context(
                started(shared.outside, "serve", "--role", "intake", environment=environment)
            )
            assert await asyncio.to_thread(manager.recv, 100) == b"READY=1"
            answers = [await deliver(client, intake.address, f"c-{n}") for n in range(15)]
            assert {answers[0], answers[-1]} == {200, 429}
            _, told = await get(client, f"{intake.address}/metrics", **shared.as_role("admin"))
            limited = answers.count(429)
            assert f'taltio_deliveries_total{{outcome="limited"}} {limited}\n' in told.decode()
            lines = [json.loads(line) for line in intake.said if line.startswith("{")]
            (line,) = [one for one in lines if one["event"] == "intake.private_keys"]
            assert line["files"] == forgotten.name
            assert await intake.interrupt() == 0
            assert await asyncio.to_thread(manager.recv, 100) == b"STOPPING=1"


@pytest.mark.slow
async def test_a_revoked_token_delivers_for_two_seconds_more_at_the_most(shared):
    await shared.prepare()
    intake = await shared.start("intake")
    token = shared.tokens["integration"]
    async with aiohttp.ClientSession() as client:
        assert await upload(client, intake.address, "c-1", token) == 200
        (listed,) = [
            line
            for line in (await run(shared.folder, "tokens", "list")).splitlines()
            if "integration" in line
        ]
        await run(shared.folder, "tokens", "revoke", listed.split("\t")[0])
        await asyncio.sleep(2)
        assert await upload(client, intake.address, "c-2", token) == 401


@pytest.mark.slow
async def test_without_the_keys_intake_goes_on_and_openings_wait_for_them(shared):
    await shared.prepare()
    intake, desk = [await shared.start(role) for role in ("intake", "desk")]
    handler = shared.as_role("complaint_handler")
    keys, away = shared.folder / "keys", shared.folder / "keys-away"
    token = shared.tokens["integration"]
    async with aiohttp.ClientSession() as client:
        assert await deliver(client, intake.address, "c-1") == 200
        assert await upload(client, intake.address, "c-1", token) == 200
        found = await understood(client, shared, desk, {"c-1"}, {"c-1"})
        page = f"{desk.address}/api/v1/contacts/{found['c-1']['id']}"
        keys.rename(away)
        problem = await answered(client, page, 503, **handler)
        assert problem["code"] == "keys_unavailable"
        assert "keys are not at hand" in problem["detail"]
        status, told = await get(client, f"{desk.address}/readyz")
        assert (status, list(json.loads(told)["warnings"])) == (200, ["keys"])
        assert await deliver(client, intake.address, "c-2") == 200
        assert await upload(client, intake.address, "c-2", token) == 200
        assert (await get(client, f"{intake.address}/readyz"))[0] == 200
        away.rename(keys)
        await answered(client, page, 200, **handler)
        found = await understood(client, shared, desk, {"c-1", "c-2"}, {"c-1", "c-2"})
        status, body = await heard(client, desk.address, shared, found["c-2"]["id"])
        assert (status, body) == (206, AUDIO[100:200])
