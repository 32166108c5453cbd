import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config import parse_config
from tests.system.world import SOURCES, opened_world, write_secret


@pytest.fixture
def config(tmp_path):
    write_secret(tmp_path)
    return parse_config(SOURCES, base=tmp_path)


@pytest.fixture
async def world(archive):
    """The service with a small archive in it, answering on loopback."""
    async with opened_world(archive) as opened:
        yield opened


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that programs can use that give their privileges up; those of other tests they may not enter."""
    with tempfile.TemporaryDirectory(prefix="taltio-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
