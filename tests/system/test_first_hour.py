"""What a newcomer does first: the demonstration, a second service by mistake, stopping."""

import re
import time
from pathlib import Path

import aiohttp
import pytest

from tests.system import programs
from tests.system.programs import run, started


@pytest.mark.slow
async def test_the_demonstration_is_ready_in_30_seconds_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(
        programs, "ENVIRONMENT", {**programs.ENVIRONMENT, "TMPDIR": str(temporary)}
    )
    begun = time.monotonic()
    async with started(tmp_path, "demo", until="Ctrl-C removes everything.") as demo:
        assert time.monotonic() - begun < 30
        said = "".join(demo.said)
        curls = re.findall(r"curl (?:-H '([^:]+): ([^']+)' )?'?(http[^'\s]+)'?", said)
        assert len(curls) == 3
        async with aiohttp.ClientSession() as client:
            for name, value, address in curls:
                headers = {name: value} if name else {}
                async with client.get(address, headers=headers) as answer:
                    assert answer.status == 200
            async with client.get(demo.address) as page:
                assert "Taltio" in await page.text()
        assert any(temporary.iterdir())
        assert await demo.interrupt() == 0
    assert not list(temporary.iterdir())


async def test_an_empty_configuration_is_a_working_installation(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[web]\nlisten = "127.0.0.1:0"\n')
    async with started(tmp_path, "serve", until="first-password/") as service:
        async with aiohttp.ClientSession(service.address) as client:
            async with client.get("/healthz") as answer:
                assert answer.status == 200
            link = re.search(r"http://\S+/first-password/\S+", "".join(service.said))
            async with client.get(link[0]) as page:
                assert page.status == 200
        await run(tmp_path, "serve", code=2)
        assert await service.interrupt() == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {
        "taltio.db",
        "keys.db",
        "blobs",
        "log",
        "ledger",
    }
