"""What the service manager is told: sd_notify(3)."""

import asyncio
import contextlib
import os
import socket

import pytest

from service.cli.notify import READY, notify, watched
from tests.system.programs import ENVIRONMENT, started


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"\0taltio-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.settimeout(20)
        yield listening, {"NOTIFY_SOCKET": name.replace("\0", "@")}


def rest(listening):
    """Return what was told and not heard yet."""
    heard = []
    listening.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.append(listening.recv(100))
    return heard


def test_a_state_is_one_datagram(manager):
    listening, environment = manager
    notify(READY, environment)
    assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "nothing", "/nobody/listens", "@nobody-listens"])
def test_where_nobody_listens_nothing_happens(address):
    notify(READY, {"NOTIFY_SOCKET": address})


async def test_the_watchdog_hears_of_a_loop_that_turns_and_not_of_one_that_hangs(manager):
    listening, environment = manager
    async with watched({**environment, "WATCHDOG_USEC": "100000"}):
        await asyncio.sleep(0.12)
        assert listening.recv(100) == b"WATCHDOG=1"
        await asyncio.sleep(0.12)
        assert listening.recv(100) == b"WATCHDOG=1"
    rest(listening)
    await asyncio.sleep(0.1)
    assert rest(listening) == []


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"},
    ],
)
async def test_who_is_not_watched_tells_nothing(manager, told):
    listening, environment = manager
    async with watched({**environment, **told}):
        await asyncio.sleep(0.05)
    assert rest(listening) == []


@pytest.mark.slow
async def test_the_program_tells_when_it_is_ready_and_when_it_stops(tmp_path, manager):
    listening, environment = manager
    (tmp_path / "config.toml").write_text('[web]\nlisten = "127.0.0.1:0"\n')
    told = {**ENVIRONMENT, **environment, "WATCHDOG_USEC": "500000"}
    async with started(tmp_path, "serve", environment=told) as service:
        heard = [await asyncio.to_thread(listening.recv, 100) for _ in range(3)]
        assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        assert await service.interrupt() == 0
        while (state := await asyncio.to_thread(listening.recv, 100)) == b"WATCHDOG=1":
            pass
        assert state == b"STOPPING=1"
