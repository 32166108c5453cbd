"""A middleman on loopback that passes bytes on, and cuts the first connections after so many of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass
class Cutter:
    """``cuts`` connections are cut once ``after`` bytes went to the server; ``done`` says how many were."""

    host: str
    port: int
    cuts: int
    after: int
    address: str = ""
    done: int = 0

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.host, self.port)
        answers = asyncio.create_task(self._pump(there, writer))
        try:
            await self._pump(reader, back, may_cut=True)
        finally:
            answers.cancel()
            for one in (writer, back):
                one.transport.abort()
            await asyncio.gather(answers, return_exceptions=True)

    async def _pump(self, source, sink, *, may_cut=False) -> None:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await source.read(16 * 1024):
                sink.write(data)
                await sink.drain()
                passed += len(data)
                if may_cut and passed >= self.after and self.done < self.cuts:
                    self.done += 1
                    return


@contextlib.asynccontextmanager
async def cutting(target: str, *, cuts: int, after: int) -> AsyncIterator[Cutter]:
    """Run a middleman before ``target``."""
    host, port = target.removeprefix("http://").split(":")
    cutter, running = Cutter(host, int(port), cuts, after), set()

    async def serve(reader, writer):
        running.add(asyncio.current_task())
        try:
            await cutter.pass_on(reader, writer)
        finally:
            running.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    cutter.address = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    try:
        yield cutter
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
