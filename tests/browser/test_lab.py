"""The lab, the comparison and the case file."""

import pytest
from playwright.sync_api import Page, expect

from heist import events as e
from tests.browser.conftest import log, said, see, shown, start, watching
from tests.conftest import House

pytestmark = pytest.mark.browser


def over(page: Page, **order: object) -> str:
    session_id = watching(page, **{"rounds": 2, **order})
    see(page, "completed")
    return session_id


def test_the_lab_lists_all_sessions_with_their_results_after_the_reveal(page: Page) -> None:
    told = over(page, seed=3, mole="hacker")
    page.locator("#guess").get_by_role("combobox").select_option("hacker")
    page.get_by_role("button", name="Say so, once").click()
    expect(page.locator("#verdict")).to_contain_text("You were right")
    untold = over(page, seed=4, mole="intel")
    page.goto("/lab")
    rows = page.get_by_role("table", name="All sessions", exact=True).locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text=told)).to_contain_text("SUCCESS")
    expect(rows.filter(has_text=untold)).not_to_contain_text("mole")
    expect(page.locator("#page")).to_contain_text("1 ended in SUCCESS, 21 to 100 % with 95 % confidence")
    page.get_by_role("link", name="SUCCESS").click()
    expect(rows).to_have_count(1)


@pytest.mark.mission("S13")
def test_the_lab_tells_how_right_the_rules_were_with_intervals_and_the_games_behind_them(page: Page) -> None:
    page.goto("/lab")
    expect(page.locator("#page")).to_contain_text("No game is over yet.")
    told = over(page, seed=3, mole="hacker", rounds=1)
    page.locator("#reveal").click()
    expect(page.locator("#verdict")).to_contain_text("The mole was hacker")
    untold = over(page, seed=4, mole="intel", rounds=1)
    page.goto("/lab")
    measures = page.get_by_role(
        "table", name="Right and wrong, with 95 % intervals from five games on", exact=True
    ).locator("tbody tr")
    expect(measures.filter(has_text="the first suspect is the mole")).to_have_count(1)
    expect(page.get_by_role("img", name="Brier score by game", exact=True)).to_be_visible()
    games = page.get_by_role("table", name="Games that are over", exact=True).locator("tbody tr")
    expect(games).to_have_count(1)
    expect(games).to_contain_text(told)
    assert untold not in (games.first.text_content() or "")
    measures.filter(has_text="the first suspect is the mole").get_by_role("link").click()
    expect(page.get_by_role("table", name="All sessions", exact=True).locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("table", name="All sessions", exact=True)).to_contain_text(told)


@pytest.mark.mission("S13", "S14")
def test_the_lab_draws_all_sessions_in_figures(page: Page, house: House) -> None:
    first, second = over(page, seed=3, rounds=1), over(page, seed=4, rounds=1)
    page.goto("/lab")
    calls = [
        event
        for one in (first, second)
        for event in log(house, one)
        if isinstance(event, e.ToolCalled) and event.success
    ]
    figure = page.locator("figure", has_text="Tool calls of all sessions, ok and failed")
    figure.locator("summary").click()
    expect(figure.locator("tbody tr").first).to_be_visible()
    told = {
        row.locator("td").all_inner_texts()[0]: row.locator("td").all_inner_texts()[1]
        for row in figure.locator("tbody tr").all()
    }
    assert sum(map(int, told.values())) == len(calls)
    expect(page.get_by_role("table", name="Agents in all sessions", exact=True).locator("tbody tr")).to_have_count(6)
    expect(page.get_by_role("img", name="Who follows whom in all sessions", exact=True)).to_contain_text("2")
    expect(page.get_by_role("img", name="Sessions by day, completed and not", exact=True)).to_contain_text("2")


def test_two_sessions_stand_side_by_side_with_the_place_where_they_part(page: Page, house: House) -> None:
    one, other = over(page, seed=3), over(page, seed=4)
    page.goto("/lab")
    page.get_by_role("radio", name=f"{one} as a").check()
    page.get_by_role("radio", name=f"{other} as b").check()
    page.get_by_role("button", name="Compare a with b").click()
    expect(page.locator("#divergence")).to_contain_text("They part at event")
    both = [said(house, session_id) for session_id in (one, other)]
    first = next(left[0] for left, right in zip(*both, strict=True) if left[2] != right[2])
    expect(page.locator("#divergence")).to_contain_text(f"differs is in turn {first}.")
    expect(page.locator(".pair").first.locator("article")).to_have_count(2)
    differing = [left[0] for left, right in zip(*both, strict=True) if left[2] != right[2]]
    expect(page.locator(".differs")).to_have_count(2 * len(differing))
    page.goto(f"/lab/compare?a={one}&b={one}")
    expect(page.locator("#divergence")).to_have_text("They tell the same from the first event to the last.")


def test_the_case_file_holds_the_whole_conversation_and_no_mole_before_the_reveal(page: Page, house: House) -> None:
    session_id = over(page, seed=3, mole="hacker")
    page.get_by_role("link", name="Report").click()
    expect(page.get_by_role("heading", name="Case file")).to_be_visible()
    assert shown(page) == said(house, session_id)
    expect(page.locator("#page")).to_contain_text("sealed")
    expect(page.locator("#page")).not_to_contain_text("The mole was")
    page.goto(f"/s/{session_id}")
    see(page, "completed")
    page.locator("#reveal").click()
    expect(page.locator("#verdict")).to_contain_text("The mole was hacker")
    page.goto(f"/s/{session_id}/report")
    expect(page.locator("#page")).to_contain_text("The mole was hacker")
    steps = [event for event in log(house, session_id) if isinstance(event, e.OutcomeStep)]
    expect(page.get_by_role("table", name="The night, minute by minute", exact=True).locator("tbody tr")).to_have_count(
        len(steps)
    )
    page.emulate_media(media="print")
    expect(page.locator("body > header")).to_be_hidden()
    assert page.locator("article.turn p").last.is_visible()


def test_an_empty_lobby_plays_a_recorded_game_until_there_is_a_session(page: Page) -> None:
    expect(page.locator("#demo article.turn").first).to_be_visible()
    expect(page.locator("#none")).to_contain_text("simulated crew")
    start(page)
    expect(page.locator("#demo")).to_be_hidden()


def test_who_wants_no_motion_gets_the_recorded_game_as_a_whole(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto("/")
    expect(page.locator("#demo")).to_contain_text("The mole was", timeout=2000)
