"""Access on real stores, as fixtures."""

import pytest

from tests.fakes import opened_door


@pytest.fixture
async def door(tmp_path):
    async with opened_door(tmp_path) as opened:
        yield opened
