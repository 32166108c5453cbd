"""A contact with its recording, put in through intake, and a grant to open it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

from bench.archives import SOURCE, Archive, Process
from bench.content import blocks
from bench.deliveries import customer_number
from bench.wire import ask, upload

Content = Callable[[], Iterator[memoryview]]


@dataclass(frozen=True, slots=True)
class Playable:
    """A recording that may be opened: where, and with which headers."""

    path: str
    headers: dict[str, str]


def put_recording(
    archive: Archive,
    process: Process,
    source_id: str,
    *,
    size_bytes: int,
    content: Content | None = None,
) -> float:
    """Upload a recording through intake; return the seconds until it was acknowledged."""
    return upload(
        process.address,
        f"/intake/{SOURCE}/{source_id}/recordings/call",
        {**archive.bearer("sender"), "Content-Type": "application/octet-stream"},
        content or partial(blocks, size_bytes),
        size_bytes=size_bytes,
    )


def add_contact(archive: Archive, process: Process, source_id: str) -> str:
    """Add a call and return its id."""
    contact = {
        "source": SOURCE,
        "source_id": source_id,
        "channel": "call",
        "direction": "inbound",
        "started_at": "2026-11-20T12:02:11Z",
        "customer_number": customer_number(1),
        "parties": [],
        "recording": "expected",
    }
    headers = {**archive.bearer("sender"), "Content-Type": "application/json"}
    added = ask(
        process.address, "POST", "/api/v1/contacts", headers, msgspec.json.encode(contact)
    )
    return str(added["id"])


def granted(archive: Archive, process: Process, contact_id: str) -> Playable:
    """Ask for a grant and return where the contact's recording is heard under it."""
    headers = archive.bearer("handler")
    order = {"purpose": "verify_contact", "contacts": [contact_id]}
    grant = ask(
        process.address,
        "POST",
        "/api/v1/grants",
        {**headers, "Content-Type": "application/json"},
        msgspec.json.encode(order),
    )
    contact = ask(process.address, "GET", f"/api/v1/contacts/{contact_id}", headers)
    (recording,) = contact["recordings"]
    return Playable(
        f"/api/v1/recordings/{recording['id']}/content",
        {**headers, "Access-Grant": grant["id"]},
    )


def playable(
    archive: Archive, process: Process, source_id: str, *, size_bytes: int
) -> Playable:
    """Add a call with a recording and return where it is heard."""
    contact_id = add_contact(archive, process, source_id)
    put_recording(archive, process, source_id, size_bytes=size_bytes)
    archive.wait_until_understood()
    return granted(archive, process, contact_id)
