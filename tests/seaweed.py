"""A real object store on loopback: SeaweedFS in a temporary directory, told to sync."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from storage.s3.place import Place

ACCESS_KEY, SECRET_KEY = "invented-access", "invented-secret"
BUCKET = "archive"
_WEED = Path(sys.executable).with_name("weed")
_START_SECONDS = 60


@dataclass
class Seaweed:
    """A server that can be stopped and started again over the same files."""

    directory: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def filer(self) -> str:
        return f"http://127.0.0.1:{self.ports['filer']}"

    @property
    def credentials_file(self) -> Path:
        return self.directory / "credentials"

    def place(self, prefix: str = "", *, endpoint: str = "", bucket: str = BUCKET) -> Place:
        return Place(
            endpoint=endpoint or self.endpoint,
            bucket=bucket,
            prefix=prefix,
            region="eu-test-1",
            credentials_file=self.credentials_file,
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    _WEED,
                    "server",
                    f"-dir={self.directory / 'data'}",
                    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
                    *("-volume.max=0", "-master.volumeSizeLimitMB=1024"),
                    *(f"-{name}.port={port}" for name, port in self.ports.items()),
                    *("-filer", "-s3", f"-s3.config={self.directory / 's3.json'}"),
                    *("-s3.port.iceberg=0", "-s3.port.lance=0"),
                ],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.ports["s3"]):
            assert self.process.poll() is None, (self.directory / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (self.directory / "log").read_text()[-3000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Let it hang: connections are taken by the system and never answered."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def shell(self, *commands: str) -> str:
        """Run commands in the server's own shell."""
        return subprocess.run(
            [_WEED, "shell", f"-master=127.0.0.1:{self.ports['master']}"],
            input="\n".join([*commands, "exit"]),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=self.directory,
        ).stdout

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid


def make_seaweed(directory: Path) -> Seaweed:
    """Prepare a server in ``directory``; it does not run yet."""
    (directory / "data").mkdir(parents=True)
    identity = {
        "name": "taltio",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        # Whoever may administer makes a missing bucket anew by writing into it.
        "actions": ["Read", "List", "Write"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    made = Seaweed(
        directory, dict(zip(("master", "volume", "filer", "s3"), _ports(4), strict=True))
    )
    made.credentials_file.write_text(
        f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    made.credentials_file.chmod(0o400)
    return made


@contextlib.contextmanager
def running_seaweed(directory: Path) -> Iterator[Seaweed]:
    """Run a server that syncs, with one bucket."""
    server = make_seaweed(directory)
    try:
        server.start()
        server.shell(
            "fs.configure -locationPrefix=/ -fsync=true -apply",
            f"s3.bucket.create -name {BUCKET}",
        )
        # The first write waits until volumes are made.
        for method in ("PUT", "DELETE"):
            _ask(server.ports["filer"], method, f"/buckets/{BUCKET}/first", timeout=30)
        yield server
    finally:
        server.kill()


def _answers(port: int) -> bool:
    """Say whether an HTTP server answers at ``port``; it listens before it can."""
    try:
        return _ask(port, "GET", "/healthz", timeout=1) == 200
    except (OSError, http.client.HTTPException):
        return False


def _ask(port: int, method: str, path: str, *, timeout: float) -> int:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        asking.request(method, path, body=b"first" if method == "PUT" else None)
        return asking.getresponse().status
    finally:
        asking.close()


def _ports(count: int) -> Iterator[int]:
    """Yield free ports whose number plus 10 000 is free too: there the server speaks gRPC."""
    tried = random.SystemRandom()
    while count:
        # Both below what the system gives to outgoing connections, so that nobody takes them while it is restarted.
        port = tried.randrange(12_000, 22_000)
        if all(_is_free(one) for one in (port, port + 10_000)):
            count -= 1
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
