"""Recordings by URL, fetched by the program as it is started: once, also when it is killed in the middle of one."""

import asyncio
import json
import sqlite3

import aiohttp
import pytest

from service.config import parse_config
from service.domain.actor import Role
from service.domain.errors import InvalidInputError
from service.domain.fetching import fetch_kind
from service.fetching import fetching_of
from service.wiring import key_provider, opened_archive
from tests.answering import answering, ok
from tests.conftest import NOW
from tests.postgres import new_database
from tests.system.processes import call, deliver, shared_archive
from tests.system.programs import run, started
from tests.system.world import contact

SOUND = b"RIFF" + bytes(range(256)) * 600
SECRET = "hush-hush"
PBX = '[[sources]]\nname = "pbx"\nkind = "api"\n'


def settings(server, *lines):
    return "\n".join(
        [
            f'fetch_origins = ["{server.origin}"]',
            'fetch_networks = ["127.0.0.0/8"]',
            *lines,
            "",
        ]
    )


def write_credentials(folder, server):
    file = folder / "pbx.login"
    file.write_text(f"Bearer {SECRET}\n")
    file.chmod(0o400)
    return f'fetch_credentials = ["{server.origin} pbx.login"]'


def told(server, source_id="c-1", **changes):
    recordings = [{"name": "a.wav", "url": server.url(f"/{source_id}?key={SECRET}")}]
    return contact(source_id, messages=[], recordings=recordings, **changes)


async def ask(client, method, path, token, body=None):
    headers = {"Authorization": f"Bearer {token}"}
    async with client.request(method, path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def settled(client, contact_id, token, *states):
    """Return the contact as soon as its recording is in one of ``states``."""
    async with asyncio.timeout(30):
        while True:
            _, found = await ask(client, "GET", f"/api/v1/contacts/{contact_id}", token)
            if found["recording"] in states:
                return found
            await asyncio.sleep(0.05)


class Stalling:
    """Answers the first request by half, and then no more; every other whole, and each with other bytes."""

    def __init__(self):
        self.asked = 0
        self.half_sent = asyncio.Event()

    def __call__(self, _asked):
        self.asked += 1
        body = SOUND + bytes([self.asked])
        return self.half(body) if self.asked == 1 else ok(body, "Content-Type: audio/wav")

    async def half(self, body):
        answer = ok(body, "Content-Type: audio/wav")
        yield answer[: len(answer) // 2]
        self.half_sent.set()
        await asyncio.sleep(60)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_service_that_ends_in_the_middle_goes_on_at_its_next_start(tmp_path, how):
    stalling = Stalling()
    async with answering(stalling) as server:
        (tmp_path / "config.toml").write_text(
            '[web]\nlisten = "127.0.0.1:0"\nshutdown_seconds = 0\n'
            + PBX
            + settings(server, write_credentials(tmp_path, server))
        )
        async with started(tmp_path, "serve") as service:
            create = ("tokens", "create", "--name", "t", "--role")
            sender = (await run(tmp_path, *create, "integration")).strip()
            handler = (await run(tmp_path, *create, "complaint_handler")).strip()
            async with aiohttp.ClientSession(service.address) as client:
                status, made = await ask(
                    client, "POST", "/api/v1/contacts", sender, told(server)
                )
                assert (status, made["recording"]) == (201, "expected")
                async with asyncio.timeout(30):
                    await stalling.half_sent.wait()
                await (service.kill() if how == "killed" else service.interrupt())
        assert not [path for path in (tmp_path / "data/blobs").rglob("ob_*") if path.is_file()]
        if how == "killed":
            # Two minutes later.
            with sqlite3.connect(tmp_path / "data/taltio.db") as db:
                db.execute("UPDATE jobs SET claimed_until = 1 WHERE state = 'claimed'")
            db.close()
        async with started(tmp_path, "serve") as again:
            async with aiohttp.ClientSession(again.address) as client:
                found = await settled(client, made["id"], handler, "present")
            assert await again.interrupt() == 0
        assert stalling.asked == 2
        (recording,) = found["recordings"]
        assert (recording["size_bytes"], recording["content_type"]) == (
            len(SOUND) + 1,
            "audio/wav",
        )
        assert {asked.headers["authorization"] for asked in server.asked} == {
            f"Bearer {SECRET}"
        }
        assert SECRET not in "".join([*service.said, *again.said, json.dumps(found)])
        written = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        assert not [path for path in written if SECRET.encode() in path.read_bytes()]
        assert "nothing is altered or missing" in await run(tmp_path, "verify")


@pytest.mark.slow
async def test_intake_keeps_and_the_workers_fetch_each_once_on_postgresql(cluster, tmp_path):
    numbers = range(12)
    async with answering(ok(SOUND)) as server:
        async with shared_archive(tmp_path, await new_database(cluster)) as shared:
            # The last source of the file is the one that signs.
            for folder in (shared.folder, shared.outside):
                with (folder / "config.toml").open("a") as file:
                    file.write(settings(server))
            worker = await shared.prepare()
            intake, desk, second = [
                await shared.start(role) for role in ("intake", "desk", "worker")
            ]
            async with aiohttp.ClientSession() as client:
                for n in numbers:
                    url = server.url(f"/{n}?key={SECRET}")
                    body = call(f"c-{n}", recordings=[{"name": "a.wav", "url": url}])
                    assert await deliver(client, intake.address, f"c-{n}", body) == 200
            async with aiohttp.ClientSession(desk.address) as client:
                handler = shared.tokens["complaint_handler"]
                found = []
                async with asyncio.timeout(60):
                    while {one["recording"] for one in found} != {"present"}:
                        await asyncio.sleep(0.1)
                        path = "/api/v1/contacts?channel=call&limit=200"
                        page = (await ask(client, "GET", path, handler))[1]["contacts"]
                        found = page if len(page) == len(numbers) else []
            for process in (intake, desk, second, worker):
                assert await process.interrupt() == 0
            said = [line for one in (intake, desk, second, worker) for line in one.said]
        assert SECRET not in "".join(said)
        targets = sorted(asked.target for asked in server.asked)
        assert targets == sorted(f"/{n}?key={SECRET}" for n in numbers)
        assert "nothing is altered or missing" in await run(tmp_path, "verify")


async def test_a_url_is_never_shown_and_what_contradicts_is_refused(world):
    sender = await world.token(Role.INTEGRATION)
    handler = await world.token(Role.COMPLAINT_HANDLER)
    named = {"name": "b.wav", "url": f"https://pbx.example/?key={SECRET}", "size_bytes": 5}
    body = contact("f-1", recordings=[named], recording="expected")
    made = await world.ask(sender, "POST", "/api/v1/contacts", body=body)
    assert made.status == 201
    shown = await world.ask(handler, "GET", f"/api/v1/contacts/{made.json['id']}")
    (recording,) = shown.json["recordings"]
    assert (recording["state"], recording["name"]) == ("expected", "b.wav")
    assert SECRET.encode() not in made.body + shown.body
    path = f"/api/v1/contacts/{made.json['id']}/recordings/b.wav"
    assert (await world.ask(sender, "PUT", path, body=b"RIFF")).status == 201
    again = await world.ask(sender, "POST", "/api/v1/contacts", body=body)
    assert again.status == 200
    other = contact("f-1", recordings=[{**named, "sha256": "0" * 64}])
    refused = await world.ask(sender, "POST", "/api/v1/contacts", body=other)
    assert (refused.status, refused.code) == (409, "contradiction")
    wrong = contact("f-2", recordings=[{**named, "sha256": SECRET}])
    refused = await world.ask(sender, "POST", "/api/v1/contacts", body=wrong)
    assert refused.status == 400
    assert SECRET.encode() not in refused.body


@pytest.mark.parametrize(
    ("name", "content", "mode", "words"),
    [
        ("pbx.login", f"Bearer {SECRET}", 0o440, "others may read"),
        ("pbx.login", f"Bearer {SECRET}", 0o404, "others may read"),
        ("pbx.login", SECRET, 0o400, "Basic user:password"),
        ("pbx.login", f"Basic {SECRET}", 0o400, "Basic user:password"),
        ("pbx.login", f"Bearer {SECRET}\xff", 0o400, "Basic user:password"),
        ("other", "", 0o400, "cannot be read"),
    ],
)
async def test_credentials_that_cannot_be_used_or_could_be_read_stop_the_start(
    tmp_path, name, content, mode, words
):
    file = tmp_path / name
    file.write_text(content)
    file.chmod(mode)
    text = PBX + (
        'fetch_origins = ["https://pbx.example"]\n'
        'fetch_credentials = ["https://pbx.example pbx.login"]\n'
    )
    config = parse_config(text, base=tmp_path)
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        with pytest.raises(InvalidInputError) as refused:
            fetching_of(archive)
    assert words in refused.value.detail
    assert SECRET not in refused.value.detail


async def test_an_authority_that_is_none_stops_the_start(tmp_path):
    (tmp_path / "ca.pem").write_text("none")
    text = PBX + (
        'fetch_origins = ["https://pbx.example"]\nfetch_certificate_authority = "ca.pem"\n'
    )
    config = parse_config(text, base=tmp_path)
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        with pytest.raises(InvalidInputError):
            fetching_of(archive)


async def test_the_settings_of_a_source_are_its_rules(tmp_path):
    (tmp_path / "pbx.login").write_text("Bearer abc\n")
    (tmp_path / "pbx.login").chmod(0o600)
    text = (
        "[intake]\nmax_recording_bytes = 2000000\n"
        + PBX
        + (
            'fetch_origins = ["https://pbx.example", "https://cdn.example"]\n'
            'fetch_credentials = ["https://pbx.example pbx.login"]\n'
            'fetch_networks = ["10.0.0.0/8"]\nfetch_minutes = 3\nfetch_bytes_per_second = 7\n'
            '[[sources]]\nname = "other"\nkind = "api"\n'
        )
    )
    config = parse_config(text, base=tmp_path)
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        fetching = fetching_of(archive)
    assert set(fetching.fetchers) == {"pbx", "other"}
    # Where no origins are named, nothing may be fetched.
    assert not fetching.fetchers["other"].rules.origins
    rules = fetching.fetchers["pbx"].rules
    sent = {str(origin): header for origin, header in rules.origins.items()}
    assert sent == {"https://pbx.example": "Bearer abc", "https://cdn.example": None}
    assert (rules.max_bytes, rules.bytes_per_second) == (2_000_000, 7)
    assert rules.longest.total_seconds() == 180
    assert fetching.kinds[fetch_kind("pbx")].limit > rules.longest
