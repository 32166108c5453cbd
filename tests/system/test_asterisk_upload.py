"""The script that Asterisk runs, really run: what it queued arrives, once, whatever it is called."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from storage.rows import DeliveryRow
from tests.intake.conftest import config as config  # noqa: PLC0414  # likewise
from tests.intake.conftest import door as door  # noqa: PLC0414  # a fixture

SCRIPT = Path(__file__).parents[2] / "deploy" / "asterisk" / "taltio-upload"
SOUND = b"RIFF" + bytes(range(256)) * 40


class Switch:
    """A machine with the script, and recordings."""

    def __init__(self, folder, url, token):
        self.folder, self.spool = folder, folder / "spool"
        self.token = folder / "token"
        self.token.write_text(f"{token}\n")
        self.conf = folder / "conf"
        self.conf.write_text(
            f"TALTIO_URL={url}\nTALTIO_SOURCE=pbx\nTALTIO_TOKEN_FILE={self.token}\nTALTIO_SPOOL={self.spool}\n"
        )

    def recording(self, name="in-1-2-1795340845.0.wav", sound=SOUND):
        file = self.folder / name
        file.write_bytes(sound)
        return str(file)

    async def run(self, *arguments):
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            str(SCRIPT),
            *arguments,
            env={"PATH": os.environ["PATH"], "TALTIO_UPLOAD_CONF": str(self.conf)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, (out + err).decode()

    @property
    def queued(self):
        return list(self.spool.iterdir()) if self.spool.exists() else []


@pytest.fixture
async def switch(door, tmp_path):
    if shutil.which("curl") is None:
        pytest.fail("the program curl is absent: apt-get install curl")
    folder = tmp_path / "switch"
    folder.mkdir()
    address = str(door.client.make_url("/")).rstrip("/")
    return Switch(folder, address, await door.token(source="pbx"))


async def kept(door):
    rows = await door.archive.stores.store.find(DeliveryRow, {"kind": "recording"})
    opened = await door.archive.understanding.opener.open(rows)
    return [opened[row.id].ident for row in rows]


@pytest.mark.parametrize(
    "name",
    [
        "in-0201234567-+358401234567-20261122-114725-1795340845.0.wav",
        "a b;$(touch pwned)`id`'\"|&<>\\n.wav",
        "-rf --config x.wav",
        "ä%2F€.wav",
        "line\nbreak.wav",
    ],
)
async def test_a_recording_arrives_under_its_name_whatever_that_is(switch, door, name):
    code, said = await switch.run("queue", switch.recording(name), "1795340845.0")
    if "\n" in name:
        # Taltio takes no such name; the recording stays where it is, and is told of.
        assert (code, len(switch.queued)) == (1, 1)
        return
    assert (code, said) == (0, "")
    assert await kept(door) == [f"1795340845.0\n{name}"]
    assert switch.queued == []
    assert not list(switch.folder.glob("**/pwned"))


async def test_without_a_linkedid_the_name_tells_the_call(switch, door):
    assert (await switch.run("queue", switch.recording(), ""))[0] == 0
    assert await kept(door) == ["1795340845.0\nin-1-2-1795340845.0.wav"]


async def test_what_could_not_be_sent_stays_and_is_sent_later_once(switch, door):
    right = switch.conf.read_text()
    switch.conf.write_text(right.replace("TALTIO_URL=http", "TALTIO_URL=http://127.0.0.1:9#"))
    for n in range(2):
        code, said = await switch.run("queue", switch.recording(f"{n}.wav"), f"c-{n}")
        assert code == 1
        assert "stays in the queue" in said
    # The recording itself may be removed meanwhile.
    for file in switch.folder.glob("*.wav"):
        file.unlink()
    switch.conf.write_text(right)
    assert (await switch.run("send"))[0] == 0
    assert (await switch.run("send"))[0] == 0
    assert sorted(await kept(door)) == ["c-0\n0.wav", "c-1\n1.wav"]
    assert switch.queued == []


@pytest.mark.parametrize("status", [201, 204, 302, 401, 404, 413, 500, 503])
async def test_only_a_200_lets_it_go(switch, status):
    async def answer(request):
        await request.read()
        return web.Response(status=status)

    app = web.Application(client_max_size=2**20)
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url("/")).rstrip("/")
        text = switch.conf.read_text().split("\n", 1)[1]
        switch.conf.write_text(f"TALTIO_URL={url}\n{text}")
        assert (await switch.run("queue", switch.recording(), "c-1"))[0] == 1
    assert len(switch.queued) == 1


async def test_neither_token_nor_number_is_an_argument_of_a_program(switch, tmp_path):
    seen = tmp_path / "bin"
    seen.mkdir()
    (seen / "curl").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/arguments\ncat >/dev/null\nprintf 200\n'
    )
    (seen / "curl").chmod(0o755)
    path, os.environ["PATH"] = os.environ["PATH"], f"{seen}:{os.environ['PATH']}"
    try:
        assert (await switch.run("queue", switch.recording("x-+358401234567-1.2.wav"), "1.2"))[
            0
        ] == 0
    finally:
        os.environ["PATH"] = path
    arguments = (tmp_path / "arguments").read_text()
    assert "358401234567" not in arguments
    assert switch.token.read_text().strip() not in arguments


@pytest.mark.parametrize(
    "arguments", [(), ("queue",), ("queue", "nothing.wav", "1"), ("drop", "x", "y")]
)
async def test_what_it_is_not_told_rightly_it_refuses(switch, arguments):
    code, said = await switch.run(*arguments)
    assert code == 2
    assert said.startswith("taltio-upload: ")
