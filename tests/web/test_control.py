"""The API of the pages: each thing that a user can order, and each refusal in one sentence."""

import json
import time
from collections.abc import Generator
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from heist.app import create_app
from heist.runtime import Runtime
from heist.settings import Settings
from tests.conftest import Announced, announcing

pytestmark = pytest.mark.mission("S12")


SOCKETS = "ws://127.0.0.1:8008"


def start(browser: TestClient, **order: object) -> str:
    answer = browser.post("/api/sessions", json=order)
    assert answer.status_code == 201, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


def card(browser: TestClient, session_id: str) -> dict[str, Any]:
    found: dict[str, Any] = browser.get(f"/api/sessions/{session_id}").json()
    return found


def finished(browser: TestClient, session_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while card(browser, session_id)["status"] in ("running", "paused"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return card(browser, session_id)


def test_one_post_is_a_whole_session(browser: TestClient) -> None:
    answer = browser.post("/api/sessions")
    assert answer.status_code == 201
    session_id = answer.json()["session_id"]
    assert session_id.startswith("heist_20")
    done = finished(browser, session_id)
    assert (done["status"], done["num_turns"], done["simulated"]) == ("completed", 30, True)


def test_two_starts_at_once_are_two_sessions(browser: TestClient) -> None:
    first, second = start(browser), start(browser)
    assert first != second
    assert {finished(browser, one)["num_turns"] for one in (first, second)} == {30}


def test_a_session_is_steered(browser: TestClient) -> None:
    session_id = start(browser, paused=True, seed=3, rounds=2, turn_order="random")
    assert card(browser, session_id)["status"] == "paused"
    queued = browser.post(f"/api/sessions/{session_id}/commands", json={"agent": "intel", "text": "Look again"})
    assert (queued.status_code, queued.json()) == (202, {"command": 1})
    for verb in ("step", "resume"):
        assert browser.post(f"/api/sessions/{session_id}/{verb}").status_code == 204
    assert finished(browser, session_id)["num_turns"] == 12
    stopped = start(browser, words_per_second=1)
    assert browser.post(f"/api/sessions/{stopped}/stop?now=true").status_code == 204
    assert card(browser, stopped)["status"] == "stopped"


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/api/sessions/heist_x/pause", {}, 404, "there is no session 'heist_x'"),
        ("/api/sessions/heist_x/commands", {"agent": "a", "text": "b"}, 404, "there is no session 'heist_x'"),
        ("/api/sessions", {"crew": "nobody"}, 404, "there is no crew 'nobody' in"),
        ("/api/sessions", {"rounds": 0}, 422, "rounds: input should be greater than or equal to 1"),
        ("/api/sessions", {"rounds": "many"}, 422, "rounds: input should be a valid integer"),
        ("/api/sessions", {"turn_order": "backwards"}, 422, "turn_order: input should be 'round_robin' or 'random'"),
        ("/api/sessions", {"seed": -1}, 422, "seed: input should be greater than or equal to 0"),
        ("/api/sessions", {"moles": "intel"}, 422, "moles: there is no such key"),
        ("/api/sessions", {"mole": "nemo"}, 404, "there is no agent 'nemo'; mole is random, none, or one of: planner"),
        ("/api/sessions", {"mole": "none", "arm": "mole"}, 422, "mole none and arm mole contradict each other"),
        ("/api/sessions", {"strategy": "charm"}, 404, "there is no strategy 'charm'; there are: coordination_chaos"),
        (
            "/api/sessions",
            {"arm": "none", "strategy": "false_info"},
            422,
            "a strategy is a mole's, and a game of arm none has no mole",
        ),
        (
            "/api/sessions",
            {"arm": "double"},
            422,
            "arm: input should be 'any', 'mole', 'none', 'placebo' or 'incompetent'",
        ),
        ("/api/sessions", {"rate": 11}, 422, "rate: input should be less than or equal to 10"),
        ("/api/sessions", {"facts": "true"}, 422, "facts: input should be 'drawn' or 'fixed'"),
        ("/api/sessions", {"seed": 2**53}, 422, "seed: input should be less than 9007199254740992"),
        ("/api/sessions/heist_x/guess", {"agent": "intel"}, 404, "there is no session 'heist_x'"),
        ("/api/sessions/heist_x/reveal", {}, 404, "there is no session 'heist_x'"),
        ("/api/sessions/heist_x/guess", {}, 422, "agent: field required"),
        (
            "/api/sessions/heist_x/suspicions",
            {"agents": {"intel": "much"}},
            422,
            "agents.intel: input should be a valid number",
        ),
        ("/api/sessions", 7, 422, "the body must be a JSON object"),
        ("/api/nothing", {}, 404, "there is nothing at '/api/nothing'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    browser: TestClient, path: str, body: object, status: int, sentence: str
) -> None:
    answer = browser.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(sentence)
    assert set(answer.json()) == {"error", "detail"}


def test_what_a_session_refuses_it_refuses_in_one_sentence(browser: TestClient) -> None:
    session_id = start(browser, paused=True)
    commands = f"/api/sessions/{session_id}/commands"
    for body, status, sentence in (
        ({"agent": "mole", "text": "x"}, 404, "there is no agent 'mole' in this session; there are: planner"),
        ({"agent": "intel", "text": ""}, 422, "a command has 1 to 2000 characters, this one has 0"),
        ({"agent": "intel"}, 422, "text: field required"),
        ({"agent": "intel", "text": "x", "txt": "y"}, 422, "txt: there is no such key"),
    ):
        answer = browser.post(commands, json=body)
        assert (answer.status_code, answer.json()["detail"].startswith(sentence)) == (status, True), answer.text
    assert browser.post(f"/api/sessions/{session_id}/pause").status_code == 409
    browser.post(f"/api/sessions/{session_id}/stop?now=true")
    answer = browser.post(commands, json={"agent": "intel", "text": "x"})
    assert (answer.status_code, answer.json()["detail"]) == (409, f"the session {session_id} is over (stopped)")


@pytest.mark.parametrize("event", ["-1", "x", "9" * 5000, "9" * 19, "1.5"])
def test_a_strange_place_to_resume_from_is_the_beginning_or_refused(browser: TestClient, event: str) -> None:
    assert browser.get("/api/events", params={"session": "none"}, headers={"Last-Event-ID": event}).status_code == 404
    assert browser.get("/api/events", params={"session": "none", "after": event}).status_code == 422


def test_half_a_character_is_no_command(browser: TestClient) -> None:
    session_id = start(browser, paused=True)
    body = b'{"agent": "intel", "text": "\\ud800"}'
    answer = browser.post(f"/api/sessions/{session_id}/commands", content=body)
    assert answer.status_code == 422
    queued = browser.post(f"/api/sessions/{session_id}/commands", json={"agent": "intel", "text": "go"})
    assert queued.json() == {"command": 1}


def test_a_long_session_at_random_is_steered_at_once(browser: TestClient) -> None:
    session_id = start(browser, rounds=1000, turn_order="random", paused=True)
    began = time.process_time()
    for _ in range(3):
        browser.post(f"/api/sessions/{session_id}/commands", json={"agent": "intel", "text": "go"})
    assert time.process_time() - began < 1


def test_rubbish_is_no_json(browser: TestClient) -> None:
    answer = browser.post("/api/sessions", content=b"{rubbish", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid")
    assert browser.delete("/api/sessions").status_code == 405


def test_the_list_is_paged(browser: TestClient) -> None:
    ids = [start(browser, paused=True) for _ in range(3)]
    first = browser.get("/api/sessions", params={"limit": 2}).json()
    second = browser.get("/api/sessions", params={"limit": 2, "before": first["sessions"][-1]["session_id"]}).json()
    listed = [session["session_id"] for session in first["sessions"] + second["sessions"]]
    assert sorted(listed) == sorted(ids)
    assert browser.get("/api/sessions", params={"limit": 0}).status_code == 422


def test_the_house_says_who_would_speak(browser: TestClient) -> None:
    house = browser.get("/api/house").json()
    assert {"file": "crew", "name": "The classic six", "agents": 6, "rounds": 5, "problem": ""} in house["crews"]
    assert (house["model"], house["simulated"], house["problem"]) == ("simulated crew", True, "")


@pytest.mark.parametrize(
    ("headers", "session", "sentence"),
    [
        ({"Cookie": ""}, None, "log in first"),
        ({"Origin": "http://evil.example"}, None, "the request is from another site"),
        ({"Host": "evil.example"}, None, "does not answer to the name"),
        ({}, "heist_none", "there is no session 'heist_none'"),
    ],
)
def test_a_websocket_that_may_not_is_closed_with_the_reason(
    browser: TestClient, headers: dict[str, str], session: str | None, sentence: str
) -> None:
    if headers.get("Cookie") == "":
        browser.cookies.clear()
    query = f"?session={session}" if session else ""
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        browser.websocket_connect(f"{SOCKETS}/api/ws{query}", headers=headers) as socket,
    ):
        socket.receive_text()
    assert (closed.value.code, sentence in closed.value.reason) == (1008, True)


def test_openapi_knows_every_route_and_its_scopes(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    assert {"/oauth/token", "/tools", "/tools/stats", "/api/sessions", "/api/events"} <= set(page["paths"])
    assert {"/admin/tools/{name}", "/api/sessions/{session_id}/quarantine/{agent}"} <= set(page["paths"])
    for tool in ("calculator", "database_query", "file_reader"):
        assert set(page["paths"][f"/tools/{tool}"]) == {"post"}
    [scheme] = page["components"]["securitySchemes"].values()
    assert scheme["flows"]["clientCredentials"]["tokenUrl"] == "/oauth/token"
    assert client.get("/docs").status_code == 404


URL = "http://127.0.0.1:8008"


class Inside(NamedTuple):
    """A browser that is logged in, and the house behind it."""

    browser: TestClient
    runtime: Runtime

    def told(self, session_id: str, kind: str) -> list[dict[str, Any]]:
        logged = self.runtime.queries.log(0, session_id, 100_000)
        return [json.loads(entry.body) for entry in logged if entry.kind == kind]

    def token(self, client_id: str, secret: str) -> dict[str, str]:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        return {"Authorization": f"Bearer {self.browser.post('/oauth/token', data=form).json()['access_token']}"}


@pytest.fixture
def inside(settings: Settings) -> Generator[Inside]:
    announced: Announced = []
    headers = {"Sec-Fetch-Site": "same-origin"}
    with TestClient(create_app(settings, announcing(announced)), URL, headers=headers) as browser:
        runtime, gate = announced[0]
        browser.get("/login", params={"token": gate.token})
        yield Inside(browser, runtime)


def test_quarantine_kills_tokens_that_were_asked_for_over_http_and_release_brings_none_back(inside: Inside) -> None:
    browser, runtime = inside
    session_id = start(browser, paused=True)
    agent = runtime.sessions._running[session_id]._agents["planner"]
    old = inside.token(agent._client_id, agent._secret)
    sum_ = {"expression": "6 * 7"}
    assert browser.post("/tools/calculator", json=sum_, headers=old).json()["text"] == "6 * 7 = 42"
    path = f"/api/sessions/{session_id}/quarantine/planner"
    assert browser.put(path, json={"reason": "It lies."}).status_code == 204

    refused = browser.post("/tools/calculator", json=sum_, headers=old)
    assert (refused.status_code, refused.json()["detail"]) == (
        401,
        "planner is in quarantine: its tokens are no longer good",
    )
    assert browser.get("/tools", headers=old).status_code == 401
    form = {"grant_type": "client_credentials", "client_id": agent._client_id, "client_secret": agent._secret}
    assert browser.post("/oauth/token", data=form).json()["error"] == "unauthorized_client"
    called = [(event["agent"], event["fault"]) for event in inside.told(session_id, "tool.called")]
    assert called == [("planner", None), ("planner", "token")]

    assert browser.delete(path).status_code == 204
    assert browser.post("/tools/calculator", json=sum_, headers=old).status_code == 401
    new = inside.token(agent._client_id, agent._secret)
    assert browser.post("/tools/calculator", json=sum_, headers=new).status_code == 200
    [quarantined], [released] = (inside.told(session_id, f"agent.{kind}") for kind in ("quarantined", "released"))
    assert (quarantined["agent"], quarantined["reason"], quarantined["by"]) == ("planner", "It lies.", "user")
    assert (released["agent"], released["by"]) == ("planner", "user")


def test_what_was_refused_a_known_agent_is_on_its_sessions_record_whatever_it_asked_for(inside: Inside) -> None:
    browser, runtime = inside
    session_id = start(browser, paused=True)
    agent = runtime.sessions._running[session_id]._agents["planner"]
    old = inside.token(agent._client_id, agent._secret)
    browser.put(f"/api/sessions/{session_id}/quarantine/planner")
    browser.get("/tools", headers=old)
    form = {"grant_type": "client_credentials", "client_id": agent._client_id, "client_secret": agent._secret}
    browser.post("/oauth/token", data=form)
    time.sleep(0.1)
    refused = inside.told(session_id, "access.refused")
    assert [(event["client"], event["path"], event["status"]) for event in refused] == [
        ("planner", "/tools", 401),
        ("planner", "/oauth/token", 400),
    ]


def test_quarantine_that_makes_no_sense_is_refused_in_one_sentence(inside: Inside) -> None:
    browser, _ = inside
    session_id = start(browser, paused=True)
    path = f"/api/sessions/{session_id}/quarantine"
    assert browser.put(f"{path}/intel").status_code == 204
    for method, url, body, status, sentence in (
        ("PUT", f"{path}/intel", None, 409, "intel is in quarantine already"),
        ("DELETE", f"{path}/planner", None, 409, "planner is not in quarantine"),
        ("PUT", f"{path}/mole", None, 404, "there is no agent 'mole' in this session; there are: planner, hacker"),
        ("DELETE", f"{path}/mole", None, 404, "there is no agent 'mole' in this session; there are: planner, hacker"),
        ("PUT", "/api/sessions/heist_x/quarantine/intel", None, 404, "there is no session 'heist_x'"),
        ("PUT", f"{path}/hacker", {"reason": "x" * 301}, 422, "a reason has 0 to 300 characters, this one has 301"),
        ("PUT", f"{path}/hacker", {"reason": 5}, 422, "reason: input should be a valid string"),
        ("PUT", f"{path}/hacker", {"why": "x"}, 422, "why: there is no such key"),
        ("PUT", f"{path}/hacker", 5, 422, "the body must be a JSON object"),
    ):
        answer = browser.request(method, url, json=body)
        assert (answer.status_code, answer.json()["detail"].startswith(sentence)) == (status, True), answer.text
    assert [event["agent"] for event in inside.told(session_id, "agent.quarantined")] == ["intel"]
    assert browser.put(f"{path}/hacker", json={"reason": "x" * 300}).status_code == 204
    browser.post(f"/api/sessions/{session_id}/stop?now=true")
    answer = browser.put(f"{path}/driver")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"the session {session_id} is over (stopped)")


def test_quarantine_needs_a_login_and_comes_from_our_own_pages(inside: Inside) -> None:
    browser, runtime = inside
    session_id = start(browser, paused=True)
    path = f"/api/sessions/{session_id}/quarantine/intel"
    assert browser.put(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    agent = runtime.sessions._running[session_id]._agents["planner"]
    answer = browser.put(path, headers=inside.token(agent._client_id, agent._secret))
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    browser.cookies.clear()
    assert browser.put(path).status_code == 401
    assert browser.delete(path).status_code == 401
    assert inside.told(session_id, "agent.quarantined") == []


@pytest.mark.mission("S8")
def test_a_session_is_started_with_tools_of_its_own(inside: Inside) -> None:
    browser, _ = inside
    session_id = start(browser, paused=True, tools=["calculator"])
    assert inside.told(session_id, "session.started")[0]["tools"] == ["calculator"]
    assert inside.told(start(browser, paused=True), "session.started")[0]["tools"] is None


@pytest.mark.mission("S8")
@pytest.mark.parametrize(
    ("tools", "status", "sentence"),
    [
        (["dynamite"], 404, "there is no tool 'dynamite'; there are: calculator, database_query, file_reader"),
        (["calculator", "dynamite"], 404, "there is no tool 'dynamite'"),
        ("calculator", 422, "tools: input should be a list"),
        ([5], 422, "tools.0: input should be a valid string"),
        (["calculator"] * 101, 422, "tools: "),
    ],
)
def test_tools_that_do_not_exist_begin_no_session(
    browser: TestClient, tools: object, status: int, sentence: str
) -> None:
    answer = browser.post("/api/sessions", json={"tools": tools})
    assert (answer.status_code, answer.json()["detail"].startswith(sentence)) == (status, True), answer.text
    assert browser.get("/api/sessions").json()["sessions"] == []


@pytest.mark.mission("S10")
def test_a_game_over_http_from_the_suspicion_to_the_reveal(browser: TestClient) -> None:
    session_id = start(browser, paused=True, rounds=1, mole="intel", strategy="false_info")
    at = f"/api/sessions/{session_id}"
    assert browser.post(f"{at}/suspicions", json={"agents": {"intel": 2}, "nobody": 1}).status_code == 204
    early = browser.post(f"{at}/reveal")
    assert (early.status_code, early.json()["detail"]) == (
        409,
        f"the session {session_id} is not over; stop it, or wait for its end",
    )
    browser.post(f"{at}/resume")
    finished(browser, session_id)
    assert browser.get("/api/games").json() == []
    assert browser.post(f"{at}/guess", json={"agent": "intel"}).status_code == 204
    twice = browser.post(f"{at}/guess", json={"agent": None})
    assert (twice.status_code, twice.json()["detail"]) == (409, f"the game of {session_id} is over: its log tells all")
    [tally] = browser.get("/api/games").json()
    assert (tally["arm"], tally["strategy"], tally["success"], tally["games"]) == ("mole", "false_info", 1, 1)
    ways = browser.get("/api/strategies").json()
    assert {"name": "false_info", "title": "False information"} in ways
    assert "text" not in ways[0]


def test_nobody_without_a_login_gets_to_the_game_or_a_fork(client: TestClient) -> None:
    for path, body in (
        ("guess", {"agent": None}),
        ("reveal", {}),
        ("fork", {}),
        ("suspicions", {"agents": {}, "nobody": 1}),
    ):
        answer = client.post(f"/api/sessions/heist_x/{path}", json=body, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 401
    for path in ("/api/games", "/api/strategies"):
        assert client.get(path).status_code == 401


@pytest.mark.mission("S13")
def test_a_session_is_forked_from_a_moment_and_says_so(browser: TestClient) -> None:
    session_id = start(browser, rounds=1)
    finished(browser, session_id)
    answer = browser.post(f"/api/sessions/{session_id}/fork", json={"turn": 4})
    assert answer.status_code == 201
    fork = answer.json()["session_id"]
    events = browser.get(f"/api/sessions/{fork}/log").json()["events"]
    assert events[0]["fork"]["session_id"] == session_id
    assert events[0]["fork"]["turn"] == 4
    assert browser.get(f"/api/sessions/{fork}").json()["num_turns"] == 4
    assert browser.get(f"/api/sessions/{fork}").json()["status"] == "paused"
    assert browser.post(f"/api/sessions/{fork}/resume").status_code == 204
    finished(browser, fork)
    last = browser.get(f"/api/sessions/{session_id}/log").json()["events"][-1]["seq"]
    for body, status, sentence in (
        ({"turn": 7}, 404, f"turn 7 of the session {session_id} is not over; it has taken 6"),
        ({"seq": last + 999}, 404, f"there is no {last + 999}"),
        ({"seq": last, "turn": 1}, 422, "a moment is a row of the log or a turn, and here both are given"),
        ({}, 409, f"the session {session_id} had taken all of its 6 turns; go back to an earlier moment"),
        ({"turn": -1}, 422, "greater than or equal to 0"),
        ({"when": 1}, 422, "when"),
    ):
        refused = browser.post(f"/api/sessions/{session_id}/fork", json=body)
        assert refused.status_code == status
        assert sentence in refused.json()["detail"]
    assert browser.post("/api/sessions/heist_x/fork").status_code == 404
    refused = browser.post(f"/api/sessions/{fork}/reveal")
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        f"this is a fork of {session_id}, which has the same mole; end that game first",
    )
