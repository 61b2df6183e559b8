"""The keyboard alone is enough."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, linked, said, see, shown, watching
from tests.conftest import House

pytestmark = pytest.mark.browser
FOCUSED = """() => { const at = document.activeElement; return at.id || at.name || at.textContent.trim(); }"""


def tab_to(page: Page, wanted: str) -> None:
    """Presses Tab until the control has the focus."""
    for _ in range(40):
        if page.evaluate(FOCUSED) == wanted:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reached {wanted!r}")


def test_the_keyboard_alone_logs_in_starts_pauses_steps_commands_and_stops(visit: Visit, house: House) -> None:
    page = visit(house.url)
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(house.gate.token)
    page.keyboard.press("Enter")
    linked(page, "live")

    tab_to(page, "rounds")
    page.keyboard.type("2")
    tab_to(page, "words_per_second")
    page.keyboard.type("bri")
    page.keyboard.press("Enter")
    tab_to(page, "Start S")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/s/heist_"))
    session_id = page.url.rpartition("/")[2]

    expect(page.locator("#m1")).to_be_visible()
    page.keyboard.press(" ")
    see(page, "paused")
    expect(page.locator("article.turn.speaking")).to_have_count(0)

    page.keyboard.press("c")
    page.keyboard.type("Tell us the time.")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("looko")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#commands li")).to_have_text(re.compile("queued lookout: Tell us the time."))

    page.keyboard.press("Escape")
    taken = len(said(house, session_id))
    page.keyboard.press(".")
    expect(page.locator("article.turn.done")).to_have_count(taken + 1)

    tab_to(page, "stop")
    page.keyboard.press("Enter")
    see(page, "stopped")
    assert shown(page) == said(house, session_id)


def test_s_starts_a_session_from_anywhere_in_the_lobby(page: Page) -> None:
    linked(page, "live")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("/s/heist_"))


def test_tab_reaches_every_control_of_a_session(page: Page) -> None:
    watching(page, paused=True)
    see(page, "paused")
    for control in (
        "theme",
        "pause",
        "step",
        "stop",
        "filter",
        "feed",
        "activity",
        "agent",
        "text",
        "Send Ctrl ↵",
        "seek",
    ):
        tab_to(page, control)


def test_the_keys_work_after_a_button_was_clicked(page: Page) -> None:
    watching(page, words_per_second=60)
    page.locator("#pause").click()
    see(page, "paused")
    expect(page.locator("article.turn.speaking")).to_have_count(0)
    taken = page.locator("article.turn.done").count()
    page.keyboard.press(".")
    expect(page.locator("article.turn.done")).to_have_count(taken + 1)
    page.keyboard.press("C")
    expect(page.get_by_role("textbox", name="Order")).to_be_focused()


def test_keys_do_nothing_while_somebody_writes(page: Page) -> None:
    watching(page, paused=True)
    see(page, "paused")
    page.get_by_role("textbox", name="Order").press_sequentially(". n c l t ")
    expect(page.get_by_role("textbox", name="Order")).to_have_value(". n c l t ")
    see(page, "paused")
    expect(page.locator("article.turn")).to_have_count(0)


def test_t_switches_the_theme_and_the_browser_remembers_it_from_the_first_moment(visit: Visit, house: House) -> None:
    page = visit(house.login)
    linked(page, "live")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    page.goto("/")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    linked(page, "live")
    page.context.clear_cookies()
    page.goto("/")
    expect(page).to_have_title("heist: log in")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
