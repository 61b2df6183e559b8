"""Ten tabs of one session use one stream, and each of them shows all of it."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import linked, said, see, shown, start
from tests.conftest import House

pytestmark = pytest.mark.browser


def tabs(page: Page, house: House, count: int, session_id: str) -> list[Page]:
    opened = [page, *(page.context.new_page() for _ in range(count - 1))]
    for tab in opened:
        tab.goto(f"/s/{session_id}")
        see(tab, "paused")
        linked(tab, "live")
    return opened


def test_ten_tabs_use_one_stream_and_show_the_same(page: Page, house: House) -> None:
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    session_id = start(page, paused=True, words_per_second=200)
    opened = tabs(page, house, 10, session_id)
    opened[7].get_by_role("button", name="Resume").click()
    for tab in opened:
        see(tab, "completed")
    for tab in opened:
        expect(tab.locator("article.turn.done")).to_have_count(6)
        assert shown(tab) == said(house, session_id)
    assert len([url for url in asked if "/api/events" in url and session_id in url]) == 1


def test_when_the_tab_that_leads_is_closed_another_leads_and_nothing_is_lost(page: Page, house: House) -> None:
    other = page.context.new_page()
    session_id = start(page, rounds=2, words_per_second=40)
    page.goto(f"/s/{session_id}")
    linked(page, "live")
    other.goto(f"/s/{session_id}")
    linked(other, "live")
    expect(other.locator("#m2.done")).to_be_visible()
    page.close()
    see(other, "completed")
    assert shown(other) == said(house, session_id)


def test_a_tab_that_comes_in_the_middle_of_a_message_shows_its_beginning(page: Page, house: House) -> None:
    session_id = start(page, words_per_second=6, seed=3)
    page.goto(f"/s/{session_id}")
    page.wait_for_function("() => document.querySelector('.turn.speaking p')?.textContent.length > 25")
    other = page.context.new_page()
    other.goto(f"/s/{session_id}")
    other.wait_for_function("() => document.querySelector('.turn.speaking p')?.textContent.length > 25")
    begun = other.locator(".turn.speaking p").first.inner_text()
    turn = other.locator(".turn.speaking").first.get_attribute("id")
    expect(other.locator(f"#{turn}.done")).to_be_visible()
    whole = {f"m{number}": str(text) for number, _, text in said(house, session_id)}
    assert whole[str(turn)].startswith(begun[:25])
    page.locator("#stop").click()


def test_a_tab_that_misses_what_another_tells_it_reads_it_from_the_log(page: Page, house: House) -> None:
    session_id = start(page, paused=True)
    other = page.context.new_page()
    # The channel of this tab loses every second event.
    other.add_init_script(
        """(() => {
          let number = 0;
          const { set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, 'onmessage');
          Object.defineProperty(BroadcastChannel.prototype, 'onmessage', {
            set(hear) { set.call(this, (told) => { if (!told.data.event || number++ % 2) hear(told); }); },
          });
        })()"""
    )
    page.goto(f"/s/{session_id}")
    see(page, "paused")
    linked(page, "live")
    other.goto(f"/s/{session_id}")
    see(other, "paused")
    for done in range(1, 4):
        expect(page.locator("#step")).to_be_enabled()
        page.locator("#step").click()
        expect(page.locator("article.turn.done")).to_have_count(done)
    page.locator("#stop").click()
    see(page, "stopped")
    page.locator("#reveal").click()
    expect(page.locator("#verdict")).to_contain_text("The plan came out")
    expect(other.locator("article.turn.done")).to_have_count(3)
    assert shown(other) == said(house, session_id)


def test_a_list_in_a_second_tab_shows_sessions_of_the_first(page: Page) -> None:
    other = page.context.new_page()
    other.goto("/")
    linked(other, "live")
    session_id = start(page, paused=True)
    for tab in (page, other):
        expect(tab.locator("#sessions tr", has_text=session_id)).to_be_visible()
