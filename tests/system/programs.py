"""The program as its users start it: in a process of its own, on a free loopback port."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "service")
# Anybody but root reads the memory of a process only if it lets them, which the program does not.
READABLE = (
    sys.executable,
    "-c",
    "import service.cli.main as program; program.harden = lambda: None; raise SystemExit(program.main())",
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@dataclass
class Running:
    process: asyncio.subprocess.Process
    address: str
    said: list[str]

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def started(
    folder: Path,
    *arguments: str,
    until: str = "is at",
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
) -> AsyncIterator[Running]:
    """Start the program in ``folder``; yield once a line with ``until`` was printed; never leave it running."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        cwd=folder,
        env=environment or ENVIRONMENT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said: list[str] = []
    reader = None
    try:
        async with asyncio.timeout(60):
            while until not in "".join(said):
                line = (await process.stdout.readline()).decode()
                assert line, "the program ended:\n" + "".join(said)
                said.append(line)
        reader = asyncio.create_task(_read_on(process, said))
        address = re.search(r"http://127\.0\.0\.1:[0-9]+", "".join(said))
        yield Running(process, address[0], said)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if reader is not None:
            await reader


async def _read_on(process: asyncio.subprocess.Process, said: list[str]) -> None:
    while line := await process.stdout.readline():
        said.append(line.decode())


async def run(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run a subcommand to its end and return what it printed; if that was to fail, also of what."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=folder,
        env=ENVIRONMENT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, (out + err).decode()
    return (out + err if code else out).decode()


async def until(holds: Callable[[], bool], *, seconds: float = 90) -> None:
    """Wait until something holds of another process, which tells nobody."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # there is nothing to be told by
            await asyncio.sleep(0.02)
