"""Senders and a complaint handler, who note in the history what they ask for and what they are told."""

import asyncio
import hashlib
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from tests.crash.history import History, Item
from tests.system.world import signed

SIZES = (1, 65_536, 65_537, 300_000)
LARGE = 2_000_000
FULL, UNAVAILABLE = 507, 503


def contact_of(name: str) -> bytes:
    """Return the contact of a name, always the same."""
    source, source_id = name.split("/")
    return json.dumps(
        {
            **({"source": source} if source == "pbx" else {}),
            "source_id": source_id,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-20T14:02:00+02:00",
            "recording": "expected",
            "subject": subject_of(name),
            "parties": [{"role": "customer", "phone": "+358401234567"}],
        }
    ).encode()


def subject_of(name: str) -> str:
    return "Lasku " + hashlib.sha256(name.encode()).hexdigest()[:16]


def sound_of(name: str) -> bytes:
    """Return the recording of a name, always the same."""
    choose = random.Random(name)  # noqa: S311  # chooses sizes
    size = LARGE if choose.random() < 0.1 else choose.choice(SIZES)
    return choose.randbytes(size)


def items_of(name: str) -> tuple[Item, Item]:
    """Return the contact and the recording of a name."""
    digest = hashlib.sha256(sound_of(name)).hexdigest()
    return Item("contact", name, subject_of(name)), Item("recording", name, digest)


@dataclass(frozen=True, slots=True)
class Tokens:
    sender: str
    handler: str


class RefusedError(Exception):
    """The archive answered that it does not take it."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        problem = json.loads(body) if body.startswith(b"{") else {}
        self.code = problem.get("code")
        self.detail = problem.get("detail", "")


async def send(client: aiohttp.ClientSession, item: Item, tokens: Tokens) -> None:
    """Send a contact or recording.

    Raises:
        RefusedError: It was not acknowledged, and said so.
    """
    source, source_id = item.name.split("/")
    headers = {"Authorization": f"Bearer {tokens.sender}"}
    if item.kind == "recording":
        method, path = "PUT", f"/intake/{source}/{source_id}/recordings/a.wav"
        body, headers["Content-Type"] = sound_of(item.name), "audio/wav"
    else:
        method, body, headers["Content-Type"] = (
            "POST",
            contact_of(item.name),
            "application/json",
        )
        path = "/api/v1/contacts" if source == "pbx" else f"/intake/{source}"
        if source == "hook":
            headers |= signed(body, source_id, datetime.now(UTC))
    async with client.request(method, path, data=io.BytesIO(body), headers=headers) as answer:
        told = await answer.read()
        if answer.status not in {200, 201}:
            raise RefusedError(answer.status, told)


async def listen(client: aiohttp.ClientSession, history: History, tokens: Tokens) -> None:
    """Open the recordings of the newest contact, under a grant; note what came."""
    headers = {"Authorization": f"Bearer {tokens.handler}"}
    async with client.get("/api/v1/contacts", params={"limit": "1"}, headers=headers) as answer:
        page = await answer.json()
        if answer.status != 200 or not page["contacts"]:
            return
    contact = page["contacts"][0]["id"]
    order = {"purpose": "verify_contact", "contacts": [contact]}
    async with client.post("/api/v1/grants", json=order, headers=headers) as answer:
        told = await answer.json()
        if answer.status != 201:
            return
    history.acknowledged(Item("grant", told["id"], contact))
    async with client.get(f"/api/v1/contacts/{contact}", headers=headers) as answer:
        recordings = (await answer.json()).get("recordings", [])
    for recording in recordings:
        if recording.get("sha256") is None:
            continue
        path = f"/api/v1/recordings/{recording['id']}/content"
        async with client.get(path, headers={**headers, "Access-Grant": told["id"]}) as answer:
            if answer.status == 200 and await answer.content.readany():
                history.acknowledged(Item("opening", recording["id"], told["id"]))


async def work(
    address: str, history: History, names: Iterator[str], tokens: Tokens, *, senders: int = 6
) -> None:
    """Deliver calls and recordings in either order, and listen now and then, until cancelled or the service is gone."""
    async with (
        aiohttp.ClientSession(address) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(senders):
            group.create_task(_work(client, history, names, tokens))


async def _work(
    client: aiohttp.ClientSession, history: History, names: Iterator[str], tokens: Tokens
) -> None:
    for name in names:
        items = list(items_of(name))
        if len(name) % 2:
            items.reverse()
        # Both at once: a recording of which the contact is never told waits for ever.
        for item in items:
            history.sent(item)
        try:
            for item in items:
                await send(client, item, tokens)
                history.acknowledged(item)
            if name.endswith("7"):
                await listen(client, history, tokens)
        except RefusedError as refusal:
            if refusal.status not in {FULL, UNAVAILABLE}:
                raise
        except (aiohttp.ClientError, ConnectionError):
            return


def names_from(first: int = 0) -> Iterator[str]:
    """Go through new names, of both sources in turn."""
    number = first
    while True:
        yield f"{'hook' if number % 3 == 0 else 'pbx'}/call-{number}"
        number += 1


async def resend(address: str, history: History, missing: list[Item], tokens: Tokens) -> None:
    """Send again what was not acknowledged, as a good sender does; all of it is to be taken now."""
    async with aiohttp.ClientSession(address) as client:
        for item in missing:
            history.sent(item)
            await send(client, item, tokens)
            history.acknowledged(item)
