"""Archives to measure, and the processes that serve them."""

import asyncio
import base64
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.wire import Address
from service.config import Config, load_config
from service.domain.actor import OPERATOR, Role
from service.wiring import key_provider, opened_archive

SOURCE: Final = "phones"
_ROOT: Final = Path(__file__).resolve().parent.parent
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Archive:
    """A new archive with one signed source and tokens of two roles."""

    directory: Path
    secret: bytes = field(repr=False)
    tokens: Mapping[str, str] = field(repr=False)

    @property
    def config_file(self) -> Path:
        """Its settings."""
        return self.directory / "config.toml"

    @property
    def config(self) -> Config:
        """Its settings, read."""
        return load_config(self.config_file)

    @property
    def database(self) -> Path:
        """Its rows."""
        return self.directory / "data" / "taltio.db"

    def bearer(self, name: str) -> dict[str, str]:
        """Return the header of somebody: ``handler`` or ``sender``."""
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def command(self, *arguments: str) -> list[str]:
        """Return a ``taltio`` command on this archive."""
        return [sys.executable, "-m", "service", *arguments, "--config", str(self.config_file)]

    def wait_until_understood(self) -> None:
        """Return when no delivery waits to be understood. Costs the server nothing."""
        database = sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)
        with contextlib.closing(database) as db:
            waiting = "SELECT 1 FROM deliveries WHERE state = 'received' LIMIT 1"
            while db.execute(waiting).fetchone():
                time.sleep(0.005)

    def wait_until_published(self) -> None:
        """Return when there is a checkpoint of the log."""
        while not (self.directory / "data" / "log" / "checkpoint").exists():
            time.sleep(0.005)

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        database = sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)
        with contextlib.closing(database) as db:
            (number,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  # our own words
            return int(number)


def new_archive(directory: Path, *, storage: str = "") -> Archive:
    """Make an archive in ``directory``, which is made too. ``storage``: settings of another place for blobs."""
    directory.mkdir()
    secret = os.urandom(32)
    secret_file = directory / "secret"
    secret_file.write_text(f"whsec_{base64.b64encode(secret).decode()}\n", encoding="ascii")
    secret_file.chmod(0o400)
    (directory / "config.toml").write_text(
        f"""[web]
listen = "127.0.0.1:0"
[archive]
name = "bench.example.org"
[limits]
requests_per_address = 1000000
requests_per_sender = 1000000
[[sources]]
name = "{SOURCE}"
kind = "standard-webhooks"
secret_file = "secret"
{storage}""",
        encoding="utf-8",
    )
    tokens = asyncio.run(_prepare(load_config(directory / "config.toml")))
    return Archive(directory, secret, tokens)


async def _prepare(config: Config) -> dict[str, str]:
    now = datetime.now(UTC)
    config.archive.directory.mkdir(mode=0o700)
    key_provider(config).create(now=now)
    async with opened_archive(config, create=True) as archive:
        create = archive.access.tokens.create
        handler = await create("desk", role=Role.COMPLAINT_HANDLER, by=OPERATOR, now=now)
        sender = await create("phones", role=Role.INTEGRATION, by=OPERATOR, now=now)
    return {"handler": handler.secret, "sender": sender.secret}


@dataclass(frozen=True, slots=True)
class Process:
    """A server that runs."""

    address: Address
    pid: int
    seconds_to_start: float

    def cpu_seconds(self) -> float:
        """Return the processor time it has used, its threads' included."""
        text = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[Process]:
    """Run a server inside the block. It says ``… at http://host:port`` when it is ready.

    Raises:
        RuntimeError: It ended instead.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    try:
        address = _address(process)
        yield Process(address, process.pid, time.perf_counter() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _address(process: "subprocess.Popen[str]") -> Address:
    if process.stdout is not None:
        for line in process.stdout:
            if " at http://" in line:
                return Address.parse(line.rpartition(" ")[2])
    raise RuntimeError(f"{process.args!r} ended with {process.wait(_START_SECONDS)}")


@contextlib.contextmanager
def serving(archive: Archive) -> Iterator[Process]:
    """Run ``taltio serve`` on the archive."""
    with running(archive.command("serve")) as process:
        yield process


@contextlib.contextmanager
def taking_in(archive: Archive) -> Iterator[Process]:
    """Run a process that only takes deliveries in."""
    command = [sys.executable, "-m", "bench.intake_server", str(archive.config_file)]
    with running(command) as process:
        yield process


@contextlib.contextmanager
def plain(directory: Path, *, loop: str = "uvloop") -> Iterator[Process]:
    """Run the references over ``directory``."""
    directory.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bench.plain_server", str(directory), "--loop", loop]
    with running(command) as process:
        yield process
