"""What stands beside the conversation: the plan, the bank, who with whom, tools, suspicion and its evidence."""

import json
import re
from itertools import pairwise

import pytest
from playwright.sync_api import Page, Route, expect

from heist import events as e
from tests.browser.conftest import Visit, Watch, log, said, see, watching
from tests.conftest import House

pytestmark = pytest.mark.browser
HURT = '<img src=x onerror="window.hurt=1"><svg onload=window.hurt=2>'


def unharmed(page: Page) -> None:
    assert page.locator("img, iframe, svg[onload], body script, b").count() == 0
    assert page.evaluate("window.hurt") is None


def tell(page: Page, events: list[dict[str, object]]) -> None:
    """The log of a session ends with these events, for this page."""

    def longer(route: Route) -> None:
        answer = route.fetch()
        page_ = answer.json()
        seq = page_["events"][-1]["seq"]
        page_["events"] += [
            {"seq": seq, "at": page_["events"][-1]["at"], "session_id": "s", **event} for event in events
        ]
        route.fulfill(response=answer, json=page_)

    page.route(re.compile(r"/log\?"), longer)


def verdict(turn: int, quote: str, hacker: float, reason: str = "It is not so.") -> dict[str, object]:
    rest = (1 - hacker) / 6
    names = ("planner", "hacker", "safecracker", "intel", "driver", "lookout")
    return {
        "kind": "suspicion.updated",
        "turn": turn,
        "posterior": {name: hacker if name == "hacker" else rest for name in names},
        "nobody": rest,
        "evidence": [
            {"agent": "hacker", "turns": [2], "quote": quote, "reason": reason, "hit": True, "weight": 1.25, "id": "x"}
        ],
    }


def judging(page: Page, moments: list[dict[str, object]]) -> None:
    """The detector has said this of a session after each of its messages, for this page."""
    evidence = moments[-1]["evidence"] if moments else []
    page.route(re.compile(r"/verdicts$"), lambda route: route.fulfill(json=moments))
    page.route(re.compile(r"/detection/analyze$"), lambda route: route.fulfill(json={"evidence": evidence}))


def test_nothing_is_drawn_of_a_detector_that_abstains(page: Page) -> None:
    session_id = watching(page, rounds=1, seed=3)
    see(page, "completed")
    judging(page, [])
    page.goto(f"/s/{session_id}")
    see(page, "completed")
    expect(page.locator("#suspicion-panel")).to_be_hidden()
    expect(page.locator("#evidence-panel")).to_be_hidden()


def test_suspicion_is_a_curve_for_each_agent_and_for_nobody_and_evidence_leads_to_its_words(
    page: Page, house: House
) -> None:
    session_id = watching(page, rounds=2, seed=3)
    see(page, "completed")
    text = str(said(house, session_id)[1][2])
    quote = text[3:20]
    judging(page, [verdict(1, quote, 0.2), verdict(2, quote, 0.6)])
    page.goto(f"/s/{session_id}")
    chart = page.get_by_role("img", name="Suspicion by turn", exact=True)
    expect(chart.locator(".curve")).to_have_count(7)
    expect(chart).to_contain_text("○ nobody")
    expect(page.locator("#agents .agent", has_text="hacker")).to_contain_text("60 %")
    expect(page.locator("#marks .jump")).to_have_count(1)
    page.keyboard.press("e")
    page.keyboard.press("Enter")
    expect(page.locator("#m2 mark")).to_have_text(quote)
    expect(page.locator("#m2")).to_be_in_viewport()
    expect(page.locator("#m2")).to_be_focused()
    assert page.locator("#m2 > p").first.text_content() == text
    page.locator("#suspicion summary").click()
    row = page.get_by_role("table", name="Suspicion by turn", exact=True).locator("tbody tr").last
    expect(row).to_contain_text("0.6")


@pytest.mark.mission("S11", "S13")
def test_the_detector_speaks_while_they_do_and_the_same_is_there_when_the_page_is_opened_again(
    page: Page, house: House
) -> None:
    session_id = watching(page, rounds=2, seed=7, mole="intel", strategy="wrong_tools", words_per_second=60)
    chart = page.get_by_role("img", name="Suspicion by turn", exact=True)
    expect(chart.locator(".curve")).to_have_count(7)
    see(page, "completed")
    expect(page.locator("#evidence li").first).to_be_visible()
    page.goto(f"/s/{session_id}")
    expect(chart.locator(".curve")).to_have_count(7)
    page.locator("#suspicion summary").click()
    rows = page.get_by_role("table", name="Suspicion by turn", exact=True).locator("tbody tr")
    expect(rows).to_have_count(12)
    expect(page.locator("#evidence li").first).to_contain_text("turn")


def test_hostile_words_of_a_detector_a_plan_and_an_end_stay_words(page: Page) -> None:
    session_id = watching(page, rounds=1, seed=3)
    see(page, "completed")
    tell(
        page,
        [
            verdict(2, HURT, 0.9, HURT),
            {"kind": "plan.changed", "turn": 2, "agent": HURT, "slot": "entry_time", "value": HURT, "before": None},
            {"kind": "plan.changed", "turn": 2, "agent": HURT, "slot": "road", "value": HURT, "before": HURT},
            {"kind": "outcome.step", "clock": "01:00", "place": HURT, "text": HURT, "slot": HURT, "costs": 3},
            {
                "kind": "outcome.decided",
                "outcome": "messy",
                "score": 1,
                "reference": 2,
                "loot": 1,
                "damage": {HURT: 1},
                "slots": {},
            },
            {
                "kind": "mole.revealed",
                "result": "FAILURE",
                "guess": HURT,
                "outcome": "messy",
                "score": 1,
                "reference": 2,
                "damage": 1,
                "arm": "mole",
                "mole": HURT,
                "holder": HURT,
                "strategy": HURT,
                "title": HURT,
                "briefs": {},
                "acts": [{"turn": 2, "what": HURT, "did": HURT, "slots": [HURT], "costs": 1}],
                "facts": {},
                "seed": 1,
                "by": HURT,
            },
        ],
    )
    for address in (f"/s/{session_id}", f"/s/{session_id}/report", f"/lab/compare?a={session_id}&b={session_id}"):
        page.goto(address)
        expect(page.locator("main:not([hidden])")).to_contain_text(HURT)
        unharmed(page)
    page.goto(f"/s/{session_id}")
    for part in ("#evidence", "#plan", "#clock", "#told", "#verdict", "#activity"):
        expect(page.locator(part)).to_contain_text(HURT)
    unharmed(page)


def test_the_plan_shows_every_slot_and_who_set_it_when(page: Page, house: House) -> None:
    session_id = watching(page, rounds=1, seed=3)
    see(page, "completed")
    base = {"kind": "plan.changed", "slot": "entry_time"}
    tell(
        page,
        [
            {**base, "turn": 1, "agent": "planner", "value": "01:10", "before": None},
            {**base, "turn": 2, "agent": "hacker", "value": "01:30", "before": "01:10"},
            {**base, "turn": 4, "agent": "intel", "slot": "entry_point", "value": "coal chute", "before": None},
        ],
    )
    page.goto(f"/s/{session_id}")
    job = page.request.get("/api/scenarios/first_national_bank").json()
    expect(page.locator("#plan details")).to_have_count(len(job["slots"]))
    edited = [event for event in log(house, session_id) if isinstance(event, e.PlanChanged)]
    assert not edited or len(edited) <= len(job["slots"])
    slot = page.locator("#plan details", has_text="when the crew goes in")
    expect(slot.locator("summary")).to_contain_text("01:30")
    assert "turn 1: planner set 01:10" in (slot.get_attribute("title") or "")
    slot.locator("summary").click()
    expect(slot.get_by_role("button")).to_have_text(["turn 1: planner set 01:10", "turn 2: hacker set 01:30"])
    expect(page.locator("#bank svg")).to_have_attribute("aria-label", re.compile("entry_point is the coal chute"))


def test_who_follows_whom_and_who_names_whom_are_counted_from_the_log(page: Page, house: House) -> None:
    session_id = watching(page, rounds=3, seed=3)
    see(page, "completed")
    speech = said(house, session_id)
    names = ["planner", "hacker", "safecracker", "intel", "driver", "lookout"]
    follows = {(one, other): 0 for one in names for other in names}
    for (_, one, _), (_, other, _) in pairwise(speech):
        follows[str(one), str(other)] += 1
    named = {
        (one, other): sum(
            1 for _, who, text in speech if who == one and who != other and re.search(rf"\b{other}\b", str(text))
        )
        for one in names
        for other in names
    }
    for label, expected in (("Who follows whom", follows), ("Who names whom", named)):
        figure = page.locator("figure", has_text=label)
        figure.locator("summary").click()
        expect(figure.locator("tbody tr")).to_have_count(len(names))
        cells = [row.locator("td").all_inner_texts() for row in figure.locator("tbody tr").all()]
        assert cells == [[one, *(str(expected[one, other]) for other in names)] for one in names]


def test_an_agent_is_put_in_quarantine_with_a_reason_and_let_out(page: Page, house: House) -> None:
    session_id = watching(page, paused=True)
    see(page, "paused")
    page.get_by_role("button", name="Quarantine intel").click()
    page.keyboard.type("It talks to the police.")
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_be_hidden()
    card = page.locator("#agents .agent", has_text="intel")
    expect(card).to_contain_text("in quarantine: no tools")
    page.get_by_role("button", name="Release intel").click()
    expect(card).to_contain_text("database:read")
    told = [event for event in log(house, session_id) if isinstance(event, e.AgentQuarantined | e.AgentReleased)]
    assert [event.kind for event in told] == ["agent.quarantined", "agent.released"]
    assert isinstance(told[0], e.AgentQuarantined)
    assert told[0].reason == "It talks to the police."


def test_the_filter_and_the_keys_find_messages(page: Page, house: House) -> None:
    session_id = watching(page, rounds=3, seed=3)
    see(page, "completed")
    speech = said(house, session_id)
    page.keyboard.press("/")
    page.keyboard.type("agent:hacker")
    visible = page.locator("article.turn:visible")
    expect(visible).to_have_count(3)
    expect(page.locator("#matches")).to_have_text("3 of 18")
    page.keyboard.press("Escape")
    page.locator("#filter").fill("tool:fail")
    expect(visible).to_have_count(page.locator("article:has(.tool.failed)").count())
    page.locator("#filter").fill("")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.locator("#filter")).to_have_value("agent:hacker")
    page.keyboard.press("2")
    expect(page.locator("#filter")).to_have_value("")
    for expected in (1, 2, 3):
        page.keyboard.press("j")
        expect(page.locator(f"#m{expected}")).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("#m2")).to_be_focused()
    word = str(speech[4][2]).split()[0]
    page.locator("#filter").fill(word)
    expect(visible).to_have_count(sum(1 for _, _, text in speech if word.lower() in str(text).lower()))


def test_what_an_agent_saw_is_told_without_its_brief_until_the_reveal(page: Page) -> None:
    watching(page, rounds=1, seed=3, mole="hacker")
    see(page, "completed")
    dialog = page.locator("dialog")
    page.get_by_role("button", name="what it saw: hacker in turn 2").click()
    dialog.locator("details", has_text="brief").locator("summary").first.click()
    expect(dialog).to_contain_text("sealed until the reveal")
    page.keyboard.press("Escape")
    page.locator("#reveal").click()
    expect(page.locator("#verdict")).to_contain_text("The mole was hacker")
    page.get_by_role("button", name="what it saw: hacker in turn 2").click()
    expect(dialog).to_contain_text("tokens")
    expect(dialog).not_to_contain_text("sealed until the reveal")


def test_a_model_server_that_is_given_up_on_is_named(page: Page) -> None:
    broken = {"status": "ok", "models": [{"server": "one", "state": "open", "reason": "it is down"}]}
    page.route("**/health", lambda route: route.fulfill(body=json.dumps(broken), content_type="application/json"))
    watching(page, paused=True)
    expect(page.locator("#health .failed")).to_have_text("✕ model open: it is down")


def test_a_session_of_three_thousand_messages_scrolls_and_filters_in_under_100_milliseconds(
    visit: Visit, house: House
) -> None:
    page = visit(house.login)
    session_id = watching(page, rounds=1, seed=3)
    see(page, "completed")
    told = next(event for event in log(house, session_id) if isinstance(event, e.MessageCompleted)).model_dump()
    tell(page, [{**told, "turn": turn, "round": turn // 6 + 1} for turn in range(7, 3001)])
    page.goto(f"/s/{session_id}")
    expect(page.locator("article.turn")).to_have_count(3000, timeout=30_000)
    took = page.evaluate(
        """() => {
          const filter = document.getElementById('filter'), feed = document.getElementById('feed'), best = new Map();
          const measured = (what, act) => {
            const begun = performance.now();
            act();
            feed.offsetHeight;
            best.set(what, Math.min(best.get(what) ?? Infinity, performance.now() - begun));
          };
          for (const again of [1, 2, 3]) {
            for (const text of ['a', 'agent:hacker', 'tool:fail', 'vault', '']) {
              filter.value = text;
              measured(text, () => filter.dispatchEvent(new Event('input')));
            }
            for (const part of [0, .3, .6, 1]) measured(part, () => { feed.scrollTop = feed.scrollHeight * part; });
          }
          return [...best.values()];
        }"""
    )
    assert max(took) < 100, took


@pytest.fixture(autouse=True)
def quiet(watch: Watch) -> None:
    watch.expect("ERR_ABORTED")
