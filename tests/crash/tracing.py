"""System calls of a running service that are made to fail, by strace(1), for as long as a block lasts."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Trace:
    """What was called so far."""

    path: Path

    def lines(self) -> list[str]:
        return self.path.read_text(errors="replace").splitlines()


@asynccontextmanager
async def failing_calls(
    process: int, folder: Path, *, calls: str, inject: str, paths: Sequence[Path] = ()
) -> AsyncIterator[Trace]:
    """Let ``calls`` of ``process`` fail as ``inject`` says, on ``paths`` alone where they are given."""
    if shutil.which("strace") is None:
        pytest.skip("strace is absent")
    trace = Trace(folder / f"trace-{os.urandom(4).hex()}")
    tracer = await asyncio.create_subprocess_exec(
        "strace",
        "--follow-forks",
        f"--output={trace.path}",
        f"--trace={calls}",
        f"--inject={calls}:{inject}",
        *(f"--trace-path={path}" for path in paths),
        f"--attach={process}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    said = ""
    async with asyncio.timeout(10):
        while "attached" not in said:
            line = (await tracer.stderr.readline()).decode()
            if not line:
                pytest.skip(f"strace cannot be used here: {said.strip()}")
            said += line
    try:
        yield trace
    finally:
        if tracer.returncode is None:
            tracer.send_signal(signal.SIGINT)
        await tracer.communicate()
