"""Child processes that read what strangers made: each shares one socket with us, and nothing else."""

import asyncio
import importlib.util
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import service
from service.domain.errors import UnavailableError

_BOOT: Final = (
    "import sys; sys.path += sys.argv[2:]; __import__(sys.argv[1], fromlist='x').main()"
)

Process = asyncio.subprocess.Process


@dataclass(frozen=True, slots=True)
class Child:
    """A running child, and both ways to it."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def start_child(
    theirs: socket.socket, *, module: str, packages: Sequence[str]
) -> Process:
    """Start ``module.main`` with ``theirs`` as its standard input; it may import ``service`` and ``packages``.

    Raises:
        UnavailableError: A package is not installed, or no process could be started.
    """
    places = [Path(service.__file__).parents[1], *(_place_of(name) for name in packages)]
    try:
        return await asyncio.create_subprocess_exec(
            # Isolated, without site: no environment, start-up file or working directory counts.
            *(sys.executable, "-I", "-S", "-B", "-c", _BOOT, module),
            *dict.fromkeys(map(str, places)),
            stdin=theirs.fileno(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise UnavailableError(f"no process could be started for {module}") from error


def _place_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UnavailableError(f"{package} is not installed")
    is_file = found.submodule_search_locations is None
    return Path(found.origin).parents[0 if is_file else 1]


@asynccontextmanager
async def running(
    start: Callable[[socket.socket], Awaitable[Process]],
) -> AsyncIterator[Child]:
    """Start a child that shares nothing with this process but one socket; kill it at the end."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = await start(theirs)
    except BaseException:
        ours.close()
        raise
    try:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            yield Child(process, reader, writer)
        finally:
            writer.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
