"""An archive on PostgreSQL that several processes share, each with the settings and keys of its role."""

import io
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from tests.system.programs import COMMAND, Running, run, started
from tests.system.world import SOURCES, signed, write_secret

AUDIO = b"RIFF" + bytes(range(256)) * 600


@dataclass
class Shared:
    """Two folders: one with all keys, and one as a machine that only takes in has it."""

    folder: Path
    stack: AsyncExitStack = field(repr=False)
    command: Sequence[str] = COMMAND
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    def settle(self, database: str, more: str = "", bucket: str = "") -> None:
        """Write both files of settings. The machine outside shares database and blobs, and nothing else."""
        self.outside.mkdir()
        for folder, blobs in ((self.folder, "data/blobs"), (self.outside, "../data/blobs")):
            write_secret(folder)
            storage = bucket or f'blobs = "file:{blobs}"\n'
            (folder / "config.toml").write_text(
                '[web]\nlisten = "127.0.0.1:0"\n[log]\ncheckpoint_seconds = 1\n'
                f'[storage]\ndatabase = "{database}"\n{storage}{more}{SOURCES}'
            )

    async def start(self, role: str) -> Running:
        folder = self.outside if role == "intake" else self.folder
        return await self.stack.enter_async_context(
            started(folder, "serve", "--role", role, command=self.command)
        )

    async def prepare(self) -> Running:
        """Start the first worker, which makes the archive; make intake's keys, and tokens. Return the worker."""
        worker = await self.start("worker")
        await run(self.folder, "keys", "intake", str(self.outside / "keys"))
        for role in ("integration", "complaint_handler", "admin"):
            made = await run(self.folder, "tokens", "create", "--name", "t", "--role", role)
            self.tokens[role] = made.strip()
        return worker

    def as_role(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}


@asynccontextmanager
async def shared_archive(folder: Path, database: str, more: str = "", bucket: str = ""):
    async with AsyncExitStack() as stack:
        shared = Shared(folder, stack)
        shared.settle(database, more, bucket)
        yield shared


def call(source_id: str, **changes: object) -> bytes:
    return json.dumps(
        {
            "source": "hook",
            "source_id": source_id,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-20T14:02:00+02:00",
            "recording": "expected",
            "parties": [{"role": "customer", "phone": "+358401234567"}],
            **changes,
        }
    ).encode()


async def deliver(
    client: aiohttp.ClientSession, address: str, source_id: str, body: bytes = b""
) -> int:
    """Deliver a signed contact; return the status."""
    body = body or call(source_id)
    headers = signed(body, f"msg-{source_id}", datetime.now(UTC))
    async with client.post(
        f"{address}/intake/hook", data=io.BytesIO(body), headers=headers
    ) as answer:
        await answer.read()
        return answer.status


async def upload(
    client: aiohttp.ClientSession, address: str, source_id: str, token: str, body=AUDIO
) -> int:
    """Upload a recording; return the status."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/wav"}
    url = f"{address}/intake/hook/{source_id}/recordings/a.wav"
    async with client.put(url, data=io.BytesIO(body), headers=headers) as answer:
        await answer.read()
        return answer.status
