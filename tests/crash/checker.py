"""Compares the history with the archive: over HTTP what can be read, in the database what the log says.

Acknowledged means readable, equal, exactly once and in the log; every opening is in the log; what was not acknowledged
is absent or complete.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.crash.history import Item, read_history
from tests.crash.workload import Tokens, sound_of

UNDERSTOOD_WITHIN = 60


@dataclass
class Report:
    """``faults``: what must not be. ``missing``: what was sent, not acknowledged, and is not there."""

    faults: list[str] = field(default_factory=list)
    missing: list[Item] = field(default_factory=list)
    read: int = 0


async def check(
    address: str, data: Path, history: Path, tokens: Tokens, *, unsettled: str = "received"
) -> Report:
    """Compare what the history tells with the archive that answers at ``address`` and keeps its files in ``data``.

    Waits first until no delivery is in a state that ``unsettled`` names.
    """
    await all_settled(data / "taltio.db", unsettled)
    sent, acknowledged = read_history(history)
    report = Report()
    headers = {"Authorization": f"Bearer {tokens.handler}"}
    async with aiohttp.ClientSession(address, headers=headers) as client:
        contacts = await _contacts(client, report)
        log = _log(data / "taltio.db")
        for item in sorted(sent | acknowledged, key=lambda item: (item.kind, item.name)):
            is_kept = item in acknowledged
            if item.kind in {"grant", "opening"}:
                _in_log(log, f"{item.kind}.", item, report)
                continue
            there = _find(contacts, item, report)
            if there is None:
                # A recording may come before its contact, and then waits for it.
                waits = item.kind == "recording" and item.name not in contacts
                if is_kept and not waits:
                    report.faults.append(f"acknowledged and gone: {item}")
                elif not is_kept or waits:
                    report.missing.append(item)
                continue
            kind = "contact.created" if item.kind == "contact" else "recording.attached"
            if log[kind, there["id"]] != 1:
                report.faults.append(
                    f"{item}: {log[kind, there['id']]} times {kind} in the log"
                )
        known = {(item.kind, item.name) for item in sent}
        for name in contacts:
            if ("contact", name) not in known:
                report.faults.append(f"never sent and there: {name}")
        await _read_all(client, contacts, report)
    return report


async def all_settled(database: Path, unsettled: str) -> None:
    async with asyncio.timeout(UNDERSTOOD_WITHIN):
        while True:
            with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
                (left,) = db.execute(
                    "SELECT count(*) FROM deliveries WHERE instr(?, state)", (unsettled,)
                ).fetchone()
            if not left:
                return
            await asyncio.sleep(0.1)


async def _contacts(client: aiohttp.ClientSession, report: Report) -> dict[str, dict]:
    contacts: dict[str, dict] = {}
    cursor = ""
    while cursor is not None:
        query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
        async with client.get("/api/v1/contacts", params=query) as answer:
            assert answer.status == 200, await answer.text()
            page = await answer.json()
        for contact in page["contacts"]:
            name = f"{contact['source']}/{contact['source_id']}"
            if name in contacts:
                report.faults.append(f"there twice: contact {name}")
            async with client.get(f"/api/v1/contacts/{contact['id']}") as answer:
                assert answer.status == 200, await answer.text()
                contacts[name] = await answer.json()
        cursor = page["next"]
    return contacts


def _find(contacts: dict[str, dict], item: Item, report: Report) -> dict | None:
    """Return what the archive has as ``item``, after looking whether it is equal and there once."""
    contact = contacts.get(item.name)
    if contact is None:
        return None
    if item.kind == "contact":
        if contact["subject"] != item.proof:
            report.faults.append(f"not as it was sent: {item}")
        return contact
    arrived = [one for one in contact["recordings"] if one.get("sha256")]
    if len(contact["recordings"]) > 1:
        report.faults.append(f"there {len(contact['recordings'])} times: {item}")
    if not arrived:
        return None
    if arrived[0]["sha256"] != item.proof:
        report.faults.append(f"not as it was sent: {item}")
    return arrived[0]


def _log(database: Path) -> Counter[tuple[str, str]]:
    """Count for each subject the entries of each type that are about it."""
    counted: Counter[tuple[str, str]] = Counter()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        positions = []
        for position, text in db.execute("SELECT position, entry FROM log ORDER BY position"):
            positions.append(position)
            entry = json.loads(text)
            for subject in entry["about"]:
                counted[entry["type"], subject] += 1
            if entry["type"] == "opening.made":
                counted["opening.", "+".join(sorted(entry["about"][1:3]))] += 1
            if entry["type"] == "grant.created":
                counted["grant.", entry["about"][0]] += 1
    assert positions == list(range(len(positions))), "the log has gaps"
    return counted


def _in_log(log: Counter[tuple[str, str]], kind: str, item: Item, report: Report) -> None:
    name = item.name if item.kind == "grant" else "+".join(sorted((item.name, item.proof)))
    if not log[kind, name]:
        report.faults.append(f"not in the log: {item}")


async def _read_all(client: aiohttp.ClientSession, contacts: dict, report: Report) -> None:
    """Open every recording and compare its bytes with what the name stands for."""
    names = [
        name
        for name, one in contacts.items()
        if any(r.get("sha256") for r in one["recordings"])
    ]
    for start in range(0, len(names), 50):
        some = names[start : start + 50]
        order = {
            "purpose": "verify_contact",
            "contacts": [contacts[name]["id"] for name in some],
        }
        async with client.post("/api/v1/grants", json=order) as answer:
            assert answer.status == 201, await answer.text()
            grant = (await answer.json())["id"]
        for name in some:
            for recording in contacts[name]["recordings"]:
                if recording.get("sha256"):
                    await _read(client, name, recording["id"], grant, report)


async def _read(client, name: str, recording: str, grant: str, report: Report) -> None:
    path = f"/api/v1/recordings/{recording}/content"
    async with client.get(path, headers={"Access-Grant": grant}) as answer:
        data = await answer.read()
        if answer.status != 200:
            report.faults.append(f"recording of {name}: {answer.status} {data[:200]!r}")
        elif hashlib.sha256(data).digest() != hashlib.sha256(sound_of(name)).digest():
            report.faults.append(f"recording of {name}: other bytes")
        report.read += 1
