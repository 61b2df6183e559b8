"""The lobby: the start form, who would speak, and the sessions as they come and go."""

import re

import pytest
from playwright.sync_api import Page, expect

from heist.settings import Settings
from tests.browser.conftest import Serve, Visit, linked, said, see, shown, start
from tests.conftest import House

pytestmark = pytest.mark.browser


def test_a_session_started_from_the_form_shows_all_thirty_messages_as_the_log_has_them(
    page: Page, house: House
) -> None:
    page.get_by_label("Pace").select_option("full speed")
    page.get_by_role("button", name="Start").click()
    expect(page).to_have_url(re.compile("/s/heist_"))
    see(page, "completed")
    expect(page.locator("article.turn.done")).to_have_count(30)
    conversation = said(house, page.url.rpartition("/")[2])
    assert len(conversation) == 30
    assert shown(page) == conversation


def test_the_form_says_what_is_ordered(page: Page, house: House) -> None:
    page.get_by_role("spinbutton", name="Rounds").fill("2")
    page.get_by_role("combobox", name="Order").select_option("random")
    page.get_by_label("Pace").select_option("full speed")
    page.get_by_label("Seed").fill("7")
    page.get_by_role("button", name="Start").click()
    see(page, "completed")
    row = house.runtime.queries.session(page.url.rpartition("/")[2])
    assert row is not None
    assert (row.crew, row.rounds, row.num_turns) == ("crew", 2, 12)


def test_the_crew_is_labelled_as_simulated_in_the_lobby_and_in_the_session(page: Page) -> None:
    expect(page.locator("#who .simulated")).to_have_text("simulated")
    session_id = start(page)
    expect(page.locator("#sessions .simulated")).to_have_text("simulated")
    page.goto(f"/s/{session_id}")
    expect(page.locator("#headline .simulated")).to_have_text("simulated")


def test_an_empty_lobby_says_what_to_do(page: Page) -> None:
    expect(page.locator("#none")).to_contain_text("Start one")
    start(page)
    expect(page.locator("#none")).to_be_hidden()


def test_a_session_that_somebody_else_starts_appears_once_and_ends_before_your_eyes(visit: Visit, house: House) -> None:
    mine, other = visit(house.login), visit(house.login)
    linked(mine, "live")
    session_id = start(other, paused=True)
    row = mine.locator("#sessions tr").filter(has_text=session_id)
    expect(row.locator(".pill").first).to_have_text("paused")
    other.goto(f"/s/{session_id}")
    see(other, "paused")
    other.keyboard.press(" ")
    expect(row.locator(".pill").first).to_have_text("completed")
    expect(mine.locator("#sessions tr")).to_have_count(1)


def test_older_sessions_come_on_demand_and_none_comes_twice(visit: Visit, house: House) -> None:
    starter = visit(house.login)
    old = [start(starter) for _ in range(53)]
    page = visit(house.login)
    expect(page.locator("#sessions tr")).to_have_count(50)
    new = start(starter)
    expect(page.locator("#sessions tr").first).to_contain_text(new)
    page.get_by_role("button", name="Show older sessions").click()
    expect(page.locator("#sessions tr")).to_have_count(54)
    assert set(page.locator("#sessions a").all_inner_texts()) == {new, *old}


def test_a_model_that_is_not_there_is_named_and_the_start_is_refused_in_words(
    serve: Serve, visit: Visit, settings: Settings
) -> None:
    house = serve(settings.model_copy(update={"llm": "http://127.0.0.1:9/v1"}))
    page = visit(house.login)
    expect(page.locator("#who")).to_contain_text("cannot be reached")
    expect(page.locator("#who .simulated")).to_have_count(0)
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")


@pytest.fixture(autouse=True)
def refusals(request: pytest.FixtureRequest) -> None:
    """Chromium logs every answer above 399 as an error; where a refusal is the point, it is none."""
    if "refused" in request.node.name:
        request.getfixturevalue("watch").expect("the server responded with a status of 50")
