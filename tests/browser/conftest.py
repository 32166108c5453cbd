"""A real browser before the pages over the invented world."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import async_playwright

from service.http.frame import RUNNER_OPTIONS
from tests.fakes import PASSWORD, opened_door
from tests.web.world import NOW, FakeDesk, build

CHROMIUM = Path("/usr/bin/chromium")
# No request but to the pages: tests reach no network, and the browser asks for nothing by itself.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=user-gesture-required",
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium():
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS)
        )
        yield browser
        await browser.close()


@pytest.fixture
def desk():
    return FakeDesk()


@pytest_asyncio.fixture(loop_scope="session")
async def address(desk, tmp_path):
    """Where the pages are, with a complaint handler ``aino`` who can sign in."""
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(opened_door(tmp_path))
        door.clock.now = NOW
        await door.person("aino")
        runner = web.AppRunner(build(desk, door), **RUNNER_OPTIONS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium, address):
    """Return a function that opens a signed-in page; whatever it complains about fails the test."""
    complaints = []
    async with AsyncExitStack() as stack:

        async def start(**options):
            options = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, **options}
            context = await chromium.new_context(base_url=address, **options)
            stack.push_async_callback(context.close)
            # The clock stands where the world's does, so that its grants have not ended.
            await context.clock.install(time=NOW)
            page = await context.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("response", lambda response: refused(response, complaints))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto("/sign-in")
            await page.fill("#login", "aino")
            await page.fill("#password", PASSWORD)
            await page.click("main button.primary")
            await page.wait_for_url("**/")
            return page

        yield start
    # The same is told by ``refused``, which knows what it was.
    assert not [one for one in complaints if not one.startswith("Failed to load resource")]


def refused(response, complaints):
    """Note what a page needed and did not get; the pages themselves may be errors on purpose."""
    if response.status >= 400 and response.request.resource_type != "document":
        complaints.append(f"{response.status} {response.url}")
