"""What every page is: usable by all, whole on a phone, small, and locked."""

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from heist.web.pages import STATIC
from tests.browser.conftest import NARROW, WIDE, Visit, see, watching
from tests.conftest import House

pytestmark = pytest.mark.browser
BUDGET = 117_000
PAGE_BUDGET = 90_000
"""Bytes of all that one page loads, as they are."""
PAGES = ("/s/{}", "/s/{}?at=30", "/play/{}", "/s/{}/report", "/lab", "/lab/compare?a={}&b={}", "/play")


def blameless(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def upright(page: Page) -> None:
    """Nothing is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def busy(page: Page) -> None:
    """A paused session that has said much, used its tools, and has one order delivered and one waiting."""
    watching(page, rounds=5, paused=True, seed=3)
    see(page, "paused")
    for text in ("Count the guards.", "Wait for the van."):
        page.get_by_role("textbox", name="Order").fill(text)
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("textbox", name="Order")).to_have_value("")
        for _ in range(4):
            expect(page.locator("#step")).to_be_enabled()
            done = page.locator("article.turn.done").count()
            page.get_by_role("button", name="Step").click()
            expect(page.locator("article.turn.done")).to_have_count(done + 1)
    page.locator("details.tool summary").first.click()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_is_accessible_and_no_page_scrolls_sideways(
    visit: Visit, house: House, size: tuple[int, int], scheme: str
) -> None:
    page = visit(house.url, size=size, scheme=scheme)
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    blameless(page)
    upright(page)
    page.goto(house.login)
    expect(page.locator("#none")).to_be_visible()
    blameless(page)
    busy(page)
    blameless(page)
    upright(page)
    page.goto("/")
    expect(page.locator("#sessions tr")).to_be_visible()
    blameless(page)
    upright(page)


def test_a_finished_session_and_one_with_an_error_are_accessible(visit: Visit, house: House) -> None:
    page = visit(house.login)
    watching(page)
    see(page, "completed")
    page.evaluate("document.getElementById('problem').hidden = false")
    page.evaluate("document.getElementById('problem').textContent = 'The server does not answer.'")
    blameless(page)


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_of_a_game_that_is_over_is_accessible_and_fits(
    visit: Visit, house: House, size: tuple[int, int], scheme: str
) -> None:
    page = visit(house.login, size=size, scheme=scheme)
    session_id = watching(page, rounds=2, seed=3, mole="hacker")
    see(page, "completed")
    page.locator("#reveal").click()
    expect(page.locator("#verdict")).to_contain_text("The mole was")
    for address in PAGES:
        page.goto(address.format(session_id, session_id))
        expect(page.locator("main:not([hidden]) section").first).to_be_visible()
        page.wait_for_load_state("networkidle") if "/s/" not in address and "play/" not in address else see_moment(page)
        blameless(page)
        upright(page)
    page.goto(f"/s/{session_id}")
    see(page, "completed")
    for opened in ("what it saw: hacker in turn 2", "Keys"):
        page.get_by_role("button", name=opened, exact=True).click()
        expect(page.locator("dialog")).to_be_visible()
        blameless(page)
        upright(page)
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_be_hidden()
    page.locator("details.data").evaluate_all("(all) => all.forEach((one) => { one.open = true })")
    blameless(page)
    upright(page)


def see_moment(page: Page) -> None:
    page.wait_for_function("() => document.querySelector('article.turn')")


def test_a_page_of_a_window_of_320_pixels_still_fits(visit: Visit, house: House) -> None:
    page = visit(house.login, size=(320, 640))
    upright(page)
    watching(page)
    see(page, "completed")
    upright(page)


def test_targets_are_at_least_24_pixels_high(page: Page) -> None:
    busy(page)
    small = page.evaluate(
        "() => [...document.querySelectorAll('button, select, textarea, summary, input')]"
        ".filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 24)"
        ".map((one) => one.outerHTML)"
    )
    assert small == []


def test_no_agent_is_told_from_another_by_colour_alone(page: Page) -> None:
    watching(page)
    see(page, "completed")
    shapes = page.locator("#agents .shape").all_text_contents()
    assert len(set(shapes)) == len(shapes) == 6
    assert page.locator("article.turn .shape").all_text_contents() == shapes


def test_all_files_together_and_those_of_each_page_keep_the_budget(page: Page) -> None:
    assert sum(file.stat().st_size for file in STATIC.iterdir()) <= BUDGET
    session_id = watching(page, rounds=1)
    see(page, "completed")
    for address in ("/", *PAGES):
        page.goto(address.format(session_id, session_id))
        page.wait_for_timeout(500)
        loaded = page.evaluate(
            "() => performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)"
        )
        files = {path.removeprefix("/static/") for path in loaded if path.startswith("/static/")} | {"index.html"}
        assert sum((STATIC / name).stat().st_size for name in files) <= PAGE_BUDGET, address


FIRST_WORD = """() => new MutationObserver((_, watching) => {
  if (!document.querySelector("article.turn p")) return;
  window.firstWord = performance.now();
  watching.disconnect();
}).observe(document, { childList: true, subtree: true })"""


@pytest.mark.mission("S13")
def test_the_first_message_is_there_within_500_milliseconds_of_asking(page: Page) -> None:
    watching(page, rounds=5)
    see(page, "completed")
    page.add_init_script(f"({FIRST_WORD})()")
    took = []
    for _ in range(6):  # the best of some: a machine may have other work
        page.reload()
        page.wait_for_function("() => window.firstWord")
        took.append(page.evaluate("window.firstWord"))
    assert min(took) < 500, took


def test_every_chart_has_a_label_and_a_table_and_can_be_taken_along(page: Page) -> None:
    session_id = watching(page, rounds=2, seed=3)
    see(page, "completed")
    page.locator("#reveal").click()
    expect(page.locator("#told figure")).to_have_count(1)
    for address in (f"/s/{session_id}", f"/s/{session_id}/report"):
        page.goto(address)
        see_moment(page)
        figures = page.locator("figure")
        assert figures.count() >= 4
        for figure in figures.all():
            label = figure.locator("figcaption").inner_text()
            expect(figure.locator("svg")).to_have_attribute("aria-label", label)
            figure.locator("summary").click()
            expect(figure.get_by_role("table", name=label, exact=True)).to_be_visible()
            assert figure.locator("tbody tr").count() or "Tool" in label
    figure = page.locator("figure").first
    label = figure.locator("figcaption").inner_text()
    for kind, begins in (("SVG", "<svg"), ("CSV", '"'), ("JSON", "[")):
        with page.expect_download() as download:
            figure.get_by_role("button", name=f"{label} as {kind}").click()
        assert download.value.suggested_filename.endswith(f".{kind.lower()}")
        assert download.value.path().read_text(encoding="utf-8").startswith(begins)


def test_every_answer_carries_the_policy(page: Page) -> None:
    session_id = watching(page)
    paths = ["/", f"/s/{session_id}", "/login?token=wrong", "/nowhere", "/api/house", "/api/sessions/none"]
    for path in [*paths, *(f"/static/{file.name}" for file in STATIC.iterdir())]:
        policy = page.request.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "script-src 'self';" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert "require-trusted-types-for 'script'" in policy, path
        assert "unsafe" not in policy, path
