"""Blind play: the player's suspicion against the detector's, which stays silent until the reveal."""

import re

import pytest
from playwright.sync_api import Page, Response, expect

from heist import events as e
from tests.browser.conftest import Visit, linked, log, said, see, shown
from tests.browser.test_keyboard import tab_to
from tests.conftest import House

pytestmark = pytest.mark.browser


def playing(page: Page, **order: object) -> str:
    """Starts a session and opens it blind; answers its id."""
    from tests.browser.conftest import start

    session_id = start(page, **{"seed": 3, "mole": "hacker", **order})
    page.goto(f"/play/{session_id}")
    return session_id


@pytest.mark.mission("B7")
def test_a_player_notes_suspicions_guesses_once_and_sees_who_was_nearer(page: Page, house: House) -> None:
    session_id = playing(page, rounds=2, words_per_second=300)
    page.wait_for_function("() => document.querySelectorAll('#shares input').length === 7")
    for name, share in (("of hacker", "90"), ("of intel", "10"), ("of planner", "0"), ("of ", "0")):
        page.locator(f'#shares input[name="{name}"]').fill(share)
    for name in ("safecracker", "driver", "lookout"):
        page.locator(f'#shares input[name="of {name}"]').fill("0")
    expect(page.locator("#shares label", has_text="hacker")).to_contain_text("90 %")
    expect(page.locator("#report")).to_be_hidden()  # it tells what the detector says
    page.get_by_role("button", name="Note my suspicion").click()
    expect(page.locator("#noted")).to_contain_text("Noted 1 times")
    see(page, "completed")
    page.reload()
    expect(page.locator("#noted")).to_contain_text("Noted 1 times")
    expect(page.locator('#shares input[name="of hacker"]')).to_have_value("90")
    page.locator("#guess").get_by_role("combobox").select_option("hacker")
    page.get_by_role("button", name="Say so, once").click()
    expect(page.locator("#verdict")).to_contain_text("You were right. The mole was hacker")
    expect(page.locator("#guess")).to_be_hidden()
    expect(page.locator("#suspect")).to_be_hidden()
    expect(page.locator("#report")).to_be_visible()
    stated = next(event for event in log(house, session_id) if isinstance(event, e.SuspicionStated))
    assert (stated.suspicions["hacker"], stated.suspicions["intel"]) == (0.9, 0.1)
    row = page.get_by_role("table", name="Brier scores, 0 is best and 2 worst", exact=True).locator("tbody tr")
    expect(row).to_contain_text(["you0.02", "the detector"])
    expect(page.get_by_role("img", name="Your suspicion by turn", exact=True)).to_be_visible()
    own = float(row.first.locator("td").last.text_content() or "")
    page.goto("/play")
    games = page.get_by_role("table", name="Games that are over", exact=True).locator("tbody tr")
    expect(games).to_contain_text([session_id])
    expect(games.locator("td").last).to_have_text(f"{own:g}")
    measures = page.get_by_role("table", name="Right and wrong, with 95 % intervals from five games on", exact=True)
    expect(measures).to_contain_text("Brier score of the player")


def test_a_blind_page_asks_for_no_word_of_the_detector_and_gets_it_after_the_reveal(visit: Visit, house: House) -> None:
    page = visit(house.login)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    received: list[str] = []

    def heard(response: Response) -> None:
        if "/log?" in response.url:
            received.append(response.text())

    page.on("response", heard)

    playing(page, rounds=1)
    see(page, "completed")
    streams = [url for url in asked if "session=" in url or "/log?" in url]
    assert streams
    assert all("blind=true" in url for url in streams)
    assert not any("suspicion.updated" in text for text in received)
    assert not any("/detection/" in url for url in asked)
    expect(page.locator("#suspicion-panel")).to_be_hidden()
    page.locator("#reveal").click()
    expect(page.get_by_role("img", name="Suspicion by turn", exact=True)).to_be_visible()
    row = page.get_by_role("table", name="Brier scores, 0 is best and 2 worst", exact=True).locator("tbody tr")
    expect(row).to_contain_text(["the detector"])


def test_the_page_of_play_starts_a_blind_game_and_tells_what_came_of_games(page: Page) -> None:
    session_id = playing(page, rounds=1)
    see(page, "completed")
    page.locator("#reveal").click()
    expect(page.locator("#verdict")).to_contain_text("The mole was hacker")
    page.goto("/play")
    expect(page.get_by_role("table", name="Games by arm and strategy", exact=True).locator("tbody tr")).to_have_count(1)
    expect(page.locator("#page")).to_contain_text("0 of 1 games ended in SUCCESS")
    page.get_by_role("link", name="1", exact=True).first.click()
    expect(page.get_by_role("link", name=session_id)).to_be_visible()
    page.goto("/play")
    page.get_by_role("button", name="Start a blind game").click()
    expect(page).to_have_url(re.compile("/play/heist_"))
    expect(page.locator("#suspect")).to_be_visible()


def test_the_keyboard_alone_plays_a_whole_game(visit: Visit, house: House) -> None:
    page = visit(house.url)
    page.keyboard.type(house.gate.token)
    page.keyboard.press("Enter")
    linked(page, "live")
    tab_to(page, "Play")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Find the mole")).to_be_visible()
    tab_to(page, "Start a blind game")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/play/heist_"))
    session_id = page.url.rpartition("/")[2]
    expect(page.locator("#m1")).to_be_visible()
    page.keyboard.press(" ")
    see(page, "paused")
    page.keyboard.press("g")
    page.keyboard.press("End")
    tab_to(page, "Note my suspicion")
    page.keyboard.press("Enter")
    expect(page.locator("#noted")).to_contain_text("Noted 1 times")
    tab_to(page, "agent")
    page.keyboard.type("intel")
    tab_to(page, "Say so, once")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_contain_text("Your guess: intel")
    expect(page.locator("#stop")).to_be_enabled()
    tab_to(page, "stop")
    page.keyboard.press("Enter")
    see(page, "stopped")
    expect(page.locator("#verdict")).to_contain_text("You said intel.")
    tab_to(page, "▶ Play the night")
    page.keyboard.press("Enter")
    expect(page.locator("#clock")).not_to_contain_text("not played yet")
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    expect(page.locator("#live")).to_be_disabled()
    assert shown(page) == said(house, session_id)
    assert [event.agent for event in log(house, session_id) if isinstance(event, e.GuessMade)] == ["intel"]
