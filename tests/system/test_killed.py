"""Killed without warning in the middle of deliveries and uploads: what was acknowledged is there, whole, once."""

import asyncio
import hashlib
import io
import json
import random
from itertools import count
from pathlib import Path

import aiohttp
import pytest

from tests.system.programs import Running, run, started

KILLS = 4
SENDERS = 6
CONFIG = '[web]\nlisten = "127.0.0.1:0"\n[log]\nanchor_directory = "anchors"\n'


def call(source_id: str) -> bytes:
    return json.dumps(
        {
            "source": "pbx",
            "source_id": source_id,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-20T14:02:00+02:00",
            "recording": "expected",
            "parties": [{"role": "customer", "phone": "+358401234567"}],
        }
    ).encode()


async def send(
    client: aiohttp.ClientSession, numbers: "count[int]", acknowledged: dict[str, str | None]
) -> None:
    """Deliver calls and recordings, in either order, until the service is gone; note what was acknowledged."""
    choose = random.Random(next(numbers))  # noqa: S311  # chooses sizes
    while True:
        source_id = f"call-{next(numbers)}"
        sound = choose.randbytes(choose.choice([1, 65_536, 300_000, 2_000_000]))
        steps = [
            ("POST", "/api/v1/contacts", call(source_id)),
            ("PUT", f"/intake/pbx/{source_id}/recordings/a.wav", sound),
        ]
        choose.shuffle(steps)
        for method, path, body in steps:
            kind = "application/json" if method == "POST" else "audio/wav"
            try:
                async with client.request(
                    method, path, data=io.BytesIO(body), headers={"Content-Type": kind}
                ) as answer:
                    await answer.read()
                    assert answer.status in {200, 201}, await answer.text()
            except aiohttp.ClientError:
                return
            if method == "POST":
                acknowledged.setdefault(source_id, None)
            else:
                acknowledged[f"recording of {source_id}"] = hashlib.sha256(sound).hexdigest()


async def deliver_and_kill(
    service: Running,
    token: str,
    numbers: "count[int]",
    acknowledged: dict[str, str | None],
    *,
    after: float,
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(service.address, headers=headers) as client,
        asyncio.TaskGroup() as senders,
    ):
        for _ in range(SENDERS):
            senders.create_task(send(client, numbers, acknowledged))
        await asyncio.sleep(after)
        await service.kill()


async def found(service: Running, token: str) -> dict[str, dict[str, object]]:
    """Return every contact of the archive by its source id, with its recordings; none may be there twice."""
    contacts: dict[str, dict[str, object]] = {}
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(service.address, headers=headers) as client:
        cursor = ""
        while cursor is not None:
            query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
            async with client.get("/api/v1/contacts", params=query) as answer:
                page = await answer.json()
            for contact in page["contacts"]:
                async with client.get(f"/api/v1/contacts/{contact['id']}") as answer:
                    assert contact["source_id"] not in contacts, "a contact is there twice"
                    contacts[contact["source_id"]] = await answer.json()
            cursor = page["next"]
    return contacts


@pytest.mark.slow
async def test_what_was_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "anchors").mkdir()
    acknowledged: dict[str, str | None] = {}
    numbers = count()
    token = ""
    for kill in range(KILLS):
        async with started(tmp_path, "serve") as service:
            if not token:
                create = ("tokens", "create", "--name", "test", "--role")
                token = (await run(tmp_path, *create, "integration")).strip()
                handler = (await run(tmp_path, *create, "complaint_handler")).strip()
            await deliver_and_kill(
                service, token, numbers, acknowledged, after=0.7 + kill * 0.4
            )
    assert len(acknowledged) > KILLS * SENDERS
    async with started(tmp_path, "serve") as service:
        await asyncio.sleep(2)
        contacts = await found(service, handler)
        for name, sha256 in acknowledged.items():
            source_id = name.removeprefix("recording of ")
            if sha256 is None:
                assert source_id in contacts, f"{source_id} was acknowledged and is gone"
            elif source_id in contacts:
                hashes = [r.get("sha256") for r in contacts[source_id]["recordings"]]
                assert sha256 in hashes, f"the recording of {source_id} is gone"
        assert await service.interrupt() == 0
    said = await run(tmp_path, "verify")
    assert "nothing is altered or missing" in said
