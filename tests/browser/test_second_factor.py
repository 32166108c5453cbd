"""Setting up a second factor and coming in with it, in a browser, by keyboard alone."""

import base64

import pytest
from axe_playwright_python.async_playwright import Axe
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from tests.browser.test_accessibility import OPTIONS
from tests.fakes import PASSWORD
from tests.web.world import NOW

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def no_barrier(page):
    results = await Axe().run(page, options=OPTIONS)
    assert not results.violations_count, results.generate_report()


async def press_on(page, selector, key="Enter"):
    """Reach what ``selector`` names with the tabulator, and press ``key`` there."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("(s) => document.activeElement.matches(s)", selector):
            await page.keyboard.press(key)
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


async def test_a_second_factor_is_set_up_and_shown_by_keyboard_alone(open_page):
    page = await open_page(viewport={"width": 360, "height": 700})
    await page.goto("/account")
    await page.focus("#password")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".qr")
    await no_barrier(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await press_on(page, "summary")
    typed = (await page.inner_text("code.secret")).replace(" ", "")
    secret = base64.b32decode(typed + "=" * (-len(typed) % 8))
    totp = TOTP(secret, 6, SHA1(), 30)  # noqa: S303  # RFC 6238
    await page.focus("#code")
    await page.keyboard.type(totp.generate(int(NOW.timestamp())).decode())
    await page.keyboard.press("Enter")
    codes = (await page.inner_text(".codes")).splitlines()
    await no_barrier(page)
    await press_on(page, "main a.button")
    await page.wait_for_url("**/account?done=set")
    await page.context.clear_cookies()
    await page.goto("/sign-in?next=/attention")
    await page.focus("#login")
    await page.keyboard.type("aino")
    await page.focus("#password")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector('input[autocomplete="one-time-code"]')
    await no_barrier(page)
    await page.keyboard.type(codes[0])
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/attention")
    await page.goto("/account")
    await press_on(page, "summary:has(~ form[action$='remove'])")
    await page.focus("#remove")
    await page.keyboard.type(codes[1])
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/account?done=removed")
