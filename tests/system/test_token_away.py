"""The service while the token that opens its keys is away, hangs and is back: deliveries go on, and it mends itself."""

import asyncio
import json
import os
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from service.config import parse_config
from service.domain.actor import Role
from service.http.server import listening
from service.serving import build_service, working
from service.wiring import key_provider, opened_archive
from storage.rows import DeliveryRow
from tests.softhsm import made_token
from tests.system.programs import ENVIRONMENT, run, started
from tests.system.world import NOBODY, SOURCES, contact, opened_world, signed, write_secret

HOLD = 3


@pytest.fixture
def soft(tmp_path, monkeypatch):
    made = made_token(tmp_path / "softhsm", monkeypatch.setenv)
    made.token(tmp_path / "keys").begin_by_hand(make=True)
    return made


@pytest.fixture
def config(tmp_path, soft, monkeypatch):
    """A service that looks more often and forgets sooner than the settings allow."""
    monkeypatch.setattr("service.worker.housekeeping.KEYS_EVERY", timedelta(seconds=0.3))
    monkeypatch.setattr("service.worker.interpretation.CATCH_UP_EVERY", timedelta(seconds=0.5))
    write_secret(tmp_path)
    read = parse_config(
        f"{soft.settings()}\n[log]\ncheckpoint_seconds = 1\n{SOURCES}", base=tmp_path
    )
    return replace(read, keys=replace(read.keys, pkcs11_hold_seconds=HOLD))


@asynccontextmanager
async def _at_work(archive):
    async with opened_world(archive) as world, working(world.service):
        yield world


async def _deliver(world, ident):
    body = json.dumps(contact(ident, source="hook")).encode()
    began = time.monotonic()
    answer = await world.ask(
        NOBODY, "POST", "/intake/hook", body=body, **signed(body, ident, world.now)
    )
    return answer.status, time.monotonic() - began


async def _until(holds, *, seconds=40):
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110  # there is nothing to be told by
            await asyncio.sleep(0.1)


class _Desk:
    """A complaint handler with a grant, who opens one message again and again."""

    def __init__(self, world, handler, grant):
        self.world, self.handler, self.grant = world, handler, grant

    @classmethod
    async def opened(cls, world):
        handler = await world.token(Role.COMPLAINT_HANDLER)
        return cls(world, handler, await world.grant(handler))

    async def open(self):
        path = f"/api/v1/messages/{self.world.ids['message']}/content"
        return await self.world.ask(self.handler, "GET", path, Access_Grant=self.grant)

    async def is_open(self):
        return (await self.open()).status == 200

    async def is_away(self):
        return (await self.open()).code == "keys_unavailable"


async def _understood(world, count):
    rows = await world.archive.stores.store.find(DeliveryRow, {"source": "hook"})
    return [row.state for row in rows] == ["understood"] * count


async def test_without_the_token_deliveries_go_on_and_with_it_everything_does(
    soft, archive, tmp_path
):
    async with _at_work(archive) as world:
        desk = await _Desk.opened(world)
        assert await desk.is_open()
        assert (await _deliver(world, "w-1"))[0] == 200
        await _until(lambda: _understood(world, 1))

        soft.take_out()
        await _until(desk.is_away)
        refused = await desk.open()
        assert refused.status == 503
        assert "Retry-After" in refused.headers
        assert [(await _deliver(world, f"w-{n}"))[0] for n in range(2, 12)] == [200] * 10
        ready = await world.ask(NOBODY, "GET", "/readyz")
        assert ready.status == 200
        assert "no checkpoint signed" in ready.json["warnings"]["keys"]
        signed_then = (await world.ask(NOBODY, "GET", "/log/checkpoint")).body
        await asyncio.sleep(2.5)
        assert (await world.ask(NOBODY, "GET", "/log/checkpoint")).body == signed_then
        rows = await world.archive.stores.store.find(DeliveryRow, {"source": "hook"})
        assert sorted(row.state for row in rows) == ["received"] * 10 + ["understood"]
        assert not any(b"AGE-SECRET-KEY" in path.read_bytes() for path in _files(tmp_path))

        soft.put_back()
        await _until(desk.is_open)
        await _until(lambda: _understood(world, 11))

        async def is_signed():
            return (await world.ask(NOBODY, "GET", "/log/checkpoint")).body != signed_then

        await _until(is_signed)
        assert (await world.ask(NOBODY, "GET", "/readyz")).json == {
            "status": "ready",
            "role": "all",
        }


async def test_that_the_token_is_away_can_be_scraped_and_nothing_else_is_to_be_had(
    soft, config, tmp_path
):
    folders = {"directory": tmp_path / "backups", "keys_directory": tmp_path / "backup-keys"}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    config = replace(config, backup=replace(config.backup, **folders))
    key_provider(config).create(now=datetime.now(UTC))
    async with opened_archive(config, create=True) as archive, _at_work(archive) as world:
        admin, agent = await world.token(Role.ADMIN), await world.token(Role.AGENT)

        async def at_hand():
            answer = await world.ask(admin, "GET", "/metrics")
            assert answer.status == 200
            return "\ntaltio_keys_at_hand 1\n" in answer.body.decode()

        assert await at_hand()
        soft.take_out()

        async def is_away():
            return not await at_hand()

        await _until(is_away)
        await asyncio.sleep(2.1)
        assert not await at_hand()
        assert (await world.ask(agent, "GET", "/metrics")).status == 403
        for path in ("/api/v1/attention", "/api/v1/contacts"):
            assert (await world.ask(admin, "GET", path)).status == 503
        ready = await world.ask(NOBODY, "GET", "/readyz")
        assert set(ready.json["warnings"]) == {"keys"}


async def test_a_token_that_hangs_holds_nobody_up(archive, monkeypatch):
    async with _at_work(archive) as world:
        desk = await _Desk.opened(world)
        assert await desk.is_open()
        # From now on every process that talks to the token hangs, the one that runs and each in its place.
        monkeypatch.setattr("service.keys.pkcs11.process._BOOT", "import time; time.sleep(600)")
        os.kill(archive.provider._safe._token._child._process.pid, signal.SIGSTOP)
        slowest, number, until = 0.0, 1, time.monotonic() + HOLD + 4
        while time.monotonic() < until:
            number += 1
            status, took = await _deliver(world, f"w-{number}")
            assert status == 200
            slowest = max(slowest, took)
            await asyncio.sleep(0.05)
        assert slowest < 2, "a delivery waited for the token"
        assert await desk.is_away()
        assert number > 20


async def test_a_service_that_starts_without_its_token_takes_deliveries_in(soft, config):
    provider = key_provider(config)
    provider.create(now=datetime.now(UTC))
    async with opened_archive(config, create=True) as archive, opened_world(archive):
        pass
    soft.take_out()
    async with opened_archive(config) as archive:
        assert not archive.vault.ring.is_at_hand
        body = json.dumps(contact("w-1", source="hook")).encode()
        service = build_service(archive)
        async with (
            working(service),
            listening(service.app, "127.0.0.1", 0) as (host, port),
            aiohttp.ClientSession(f"http://{host}:{port}") as http,
        ):
            headers = signed(body, "w-1", datetime.now(UTC))
            async with http.post("/intake/hook", data=body, headers=headers) as answer:
                assert answer.status == 200
            soft.put_back()

            async def is_understood():
                rows = await archive.stores.store.find(DeliveryRow, {"source": "hook"})
                return [row.state for row in rows] == ["understood"]

            await _until(is_understood)


async def test_an_administrator_sets_a_token_up_and_leaves_it_again(tmp_path, monkeypatch):
    soft = made_token(tmp_path / "softhsm", monkeypatch.setenv)
    monkeypatch.setitem(ENVIRONMENT, "SOFTHSM2_CONF", soft.variables["SOFTHSM2_CONF"])
    settings = '[web]\nlisten = "127.0.0.1:0"\n'
    config, keys = tmp_path / "config.toml", tmp_path / "keys"
    config.write_text(settings + soft.settings())
    given = ("--config", str(config))
    assert "taltio keys init" in await run(tmp_path, "serve", *given, code=2)
    assert "was made" in await run(tmp_path, "keys", "init", *given)
    assert "there and fit" in await run(tmp_path, "keys", "init", *given)
    async with started(tmp_path, "serve", *given) as running:
        assert "only the token's key opens them" in "".join(running.said)
        assert await running.interrupt() == 0
    assert "opens the keys" in await run(tmp_path, "keys", "init", *given)
    assert "2 is current" in await run(tmp_path, "keys", "rotate", *given)

    soft.take_out()
    assert "active" in await run(tmp_path, "keys", "list", *given)
    assert "no token labelled" in await run(tmp_path, "keys", "rotate", *given, code=2)
    soft.put_back()

    assert "4 key files" in await run(tmp_path, "keys", "move", "--to", "file", *given)
    assert "not wrapped" in await run(tmp_path, "keys", "list", *given, code=2)
    config.write_text(settings + soft.settings().replace('provider = "pkcs11"', ""))
    assert "retired" in await run(tmp_path, "keys", "list", *given)
    assert "4 key files" in await run(tmp_path, "keys", "move", "--to", "pkcs11", *given)
    assert not list(keys.glob("*.key"))
    assert "provider" in await run(tmp_path, "keys", "list", *given, code=2)


def _files(folder):
    return [path for path in (folder / "keys").rglob("*") if path.is_file()]
