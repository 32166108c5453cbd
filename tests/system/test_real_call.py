"""A call between programs of Debian (SIP and RTP, in a network of their own) becomes a contact that can be heard."""

import array
import asyncio
import csv
import os
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import av
import pytest

from tests.system.programs import run, started, until

HERE = Path(__file__).parent / "real_call"
SPEECH = Path(__file__).resolve().parents[2] / "service" / "cli" / "demo" / "speech"
PROGRAMS = ("sipp", "kamailio", "rtpengine", "ip")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        bool(MISSING),
        reason="absent: sip-tester, kamailio, rtpengine-daemon or iproute2 of Debian",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="who is not root makes no network"),
]

RATE = 8000
SETTINGS = """
[web]
listen = "127.0.0.1:0"
[[sources]]
name = "sip"
kind = "rtpengine"
spool = "{spool}"
company_numbers = ["0201234567"]
secret_file = "{secret}"
"""


def speak(name: str, file: Path, *, seconds: int, after: int = 0) -> None:
    """Write Finnish speech as bare A-law, ``after`` seconds of silence, for ``seconds``."""
    resampler = av.AudioResampler("s16", "mono", RATE)
    with av.open(SPEECH / name) as source, av.open(str(file), "w", format="alaw") as target:
        stream = target.add_stream("pcm_alaw", rate=RATE, layout="mono")
        for frame in source.decode(audio=0):
            for one in resampler.resample(frame):
                target.mux(stream.encode(one))
    sound = b"\xd5" * RATE * after + file.read_bytes()
    file.write_bytes(sound[: RATE * seconds])


@asynccontextmanager
async def network():
    """A network of its own, with nothing in it but loopback; yield what begins a command in it."""
    name = f"taltio-{os.getpid()}"
    await _done("ip", "netns", "add", name)
    try:
        await _done("ip", "netns", "exec", name, "ip", "link", "set", "lo", "up")
        yield ("ip", "netns", "exec", name)
    finally:
        await _done("ip", "netns", "delete", name)


async def _done(*command: str, folder: Path | None = None, seconds: float = 60) -> str:
    """Run a command to its end; it has to end well."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (command, said.decode(errors="replace")[-2000:])
    return said.decode(errors="replace")


@asynccontextmanager
async def serving(*command: str, folder: Path):
    """Run a server as long as the block lasts."""
    with (folder / f"{command[4]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 30)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def call(inside, folder: Path) -> None:
    """Let a customer call the company; the proxy lets rtpengine record."""
    for name in ("kamailio.cfg", "caller.xml", "agent.xml"):
        shutil.copy(HERE / name, folder)
    speak("rauha-reklamaatio.opus", folder / "caller.alaw", seconds=4)
    speak("rauha-vastaus.opus", folder / "agent.alaw", seconds=4, after=1)
    (folder / "recordings").mkdir()
    relay = (
        *(*inside, "rtpengine", "--foreground", "--log-stderr", "--log-level=4"),
        *("--interface=127.0.0.1", "--listen-ng=127.0.0.1:2223", "--table=-1"),
        *("--recording-method=pcap", "--recording-format=raw", "--delete-delay=1"),
        f"--recording-dir={folder / 'recordings'}",
    )
    proxy = (*inside, "kamailio", "-f", "kamailio.cfg", "-DD", "-E", "-Y", str(folder))
    phone = ("-i", "127.0.0.1", "-m", "1", "-nostdin", "-timeout", "30", "-timeout_error")
    async with serving(*relay, folder=folder), serving(*proxy, folder=folder):
        await listening(inside, 2223, 5060)
        # If one of the phones fails, the other ends with it.
        async with asyncio.TaskGroup() as phones:
            agent = ("sipp", "-sf", "agent.xml", "-p", "5070", "-mp", "7000", *phone)
            phones.create_task(_done(*inside, *agent, "127.0.0.1", folder=folder))
            await listening(inside, 5070)
            caller = ("sipp", "-sf", "caller.xml", "-p", "5061", "-mp", "6000", *phone)
            called = ("-s", "0201234567", "127.0.0.1:5060")
            phones.create_task(_done(*inside, *caller, *called, folder=folder))
        # The metadata come when the call is forgotten.
        told = folder / "recordings" / "metadata"
        await until(lambda: any(told.glob("*.txt")), seconds=30)


async def listening(inside, *ports: int) -> None:
    """Wait until somebody listens to UDP on each of the ports."""
    async with asyncio.timeout(30):
        while True:
            said = await _done(*inside, "cat", "/proc/net/udp")
            bound = {int(one, 16) for one in re.findall(r": [0-9A-F]{8}:([0-9A-F]{4}) ", said)}
            if bound.issuperset(ports):
                return
            await asyncio.sleep(0.1)


@pytest.fixture
async def recorded(tmp_path):
    async with network() as inside:
        await call(inside, tmp_path)
    return tmp_path / "recordings"


async def test_a_real_call_is_heard_from_both_sides_in_its_customers_history(
    recorded, tmp_path
):
    (capture,) = (recorded / "pcaps").iterdir()
    packets = capture.read_bytes()
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "secret").write_text("a-secret-that-is-long-enough-for-a-path-0123\n")
    (folder / "secret").chmod(0o400)
    (folder / "config.toml").write_text(
        SETTINGS.format(spool=recorded, secret=folder / "secret")
    )
    async with started(folder, "serve") as service:
        await bring_in_the_customer(folder)
        token = (
            await run(
                folder, "tokens", "create", "--role", "complaint_handler", "--name", "handler"
            )
        ).strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(service.address, headers=headers) as client:
            (contact,), shown = await until_heard(client)
            assert (contact["direction"], contact["queue"]) == ("inbound", "sahkokatko")
            (recording,) = shown["recordings"]
            assert recording["facts"]["channels"] == 2
            assert abs(recording["facts"]["duration_seconds"] - 4) < 0.5
            (link,) = shown["links"]
            assert (link["state"], link["certainty"]) == ("linked", "likely")
            async with client.get("/api/v1/contacts?customer_number=1000042") as answer:
                theirs = await answer.json()
            assert [one["id"] for one in theirs["contacts"]] == [contact["id"]]
            order = {"purpose": "verify_contact", "contacts": [contact["id"]]}
            async with client.post("/api/v1/grants", json=order) as answer:
                grant = (await answer.json())["id"]
            path, opening = (
                f"/api/v1/recordings/{recording['id']}/content",
                {"Access-Grant": grant},
            )
            async with client.get(path, headers=opening) as answer:
                assert await answer.read() == packets
            async with client.get(f"{path}?rendition=playable", headers=opening) as answer:
                sound = await answer.read()
        left, right = sides(sound)
        assert loud(left) > 100
        assert loud(right) > 100
        # The agent is silent for a second; whoever is heard there is the caller.
        silent, speaking = sorted(loud(side[: RATE * 4 // 5]) for side in (left, right))
        assert silent < 20
        assert speaking > 100
        await service.interrupt()
    # Ends with 0 where nothing is wrong.
    await run(folder, "verify")


async def bring_in_the_customer(folder: Path) -> None:
    with (folder / "customers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_number", "name", "phone"])
        writer.writerow(["1000042", "Rauha Esimerkki", "+358 40 1234567"])
    await run(folder, "customers", "import", "customers.csv")


async def until_heard(client) -> tuple[list[dict], dict]:
    """Wait until the call is there and what was captured is examined: the spool is looked into every minute."""
    async with asyncio.timeout(180):
        while True:
            params = {"phone": "040 123 4567"}
            async with client.get("/api/v1/contacts", params=params) as answer:
                assert answer.status == 200, await answer.text()
                found = (await answer.json())["contacts"]
            for contact in found:
                async with client.get(f"/api/v1/contacts/{contact['id']}") as answer:
                    shown = await answer.json()
                if any("facts" in one for one in shown["recordings"]):
                    return found, shown
            await asyncio.sleep(0.5)


def sides(wave: bytes) -> tuple[array.array, array.array]:
    samples = array.array("h")
    body = wave[wave.index(b"data") + 8 :]
    samples.frombytes(body[: len(body) // 4 * 4])
    return samples[0::2], samples[1::2]


def loud(samples: array.array) -> float:
    return sum(abs(one) for one in samples) / len(samples)
