"""The API of the pages: each thing that a user can order, and each refusal in one sentence."""

import time
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

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
        ("/api/sessions", {"mole": "intel"}, 422, "mole: there is no such key"),
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
    began = time.monotonic()
    for _ in range(3):
        browser.post(f"/api/sessions/{session_id}/commands", json={"agent": "intel", "text": "go"})
    assert time.monotonic() - began < 1


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
    assert {"/oauth/token", "/tools", "/tools/{name}", "/api/sessions", "/api/events"} <= set(page["paths"])
    [scheme] = page["components"]["securitySchemes"].values()
    assert scheme["flows"]["clientCredentials"]["tokenUrl"] == "/oauth/token"
    assert client.get("/docs").status_code == 404
