"""A call of FreeSWITCH through the program as it is started: both legs posted, the recording uploaded before them."""

import asyncio

import aiohttp

from tests.freeswitch import A, B, as_json, form, further, record
from tests.intake.test_freeswitch import FORM, wav
from tests.system.programs import run, started

SECRET = "invented-and-long-enough-for-a-test"
SETTINGS = """
[web]
listen = "127.0.0.1:0"

[[sources]]
name = "switch"
kind = "freeswitch"
secret_file = "switch.secret"
company_numbers = ["+358 20 1234567"]
"""


async def found(client, token):
    """Return the call that is found by the caller's number, once its recording is there and was examined."""
    headers = {"Authorization": f"Bearer {token}"}
    async with asyncio.timeout(40):
        while True:
            query = {"phone": "+358401234567"}
            async with client.get("/api/v1/contacts", params=query, headers=headers) as answer:
                contacts = (await answer.json())["contacts"]
            if contacts:
                path = f"/api/v1/contacts/{contacts[0]['id']}"
                async with client.get(path, headers=headers) as answer:
                    shown = await answer.json()
                is_examined = any("facts" in one for one in shown["recordings"])
                if is_examined and any(one.get("agent_id") for one in shown["parties"]):
                    return shown
            await asyncio.sleep(0.1)


async def heard(client, shown, token):
    """Return the type under which the recording is played, and its bytes."""
    headers = {"Authorization": f"Bearer {token}"}
    asked = {"purpose": "verify_contact", "contacts": [shown["id"]]}
    async with client.post("/api/v1/grants", json=asked, headers=headers) as answer:
        grant = (await answer.json())["id"]
    path = f"/api/v1/recordings/{shown['recordings'][0]['id']}/content"
    async with client.get(path, headers={**headers, "Access-Grant": grant}) as answer:
        return answer.headers["Content-Type"], await answer.read()


async def test_a_call_is_found_with_its_recording_and_its_agent(tmp_path):
    (tmp_path / "config.toml").write_text(SETTINGS)
    secret = tmp_path / "switch.secret"
    secret.write_text(SECRET)
    secret.chmod(0o400)
    async with started(tmp_path, "serve") as service:
        token = await run(
            tmp_path, "tokens", "create", "--name", "t", "--role", "complaint_handler"
        )
        async with aiohttp.ClientSession(service.address) as client:
            async with client.put(
                f"/intake/switch/k/{SECRET}/{A}/recordings/{A}.wav",
                data=wav(3),
                expect100=True,
                headers={"Content-Type": "application/octet-stream"},
            ) as answer:
                assert answer.status == 200
            async with client.post(
                f"/intake/switch?uuid=a_{A}",
                data=form(as_json(record())),
                headers={
                    **FORM,
                    "Authorization": aiohttp.encode_basic_auth("switch", SECRET),
                },
            ) as answer:
                assert answer.status == 200
            async with client.post(
                f"/intake/switch/k/{SECRET}?uuid={B}", data=as_json(further()).encode()
            ) as answer:
                assert answer.status == 200
            shown = await found(client, token.strip())
            played = await heard(client, shown, token.strip())
        assert await service.interrupt() == 0
    assert (shown["recording"], shown["queue"]) == ("present", "sähkökatko")
    (recording,) = shown["recordings"]
    # It was sent as bytes and nothing more.
    assert played == ("audio/wav", wav(3))
    assert (recording["facts"]["duration_seconds"], recording["facts"]["channels"]) == (3, 2)
    assert {one.get("agent_id") for one in shown["parties"]} == {None, "1001"}
    written = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    for hidden in (SECRET, "+358401234567", "Matti"):
        assert not [path for path in written if hidden.encode() in path.read_bytes()]
        assert hidden not in "".join(service.said)
