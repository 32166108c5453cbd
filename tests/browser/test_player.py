"""The player, by mouse and by keyboard, on a recording made here."""

import asyncio

import pytest
import pytest_asyncio

from service.domain.actor import OPERATOR
from service.domain.purpose import Purpose
from tests.web.world import NOW, SECONDS

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def player(open_page, desk):
    page = await open_page()
    await desk.create_grant(
        "ct_1", actor=OPERATOR, purpose=Purpose.VERIFY_CONTACT, reference=None, now=NOW
    )
    await page.goto("/contacts/ct_1")
    return Player(page)


class Player:
    def __init__(self, page):
        self.page = page
        self.slider = page.get_by_role("slider", name="Position in the recording")

    async def at(self):
        return await self.page.evaluate("document.querySelector('audio').currentTime")

    async def says(self):
        text = await self.slider.get_attribute("aria-valuetext")
        return text.replace("\u00a0", " ")

    async def is_paused(self):
        return await self.page.evaluate("document.querySelector('audio').paused")

    async def until(self, expression):
        # Not wait_for_function: it would evaluate text in the page, which the pages' policy forbids.
        async with asyncio.timeout(20):
            while not await self.page.evaluate(expression):  # noqa: ASYNC110  # the page tells nobody
                await asyncio.sleep(0.05)


async def test_it_does_not_begin_by_itself_and_fetches_nothing_before(open_page, desk):
    page = await open_page()
    await desk.create_grant(
        "ct_1", actor=OPERATOR, purpose=Purpose.VERIFY_CONTACT, reference=None, now=NOW
    )
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto("/contacts/ct_1")
    await page.locator(".badge").wait_for()
    assert not [url for url in asked if "/content" in url]
    assert await page.evaluate("document.querySelector('audio').paused")


async def test_every_key_moves_by_its_step_and_says_where_it_is(player):
    await player.slider.focus()
    steps = [
        ("ArrowRight", 5),
        ("l", 15),
        ("PageDown", 15 - 30),
        ("PageUp", 30),
        ("ArrowLeft", 25),
        ("J", 15),
        ("End", SECONDS),
        ("Home", 0),
        ("ArrowLeft", 0),
    ]
    for key, expected in steps:
        await player.page.keyboard.press(key)
        assert await player.at() == pytest.approx(max(0, expected), abs=0.2), key
    await player.page.keyboard.press("PageUp")
    await player.page.keyboard.press("PageUp")
    await player.page.keyboard.press("ArrowRight")
    assert await player.says() == "1 min 5 s of 1 min 36 s"
    assert await player.slider.get_attribute("aria-valuenow") == "65"


@pytest.mark.parametrize("key", [" ", "k", "K"])
async def test_a_key_plays_and_pauses(player, key):
    await player.slider.focus()
    await player.page.keyboard.press(key)
    await player.until("document.querySelector('audio').currentTime > 0.2")
    assert await player.page.get_by_role("button", name="Pause").count() == 1
    await player.page.keyboard.press(key)
    await player.until("document.querySelector('audio').paused")
    assert await player.page.get_by_role("button", name="Play").count() == 1


async def test_keys_do_nothing_outside_of_the_player(player):
    await player.page.locator("h1").click()
    for key in ("k", "l", " ", "End"):
        await player.page.keyboard.press(key)
    assert await player.at() == 0
    assert await player.is_paused()


async def test_keys_with_control_belong_to_the_browser(player):
    await player.slider.focus()
    await player.page.keyboard.press("Control+l")
    assert await player.at() == 0


async def test_the_speed_menu_keeps_its_own_keys(player):
    speed = player.page.get_by_label("Speed")
    await speed.focus()
    await player.page.keyboard.press("ArrowDown")
    assert await speed.input_value() == "1.25"
    assert await player.page.evaluate("document.querySelector('audio').playbackRate") == 1.25
    assert await player.at() == 0


async def test_a_click_on_the_waveform_seeks_and_the_buttons_step(player):
    box = await player.slider.bounding_box()
    await player.slider.click(position={"x": box["width"] / 2, "y": 20})
    assert await player.at() == pytest.approx(SECONDS / 2, abs=0.5)
    await player.page.get_by_role("button", name="Forward 10 seconds").click()
    await player.page.get_by_role("button", name="Back 10 seconds").click()
    assert await player.at() == pytest.approx(SECONDS / 2, abs=0.5)


async def test_what_was_heard_is_reported_by_ranges_and_shown_when_it_counts(player, desk):
    listened = player.page.locator("[data-heard-text]")
    assert await listened.text_content() == "Listened 32%"
    await player.slider.focus()
    await player.page.keyboard.press(" ")
    await player.until("document.querySelector('audio').currentTime > 0.6")
    for _ in range(2):
        await player.page.keyboard.press("PageUp")
    await player.until("document.querySelector('audio').currentTime > 62")
    async with player.page.expect_response("**/heard") as answer:
        await player.page.keyboard.press(" ")
    assert (await answer.value).status == 200
    grant, ranges = desk.heard[-1]
    assert grant == "gr_1"
    assert len(ranges) >= 2
    assert ranges[0][0] == 0
    assert all(start < end for start, end in ranges)
    assert sum(end - start for start, end in ranges) < 5
    await player.until(
        "document.querySelector('[data-heard-text]').textContent > 'Listened 32%'"
    )


async def test_reports_come_at_most_every_five_seconds_while_playing(player, desk):
    await player.slider.focus()
    await player.page.keyboard.press(" ")
    await player.until("document.querySelector('audio').currentTime > 0.3")
    assert desk.heard == []
    async with player.page.expect_response("**/heard"):
        await player.page.clock.fast_forward(5100)
    assert len(desk.heard) == 1


async def test_a_grant_that_is_about_to_end_says_so(player):
    warning = player.page.locator(".grant-warning")
    assert await warning.text_content() == ""
    await player.page.clock.fast_forward("07:58:30")
    assert "less than two minutes" in await warning.text_content()
    await player.page.clock.fast_forward("02:00")
    assert "has ended" in await warning.text_content()


async def test_a_player_that_is_refused_says_what_to_do(player):
    await player.page.route("**/content**", lambda route: route.abort())
    await player.page.get_by_role("button", name="Play").click()
    problem = player.page.get_by_role("alert")
    await problem.wait_for()
    assert "reload this page" in await problem.text_content()
