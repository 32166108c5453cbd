"""A PostgreSQL server of the tests' own, on a Unix socket in a temporary directory, and a wire to cut."""

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

_NUMBERS = itertools.count(1)
_MEMORY, _ROOM_BYTES = Path("/dev/shm"), 4 * 1024**3  # noqa: S108  # a file system in memory; the directory in it is new


def _program(name: str) -> str:
    found = shutil.which(name)
    # Debian keeps them out of the path, by version.
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    assert found or installed, "PostgreSQL is not installed; `make programs` does it"
    return found or str(installed[-1])


def _where() -> Path | None:
    """Return where data of servers go that only processes are taken from: in memory, where syncing takes no time."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    return _MEMORY if has_room and os.access(_MEMORY, os.W_OK) else None


def _account() -> dict[str, object]:
    """Say who runs the server: it refuses to be the superuser."""
    if os.geteuid() != 0:
        return {}
    known = {one.pw_name: one for one in pwd.getpwall()}
    account = known.get("postgres") or known["nobody"]
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@dataclass
class Cluster:
    """One server with its data; its superuser is ``taltio``."""

    directory: Path
    account: dict[str, object]
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        return self.directory / ".s.PGSQL.5432"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://taltio@/{database}?host={self.directory}"

    def start(self) -> None:
        command = [
            _program("postgres"),
            *("-D", self.directory / "data", "-k", self.directory),
            *("-c", "listen_addresses=", "-c", "max_connections=200"),
        ]
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                **self.account,
            )
        self.wait()

    def wait(self) -> None:
        ready = [_program("pg_isready"), "-q", "-h", self.directory, "-t", "1"]
        for _ in range(300):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            assert self.process.poll() is None, (self.directory / "server.log").read_text()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
        raise AssertionError("PostgreSQL does not start")

    def stop(self) -> None:
        """Shut down in order, whoever is connected."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End every process of the server at once, as a power cut would."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        (self.directory / "data" / "postmaster.pid").unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let every process of the server stand still inside the block: it neither answers nor hangs up."""
        pids = self._processes()
        # The parent first, so that it starts no others.
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def _end(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    account = _account()
    with tempfile.TemporaryDirectory(
        prefix="taltio-pg-", ignore_cleanup_errors=True, dir=_where()
    ) as made:
        directory = Path(made)
        if account:
            os.chown(directory, account["user"], account["group"])
        subprocess.run(
            [
                _program("initdb"),
                *("-D", directory / "data", "-U", "taltio", "-A", "trust"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            check=True,
            cwd=directory,
            stdout=subprocess.DEVNULL,
            **account,
        )
        cluster = Cluster(directory, account)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@contextmanager
def running_standby(primary: Cluster) -> Iterator[Cluster]:
    """A server that follows another."""
    with tempfile.TemporaryDirectory(prefix="taltio-pg-", ignore_cleanup_errors=True) as made:
        directory = Path(made)
        if primary.account:
            os.chown(directory, primary.account["user"], primary.account["group"])
        subprocess.run(
            [
                _program("pg_basebackup"),
                *("-h", primary.directory, "-U", "taltio", "-D", directory / "data", "-R"),
                *("-X", "stream", "--checkpoint=fast", "--no-sync"),
            ],
            check=True,
            cwd=directory,
            **primary.account,
        )
        follower = Cluster(directory, primary.account)
        follower.start()
        try:
            yield follower
        finally:
            follower.stop()


async def execute(url: str, sql: str) -> None:
    db = await asyncpg.connect(url)
    try:
        await db.execute(sql)
    finally:
        await db.close()


async def new_database(cluster: Cluster, template: str = "template1") -> str:
    """Make a database; return its URL."""
    name = f"taltio_{next(_NUMBERS)}"
    await execute(cluster.url(), f"CREATE DATABASE {name} TEMPLATE {template}")
    return cluster.url(name)


@dataclass
class Wire:
    """A loopback port that leads to a server, and can be cut, before or after it passes a message on."""

    target: Path
    port: int = 0
    cut_before: bytes = b""
    cut_after: bytes = b""
    hold_before: bytes = b""
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    cuts: int = 0
    is_down: bool = False
    is_hanging: bool = False
    _ends: set[asyncio.StreamWriter] = field(default_factory=set, repr=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        if self.is_hanging:
            self._ends.add(writer)
            return
        with suppress(asyncio.CancelledError):
            await self._lead(reader, writer)

    async def _lead(self, reader, writer) -> None:
        there, back = await asyncio.open_unix_connection(self.target)
        ends = {writer, back}
        self._ends |= ends
        try:
            await asyncio.gather(
                self._pass(reader, back, ends), self._answer(there, writer, ends)
            )
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _pass(self, reader, back, ends) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.cut_before and self.cut_before in data:
                    self.cut_before = b""
                    return self._cut(ends)
                if self.hold_before and self.hold_before in data:
                    self.holding.set()
                    await self.go_on.wait()
                back.write(data)
                await back.drain()
                if self.cut_after and self.cut_after in data:
                    self.cut_after = b""
                    # The server has it, and does it; the answer is never seen.
                    ends.discard(back)
                    self._cut(ends)
                    ends.add(back)
                    await asyncio.sleep(0.3)
                    return None
            return self._cut(ends, is_counted=False)

    async def _answer(self, there, writer, ends) -> None:
        with suppress(ConnectionError):
            while data := await there.read(65536):
                if not writer.transport.is_closing():
                    writer.write(data)
                    await writer.drain()
        self._cut(ends, is_counted=False)

    def _cut(self, ends, *, is_counted: bool = True) -> None:
        self.cuts += is_counted
        for end in ends:
            end.transport.abort()

    def cut_all(self) -> None:
        """Cut every connection there is."""
        self._cut(list(self._ends))


@asynccontextmanager
async def wired(cluster: Cluster):
    wire = Wire(cluster.socket)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut_all()
        await asyncio.sleep(0)
