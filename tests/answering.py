"""A server on loopback that answers exactly the bytes that a test wants, and remembers what it was asked."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Asked:
    """One request: its target and its headers, names in lower case."""

    target: str
    headers: dict[str, str]


@dataclass
class Server:
    port: int
    scheme: str
    asked: list[Asked] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def url(self, target: str = "/a.wav") -> str:
        return self.origin + target


def ok(body: bytes = b"RIFF-sound", *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer whose length is told."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def moved(location: str, status: str = "302 Found") -> bytes:
    return ok(b"", f"Location: {location}", status=status)


@asynccontextmanager
async def answering(
    answer: bytes | Callable[[Asked], bytes | AsyncIterator[bytes]],
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Answer every request with ``answer``, or with what it returns, then hang up."""
    server, tasks = Server(0, "http" if tls is None else "https"), set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.closing(writer), contextlib.suppress(*gone):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            asked = Asked(head[0].split(" ")[1], headers)
            server.asked.append(asked)
            answered = answer(asked) if callable(answer) else answer
            if isinstance(answered, bytes):
                writer.write(answered)
                await writer.drain()
            else:
                async for part in answered:
                    writer.write(part)
                    await writer.drain()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
