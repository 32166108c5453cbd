"""Uploads that break off, and names that need escaping, against the whole service."""

import asyncio
import contextlib

import pytest

from service.domain.actor import Role
from tests.system.world import contact

SIZE = 200_000
BODY = bytes(range(250)) * (SIZE // 250)


async def _break_off(world, asker, path, *, sent, chunked):
    """Begin an upload and hang up after ``sent`` bytes of it."""
    host, port = world.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = [f"PUT {path} HTTP/1.1", f"Host: {host}", "Content-Type: audio/wav"]
    head += [f"{name}: {value}" for name, value in asker.headers.items()]
    head.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {SIZE}")
    writer.write("\r\n".join([*head, "", ""]).encode())
    writer.write(b"%x\r\n" % SIZE + BODY[:sent] if chunked else BODY[:sent])
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return await reader.read()


def _files(world):
    return sorted(path.name for path in world.blobs.rglob("*") if path.is_file())


async def _settled(world, before):
    """Wait until nothing is there that was not there before; return what remains."""
    for _ in range(100):
        if _files(world) == before:
            break
        await asyncio.sleep(0.02)
    return _files(world)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("sent", [0, 1, 65_536, SIZE - 1])
async def test_an_upload_that_breaks_off_leaves_nothing(world, sent, chunked):
    machine = await world.token(Role.INTEGRATION)
    handler = await world.token(Role.COMPLAINT_HANDLER)
    made = await world.ask(machine, "POST", "/api/v1/contacts", body=contact("c-cut"))
    shown = f"/api/v1/contacts/{made.json['id']}"
    before, entries = _files(world), await world.archive.stores.log.log_size()
    for path in ("/intake/pbx/c-cut/recordings/a.wav", f"{shown}/recordings/a.wav"):
        answer = await _break_off(world, machine, path, sent=sent, chunked=chunked)
        assert b" 20" not in answer
    assert await _settled(world, before) == before
    assert (await world.ask(handler, "GET", shown)).json["recordings"] == []
    assert await world.archive.stores.log.log_size() == entries
    whole = await world.ask(machine, "PUT", f"{shown}/recordings/a.wav", body=BODY)
    assert whole.status == 201, "and it can be sent again"


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        ("100%25.wav", "100%.wav"),
        ("100%2525.wav", "100%25.wav"),
        ("a%2541.wav", "a%41.wav"),
        ("a%2Fb.wav", "a/b.wav"),
        ("%C3%A4.wav", "ä.wav"),
        ("a+b.wav", "a+b.wav"),
        ("%2e%2e%2fa.wav", "../a.wav"),
    ],
)
async def test_a_name_is_unescaped_once(world, escaped, name):
    machine = await world.token(Role.INTEGRATION)
    handler = await world.token(Role.COMPLAINT_HANDLER)
    made = await world.ask(machine, "POST", "/api/v1/contacts", body=contact(name))
    shown = f"/api/v1/contacts/{made.json['id']}"
    await world.ask(machine, "PUT", f"{shown}/recordings/{escaped}", body=b"abc")
    (recording,) = (await world.ask(handler, "GET", shown)).json["recordings"]
    assert recording["name"] == name
