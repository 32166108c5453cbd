"""A middleman on loopback that passes bytes on, and cuts the first connections after so many of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass
class Cutter:
    """``cuts`` connections are cut once ``after`` bytes went to ``target``; ``done`` says how many were."""

    cuts: int
    after: int
    target: str = ""
    address: str = ""
    done: int = 0

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(
            *self.target.removeprefix("http://").split(":")
        )
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
async def cutting(*, cuts: int, after: int) -> AsyncIterator[Cutter]:
    """Run a middleman, which is told its target later: who it stands before may have to know its address."""
    cutter, running = Cutter(cuts, after), set()

    async def serve(reader, writer):
        running.add(asyncio.current_task())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await cutter.pass_on(reader, writer)
        finally:
            running.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    cutter.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield cutter
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
