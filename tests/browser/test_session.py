"""A session's page: the conversation as it is spoken, and the controls."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from heist import events as e
from tests.browser.conftest import Visit, Watch, hearing, log, said, see, see_alike, shown, watching
from tests.conftest import House

pytestmark = pytest.mark.browser
SPEAKING = "article.turn.speaking p"


def test_words_appear_while_they_are_spoken(page: Page, house: House) -> None:
    session_id = hearing(page, words_per_second=8, seed=3)
    expect(page.locator(SPEAKING)).to_be_visible()
    before = page.locator(SPEAKING).inner_text()
    page.wait_for_function(
        "(before) => document.querySelector('#m1 p')?.textContent.length > before.length", arg=before
    )
    after = page.locator("#m1 p").inner_text()
    assert after.startswith(before)
    expect(page.locator("#m1.done")).to_be_visible()
    assert shown(page)[0] == said(house, session_id)[0]
    expect(page.locator("#agents .speaking")).to_have_count(1)


def test_no_word_of_a_later_turn_is_missing_while_it_is_spoken(page: Page, house: House) -> None:
    session_id = hearing(page, words_per_second=20, seed=3)
    page.wait_for_function("() => document.querySelector('#m2.speaking p')?.textContent.length > 5")
    spoken = page.locator("#m2 p").inner_text()
    expect(page.locator("#m2.done")).to_be_visible()
    assert str(said(house, session_id)[1][2]).startswith(spoken)


def test_space_pauses_a_dot_takes_one_turn_and_space_resumes(page: Page, house: House) -> None:
    session_id = hearing(page, words_per_second=20)
    expect(page.locator("#m1")).to_be_visible()
    page.keyboard.press(" ")
    see(page, "paused")
    expect(page.locator("article.turn.speaking")).to_have_count(0)
    taken = len(said(house, session_id))
    page.keyboard.press(".")
    expect(page.locator("article.turn.done")).to_have_count(taken + 1)
    see(page, "paused")
    assert len(said(house, session_id)) == taken + 1
    page.keyboard.press(" ")
    see(page, "completed")
    assert shown(page) == said(house, session_id)
    assert len(shown(page)) == 6


def test_stop_lets_the_turn_in_hand_finish_and_stop_now_cuts_it_off(page: Page, house: House) -> None:
    session_id = hearing(page, words_per_second=4)
    expect(page.locator(SPEAKING)).to_be_visible()
    page.locator("#stop").click()
    see(page, "stopping")
    expect(page.locator("article.turn.speaking")).to_have_count(1)
    page.get_by_role("button", name="Stop now").click()
    see(page, "stopped")
    expect(page.locator("#m1.interrupted .error")).to_contain_text("cut off: stopped by user")
    assert said(house, session_id) == []
    for control in ("#pause", "#step", "#stop", "#command textarea", "#command button"):
        expect(page.locator(control)).to_be_disabled()


def test_a_command_is_seen_queued_and_then_delivered(page: Page, house: House) -> None:
    session_id = watching(page, paused=True)
    see(page, "paused")
    page.locator("#command").get_by_role("combobox").select_option("planner")
    page.get_by_role("textbox", name="Order").fill("Ask who drives.")
    page.get_by_role("button", name="Send").click()
    order = page.locator("#commands li")
    expect(order).to_have_text(re.compile("queued planner: Ask who drives."))
    expect(page.get_by_role("textbox", name="Order")).to_have_value("")
    page.get_by_role("button", name="Step").click()
    expect(order).to_have_text(re.compile("delivered in turn 1 planner: Ask who drives."))
    issued = [event for event in log(house, session_id) if isinstance(event, e.CommandIssued)]
    assert [(event.agent, event.text, event.by) for event in issued] == [("planner", "Ask who drives.", "user")]


def test_a_command_that_cannot_arrive_is_refused_in_words_and_stays_in_the_field(page: Page, watch: Watch) -> None:
    watch.expect("status of 409")
    watching(page, paused=True)
    see(page, "paused")
    page.keyboard.press(".")
    expect(page.locator("#m1.done")).to_be_visible()
    page.get_by_role("textbox", name="Order").fill("Say it again.")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("planner has no turn left")
    expect(page.get_by_role("textbox", name="Order")).to_have_value("Say it again.")


def test_what_the_detector_said_before_the_stream_was_open_is_there_too(page: Page, house: House) -> None:
    """Its word is in no log, so a stream does not tell what it said before."""
    session_id = watching(page, rounds=2, paused=True)
    see(page, "paused")
    held: list[Route] = []
    page.route("**/api/events?*", lambda route: held.append(route))
    page.reload()
    see(page, "paused")
    page.request.post(f"/api/sessions/{session_id}/resume", headers={"Origin": house.url})
    page.wait_for_timeout(1500)
    for stream in held:
        stream.continue_()
    see(page, "completed")
    page.locator("#suspicion summary").click()
    expect(page.locator("#suspicion tbody tr")).to_have_count(12)


def test_a_finished_session_opened_cold_shows_everything_and_can_no_longer_be_steered(
    visit: Visit, house: House
) -> None:
    page = visit(house.login)
    session_id = watching(page, rounds=5)
    see(page, "completed")
    cold = visit(house.login)
    cold.goto(f"/s/{session_id}")
    see(cold, "completed")
    assert shown(cold) == shown(page) == said(house, session_id)
    see_alike(cold, page)
    controls = cold.locator("#controls button, #command select, #command textarea, #command button")
    assert controls.count() == 6
    for control in controls.all():
        expect(control).to_be_disabled()
    tools = [event for event in log(house, session_id) if isinstance(event, e.ToolCalled)]
    expect(cold.locator("details.tool")).to_have_count(len(tools))
    expect(cold.locator("#progress")).to_contain_text(f"turn 30/30 · about {tokens(house, session_id):,} tokens")


def tokens(house: House, session_id: str) -> int:
    messages = [event for event in log(house, session_id) if isinstance(event, e.MessageCompleted)]
    return sum(message.prompt_tokens + message.completion_tokens for message in messages)


def test_an_opened_tool_result_stays_open_while_its_agent_goes_on_speaking(page: Page) -> None:
    hearing(page, words_per_second=20, seed=1)
    call = page.locator("article.turn.speaking:has(p) details.tool").first
    call.locator("summary").click(timeout=30_000)
    turn = page.locator("article.turn:has(details[open])")
    before = turn.locator("p").inner_text()
    page.wait_for_function(
        "(before) => document.querySelector('article:has(details[open]) p').textContent.length > before",
        arg=len(before),
    )
    expect(page.locator("summary:focus")).to_have_count(1)
    expect(page.locator("article.turn.done:has(details[open])")).to_have_count(1)
    page.locator("#stop").click()


def test_who_reads_back_is_not_pulled_to_the_end_and_can_jump_there(page: Page) -> None:
    watching(page, rounds=5, paused=True)
    for turn in range(1, 13):
        expect(page.locator("#step")).to_be_enabled()
        page.keyboard.press(".")
        expect(page.locator(f"#m{turn}.done")).to_be_visible()
    page.locator("#feed").evaluate("(feed) => { feed.scrollTop = 0 }")
    expect(page.locator("#latest")).to_be_visible()
    page.keyboard.press(".")
    expect(page.locator("#m13.done")).to_be_attached()
    assert page.locator("#feed").evaluate("(feed) => feed.scrollTop") == 0
    page.keyboard.press("l")
    expect(page.locator("#m13")).to_be_in_viewport()
    expect(page.locator("#latest")).to_be_hidden()


def test_a_message_has_an_address(page: Page) -> None:
    session_id = watching(page, rounds=5)
    see(page, "completed")
    page.goto("/")
    page.goto(f"/s/{session_id}#m3")
    see(page, "completed")
    expect(page.locator("#m3")).to_be_in_viewport()
    expect(page.locator("#m30")).not_to_be_in_viewport()


def test_a_session_that_is_not_there_is_said_in_words(page: Page, watch: Watch) -> None:
    watch.expect("status of 404")
    page.goto("/s/heist_of_nobody")
    expect(page.get_by_role("alert")).to_contain_text("there is no session 'heist_of_nobody'")
    expect(page.locator("#controls")).to_be_hidden()


@pytest.mark.mission("S12")
def test_who_is_in_quarantine_and_which_tool_is_off_is_seen_at_once(page: Page) -> None:
    session_id = watching(page, words_per_second=8, seed=3)
    card = page.locator("#agents .agent", has_text="intel")
    reach = f"/api/sessions/{session_id}/quarantine/intel"
    put = (
        "([path, reason]) => fetch(path, {method: 'PUT', headers: {'Content-Type': 'application/json'}, body: reason})"
    )
    page.evaluate(put, [reach, '{"reason": "It talks to the <b>police</b>."}'])
    expect(card).to_contain_text("in quarantine: no tools")
    expect(page.locator("#activity")).to_contain_text("intel put in quarantine by user: It talks to the <b>police</b>.")
    page.evaluate("() => fetch('/admin/tools/calculator', {method: 'DELETE'})")
    expect(page.locator("#activity")).to_contain_text("user switched calculator off")
    page.evaluate("(path) => fetch(path, {method: 'DELETE'})", reach)
    expect(card).to_contain_text("database:read")
