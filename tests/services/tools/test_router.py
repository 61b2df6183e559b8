"""The tools over HTTP, through the whole app: who gets in, what is answered, and what the audit says."""

import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Row, select
from starlette.testclient import TestClient

from heist.app import create_app
from heist.runtime import Runtime
from heist.services.auth import AGENT_SCOPES, Auth, Scope
from heist.settings import Settings
from heist.store.tables import tool_usage
from tests.conftest import Announced, announcing
from tests.times import HandClock

pytestmark = pytest.mark.mission("S1")

CARDS = ["calculator", "database_query", "file_reader"]


class Client(NamedTuple):
    """An agent's client of a session that runs, and what it holds."""

    client_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class House(NamedTuple):
    http: TestClient
    runtime: Runtime
    session_id: str

    def client(self, *scopes: Scope, name: str = "mole") -> Client:
        """A new client of the session, with a token from the token endpoint."""
        client_id, secret = self.runtime.clients.register(name, frozenset(scopes), self.session_id)
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        return Client(client_id, self.http.post("/oauth/token", data=form).json()["access_token"])

    def late(self, client: Client, seconds: int) -> Client:
        """The same client with a token that it was given `seconds` ago."""
        known = self.runtime.clients.get(client.client_id)
        assert known is not None
        then = Auth(self.runtime.keys, self.runtime.clients, HandClock(datetime.now(UTC) - timedelta(seconds=seconds)))
        return Client(client.client_id, then.issue(known, known.scopes))

    def rows(self) -> list[Row[Any]]:
        """The audit's rows of calls over HTTP, oldest first; the session is paused, so that there are no others."""
        with self.runtime.engine.connect() as connection:
            return list(connection.execute(select(tool_usage).order_by(tool_usage.c.seq)).all())


@pytest.fixture
def house(settings: Settings) -> Generator[House]:
    """The app with one session that is paused before its first turn; its client is not logged in."""
    announced: Announced = []
    with TestClient(create_app(settings, announcing(announced)), base_url="http://127.0.0.1:8008") as http:
        runtime, gate = announced[0]
        http.get("/login", params={"token": gate.token})
        started = http.post("/api/sessions", json={"paused": True}, headers={"Sec-Fetch-Site": "same-origin"})
        http.cookies.clear()
        yield House(http, runtime, started.json()["session_id"])


def test_the_list_holds_the_tools_that_the_token_opens(house: House) -> None:
    cards = house.http.get("/tools", headers=house.client(Scope.FILES).headers).json()
    assert [card["name"] for card in cards] == ["file_reader"]
    assert cards[0]["scope"] == "files:read"
    assert cards[0]["arguments"]["required"] == ["filename"]


def test_the_list_of_one_with_every_scope_is_in_order(house: House) -> None:
    cards = house.http.get("/tools", headers=house.client(*AGENT_SCOPES).headers).json()
    assert [card["name"] for card in cards] == CARDS


def test_the_list_of_one_without_scopes_is_empty(house: House) -> None:
    assert house.http.get("/tools", headers=house.client().headers).json() == []


def test_a_token_for_less_than_the_client_has_opens_less(house: House) -> None:
    client_id, secret = house.runtime.clients.register("mole", AGENT_SCOPES, house.session_id)
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": "files:read"}
    token = house.http.post("/oauth/token", data=form).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert [card["name"] for card in house.http.get("/tools", headers=headers).json()] == ["file_reader"]
    assert house.http.post("/tools/calculator", json={"expression": "1"}, headers=headers).status_code == 403


def test_a_call_is_answered_and_audited(house: House) -> None:
    answer = house.http.post(
        "/tools/calculator", json={"expression": "6 * 7"}, headers=house.client(Scope.CALCULATOR).headers
    )
    assert answer.status_code == 200
    assert (answer.json()["tool"], answer.json()["result"]) == ("calculator", "6 * 7 = 42")
    (row,) = house.rows()
    assert (row.session_id, row.turn_id, row.agent_name, row.tool_name) == (
        house.session_id,
        None,
        "mole",
        "calculator",
    )
    assert json.loads(row.tool_params) == {"expression": "6 * 7"}
    assert (row.tool_result, row.success, row.fault, row.form) == ("6 * 7 = 42", True, None, "http")


@pytest.mark.parametrize(
    ("tool", "scope", "arguments", "part"),
    [
        ("file_reader", Scope.FILES, {"filename": "index"}, "camera_plan: Camera plan (2026-08-30)"),
        ("database_query", Scope.DATABASE, {"query": "SELECT max(years) AS y FROM guards"}, "y\n14"),
    ],
)
def test_a_call_reaches_the_bank_of_the_tokens_session(
    tool: str, scope: Scope, arguments: dict[str, str], part: str, house: House
) -> None:
    answer = house.http.post(f"/tools/{tool}", json=arguments, headers=house.client(scope).headers)
    assert part in answer.json()["result"]


def test_a_call_without_the_scope_is_forbidden_challenged_and_audited(house: House) -> None:
    answer = house.http.post(
        "/tools/database_query", json={"query": "SELECT 1"}, headers=house.client(Scope.FILES).headers
    )
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    challenge = answer.headers["www-authenticate"]
    assert challenge == 'Bearer realm="heist", error="insufficient_scope", scope="database:read"'
    (row,) = house.rows()
    assert (row.agent_name, row.tool_name, row.success, row.fault, row.form) == (
        "mole",
        "database_query",
        False,
        "scope",
        "http",
    )


def test_a_call_with_an_expired_token_is_refused_challenged_and_audited(house: House) -> None:
    late = house.late(house.client(Scope.CALCULATOR), 400)
    answer = house.http.post("/tools/calculator", json={"expression": "1"}, headers=late.headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert answer.headers["www-authenticate"] == 'Bearer realm="heist", error="invalid_token"'
    (row,) = house.rows()
    assert (row.session_id, row.agent_name, row.success, row.fault) == (house.session_id, "mole", False, "token")


def test_the_list_is_closed_to_an_expired_token(house: House) -> None:
    late = house.late(house.client(Scope.CALCULATOR), 400)
    assert house.http.get("/tools", headers=late.headers).status_code == 401


def test_a_client_that_is_gone_is_refused(house: House) -> None:
    client = house.client(Scope.CALCULATOR)
    house.runtime.clients.remove(client.client_id)
    answer = house.http.post("/tools/calculator", json={"expression": "1"}, headers=client.headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "calculator: expression: field required"),
        ({"expression": 5}, "calculator: expression: input should be a valid string"),
        ({"expression": "1", "x": 1}, "calculator: x: there is no such key"),
        ({"expression": "1 / 0"}, "'1 / 0' divides by zero"),
    ],
)
def test_wrong_arguments_are_answered_in_one_sentence_and_audited(
    arguments: dict[str, object], sentence: str, house: House
) -> None:
    answer = house.http.post("/tools/calculator", json=arguments, headers=house.client(Scope.CALCULATOR).headers)
    assert answer.status_code == 422
    assert answer.json() == {"error": "invalid_arguments", "detail": sentence}
    (row,) = house.rows()
    assert (json.loads(row.tool_params), row.tool_result, row.fault) == (arguments, sentence, "arguments")


@pytest.mark.parametrize("body", ["[]", "1", "null", '"1 + 1"', "{", "", "[" * 5_000])
def test_a_body_that_is_no_object_is_refused(body: str, house: House) -> None:
    headers = house.client(Scope.CALCULATOR).headers | {"Content-Type": "application/json"}
    answer = house.http.post("/tools/calculator", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error", "detail"}


def test_an_unknown_tool_is_not_found_and_audited(house: House) -> None:
    answer = house.http.post("/tools/dynamite", json={}, headers=house.client(Scope.FILES).headers)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no tool 'dynamite'; yours are: file_reader"
    (row,) = house.rows()
    assert (row.tool_name, row.fault) == ("dynamite", "unknown")


def test_a_call_outside_a_running_session_is_the_services_fault(house: House) -> None:
    client = house.client(Scope.FILES)
    house.runtime.registry.clear(house.session_id)
    answer = house.http.post("/tools/file_reader", json={"filename": "index"}, headers=client.headers)
    assert (answer.status_code, answer.json()["error"]) == (503, "tool_failed")
    assert house.rows()[0].fault == "service"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/tools"), ("POST", "/tools/calculator"), ("POST", "/tools/dynamite")]
)
def test_without_a_token_the_challenge_has_no_error_code(method: str, path: str, house: House) -> None:
    answer = house.http.request(method, path, json={"expression": "1"} if method == "POST" else None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="heist"')
    assert house.rows() == []


@pytest.mark.parametrize("value", ["{token}", "Basic {token}", "Token {token}", "Bearer", "Bearer ", "Bearer{token}"])
def test_a_token_under_another_scheme_is_no_token(value: str, house: House) -> None:
    headers = {"Authorization": value.format(token=house.client(Scope.CALCULATOR).token)}
    answer = house.http.get("/tools", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="heist"')


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "{token}x", "x{token}", "{token} {token}", "{token}, {token}"])
def test_a_bad_token_is_challenged_with_an_error_code_and_never_audited(token: str, house: House) -> None:
    sent = token.format(token=house.client(Scope.CALCULATOR).token)
    answer = house.http.post("/tools/calculator", json={"expression": "1"}, headers={"Authorization": f"Bearer {sent}"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert house.rows() == []


def test_the_scheme_may_be_in_small_letters(house: House) -> None:
    headers = {"Authorization": f"bearer {house.client(Scope.CALCULATOR).token}"}
    assert house.http.get("/tools", headers=headers).status_code == 200


@pytest.mark.parametrize("name", ["access_token", "token", "authorization", "Authorization"])
def test_a_token_in_the_query_or_a_cookie_is_never_read(name: str, house: House) -> None:
    token = house.client(Scope.CALCULATOR).token
    by_query = house.http.get("/tools", params={name: token})
    by_cookie = house.http.get("/tools", headers={"Cookie": f"{name}={token}"})
    assert (by_query.status_code, by_cookie.status_code) == (401, 401)


def test_a_token_in_the_body_is_never_read(house: House) -> None:
    token = house.client(Scope.CALCULATOR).token
    answer = house.http.post("/tools/calculator", json={"expression": "1", "access_token": token})
    assert answer.status_code == 401


def test_the_browsers_login_opens_no_tool(house: House, browser: TestClient) -> None:
    assert browser.get("/tools").status_code == 401
    assert browser.post("/tools/calculator", json={"expression": "1"}).status_code == 401


@pytest.mark.parametrize(("method", "path"), [("POST", "/tools"), ("GET", "/tools/calculator"), ("PUT", "/tools/x")])
def test_another_method_is_not_allowed(method: str, path: str, house: House) -> None:
    assert house.http.request(method, path, headers=house.client(Scope.FILES).headers).status_code == 405


def test_an_agents_token_does_not_steer_the_session(house: House) -> None:
    answer = house.http.post(f"/api/sessions/{house.session_id}/resume", headers=house.client(*AGENT_SCOPES).headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
