"""The tools switched over HTTP: by the user at the browser and by a client that may, and by nobody else."""

import json
from collections.abc import Generator
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from heist.app import create_app
from heist.runtime import Runtime
from heist.services.clients import hashed, new_credentials
from heist.settings import Settings
from heist.store.clients import Registrations
from tests.conftest import Announced, announcing

pytestmark = pytest.mark.mission("S8")
URL = "http://127.0.0.1:8008"
SAME = {"Sec-Fetch-Site": "same-origin"}


class House(NamedTuple):
    """A browser that is logged in, and the house behind it."""

    browser: TestClient
    runtime: Runtime

    def bearer(self, *scopes: str, name: str = "admin") -> dict[str, str]:
        """The header of a client from outside with these scopes."""
        client_id, secret = new_credentials(name)
        at = "2026-01-01T00:00:00.000000Z"
        Registrations(self.runtime.engine).add(client_id, name, hashed(secret).hex(), " ".join(sorted(scopes)), at)
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        return {"Authorization": f"Bearer {self.browser.post('/oauth/token', data=form).json()['access_token']}"}

    def switches(self) -> list[tuple[str | None, str, str, str]]:
        logged = self.runtime.queries.log(0, None, 10_000, "tool.%")
        bodies = [json.loads(entry.body) for entry in logged if entry.kind != "tool.called"]
        return [(body["session_id"], body["kind"], body["tool"], body["by"]) for body in bodies]

    def tools(self) -> dict[str, dict[str, Any]]:
        answer = self.browser.get("/admin/tools")
        assert answer.status_code == 200, answer.text
        return {tool["name"]: tool for tool in answer.json()}


@pytest.fixture
def house(settings: Settings) -> Generator[House]:
    announced: Announced = []
    with TestClient(create_app(settings, announcing(announced)), URL, headers=SAME) as browser:
        runtime, gate = announced[0]
        browser.get("/login", params={"token": gate.token})
        yield House(browser, runtime)


def test_the_user_at_the_browser_switches_a_tool_off_and_on(house: House) -> None:
    assert [tool["enabled"] for tool in house.tools().values()] == [True] * 9
    answer = house.browser.delete("/admin/tools/calculator")
    assert (answer.status_code, answer.content) == (204, b"")
    assert {name: tool["enabled"] for name, tool in house.tools().items()} == {
        "calculator": False,
        "database_query": True,
        "file_reader": True,
        "get_compressed_memory": True,
        "observe": True,
        "plan": True,
        "plan_board": True,
        "routes": True,
        "store_memory": True,
    }
    assert house.browser.put("/admin/tools/calculator").status_code == 204
    assert house.tools()["calculator"]["enabled"]
    assert house.switches() == [
        (None, "tool.removed", "calculator", "user"),
        (None, "tool.added", "calculator", "user"),
    ]


def test_what_is_so_already_is_answered_the_same_and_not_logged_again(house: House) -> None:
    for method in ("PUT", "DELETE", "DELETE", "DELETE", "PUT", "PUT"):
        assert house.browser.request(method, "/admin/tools/calculator").status_code == 204
    assert [kind for _, kind, _, _ in house.switches()] == ["tool.removed", "tool.added"]


def test_a_client_with_the_right_may_too_without_a_cookie_or_an_origin(house: House) -> None:
    admin = house.bearer("tools:admin")
    house.browser.cookies.clear()
    del house.browser.headers["Sec-Fetch-Site"]
    assert house.browser.delete("/admin/tools/calculator", headers=admin).status_code == 204
    [card, *_] = house.browser.get("/admin/tools", headers=admin).json()
    assert (card["name"], card["enabled"]) == ("calculator", False)
    assert house.switches() == [(None, "tool.removed", "calculator", "admin")]


@pytest.mark.parametrize("scopes", [("calculator:use",), ("session:control", "session:read"), ("tokens:introspect",)])
def test_a_client_without_the_right_is_forbidden(house: House, scopes: tuple[str, ...]) -> None:
    mole = house.bearer(*scopes)
    for method, path in (("GET", ""), ("PUT", "/calculator"), ("DELETE", "/calculator"), ("DELETE", "/dynamite")):
        answer = house.browser.request(method, f"/admin/tools{path}", headers=mole)
        assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
        assert 'scope="tools:admin"' in answer.headers["www-authenticate"]
    assert house.switches() == []


def test_an_agent_of_a_session_switches_nothing(house: House) -> None:
    session_id = house.browser.post("/api/sessions", json={"paused": True}).json()["session_id"]
    agent = house.runtime.sessions._running[session_id]._agents["planner"]
    form = {"grant_type": "client_credentials", "client_id": agent._client_id, "client_secret": agent._secret}
    asked = house.browser.post("/oauth/token", data=form | {"scope": "tools:admin"})
    assert (asked.status_code, asked.json()["error"]) == (400, "invalid_scope")
    token = house.browser.post("/oauth/token", data=form).json()["access_token"]
    answer = house.browser.delete("/admin/tools/calculator", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert house.switches() == []


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer rubbish"}, {"Authorization": "Basic eDp5"}])
def test_nobody_else_is_let_in(house: House, headers: dict[str, str]) -> None:
    house.browser.cookies.clear()
    for method, path in (("GET", ""), ("PUT", "/calculator"), ("DELETE", "/calculator"), ("DELETE", "/dynamite")):
        assert house.browser.request(method, f"/admin/tools{path}", headers=headers).status_code == 401
    assert house.switches() == []


@pytest.mark.mission("S13")
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": URL},
        {"Sec-Fetch-Site": "", "Origin": URL},
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_another_site_cannot_ride_on_the_login(house: House, method: str, headers: dict[str, str]) -> None:
    answer = house.browser.request(method, "/admin/tools/calculator", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "refused")
    assert house.switches() == []


@pytest.mark.mission("S13")
def test_a_request_that_does_not_say_where_it_comes_from_is_refused(house: House) -> None:
    del house.browser.headers["Sec-Fetch-Site"]
    assert house.browser.delete("/admin/tools/calculator").status_code == 403
    assert house.browser.delete("/admin/tools/calculator", headers={"Origin": "http://evil.example"}).status_code == 403
    assert house.browser.delete("/admin/tools/calculator", headers={"Origin": URL}).status_code == 204


@pytest.mark.parametrize("name", ["dynamite", "Calculator", "x" * 5000, "%00", "calculator%20"])
def test_an_unknown_tool_is_not_found(house: House, name: str) -> None:
    for method in ("PUT", "DELETE"):
        answer = house.browser.request(method, f"/admin/tools/{name}")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
        assert answer.json()["detail"].endswith(f"there are: {', '.join(house.tools())}")
        assert len(answer.json()["detail"]) < 300
    assert house.switches() == []


def test_a_tool_that_is_off_is_answered_with_that_over_http_and_counted(house: House) -> None:
    laptop = house.bearer("calculator:use", "files:read", name="laptop")
    house.browser.delete("/admin/tools/calculator")
    cards = house.browser.get("/tools", headers=laptop).json()
    assert [card["name"] for card in cards] == ["file_reader"]
    answer = house.browser.post("/tools/calculator", json={"expression": "1"}, headers=laptop)
    assert (answer.status_code, answer.json()) == (
        503,
        {"error": "tool_failed", "detail": "the tool calculator is switched off at the moment"},
    )
    assert house.browser.post("/tools/file_reader", json={"filename": "index"}, headers=laptop).status_code == 200
    house.browser.put("/admin/tools/calculator")
    assert house.browser.post("/tools/calculator", json={"expression": "1"}, headers=laptop).status_code == 200
    calculator = house.tools()["calculator"]
    assert (calculator["calls"], calculator["succeeded"], calculator["faults"]) == (2, 1, {"service": 1})
    assert (calculator["scope"], calculator["description"]) == (
        "calculator:use",
        "Works out an arithmetic expression.",
    )
    assert calculator["last"].endswith("Z")


def test_both_lists_of_use_say_the_same(house: House) -> None:
    admin = house.bearer("tools:admin", "calculator:use")
    house.browser.post("/tools/calculator", json={"expression": "1"}, headers=admin)
    assert house.browser.get("/tools/stats", headers=admin).json() == house.browser.get("/admin/tools").json()


def test_the_tools_are_as_they_were_left_when_the_server_starts_again(settings: Settings) -> None:
    for expected in (True, False):
        announced: Announced = []
        with TestClient(create_app(settings, announcing(announced)), URL, headers=SAME) as browser:
            browser.get("/login", params={"token": announced[0][1].token})
            [card, *_] = browser.get("/admin/tools").json()
            assert (card["name"], card["enabled"]) == ("calculator", expected)
            browser.delete("/admin/tools/calculator")
