"""The journal of the running program: every line an event, and nothing of what went through the archive."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from datetime import UTC, datetime

import aiohttp
import pytest

from tests.system.programs import ENVIRONMENT, run
from tests.system.world import SECRET, contact, signed, write_secret

CONFIG = """
[web]
listen = "127.0.0.1:0"
[journal]
format = "json"
level = "info"
[[sources]]
name = "pbx"
kind = "api"
[[sources]]
name = "hook"
kind = "standard-webhooks"
secret_file = "hook.secret"
"""
PHONE, EMAIL, CODE = "+358 40 765 4321", "salla.salainen@example.org", "131052-308T"
WORDS = "Jään ilman sähköä jouluna"
PASSWORD = "väärä salasana, ei kenenkään"
SOUND = b"RIFF" + b"hush-hush-hush-" * 4000
KNOWN = {
    "a number": [PHONE, PHONE.replace(" ", ""), "0407654321", "40 765 4321"],
    "an address": [EMAIL, "salla.salainen"],
    "a name": ["Salla", "Salainen"],
    "a number of a person": [CODE],
    "words": [WORDS, "jouluna", json.dumps("sähköä")[1:-1]],
    "a password": [PASSWORD, "salasana"],
    "a recording": ["hush-hush"],
    "a query": ["0409876543", "marker-in-a-query"],
    "an agent": ["agent-marker"],
}


@contextlib.asynccontextmanager
async def serving(folder):
    with (folder / "journal").open("ab") as journal:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service",
            "serve",
            cwd=folder,
            env=ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=journal,
        )
    try:
        async with asyncio.timeout(60):
            while "is at" not in (line := (await process.stdout.readline()).decode()):
                assert line, (folder / "journal").read_text()
        yield line.split(" at ")[1].strip()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def told(ident):
    return contact(
        ident,
        subject=WORDS,
        parties=[
            {"role": "customer", "phone": PHONE, "email": EMAIL, "name": "Salla Salainen"},
            {"role": "agent", "agent_id": "agent-marker"},
        ],
        messages=[{"from": "Salla", "at": "2026-01-20T14:02:00Z", "text": WORDS}],
    )


async def ask(client, method, path, *, body=None, **headers):
    """Ask, and say nothing of what becomes of it."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with client.request(
            method, path, data=body, headers=sent, allow_redirects=False
        ) as answer:
            return answer.status, await answer.read()
    return 0, b""


async def raw(address, request):
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    with contextlib.suppress(ConnectionError, TimeoutError):
        await asyncio.wait_for(reader.read(), 2)
    writer.close()


async def deliver_and_read(client, sender, handler):
    """Do what is done every day; return the ids of a contact and of its recording."""
    mine = {"Authorization": f"Bearer {sender}", "Content_Type": "application/json"}
    theirs = {"Authorization": f"Bearer {handler}"}
    status, made = await ask(
        client, "POST", "/api/v1/contacts", body=json.dumps(told("c-1")), **mine
    )
    assert status == 201
    shown = f"/api/v1/contacts/{json.loads(made)['id']}"
    path = f"{shown}/recordings/Salla%20Salainen.wav"
    assert (await ask(client, "PUT", path, body=SOUND, **mine))[0] == 201
    hooked = {name: value for name, value in told("c-2").items() if name != "source"}
    body = json.dumps(hooked).encode()
    headers = {k.replace("-", "_"): v for k, v in signed(body, "m1", datetime.now(UTC)).items()}
    headers["Content_Type"] = "application/json"
    assert (await ask(client, "POST", "/intake/hook", body=body, **headers))[0] == 200
    for query in ("phone=0407654321", f"email={EMAIL}", "phone=0409876543"):
        assert (await ask(client, "GET", f"/api/v1/contacts?{query}", **theirs))[0] == 200
    grant = json.dumps(
        {"purpose": "verify_contact", "contacts": [json.loads(made)["id"]], "note": WORDS}
    )
    await ask(
        client, "POST", "/api/v1/grants", body=grant, **theirs, Content_Type="application/json"
    )
    plain = json.dumps({"purpose": "verify_contact", "contacts": [json.loads(made)["id"]]})
    status, granted = await ask(
        client, "POST", "/api/v1/grants", body=plain, **theirs, Content_Type="application/json"
    )
    assert status == 201
    _, view = await ask(client, "GET", shown, **theirs)
    recording = json.loads(view)["recordings"][0]["id"]
    grant_id = json.loads(granted)["id"]
    content = f"/api/v1/recordings/{recording}/content"
    assert (await ask(client, "GET", content, **theirs, Access_Grant=grant_id))[1] == SOUND
    return content, grant_id


async def misbehave(client, address, sender):
    """Do what senders and strangers do wrong."""
    mine = {"Authorization": f"Bearer {sender}", "Content_Type": "application/json"}
    for body in (
        json.dumps(told("c-1") | {"subject": f"other {WORDS}"}),
        json.dumps(told("c-3") | {"started_at": EMAIL}),
        json.dumps(told("c-4") | {EMAIL: PHONE}),
        f"{{{WORDS}",
        b"\xff\xfe" + PHONE.encode("utf-16"),
    ):
        await ask(client, "POST", "/api/v1/contacts", body=body, **mine)
    await ask(client, "GET", f"/api/v1/contacts?{EMAIL}={PHONE}&marker-in-a-query=1", **mine)
    await ask(
        client, "GET", f"/{EMAIL}/{CODE}", Accept="text/html", User_Agent=f"{PHONE} {CODE}"
    )
    await ask(client, "GET", "/api/v1/contacts", Authorization=f"Bearer tlt_{CODE}")
    await ask(client, "POST", "/intake/hook", body=WORDS.encode(), webhook_id=EMAIL)
    hooked = json.dumps({"source_id": PHONE, "who": WORDS}).encode()
    headers = {
        k.replace("-", "_"): v for k, v in signed(hooked, "m2", datetime.now(UTC)).items()
    }
    assert (await ask(client, "POST", "/intake/hook", body=hooked, **headers))[0] == 200
    form = {"Content_Type": "application/x-www-form-urlencoded", "Origin": address}
    for login in (EMAIL, "admin"):
        await ask(client, "POST", "/sign-in", body=f"login={login}&password={PASSWORD}", **form)
    for request in (
        f"GET /{PHONE} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"{WORDS}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\n{EMAIL} : {CODE}\r\n\r\n",
        f"GET /?{'x' * 20_000}{CODE} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /api/v1/contacts HTTP/1.1\r\nHost: x\r\nContent-Length: -{CODE}\r\n\r\n",
    ):
        await raw(address, request.encode())


def damage_blobs(data):
    """Flip a bit in every blob."""
    for blob in (path for path in (data / "blobs").rglob("*") if path.is_file()):
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 1
        os.chmod(blob, 0o600)  # noqa: PTH101  # one call for a file that is read-only
        blob.write_bytes(content)


@pytest.mark.slow
async def test_the_journal_holds_events_and_nothing_of_what_went_through_the_archive(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG)
    write_secret(tmp_path)
    (tmp_path / "customers.csv").write_text(
        f"customer_number,name,identity_code,phone,email\n1,Salla Salainen,{CODE},{PHONE},{EMAIL}\n"
    )
    create = ("tokens", "create", "--name", "Salla Salainen", "--role")
    async with serving(tmp_path) as address, aiohttp.ClientSession(address) as client:
        await run(tmp_path, "customers", "import", "customers.csv")
        sender = (await run(tmp_path, *create, "integration")).strip()
        handler = (await run(tmp_path, *create, "complaint_handler")).strip()
        content, grant = await deliver_and_read(client, sender, handler)
        await misbehave(client, address, sender)
        damage_blobs(tmp_path / "data")
        theirs = {"Authorization": f"Bearer {handler}", "Access_Grant": grant}
        await ask(client, "GET", content, **theirs)
        # Nothing can be stored any more: what fails is told with its places.
        blobs = tmp_path / "data/blobs"
        blobs.rename(tmp_path / "data/away")
        blobs.write_text("")
        mine = {"Authorization": f"Bearer {sender}"}
        path = f"/intake/pbx/{CODE}/recordings/{EMAIL}"
        assert (await ask(client, "PUT", path, body=SOUND, **mine))[0] in {500, 503, 507}
        assert (await ask(client, "GET", "/readyz"))[0] == 503
        blobs.unlink()
        (tmp_path / "data/away").rename(blobs)
    journal = (tmp_path / "journal").read_text()
    events = [json.loads(line) for line in journal.splitlines()]
    for event in events:
        assert {"time", "level", "event", "logger"} <= set(event)
        datetime.fromisoformat(event["time"])
    assert {"http.incident", "integrity.alarm"} <= {event["event"] for event in events}
    secrets = {
        "a token": [sender, handler, sender[-20:], f"tlt_{CODE}"],
        "a secret": [base64.b64encode(SECRET).decode(), SECRET.decode()],
    }
    for what, forms in {**KNOWN, **secrets}.items():
        for form in forms:
            assert form not in journal, what
            assert form not in journal.encode().decode("unicode_escape"), what
