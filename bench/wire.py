"""HTTP as cheaply as it can be spoken, so that the load never is what limits.

Many connections: closed loop, each sends its next request, made beforehand, when the answer to the last one is whole.
Large bodies: one blocking socket.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import uvloop

_HEAD_ENDS: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address in ``http://host:port``."""
        host, _, port = text.strip().removeprefix("http://").rpartition(":")
        return cls(host, int(port))


def request(
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    length: int | None = None,
) -> bytes:
    """Return the bytes of a request; ``length`` announces a body that follows."""
    size = len(body) if length is None else length
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if size or method != "GET":
        lines.append(f"Content-Length: {size}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class Load:
    """What was sent and answered. ``latencies`` are in seconds, in the order of the answers."""

    requests: Iterator[bytes]
    deadline: float
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    error: Exception | None = None

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency that ``share`` of the answers did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is whole."""

    def __init__(self, load: Load, ended: Callable[[], None]) -> None:
        self._load, self._ended = load, ended
        self._transport: Any = None
        self._begun = 0.0
        self._head = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        following = None if now >= self._load.deadline else next(self._load.requests, None)
        if following is None or self._load.error is not None:
            self._transport.close()
            return
        self._begun = now
        self._transport.write(following)

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            end = self._head.find(_HEAD_ENDS)
            if end < 0:
                return
            head = self._head[:end]
            if head[9:10] != b"2":
                self._load.error = RuntimeError(f"answered {self._head[:400]!r}")
                self._transport.close()
                return
            self._left = _length(head) - (len(self._head) - end - len(_HEAD_ENDS))
            self._head = b""
        if self._left <= 0:
            self._load.latencies.append(time.perf_counter() - self._begun)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._load.error is None:
            self._load.error = exc
        self._ended()


def _length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.index(_LENGTH) + len(_LENGTH)
    end = lowered.find(b"\r\n", start)
    return int(lowered[start : end if end >= 0 else None])


def load(
    address: Address, requests: Iterator[bytes], *, connections: int, seconds: float = 600.0
) -> Load:
    """Send ``requests`` over ``connections`` until they end or ``seconds`` are over.

    Raises:
        RuntimeError: An answer was not a success.
        OSError: A connection broke.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done = runner.run(_load(address, requests, connections=connections, seconds=seconds))
    if done.error is not None:
        raise done.error
    return done


async def _load(
    address: Address, requests: Iterator[bytes], *, connections: int, seconds: float
) -> Load:
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    done = Load(requests, begun + seconds)
    ends = [loop.create_future() for _ in range(connections)]
    for end in ends:

        def ended(end: "asyncio.Future[None]" = end) -> None:
            if not end.done():
                end.set_result(None)

        await loop.create_connection(
            lambda ended=ended: _Connection(done, ended),  # type: ignore[misc]  # bound at once
            address.host,
            address.port,
        )
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 60)
    done.seconds = time.perf_counter() - begun
    return done


@contextlib.contextmanager
def _connected(address: Address) -> Iterator[socket.socket]:
    with socket.create_connection((address.host, address.port), timeout=300) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def ask(
    address: Address,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Any:  # noqa: ANN401  # JSON
    """Return the JSON that is answered, or None where the answer has no body."""
    answered = send(address, request(method, path, headers, body))
    return json.loads(answered) if answered else None


def send(address: Address, made: bytes) -> bytes:
    """Send a request, made beforehand, over a connection of its own; return the body of the answer."""
    with _connected(address) as connection:
        connection.sendall(made)
        _, answered = _answer(connection)
    return answered


def upload(
    address: Address,
    path: str,
    headers: dict[str, str],
    content: Callable[[], Iterator[memoryview]],
    *,
    size_bytes: int,
) -> float:
    """PUT ``content`` and return how many seconds it took until it was acknowledged."""
    with _connected(address) as connection:
        begun = time.perf_counter()
        connection.sendall(request("PUT", path, headers, length=size_bytes))
        for block in content():
            connection.sendall(block)
        _answer(connection)
        return time.perf_counter() - begun


def download(address: Address, path: str, headers: dict[str, str]) -> tuple[float, int]:
    """GET ``path``; return the seconds it took and the bytes that came, which are looked at no further."""
    block = bytearray(_BLOCK_BYTES)
    with _connected(address) as connection:
        begun = time.perf_counter()
        connection.sendall(request("GET", path, headers))
        expected, body = _head(connection)
        received = len(body)
        while received < expected:
            count = connection.recv_into(block)
            if not count:
                raise RuntimeError(f"the answer broke off after {received} of {expected} bytes")
            received += count
        return time.perf_counter() - begun, received


def _head(connection: socket.socket) -> tuple[int, bytes]:
    """Return the length of the body, and what came of it with the head."""
    data = b""
    while (end := data.find(_HEAD_ENDS)) < 0:
        more = connection.recv(65536)
        if not more:
            raise RuntimeError(f"no answer but {data!r}")
        data += more
    head, body = data[:end], data[end + len(_HEAD_ENDS) :]
    if head[9:10] != b"2":
        raise RuntimeError(f"answered {data[:600]!r}")
    return _length(head), body


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    length, body = _head(connection)
    while len(body) < length:
        body += connection.recv(65536)
    return length, body
