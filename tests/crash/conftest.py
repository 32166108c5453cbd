import base64
import itertools
import os
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.checker import Report, check
from tests.crash.history import History
from tests.crash.workload import Tokens, names_from, resend
from tests.system.programs import Running, run, started
from tests.system.world import SECRET

CONFIG = """
[web]
listen = "127.0.0.1:0"
[log]
checkpoint_seconds = {checkpoint_seconds}
[[sources]]
name = "pbx"
kind = "api"
[[sources]]
name = "hook"
kind = "standard-webhooks"
secret_file = "hook.secret"
"""


@dataclass
class Site:
    """An archive in ``folder``, and what it was asked; the history lies elsewhere."""

    folder: Path
    history: History
    history_path: Path
    names: Iterator[str]
    tokens: Tokens | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def prepare(self, *, checkpoint_seconds: int = 1) -> None:
        """Write the configuration."""
        (self.folder / "config.toml").write_text(
            CONFIG.format(checkpoint_seconds=checkpoint_seconds)
        )
        secret = self.folder / "hook.secret"
        secret.write_text("whsec_" + base64.b64encode(SECRET).decode())
        secret.chmod(0o400)
        # An administrator's files are there before the power goes off.
        for path in (self.folder / "config.toml", secret, self.folder):
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.close(file)

    @asynccontextmanager
    async def serving(self, **settings):
        """Start the service; make the tokens the first time."""
        async with started(self.folder, "serve", **settings) as service:
            if self.tokens is None:
                create = ("tokens", "create", "--name", "t", "--role")
                self.tokens = Tokens(
                    (await run(self.folder, *create, "integration")).strip(),
                    (await run(self.folder, *create, "complaint_handler")).strip(),
                )
            yield service

    async def compared(self, service: Running, **settings: str) -> Report:
        """Compare the history with the archive; nothing may be wrong."""
        report = await check(
            service.address, self.data, self.history_path, self.tokens, **settings
        )
        assert report.faults == []
        return report

    async def completed(self) -> int:
        """Start, compare, send again what is missing, compare, verify; return how many recordings were read."""
        async with self.serving() as service:
            report = await self.compared(service)
            await resend(service.address, self.history, report.missing, self.tokens)
            report = await self.compared(service, unsettled="received waiting")
            assert report.missing == []
            assert await service.interrupt() == 0
        assert "nothing is altered or missing" in await run(self.folder, "verify")
        return report.read


@pytest.fixture
def make_site(tmp_path):
    """Make a site in a folder, by default a new one."""
    numbers = itertools.count()
    histories = []

    def make(folder: Path | None = None, **settings: int) -> Site:
        number = next(numbers)
        if folder is None:
            folder = tmp_path / f"site-{number}"
            folder.mkdir()
        path = tmp_path / f"history-{number}.jsonl"
        histories.append(History(path))
        site = Site(folder, histories[-1], path, names_from())
        site.prepare(**settings)
        return site

    yield make
    for history in histories:
        history.close()


def pytest_collection_modifyitems(items):
    """Give time: what runs here are programs, started again and again on whatever else the machine does."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker(
            "timeout"
        ):
            item.add_marker(pytest.mark.timeout(400))
