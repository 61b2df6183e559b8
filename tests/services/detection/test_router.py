"""Detection over HTTP: who may ask, what is answered, and that nothing of it depends on what is sealed."""

from collections.abc import Generator
from typing import Any

import pytest
from starlette.testclient import TestClient

from heist.agents.sessions import Order
from heist.app import create_app
from heist.runtime import Runtime
from heist.services.auth import AGENT_SCOPES, Scope
from heist.services.detection.desk import Moment
from heist.services.detection.quality import Quality
from heist.services.detection.verdict import Verdict
from heist.settings import Settings
from tests.conftest import USER, Announced, announcing
from tests.services.tools.test_router import House

pytestmark = pytest.mark.mission("S11")

URL = "http://127.0.0.1:8008"
REST = "The start of the night rest is"
LIAR: dict[str, Any] = {
    "scenario": "first_national_bank",
    "agents": ["planner", "lookout", "hacker"],
    "messages": [
        {"turn": 1, "agent": "lookout", "text": f"{REST} 02:40."},
        {"turn": 2, "agent": "planner", "text": "Good."},
        {"turn": 3, "agent": "lookout", "text": "Twice 12 is 12 * 2 = 25."},
    ],
    "tool_calls": [
        {
            "turn": 1,
            "agent": "lookout",
            "tool": "observe",
            "argument": "window",
            "result": f"Notes, dated 2026-09-12\n{REST} 02:10.",
        }
    ],
    "plan_edits": [{"turn": 3, "agent": "lookout", "slot": "drop_time", "value": "03:00"}],
}


@pytest.fixture
def house(settings: Settings) -> Generator[House]:
    announced: Announced = []
    with TestClient(create_app(settings, announcing(announced)), base_url=URL) as http:
        runtime, _ = announced[0]
        assert http.portal is not None
        session_id = http.portal.call(played, runtime)
        yield House(http, runtime, session_id)


async def played(runtime: Runtime) -> str:
    session_id = await runtime.sessions.start(USER, Order(rounds=2, seed=7))
    await runtime.sessions.finished(session_id)
    return session_id


@pytest.fixture
def headers(house: House) -> dict[str, str]:
    return house.outsider("detection:read").headers


def test_a_stored_session_is_judged(house: House, headers: dict[str, str]) -> None:
    answer = house.http.post("/detection/analyze", json={"session_id": house.session_id}, headers=headers)
    told = Verdict.model_validate(answer.json())
    assert (answer.status_code, told.session_id, told.detector, told.turn) == (200, house.session_id, "rules", 12)
    assert told.nobody is not None
    assert sum(told.posterior.values()) + told.nobody == pytest.approx(1)


def test_a_record_is_judged_and_the_liar_is_found(house: House, headers: dict[str, str]) -> None:
    answer = house.http.post("/detection/analyze", json={"record": LIAR}, headers=headers).json()
    assert answer["suggested_mole"] == "lookout"
    first = answer["evidence"][0]
    assert first["quote"] in LIAR["messages"][0]["text"] or first["quote"] in LIAR["messages"][2]["text"]
    said = house.http.post("/detection/suggest", json={"record": LIAR}, headers=headers).json()
    assert said["suggested_mole"] == "lookout"
    assert said["sentence"].startswith("lookout is the mole with ")


def test_a_record_without_a_scenario_gets_a_reason_and_no_number(house: House, headers: dict[str, str]) -> None:
    record = {"messages": [{"agent": name, "text": "Hello."} for name in "ab"]}
    answer = house.http.post("/detection/suggest", json={"record": record}, headers=headers).json()
    assert "no scenario" in answer["abstained"]
    assert (answer["confidence"], answer["suspicion_scores"]) == (None, {})


@pytest.mark.parametrize("detector", ["rules", "hybrid", "length", "bag", "judge"])
def test_the_history_has_a_moment_for_each_message(detector: str, house: House, headers: dict[str, str]) -> None:
    path = f"/detection/sessions/{house.session_id}/verdicts"
    answer = house.http.get(path, params={"detector": detector}, headers=headers)
    moments = [Moment.model_validate(one) for one in answer.json()]
    assert [moment.turn for moment in moments] == ([] if detector == "judge" else list(range(1, 13)))
    if detector == "rules":
        whole = house.http.post("/detection/analyze", json={"session_id": house.session_id}, headers=headers)
        assert moments[-1].posterior == whole.json()["posterior"]
    if detector == "bag":
        assert all(moment.abstained and moment.nobody is None for moment in moments)


def test_every_detector_is_listed_and_answers(house: House, headers: dict[str, str]) -> None:
    cards = house.http.get("/detection/detectors", headers=headers).json()
    names = [card["name"] for card in cards]
    assert names[:6] == ["chance", "role", "length", "bag", "keywords", "rules"]
    for name in names:
        asked = {"session_id": house.session_id, "detector": name}
        assert house.http.post("/detection/analyze", json=asked, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        ({"session_id": "nope"}, 404, "there is no session 'nope'"),
        ({}, 422, "give either a session_id or a record"),
        ({"session_id": "a", "record": LIAR}, 422, "give either a session_id or a record"),
        ({"record": LIAR, "detector": "oracle"}, 404, "there is no detector 'oracle'"),
        ({"record": {**LIAR, "scenario": "moon"}}, 404, "there is no scenario 'moon' that can be read"),
        ({"record": {**LIAR, "agents": ["planner"]}}, 422, "'lookout' speaks and is not among the agents"),
        ({"record": {"messages": []}}, 422, "a record needs at least two agents"),
        ({"record": {"messages": [{"agent": "a", "text": "x"}]}}, 422, "a record needs at least two agents"),
        ({"record": {"messages": [], "agents": ["a", "nobody"]}}, 422, "is no name of an agent"),
        ({"record": {"messages": [{"agent": "a"}]}}, 422, "record.messages.0.text: field required"),
        ({"record": {"messages": [{"agent": "a", "txt": 1}]}}, 422, "record.messages.0.txt: there is no such key"),
        ({"record": "all of it"}, 422, "record: input should be a valid object"),
        (
            {"record": {**LIAR, "plan_edits": [{"agent": "a", "slot": "s", "value": [], "turn": 1}]}},
            422,
            "0.value: inp",
        ),
    ],
)
def test_what_cannot_be_judged_is_said_in_a_sentence(
    asked: dict[str, Any], status: int, sentence: str, house: House, headers: dict[str, str]
) -> None:
    answer = house.http.post("/detection/analyze", json=asked, headers=headers)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]


def test_without_the_scope_nobody_gets_a_verdict(house: House) -> None:
    asked = {"session_id": house.session_id}
    assert house.http.get("/detection/detectors").status_code == 401
    weak = house.outsider("session:read", name="weak").headers
    assert house.http.post("/detection/analyze", json=asked, headers=weak).status_code == 403
    assert house.http.get(f"/detection/sessions/{house.session_id}/verdicts", headers=weak).status_code == 403


def test_no_agent_may_have_the_scope() -> None:
    assert Scope.DETECTION not in AGENT_SCOPES


def test_the_routes_are_documented(house: House) -> None:
    paths = house.http.get("/openapi.json").json()["paths"]
    for path in ("/detection/analyze", "/detection/suggest", "/detection/sessions/{session_id}/verdicts"):
        [operation] = paths[path].values()
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert {"401", "404", "422"} <= operation["responses"].keys()


def test_a_browser_that_is_logged_in_needs_no_token(browser: TestClient) -> None:
    assert browser.get("/detection/detectors").status_code == 200


def test_quality_is_told_of_games_that_are_over_alone_with_the_player_beside_the_rules(
    house: House, headers: dict[str, str]
) -> None:
    def asked() -> Quality:
        return Quality.model_validate(house.http.get("/detection/quality", headers=headers).json())

    assert asked() == Quality(detector="rules", measures=[], games=[])
    http, runtime = house.http, house.runtime
    assert http.portal is not None
    orders = (Order(rounds=1, seed=1, arm="mole"), Order(rounds=1, seed=2, arm="mole"), Order(rounds=1, arm="none"))
    others = [http.portal.call(revealed, runtime, order) for order in orders]
    found = asked()
    assert [game.session_id for game in found.games] == others
    assert [game.mole is None for game in found.games] == [False, False, True]
    first = found.games[0]
    assert (first.own_share, first.own_brier) == (1, 0)
    whole = http.post("/detection/analyze", json={"session_id": others[0]}, headers=headers).json()
    assert first.share == pytest.approx(whole["posterior"][first.mole], abs=1e-4)
    counts = {measure.name: (measure.n, measure.of) for measure in found.measures}
    assert counts["the first suspect is the mole"] == (2, "with a mole")
    assert counts["Brier score of the player"] == (3, "noted")
    for measure in found.measures:
        assert (measure.low, measure.high) == (None, None)  # of so few games none is told
    assert [game.session_id for game in asked().games] == others
    one = http.get("/detection/quality", params={"limit": 1}, headers=headers).json()
    assert [game["session_id"] for game in one["games"]] == others[-1:]
    weak = house.outsider("session:read", name="weak").headers
    assert http.get("/detection/quality", headers=weak).status_code == 403


async def revealed(runtime: Runtime, order: Order) -> str:
    """A game in which the player was sure of the right one."""
    session_id = await runtime.sessions.start(USER, order)
    await runtime.sessions.finished(session_id)
    mole = (await runtime.sessions.past(session_id)).truth.mole
    await runtime.games.suspect(USER, session_id, {mole: 1} if mole else {}, 0 if mole else 1)
    await runtime.games.reveal(USER, session_id)
    return session_id
