"""``taltio demo``: a small invented world in a temporary archive, played in through the real intake."""

import argparse
import asyncio
import base64
import csv
import hmac
import io
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from service.archive.register import read_register
from service.cli.demo.world import World, WorldRecording, load_world
from service.cli.serve import running_service
from service.config import DEFAULT_FILE, Config, load_config
from service.domain.actor import OPERATOR, Role
from service.domain.errors import UnavailableError
from service.wiring import Access, Archive

_SOURCES: Final = ("vaihde", "posti", "chat")
_PEOPLE: Final = {
    "liisa": ("Liisa Käsittelijä", Role.COMPLAINT_HANDLER),
    "aku": ("Aku Asiakaspalvelija", Role.AGENT),
    "tuija": ("Tuija Tietosuoja", Role.DPO),
    "paula": ("Paula Pääkäyttäjä", Role.ADMIN),
    "tapio": ("Tapio Tarkastaja", Role.AUDITOR),
}
_TOKENS: Final = {"handler": Role.COMPLAINT_HANDLER, "auditor": Role.AUDITOR}
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Credentials:
    password: str = field(repr=False)
    tokens: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, bytes] = field(repr=False)


async def demo(_: Config, options: argparse.Namespace) -> int:
    """Show the archive with a world in it until Ctrl-C; leave nothing behind."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="taltio-demo-") as folder:
        keys = {source: os.urandom(_SECRET_BYTES) for source in _SOURCES}
        file = Path(folder) / DEFAULT_FILE
        file.write_text(_settings(Path(folder), keys, options.port), encoding="utf-8")
        config = load_config(file)
        async with running_service(config, is_quiet=True) as (service, address):
            credentials = await _prepare(service.archive, keys)
            world = load_world(datetime.now(config.archive.timezone).date())
            await _play_in(world, service.archive, address, credentials)
            await service.interpretation.drained()
            await service.keeper.publish(now=datetime.now(UTC))
            _tell(world, address, credentials, file=file, seconds=time.monotonic() - begun)
            await stop.wait()
            print("\nRemoving everything.", flush=True)
    return 0


def _settings(folder: Path, keys: Mapping[str, bytes], port: int) -> str:
    """Return the settings of the demonstration; the secrets of its sources are files beside them."""
    lines = [
        "[web]",
        f'listen = "127.0.0.1:{port}"',
        "[archive]",
        'name = "demo.example.org"',
        "[access]",
        'second_factor = "offered"',
        'undertaking_version = ""',
        "[log]",
        "checkpoint_seconds = 2",
        f"anchor_directory = {str(folder / 'anchors')!r}",
    ]
    for source, key in keys.items():
        file = folder / f"{source}.secret"
        file.write_text(f"whsec_{base64.b64encode(key).decode()}\n", encoding="ascii")
        file.chmod(0o400)
        lines += [
            "[[sources]]",
            f'name = "{source}"',
            'kind = "standard-webhooks"',
            f"secret_file = {str(file)!r}",
            "grace_minutes = 1440",
        ]
    (folder / "anchors").mkdir()
    return "\n".join(lines)


async def _prepare(archive: Archive, keys: Mapping[str, bytes]) -> _Credentials:
    """Make the people, all with one password, and the tokens."""
    password, now = f"demo-{secrets.token_hex(3)}-{secrets.token_hex(3)}", datetime.now(UTC)
    access: Access = archive.access
    for login, (name, role) in _PEOPLE.items():
        invite = await access.accounts.add(login, name=name, roles=[role], by=OPERATOR, now=now)
        await access.invites.accept(invite.secret, password, now=now)
    tokens = {}
    for name, role in _TOKENS.items():
        tokens[name] = (
            await access.tokens.create(name, role=role, by=OPERATOR, now=now)
        ).secret
    for source in _SOURCES:
        token = await access.tokens.create(
            source, role=Role.INTEGRATION, source=source, by=OPERATOR, now=now
        )
        tokens[source] = token.secret
    return _Credentials(password, tokens, keys)


async def _play_in(
    world: World, archive: Archive, address: str, credentials: _Credentials
) -> None:
    """Import the customers, then let the sources deliver over HTTP, recordings now before, now after their calls."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(world.customers[0]))
    writer.writeheader()
    writer.writerows(world.customers)
    await archive.register.bring_in(
        read_register(table.getvalue().splitlines(keepends=True), region="FI"),
        actor=OPERATOR,
        now=datetime.now(UTC),
        progress=lambda _done, _total: None,
    )
    total = len(world.contacts) + len(world.recordings)
    async with aiohttp.ClientSession(address) as client:
        done = 0
        for recording in world.recordings[::2]:
            await _put(client, recording, credentials)
            done = _progress(done, total)
        for contact in world.contacts:
            await _post(client, contact, credentials)
            done = _progress(done, total)
        for recording in world.recordings[1::2]:
            await _put(client, recording, credentials)
            done = _progress(done, total)


async def _post(
    client: aiohttp.ClientSession, contact: Mapping[str, Any], credentials: _Credentials
) -> None:
    """Deliver a contact, signed as Standard Webhooks says."""
    source = contact["source"]
    body = msgspec.json.encode(contact)
    ident, stamp = f"demo_{secrets.token_hex(8)}", str(int(time.time()))
    signed = f"{ident}.{stamp}.".encode() + body
    mac = hmac.digest(credentials.secrets[source], signed, "sha256")
    headers = {
        "webhook-id": ident,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        "Content-Type": "application/json",
    }
    async with client.post(f"/intake/{source}", data=body, headers=headers) as answer:
        await _require_ok(answer)


async def _put(
    client: aiohttp.ClientSession, recording: WorldRecording, credentials: _Credentials
) -> None:
    """Deliver a recording with the source's token."""
    source_id, name = quote(recording.source_id, safe=""), quote(recording.name, safe="")
    path = f"/intake/{recording.source}/{source_id}/recordings/{name}"
    headers = {
        "Authorization": f"Bearer {credentials.tokens[recording.source]}",
        "Content-Type": recording.content_type,
    }
    data = recording.path.read_bytes()
    async with client.put(path, data=data, headers=headers) as answer:
        await _require_ok(answer)


async def _require_ok(answer: aiohttp.ClientResponse) -> None:
    if answer.status != 200:  # noqa: PLR2004  # what intake answers
        raise UnavailableError(f"intake answered {answer.status}: {await answer.text()}")


def _progress(done: int, total: int) -> int:
    if sys.stdout.isatty():
        print(f"\rplaying in {done + 1} of {total} deliveries", end="", flush=True)
    return done + 1


def _tell(
    world: World, address: str, credentials: _Credentials, *, file: Path, seconds: float
) -> None:
    """Print address, logins and what to try."""
    call = next(c for c in world.contacts if c["channel"] == "call")
    phone = next(p["phone"] for p in call["parties"] if p["role"] == "customer")
    national = "0" + phone.removeprefix("+358").replace(" ", "")
    token = credentials.tokens["handler"]
    people = "\n".join(
        f"    {login:<8} {role.value:<18} {name}" for login, (name, role) in _PEOPLE.items()
    )
    print(
        f"""
{world.company}: {len(world.contacts)} contacts, {len(world.recordings)} recordings, ready in {seconds:.1f} s.

  Open    {address}
  Sign in with the password {credentials.password} as
{people}
  Search for {national}, choose a purpose, and listen.

  Or ask from another terminal:
    curl -H 'Authorization: Bearer {token}' '{address}/api/v1/contacts?phone={national}&limit=3'
    curl -H 'Authorization: Bearer {token}' '{address}/api/v1/contacts?channel=call&recording=expected'
    curl {address}/log/checkpoint
  Or look at it as its operator:
    taltio verify --config {file}
    taltio contacts export CONTACT --format vcon --out . --actor liisa --purpose verify_contact --config {file}

Ctrl-C removes everything.""",
        flush=True,
    )
