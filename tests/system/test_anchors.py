"""The programs together: a witness, an authority and an archive, and a second history that is refused."""

import asyncio
import json
import shutil
from pathlib import Path

import aiohttp

from service.log.checkpoint import find_cosignatures
from service.log.note import VerifierKey
from tests.authority import Authority
from tests.system.programs import run, started

CONTACT = {
    "source": "pbx",
    "source_id": "1",
    "channel": "call",
    "direction": "inbound",
    "started_at": "2026-11-22T10:00:00Z",
    "parties": [{"role": "customer", "phone": "+358401234567"}],
    "recording": "none",
    "not_recorded_reason": "asked",
}


def settings(folder: Path, witness: str, key: str, authority: Authority, stamps: str) -> None:
    (folder / "config.toml").write_text(
        f"""
[web]
listen = "127.0.0.1:0"
[archive]
name = "archive.example.org"
[log]
checkpoint_seconds = 1
anchor_directory = "anchors"
timestamp_url = "{stamps}"
timestamp_certificates = "{authority.certificates}"
[[sources]]
name = "pbx"
kind = "api"
[[witnesses]]
key = "{key}"
url = "{witness}"
"""
    )
    (folder / "anchors").mkdir(exist_ok=True)


async def text_of(address: str, path: str, token: str = "") -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(address + path) as answer,
    ):
        return await answer.text()


async def until(ask, is_so) -> str:
    async with asyncio.timeout(40):
        while not is_so(answer := await ask()):  # noqa: ASYNC110  # another process gives no event
            await asyncio.sleep(0.3)
    return answer


async def test_others_vouch_for_the_log_and_refuse_a_second_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tsa")
    key = (await run(tmp_path, "witness", "create", "w", "--name", "w.example.com")).strip()
    witness_key = VerifierKey.parse(key)
    async with (
        authority.server() as stamps,
        started(tmp_path, "witness", "serve", "w", "--listen", "127.0.0.1:0") as witness,
    ):
        settings(tmp_path, witness.address, key, authority, str(stamps.make_url("/")))
        async with started(tmp_path, "serve") as service:
            ready = await until(
                lambda: text_of(service.address, "/readyz"), lambda said: "warnings" in said
            )
            assert json.loads(ready) == {
                "status": "ready",
                "role": "all",
                "warnings": {"witness w.example.com": "it does not watch this log"},
            }
            (tmp_path / "log.vkey").write_text(await text_of(service.address, "/log/vkey"))
            await run(tmp_path, "witness", "watch", "w", "log.vkey")
            machine = await run(
                tmp_path, "tokens", "create", "--role", "integration", "--name", "m"
            )
            person = await run(
                tmp_path, "tokens", "create", "--role", "complaint_handler", "--name", "p"
            )
            await until(
                lambda: text_of(service.address, "/log/checkpoint"),
                lambda note: bool(find_cosignatures(note.encode(), [witness_key])),
            )
            shutil.copytree(tmp_path / "data", tmp_path / "yesterday")
            headers = {"Authorization": f"Bearer {machine.strip()}"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(f"{service.address}/api/v1/contacts", json=CONTACT) as answer,
            ):
                contact = (await answer.json())["id"]
            path = f"/api/v1/contacts/{contact}/verification"
            verified = await until(
                lambda: text_of(service.address, path, person.strip()),
                lambda said: json.loads(said)["state"] == "anchored",
            )
            anchors = json.loads(verified)["proof"]["anchors"]
            assert [one["kind"] for one in anchors][:2] == ["directory", "witness"]
            assert anchors[1]["name"] == "w.example.com"
            await service.interrupt()
        assert list((tmp_path / "anchors").rglob("*.tsr"))
        trusted = ("--witness", "w/vkey", "--timestamps", str(authority.certificates))
        said = await run(tmp_path, "log", "verify", "data/log", "--key", "log.vkey", *trusted)
        assert "Cosigned by the witness w.example.com" in said
        said = await run(tmp_path, "verify")
        assert "Timestamps by Example Time" in said

        # Yesterday's data, with nothing left that remembers today.
        shutil.rmtree(tmp_path / "data")
        shutil.rmtree(tmp_path / "anchors")
        shutil.copytree(tmp_path / "yesterday", tmp_path / "data")
        shutil.rmtree(tmp_path / "data" / "ledger")
        (tmp_path / "anchors").mkdir()
        async with started(tmp_path, "serve") as service:
            ready = await until(
                lambda: text_of(service.address, "/readyz"), lambda said: "warnings" in said
            )
            assert "it has cosigned" in ready
            await until(
                lambda: asyncio.sleep(0, "".join(witness.said)),
                lambda said: "witness.smaller_log" in said or "witness.inconsistent" in said,
            )
