"""Every page, as assistive technology and unusual screens meet it (WCAG 2.2, level AA)."""

import pytest
from axe_playwright_python.async_playwright import Axe

from service.domain.purpose import Purpose
from service.web.views import IntegrityState
from tests.fakes import OPERATOR
from tests.web.world import NOW

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PAGES = (
    "/sign-in",
    "/first-password/none",
    "/",
    "/search?text=0401234567&queue=Myynti",
    "/search?text=0409999999",
    "/search?channel=fax&text=x%40",
    "/customers/cu_maija",
    "/contacts/ct_1",
    "/contacts/ct_1#granted",
    "/contacts/ct_2#granted",
    "/contacts/ct_2/messages/ms_2#granted",
    "/contacts/ct_3#granted",
    "/contacts/ct_4",
    "/contacts/ct_5",
    "/contacts/ct_6",
    "/contacts/ct_7",
    "/contacts/ct_8",
    "/contacts/ct_1/verification",
    "/attention",
    "/verification",
    "/account",
    "/nowhere",
)
OPTIONS = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }
}


async def visit(page, desk, path):
    desk.grants.clear()
    if path.endswith("#granted"):
        contact = path.split("/")[2].removesuffix("#granted")
        await desk.create_grant(
            contact,
            actor=OPERATOR,
            purpose=Purpose.HANDLE_COMPLAINT,
            reference="R-2026-118",
            now=NOW,
        )
    if path.startswith(("/sign-in", "/first-password")):
        await page.context.clear_cookies()
    await page.goto(path)
    if await page.locator("[data-fragment]").count():
        await page.locator(".badge").wait_for()


COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


@pytest.mark.parametrize(
    ("scheme", "options"), [("light", OPTIONS), ("dark", COLOURS)], ids=["light", "dark"]
)
async def test_no_page_has_a_barrier_that_axe_finds(open_page, desk, scheme, options):
    page = await open_page(color_scheme=scheme)
    found = []
    for path in (*PAGES[2:], *PAGES[:2]):
        await visit(page, desk, path)
        results = await Axe().run(page, options=options)
        if results.violations_count:
            found.append(f"{path}: {results.generate_report()}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("state", IntegrityState)
async def test_no_answer_about_integrity_has_a_barrier(open_page, desk, state):
    desk.state = state
    page = await open_page()
    await visit(page, desk, "/contacts/ct_1")
    results = await Axe().run(page, options=OPTIONS)
    assert not results.violations_count, results.generate_report()


async def test_no_page_scrolls_sideways_on_a_screen_320_pixels_wide(open_page, desk):
    page = await open_page(viewport={"width": 320, "height": 640})
    for path in PAGES:
        if not path.startswith(("/sign-in", "/first-password")):
            await visit(page, desk, path)
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= 320, path


async def test_everything_that_can_be_pressed_is_at_least_24_pixels_large(open_page, desk):
    page = await open_page(viewport={"width": 360, "height": 640})
    for path in ("/search?text=0401234567", "/contacts/ct_1#granted", "/attention"):
        await visit(page, desk, path)
        small = await page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, summary, .button, nav a, .criterion")]
              .filter((e) => e.checkVisibility() && e.type !== "radio")
              .filter((e) => Math.min(e.getBoundingClientRect().width, e.getBoundingClientRect().height) < 24)
              .map((e) => e.outerHTML.slice(0, 120))"""
        )
        assert not small, path


async def test_the_focus_is_seen_on_everything_that_takes_it(open_page, desk):
    page = await open_page()
    await visit(page, desk, "/contacts/ct_1#granted")
    reached = []
    for _ in range(60):
        await page.keyboard.press("Tab")
        name, outline = await page.evaluate(
            """() => {
              const e = document.activeElement;
              const style = getComputedStyle(e);
              return [e.tagName + "." + e.className, style.outlineStyle + " " + style.outlineWidth];
            }"""
        )
        if name.startswith("BODY"):
            break
        reached.append(name)
        assert outline == "solid 2px", name
    assert any("lanes" in name for name in reached)
    assert len(reached) > 15


async def test_nothing_moves_while_a_page_loads_its_slow_part(open_page, desk):
    page = await open_page()
    await visit(page, desk, "/contacts/ct_1#granted")
    shift = await page.evaluate(
        """() => new Promise((done) => {
          let sum = 0;
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) sum += entry.value;
          }).observe({ type: "layout-shift", buffered: true });
          requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
        })"""
    )
    assert shift < 0.02


async def test_without_scripts_the_page_still_works(open_page):
    page = await open_page(java_script_enabled=False)
    await page.goto("/contacts/ct_1")
    await page.get_by_label("Verifying a contact").check()
    await page.get_by_role("button", name="Open the content").click()
    assert await page.locator("audio[controls]").count() == 1
    await page.get_by_role("link", name="Check the integrity").click()
    assert await page.get_by_text("Verified and anchored").count() == 1
