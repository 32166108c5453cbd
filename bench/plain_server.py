"""The references: a bare handler that answers, one that writes what comes to a file, and aiohttp's own file response.

Same library, same event loop, no access log, nothing else in the way.
"""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from aiohttp import web

_DIRECTORY: Final = web.AppKey("directory", Path)


async def answer(request: web.Request) -> web.Response:
    """Decode what a delivery says, and answer."""
    msgspec.json.decode(await request.read())
    return web.Response(body=b'{"kept":true}', content_type="application/json")


async def store(request: web.Request) -> web.Response:
    """Write the body to a file that survives a power cut, as it comes."""
    directory = request.app[_DIRECTORY]
    path = directory / request.match_info["name"]
    temporary = path.with_suffix(".incoming")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        async for chunk in request.content.iter_any():
            os.write(file, chunk)
        await asyncio.to_thread(_publish, file, temporary, path)
    finally:
        os.close(file)
    return web.Response(body=b'{"kept":true}', content_type="application/json")


def _publish(file: int, temporary: Path, path: Path) -> None:
    os.fdatasync(file)
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


async def give(request: web.Request) -> web.StreamResponse:
    """Give a file out."""
    return web.FileResponse(request.app[_DIRECTORY] / request.match_info["name"])


async def serve(directory: Path) -> None:
    """Serve until terminated."""
    app = web.Application(client_max_size=1 << 40)
    app[_DIRECTORY] = directory
    app.router.add_post("/deliveries", answer)
    app.router.add_put("/files/{name}", store)
    app.router.add_get("/files/{name}", give)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = await asyncio.get_running_loop().create_server(
        runner.server,  # type: ignore[arg-type]  # set up above
        "127.0.0.1",
        0,
        backlog=512,
    )
    host, port = listener.sockets[0].getsockname()
    print(f"The reference is at http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve the directory that is named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    factory = uvloop.new_event_loop if options.loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(options.directory))


if __name__ == "__main__":
    main()
