"""Analytics over HTTP: who may ask, in which form it is answered, and what is said where it cannot be."""

import csv
from collections.abc import Generator
from io import StringIO
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from heist.agents.sessions import Order
from heist.app import create_app
from heist.runtime import Runtime
from heist.services.auth import AGENT_SCOPES, USER_SCOPES, Scope
from heist.settings import Settings
from tests.conftest import SECRET, USER, Announced, announcing
from tests.services.tools.test_router import House

pytestmark = pytest.mark.mission("S14")

URL = "http://127.0.0.1:8008"
PATHS = ("sessions", "tool-stats", "agent-activity", "interactions", "metrics-summary")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[House]:
    """Two sessions that are over; the game of the second is, too."""
    folder = tmp_path_factory.mktemp("house")
    settings = Settings(llm="simulated", database_url=f"sqlite:///{folder}/heist.db", secret=SecretStr(SECRET))
    announced: Announced = []
    with TestClient(create_app(settings, announcing(announced)), base_url=URL) as http:
        runtime, _ = announced[0]
        assert http.portal is not None
        for seed in (7, 8):
            session_id = http.portal.call(played, runtime, seed)
        http.portal.call(runtime.games.guess, USER, session_id, "hacker")
        yield House(http, runtime, session_id)


async def played(runtime: Runtime, seed: int) -> str:
    session_id = await runtime.sessions.start(USER, Order(rounds=1, seed=seed, mole="hacker"))
    await runtime.sessions.finished(session_id)
    return session_id


@pytest.fixture(scope="module")
def headers(house: House) -> dict[str, str]:
    return house.outsider("analytics:read").headers


def asked(house: House, headers: dict[str, str], path: str, **params: Any) -> Any:
    answer = house.http.get(f"/analytics/{path}", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_question_is_answered(house: House, headers: dict[str, str]) -> None:
    listed = asked(house, headers, "sessions")
    second, first = listed["sessions"]
    assert (second["session_id"], listed["next"]) == (house.session_id, None)
    assert (first["game"], second["game"]["result"], second["game"]["strategy"] is None) == (None, "SUCCESS", False)
    detail = asked(house, headers, f"sessions/{house.session_id}")
    assert (detail["session"], len(detail["agents"]), len(detail["follows"])) == (second, 6, 5)
    tools = asked(house, headers, "tool-stats")
    assert sum(tool["calls"] for tool in tools["tools"]) == first["tool_calls"] + second["tool_calls"] > 0
    assert [agent["messages"] for agent in asked(house, headers, "agent-activity")["agents"]] == [2] * 6
    assert sum(pair["times"] for pair in asked(house, headers, "interactions")["follows"]) == 10
    compared = asked(house, headers, "compare", session=[first["session_id"], second["session_id"]])
    assert compared["sessions"][1]["session"] == second
    assert {one["measure"]: one["difference"] for one in compared["differences"]}["turns"] == 0
    summary = asked(house, headers, "metrics-summary", by="crew")
    whole = summary["summary"]
    assert (whole["sessions"], whole["completion_rate"], whole["average_turns"]) == (2, 1.0, 6.0)
    assert (whole["games"]["revealed"], whole["games"]["guess_accuracy"]) == (1, 1.0)
    assert [group["group"] for group in summary["groups"]] == ["crew"]


def test_filters_and_pages_reach_the_audit(house: House, headers: dict[str, str]) -> None:
    page = asked(house, headers, "sessions", limit=1)
    assert page["next"] == house.session_id
    rest = asked(house, headers, "sessions", limit=1, before=page["next"])
    assert (len(rest["sessions"]), rest["next"]) == (1, None)
    then = rest["sessions"][0]["start_time"]
    strategy = page["sessions"][0]["game"]["strategy"]
    for params, count in (
        ({"since": then}, 2),
        ({"until": then}, 0),
        ({"since": "2020-01-01", "until": "2100-01-01T00:00:00+05:00"}, 2),
        ({"crew": "crew"}, 2),
        ({"model": "none"}, 0),
        ({"variant": "a"}, 0),
        ({"strategy": strategy}, 1),
    ):
        assert len(asked(house, headers, "sessions", **params)["sessions"]) == count, params
        assert asked(house, headers, "metrics-summary", **params)["summary"]["sessions"] == count, params
    tools = asked(house, headers, "tool-stats")
    assert asked(house, headers, "tool-stats", limit=1, offset=1) == {
        "tools": tools["tools"][1:2],
        "total": tools["total"],
    }


@pytest.mark.parametrize(
    ("accept", "query", "type_"),
    [
        ("text/csv", "", "text/csv"),
        ("text/csv, application/json;q=0.5", "", "text/csv"),
        ("application/json, text/csv", "", "application/json"),
        ("*/*", "", "application/json"),
        ("application/json", "csv", "text/csv"),
        ("text/csv", "json", "application/json"),
    ],
)
def test_the_form_is_what_is_asked_for(
    accept: str, query: str, type_: str, house: House, headers: dict[str, str]
) -> None:
    for path in (*PATHS, f"sessions/{house.session_id}"):
        answer = house.http.get(
            f"/analytics/{path}", params={"format": query} if query else {}, headers={**headers, "Accept": accept}
        )
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, type_), path


def test_a_table_holds_what_the_answer_holds(house: House, headers: dict[str, str]) -> None:
    told = asked(house, headers, "sessions")["sessions"]
    answer = house.http.get("/analytics/sessions", params={"format": "csv"}, headers=headers)
    rows = list(csv.DictReader(StringIO(answer.text)))
    assert [row["session_id"] for row in rows] == [one["session_id"] for one in told]
    assert [int(row["messages"]) for row in rows] == [one["messages"] for one in told]
    assert [row["game.result"] for row in rows] == ["SUCCESS", ""]
    tools = house.http.get("/analytics/tool-stats", params={"format": "csv"}, headers=headers)
    for row, tool in zip(
        csv.DictReader(StringIO(tools.text)), asked(house, headers, "tool-stats")["tools"], strict=True
    ):
        assert {name: int(row[f"agents.{name}"]) for name in tool["agents"]} == tool["agents"]


def test_how_right_the_detector_was_is_what_it_says_of_the_revealed_games(
    house: House, headers: dict[str, str]
) -> None:
    answer = house.http.post(
        "/detection/analyze",
        json={"session_id": house.session_id},
        headers=house.outsider("detection:read", name="detective").headers,
    )
    right = int(answer.json()["suggested_mole"] == "hacker")
    told = asked(house, headers, "metrics-summary")["summary"]["detection"]
    assert (told["detector"], told["games"], told["abstained"], told["right"]) == ("rules", 1, 0, right)
    assert (told["accuracy"], told["false_accusations"]) == (float(right), told["false_accusations"])
    assert asked(house, headers, "metrics-summary", detector="")["summary"]["detection"] is None
    bag = asked(house, headers, "metrics-summary", detector="bag")["summary"]["detection"]
    assert (bag["abstained"], bag["right"], bag["accuracy"]) == (1, 0, None)


@pytest.mark.parametrize(
    ("path", "params", "status", "sentence"),
    [
        ("sessions/nope", {}, 404, "there is no session 'nope'"),
        ("sessions", {"before": "nope"}, 404, "there is no session 'nope'"),
        ("sessions", {"limit": 0}, 422, "limit"),
        ("sessions", {"since": "yesterday"}, 422, "since"),
        ("sessions", {"since": "2026-02-01", "until": "2026-01-01"}, 422, "until: it has to be later than since"),
        ("metrics-summary", {"since": "2026-02-01", "until": "2026-02-01"}, 422, "later than since"),
        ("sessions", {"since": "0001-01-01T00:00:00+14:00"}, 422, "since: there is no such moment in UTC"),
        ("sessions", {"format": "xml"}, 422, "format"),
        ("sessions", {"crew": "a\x00b"}, 422, "crew"),
        ("compare", {"session": "a"}, 422, "session"),
        ("compare", {"session": ["a", "a"]}, 422, "a comparison is of 2 to 20 sessions, each named once"),
        ("compare", {"session": ["a", "b"]}, 404, "there is no session 'a'"),
        ("metrics-summary", {"by": "strategy"}, 422, "by"),
        ("metrics-summary", {"detector": "oracle"}, 404, "there is no detector 'oracle'"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_sentence(
    path: str, params: dict[str, Any], status: int, sentence: str, house: House, headers: dict[str, str]
) -> None:
    answer = house.http.get(f"/analytics/{path}", params=params, headers=headers)
    assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text


def test_only_who_has_the_scope_is_answered_and_no_agent_may_have_it(house: House) -> None:
    weak = house.outsider("session:read", "detection:read", name="weak").headers
    for path in (*PATHS, f"sessions/{house.session_id}", "compare?session=a&session=b"):
        assert house.http.get(f"/analytics/{path}").status_code == 401
        refused = house.http.get(f"/analytics/{path}", headers=weak)
        assert (refused.status_code, 'scope="analytics:read"' in refused.headers["www-authenticate"]) == (403, True)
    assert Scope.ANALYTICS not in AGENT_SCOPES
    assert Scope.ANALYTICS in USER_SCOPES


def test_a_browser_that_is_logged_in_needs_no_token(browser: TestClient) -> None:
    for path in PATHS:
        assert browser.get(f"/analytics/{path}").status_code == 200


def test_an_empty_house_has_answers_too(browser: TestClient) -> None:
    summary = browser.get("/analytics/metrics-summary").json()["summary"]
    assert (summary["sessions"], summary["completion_rate"], summary["detection"]) == (0, None, None)
    for path in PATHS:
        assert browser.get(f"/analytics/{path}", params={"format": "csv"}).status_code == 200


def test_the_routes_are_documented(house: House) -> None:
    document = house.http.get("/openapi.json").json()
    for path in (*PATHS, "sessions/{session_id}", "compare"):
        operation = document["paths"][f"/analytics/{path}"]["get"]
        content = operation["responses"]["200"]["content"]
        assert content["application/json"]["schema"]["$ref"]
        assert content["text/csv"]["schema"] == {"type": "string"}
        assert {"401", "403", "422"} <= operation["responses"].keys()
        assert "needs analytics:read" in operation["summary"]
