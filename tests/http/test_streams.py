"""Bodies that stream, where they are nothing at all."""

import pytest
from aiohttp import EMPTY_PAYLOAD
from aiohttp.test_utils import make_mocked_request

from service.http.uploads import read_chunks


@pytest.mark.timeout(10)
@pytest.mark.parametrize("time", ["first", "second", "third"])
async def test_a_body_of_nothing_ends_every_time(time):
    """All requests without a body share one reader, which after its first end tells of one more part for ever."""
    request = make_mocked_request(
        "PUT", f"/{time}", headers={"Content-Length": "0"}, payload=EMPTY_PAYLOAD
    )
    assert [chunk async for chunk in read_chunks(request)] == []
