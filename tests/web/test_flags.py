"""What a house has switched off it refuses in one sentence, over every door that leads there."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from heist.app import create_app
from heist.settings import Flags, Settings
from tests.conftest import Announced, announcing

pytestmark = pytest.mark.mission("S16")


@contextmanager
def house(settings: Settings, **off: bool) -> Generator[tuple[TestClient, Announced]]:
    """A browser in a house with these flags."""
    announced: Announced = []
    chosen = settings.model_copy(update={"flags": Flags(**off)})
    headers = {"Sec-Fetch-Site": "same-origin"}
    with TestClient(create_app(chosen, announcing(announced)), "http://127.0.0.1:8008", headers=headers) as inside:
        inside.get("/login", params={"token": announced[0][1].token})
        yield inside, announced


def started(browser: TestClient) -> str:
    session_id: str = browser.post("/api/sessions", json={"words_per_second": 20}).json()["session_id"]
    return session_id


def refused(browser: TestClient, method: str, path: str, sentence: str, body: object = None) -> None:
    answer = browser.request(method, path, json=body)
    assert (answer.status_code, answer.json()) == (403, {"error": "switched_off", "detail": sentence}), path


def test_the_flags_are_told_to_those_who_are_logged_in(settings: Settings) -> None:
    with house(settings, judge=False) as (browser, _):
        assert browser.get("/api/flags").json() == Flags(judge=False).model_dump()
        browser.cookies.clear()
        assert browser.get("/api/flags").status_code == 401


def test_without_live_control_a_session_takes_its_course(settings: Settings) -> None:
    with house(settings, live_control=False) as (browser, _):
        session = f"/api/sessions/{started(browser)}"
        sentence = "live control is switched off in this house, by the flag live_control"
        for path in ("pause", "resume", "step", "stop"):
            refused(browser, "POST", f"{session}/{path}", sentence)
        for method in ("PUT", "DELETE"):
            refused(browser, method, f"{session}/quarantine/hacker", sentence)
        refused(browser, "POST", "/api/sessions", sentence, {"paused": True})
        assert browser.post(f"{session}/commands", json={"agent": "hacker", "text": "Hush."}).status_code == 202


def test_without_commands_nobody_is_ordered(settings: Settings) -> None:
    with house(settings, commands=False) as (browser, _):
        session = f"/api/sessions/{started(browser)}"
        sentence = "commands are switched off in this house, by the flag commands"
        refused(browser, "POST", f"{session}/commands", sentence, {"agent": "hacker", "text": "Hush."})
        assert browser.post(f"{session}/pause").status_code == 204


def test_without_detection_nobody_looks_on(settings: Settings) -> None:
    with house(settings, detection=False) as (browser, announced):
        heard: list[str] = []
        announced[0][0].bus.watch(lambda recorded: heard.append(recorded.event.kind))
        session_id: str = browser.post("/api/sessions", json={"rounds": 1}).json()["session_id"]
        sentence = "detection is switched off in this house, by the flag detection"
        for path in ("analyze", "suggest"):
            refused(browser, "POST", f"/detection/{path}", sentence, {"session_id": session_id})
        refused(browser, "GET", "/detection/detectors", sentence)
        refused(browser, "GET", f"/detection/sessions/{session_id}/verdicts", sentence)
        deadline = time.monotonic() + 10
        while "session.completed" not in heard:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "suspicion.updated" not in heard


def test_without_a_judge_the_rules_still_speak(settings: Settings) -> None:
    with house(settings, judge=False) as (browser, announced):
        session_id = started(browser)
        asked = {"session_id": session_id, "detector": "judge"}
        refused(
            browser, "POST", "/detection/analyze", "the judge is switched off in this house, by the flag judge", asked
        )
        told = browser.post("/detection/analyze", json={**asked, "detector": "hybrid"}).json()
        assert told["judge"]["status"] == "off"
        assert announced[0][0].desk.settings.judge.arm == "off"


def test_without_blind_play_there_is_no_blind_log_and_no_noted_suspicion(settings: Settings) -> None:
    with house(settings, blind_play=False) as (browser, _):
        session_id = started(browser)
        sentence = "blind play is switched off in this house, by the flag blind_play"
        refused(browser, "GET", f"/api/sessions/{session_id}/log?blind=true", sentence)
        refused(browser, "GET", f"/api/events?session={session_id}&blind=true", sentence)
        refused(browser, "POST", f"/api/sessions/{session_id}/suspicions", sentence, {"agents": {"hacker": 1}})
        with (
            pytest.raises(WebSocketDisconnect),
            browser.websocket_connect(f"ws://127.0.0.1:8008/api/ws?session={session_id}&blind=true") as socket,
        ):
            socket.receive_json()
        assert browser.get(f"/api/sessions/{session_id}/log").status_code == 200


def test_a_refusal_of_this_kind_is_not_on_record_as_one_of_rights(settings: Settings) -> None:
    with house(settings, commands=False) as (browser, announced):
        session_id = started(browser)
        browser.post(f"/api/sessions/{session_id}/commands", json={"agent": "hacker", "text": "Hush."})
        rows = announced[0][0].queries.log(0, None, 1000, "access.refused")
        assert list(rows) == []
