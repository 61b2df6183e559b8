"""Replay: any moment of a session, exact, by hand, by key and by address."""

import re

import pytest
from playwright.sync_api import Page, expect

from heist import events as e
from tests.browser.conftest import Visit, Watch, log, said, see, shown, start, told, watching
from tests.conftest import House

pytestmark = pytest.mark.browser


def over(page: Page, **order: object) -> str:
    """A session that is over, opened; answers its id."""
    session_id = watching(page, seed=3, **{"rounds": 2, **order})
    see(page, "completed")
    return session_id


def rows(house: House, session_id: str) -> list[tuple[int, e.Event]]:
    return [(row.seq, e.parse(row.body)) for row in house.runtime.queries.log(0, session_id, 10_000)]


def heard(house: House, session_id: str, until: int) -> list[list[object]]:
    return [
        [event.turn, event.agent, event.text]
        for seq, event in rows(house, session_id)
        if seq <= until and isinstance(event, e.MessageCompleted)
    ]


def test_the_stream_and_the_replay_end_in_the_same_text(page: Page, house: House) -> None:
    session_id = watching(page, seed=3, rounds=2, words_per_second=200)
    see(page, "completed")
    live = told(page)
    page.locator("#seek").focus()
    page.keyboard.press("Home")
    expect(page.locator("article.turn")).to_have_count(0)
    page.keyboard.press("End")
    expect(page.locator("article.turn")).to_have_count(12)
    assert shown(page) == said(house, session_id)
    page.keyboard.press("l")
    expect(page.locator("#live")).to_be_disabled()
    page.wait_for_timeout(100)
    assert told(page) == live


def test_an_address_of_a_moment_shows_that_moment_and_nothing_later(visit: Visit, house: House) -> None:
    page = visit(house.login)
    session_id = over(page)
    whole = rows(house, session_id)
    for seq, _ in whole[5 :: max(1, len(whole) // 4)]:
        page.goto(f"/s/{session_id}?at={seq}")
        place = [one for one, _ in whole].index(seq) + 1
        expect(page.locator("#where")).to_have_text(f"{place} / {len(whole)}")
        finished = [row for row in shown(page) if page.locator(f"#m{row[0]}.done").count()]
        assert finished == heard(house, session_id, seq)
        expect(page.locator("#live")).to_be_enabled()


def test_brackets_go_by_events_braces_by_rounds_and_l_goes_back_to_now(page: Page, house: House) -> None:
    session_id = over(page)
    whole = rows(house, session_id)
    page.keyboard.press("[")
    expect(page.locator("#where")).to_have_text(f"{len(whole) - 1} / {len(whole)}")
    page.keyboard.press("]")
    expect(page.locator("#where")).to_have_text(f"{len(whole)} / {len(whole)}")
    second = next(i for i, (_, event) in enumerate(whole, 1) if isinstance(event, e.RoundStarted) and event.round == 2)
    page.keyboard.press("{")
    expect(page.locator("#where")).to_have_text(f"{second} / {len(whole)}")
    assert page.url.endswith(f"?at={whole[second - 1][0]}")
    page.keyboard.press("{")
    page.keyboard.press("}")
    expect(page.locator("#where")).to_have_text(f"{second} / {len(whole)}")
    page.keyboard.press("l")
    expect(page.locator("#live")).to_be_disabled()
    assert page.url.endswith(session_id)


def test_a_replay_plays_by_itself_faster_on_demand_and_holds_on_space(page: Page, house: House) -> None:
    session_id = over(page, rounds=1)
    page.locator("#speed").select_option("4")
    page.keyboard.press("Escape")
    page.locator("#play").click()
    expect(page.locator("#m2.done")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press(" ")
    held = page.locator("#where").inner_text()
    page.wait_for_timeout(600)
    assert page.locator("#where").inner_text() == held
    page.keyboard.press(" ")
    expect(page.locator("article.turn.done")).to_have_count(6, timeout=20_000)
    assert shown(page) == said(house, session_id)


def test_the_bar_marks_rounds_failures_commands_and_the_reveal(page: Page, house: House) -> None:
    session_id = watching(page, paused=True, rounds=2, seed=3)
    see(page, "paused")
    page.get_by_role("textbox", name="Order").fill("Count them.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#commands li")).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    see(page, "completed")
    page.locator("#reveal").click()
    expect(page.locator("#marks .end")).to_have_count(1)
    told = [event for _, event in rows(house, session_id)]
    expect(page.locator("#marks .round")).to_have_count(2)
    expect(page.locator("#marks .order")).to_have_count(1)
    failed = [event for event in told if isinstance(event, e.ToolCalled) and not event.success]
    expect(page.locator("#marks .fail")).to_have_count(len(failed))
    edits = [event for event in told if isinstance(event, e.PlanChanged)]
    expect(page.locator("#marks .edit")).to_have_count(len(edits))


def test_a_moment_of_a_session_that_goes_on_stays_while_the_log_grows(page: Page, house: House) -> None:
    session_id = watching(page, words_per_second=60, seed=3)
    expect(page.locator("#m2.done")).to_be_visible()
    page.keyboard.press("{")
    expect(page.locator("article.turn")).to_have_count(0)
    before = shown(page)
    see_now = page.locator("#where")
    first = see_now.inner_text()
    page.wait_for_function("(was) => document.getElementById('where').textContent !== was", arg=first)
    assert shown(page) == before
    page.keyboard.press("l")
    see(page, "completed")
    assert shown(page) == said(house, session_id)


def test_the_night_is_played_minute_by_minute_on_the_floor_plan_with_damage_per_agent(page: Page, house: House) -> None:
    session_id = over(page, mole="hacker")
    expect(page.locator("#clock")).to_contain_text("not played yet")
    page.locator("#reveal").click()
    expect(page.locator("#verdict")).to_contain_text("The mole was hacker")
    steps = [event for event in log(house, session_id) if isinstance(event, e.OutcomeStep)]
    first = next(i for i, event in enumerate(log(house, session_id), 1) if isinstance(event, e.OutcomeStep))
    page.locator("#speed").select_option("4")
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Play the night").click()
    expect(page.locator("#bank svg")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#clock")).to_contain_text(steps[-1].text, timeout=20_000)
    page.locator("#play").click()
    for number, step in enumerate(steps):
        page.evaluate(
            "(at) => { const seek = document.getElementById('seek'); seek.value = at;"
            " seek.dispatchEvent(new Event('input')); }",
            first + number,
        )
        expect(page.locator("#clock")).to_contain_text(f"{step.clock} · {step.place}: {step.text}")
        here = re.compile(rf"^Floor plan\. The crew is at: {step.place}\.")
        expect(page.locator("#bank svg")).to_have_attribute("aria-label", here)
    page.keyboard.press("l")
    decided = next(event for event in log(house, session_id) if isinstance(event, e.OutcomeDecided))
    losses = page.get_by_role("img", name="Points that each agent's part won or cost", exact=True)
    for agent, points in decided.damage.items():
        expect(losses).to_contain_text(agent)
        expect(losses).to_contain_text(f"−{points:g}")


def test_the_fold_over_a_log_by_pages_is_the_fold_over_the_stream(page: Page) -> None:
    session_id = start(page, rounds=2, seed=3)
    page.goto(f"/s/{session_id}")
    see(page, "completed")
    same = page.evaluate(
        """async (id) => {
          const { fold, empty, apply } = await import('/static/fold.js');
          const plain = (state) => JSON.stringify(state, (_, value) => value instanceof Map ? [...value] : value);
          const { events } = await (await fetch(`/api/sessions/${id}/log`)).json();
          const streamed = empty();
          await new Promise((done) => {
            const source = new EventSource(`/api/events?session=${id}`);
            source.onmessage = ({ data }) => {
              const event = JSON.parse(data);
              apply(streamed, event);
              if (event.seq === events.at(-1).seq) { source.close(); done(); }
            };
          });
          const whole = plain(fold(events));
          return whole === plain(streamed) && whole === plain(fold(JSON.parse(JSON.stringify(events))));
        }""",
        session_id,
    )
    assert same


@pytest.mark.mission("S13")
def test_a_fork_from_a_moment_says_where_it_comes_from_and_goes_on_when_it_is_let(
    page: Page, house: House, watch: Watch
) -> None:
    watch.expect("409")
    session_id = watching(page, rounds=2, seed=3)
    see(page, "completed")
    before = shown(page)
    page.get_by_role("button", name="Fork from here").click()
    expect(page.get_by_role("alert")).to_contain_text("had taken all of its 12 turns; go back to an earlier moment")
    at = next(row.seq for row in house.runtime.queries.log(0, session_id, 10_000) if '"turn":8,' in row.body)
    page.goto(f"/s/{session_id}?at={at}")
    expect(page.locator("article.turn")).to_have_count(8)
    page.get_by_role("button", name="Fork from here").click()
    expect(page.locator("#goal")).to_contain_text(f"This is a fork of {session_id} at turn 7, a re-execution.")
    see(page, "paused")
    assert shown(page) == before[:7]
    page.keyboard.press("Space")
    see(page, "completed")
    assert shown(page) == before
    expect(page.locator("#activity")).to_contain_text(f"a fork of {session_id} at turn 7")
    page.locator("#goal a").click()
    expect(page.locator("article.turn")).to_have_count(7)
    assert f"/s/{session_id}?at=" in page.url
