import base64

import pytest

from service.config import parse_config
from tests.system.world import SECRET, SOURCES, opened_world


@pytest.fixture
def config(tmp_path):
    secret = tmp_path / "hook.secret"
    secret.write_text("whsec_" + base64.b64encode(SECRET).decode())
    secret.chmod(0o400)
    return parse_config(SOURCES, base=tmp_path)


@pytest.fixture
async def world(archive):
    """The service with a small archive in it, answering on loopback."""
    async with opened_world(archive) as opened:
        yield opened
