"""Before the reveal no figure, filter, order or absence tells who the mole is, which strategy it has, or whether there
is one."""

from itertools import product

import pytest
from starlette.testclient import TestClient

from heist import events as e
from heist.settings import Settings
from heist.store.engine import connect
from tests.services.analytics import keep
from tests.strategies import assigned, message, message_failed, revealed, session_started, tool_called

pytestmark = pytest.mark.mission("S14", "S10")
PATHS = (
    "sessions",
    "sessions?limit=1",
    "tool-stats",
    "agent-activity",
    "interactions",
    "metrics-summary",
    "metrics-summary?by=variant",
    "metrics-summary?detector=length",
    "sessions/s0",
    "compare?session=s0&session=s1",
)
FILTERS = ("", "crew=crew", "strategy=wrong_tools", "strategy=subtle_delays", "strategy=misinformation", "strategy=")


Deal = list[tuple[e.Arm, str | None, str | None]]
DEALS: list[Deal] = [
    [("mole", "hacker", "wrong_tools"), ("none", None, None), ("mole", "planner", "subtle_delays")],
    [("none", None, None), ("placebo", "planner", None), ("mole", "hacker", "wrong_tools")],
    [("mole", "planner", "subtle_delays"), ("mole", "hacker", "misinformation"), ("incompetent", "hacker", None)],
]


def house(parts: Deal) -> list[e.Event]:
    """Three sessions before any reveal, that differ in nothing but what is sealed."""
    found: list[e.Event] = []
    for number, (arm, holder, strategy) in enumerate(parts):
        session_id = f"s{number}"
        found += [
            session_started(session_id, ("planner", "hacker")).model_copy(update={"variant": "ab"[number % 2]}),
            assigned(7 + len(arm), arm, holder, strategy, session_id=session_id),
            tool_called(session_id, 1, "planner", success=number > 0, fault=None if number else "scope"),
            message(session_id, 1, "I am sure, hacker.", "planner"),
            message(session_id, 2, "Yes, planner.", "hacker"),
        ]
        if holder is not None:
            found.append(e.SabotageDone(session_id=session_id, turn=1, agent=holder, did="told a lie"))
        if number < 2:
            found += [
                message_failed(session_id, 3, "planner"),
                e.SessionStopped(session_id=session_id, by="t", turns=3),
            ]
    return found


def read(browser: TestClient) -> dict[str, str]:
    """All that the service says, by what it is asked."""
    found = {}
    for path, chosen, form in product(PATHS, FILTERS, ("json", "csv")):
        address = f"/analytics/{path}{'&' if '?' in path else '?'}{chosen}&format={form}"
        found[address] = browser.get(address).text
    return found


def test_whoever_is_the_mole_every_answer_is_the_same_before_the_reveal(
    browser: TestClient, settings: Settings
) -> None:
    engine = connect(settings.database_url)
    told = []
    for parts in DEALS:
        keep(engine, house(parts))
        told.append(read(browser))
    engine.dispose()
    assert told[0] == told[1] == told[2]
    assert '"messages":6' in told[0]["/analytics/metrics-summary?&format=json"]


def test_a_strategy_finds_a_game_from_its_reveal_on_and_no_other(browser: TestClient, settings: Settings) -> None:
    engine = connect(settings.database_url)
    told: list[e.Event] = []
    for number in range(3):
        session_id = f"s{number}"
        told += [
            session_started(session_id),
            assigned(7, "mole", "hacker", "wrong_tools", session_id=session_id),
            e.SessionCompleted(session_id=session_id, turns=0, failed=0),
        ]
    asked = {"strategy": "wrong_tools"}
    keep(engine, told)
    assert browser.get("/analytics/sessions", params=asked).json()["sessions"] == []
    keep(engine, [*told, revealed("s1")])
    [found] = browser.get("/analytics/sessions", params=asked).json()["sessions"]
    assert (found["session_id"], found["game"]["strategy"]) == ("s1", "wrong_tools")
    assert browser.get("/analytics/metrics-summary", params=asked).json()["summary"]["sessions"] == 1
    for row in browser.get("/analytics/sessions").json()["sessions"]:
        assert (row["game"] is None) == (row["session_id"] != "s1")
    engine.dispose()
