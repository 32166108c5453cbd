import re

import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from service.http.frame import RUNNER_OPTIONS
from service.web.i18n import choose_language
from tests.web.conftest import Visit
from tests.web.world import build


@pytest.fixture
async def swedish_first(desk, door):
    server = TestServer(build(desk, door, languages=("sv", "en")))
    await server.start_server(**RUNNER_OPTIONS)
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:
        yield Visit(client)


async def test_the_pages_offer_the_languages_of_the_setting_in_its_order(swedish_first):
    html = await swedish_first.see("/sign-in")
    assert re.findall(r'href="/language/(\w+)', html) == ["sv", "en"]


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [("fi", "sv"), ("", "sv"), ("de", "sv"), ("en", "en"), ("fi, en", "en")],
)
async def test_whoever_wants_none_of_them_is_spoken_to_in_the_first(
    swedish_first, wanted, spoken
):
    html = await swedish_first.see("/sign-in", **{"Accept-Language": wanted})
    assert f'<html lang="{spoken}">' in html


async def test_a_language_that_is_not_offered_cannot_be_chosen(swedish_first):
    assert (await swedish_first.get("/language/fi")).status == 404
    html = await swedish_first.see("/sign-in", Cookie="language=fi")
    assert '<html lang="fi">' not in html


def test_a_choice_counts_only_where_it_is_offered():
    assert choose_language("fi", "en", offered=("sv", "en")) == "en"
    assert choose_language("fi", "", offered=("sv", "en")) == "sv"
