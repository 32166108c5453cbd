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
