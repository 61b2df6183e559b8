"""The tools over HTTP, through the whole app: who gets in, what is answered, and what the audit says."""

import json
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Row, select
from starlette.testclient import TestClient

from heist.app import create_app
from heist.runtime import Runtime
from heist.services.auth import AGENT_SCOPES, Auth, Resource, Scope
from heist.services.clients import hashed, new_credentials
from heist.settings import Settings
from heist.store.audit import LINGER_SECONDS
from heist.store.clients import Registrations
from heist.store.tables import events, tool_usage
from tests.conftest import Announced, announcing
from tests.times import HandClock

pytestmark = pytest.mark.mission("S1")

URL = "http://127.0.0.1:8008"
CHALLENGE = f'resource_metadata="{URL}/.well-known/oauth-protected-resource"'
CARDS = [
    "calculator",
    "database_query",
    "file_reader",
    "get_compressed_memory",
    "observe",
    "plan",
    "plan_board",
    "routes",
    "store_memory",
]


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
        return self._with_token(client_id, secret)

    def outsider(self, *scopes: str, name: str = "laptop") -> Client:
        """A client that `heist client add` has put into the database, with a token."""
        client_id, secret = new_credentials(name)
        at = "2026-01-01T00:00:00.000000Z"
        Registrations(self.runtime.engine).add(client_id, name, hashed(secret).hex(), " ".join(sorted(scopes)), at)
        return self._with_token(client_id, secret)

    def _with_token(self, client_id: str, secret: str) -> Client:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        return Client(client_id, self.http.post("/oauth/token", data=form).json()["access_token"])

    def late(self, client: Client, seconds: int) -> Client:
        """The same client with a token that it was given `seconds` ago."""
        known = self.runtime.clients.agent(client.client_id)
        assert known is not None
        then = Auth(self.runtime.keys, self.runtime.clients, HandClock(datetime.now(UTC) - timedelta(seconds=seconds)))
        return Client(client.client_id, then.issue(known, known.scopes, Resource(URL)))

    def rows(self) -> list[Row[Any]]:
        """The audit's rows of calls over HTTP, oldest first; the session is paused, so that there are no others."""
        with self.runtime.engine.connect() as connection:
            return list(connection.execute(select(tool_usage).order_by(tool_usage.c.seq)).all())

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind, of whatever session or none, oldest first. Those that nobody waits for are in the log
        a moment later."""
        time.sleep(5 * LINGER_SECONDS)
        with self.runtime.engine.connect() as connection:
            bodies = connection.execute(select(events.c.body).where(events.c.kind == kind).order_by(events.c.seq))
            return [json.loads(body) for (body,) in bodies]


@pytest.fixture
def house(settings: Settings) -> Generator[House]:
    """The app with one session that is paused before its first turn; its client is not logged in."""
    announced: Announced = []
    with TestClient(create_app(settings, announcing(announced)), base_url=URL) as http:
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
    assert answer.json() | {"milliseconds": 0} == {
        "tool": "calculator",
        "result": {"expression": "6 * 7", "value": 42},
        "text": "6 * 7 = 42",
        "milliseconds": 0,
    }
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
    assert part in answer.json()["text"]


def test_a_call_without_the_scope_is_forbidden_challenged_and_audited(house: House) -> None:
    answer = house.http.post(
        "/tools/database_query", json={"query": "SELECT 1"}, headers=house.client(Scope.FILES).headers
    )
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    challenge = answer.headers["www-authenticate"]
    assert challenge == f'Bearer realm="heist", error="insufficient_scope", scope="database:read", {CHALLENGE}'
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
    assert answer.headers["www-authenticate"] == f'Bearer realm="heist", error="invalid_token", {CHALLENGE}'
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
    assert house.rows() == []
    assert [(event["client"], event["tool"], event["error"]) for event in house.told("access.refused")] == [
        (client.client_id, "calculator", "invalid_token")
    ]


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
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f'Bearer realm="heist", {CHALLENGE}')
    assert house.rows() == []


@pytest.mark.parametrize("value", ["{token}", "Basic {token}", "Token {token}", "Bearer", "Bearer ", "Bearer{token}"])
def test_a_token_under_another_scheme_is_no_token(value: str, house: House) -> None:
    headers = {"Authorization": value.format(token=house.client(Scope.CALCULATOR).token)}
    answer = house.http.get("/tools", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f'Bearer realm="heist", {CHALLENGE}')


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


def test_a_card_holds_the_schemas_of_arguments_and_result(house: House) -> None:
    (card,) = house.http.get("/tools", headers=house.client(Scope.CALCULATOR).headers).json()
    assert card["arguments"]["properties"]["expression"]["maxLength"] == 500
    assert sorted(card["result"]["required"]) == ["expression", "value"]


@pytest.mark.mission("S1", "S4")
def test_an_outsiders_call_is_audited_without_a_session_and_looks_into_the_lobby(house: House) -> None:
    laptop = house.outsider(Scope.DATABASE)
    query = {"query": "SELECT count(*) AS n FROM guards"}
    answer = house.http.post("/tools/database_query", json=query, headers=laptop.headers)
    assert answer.json()["result"] == {"columns": ["n"], "rows": [[13]], "truncated": False}
    (row,) = house.rows()
    assert (row.session_id, row.turn_id, row.agent_name, row.tool_name, row.success, row.form) == (
        None,
        None,
        "laptop",
        "database_query",
        True,
        "http",
    )
    assert [(event["session_id"], event["agent"]) for event in house.told("tool.called")] == [(None, "laptop")]


def test_an_outsider_cannot_see_into_a_session(house: House) -> None:
    room = house.runtime.registry._rooms[house.session_id]
    with room.bank.lock:
        room.bank.database().execute("DELETE FROM guards")
    query = {"query": "SELECT count(*) FROM guards"}
    inside = house.http.post("/tools/database_query", json=query, headers=house.client(Scope.DATABASE).headers)
    outside = house.http.post("/tools/database_query", json=query, headers=house.outsider(Scope.DATABASE).headers)
    assert (inside.json()["result"]["rows"], outside.json()["result"]["rows"]) == ([[0]], [[13]])
    assert [row.session_id for row in house.rows()] == [house.session_id, None]


@pytest.mark.parametrize(
    ("tool", "arguments", "status", "fault"),
    [
        ("calculator", {"expression": "1 / 0"}, 422, "arguments"),
        ("file_reader", {"filename": "index"}, 403, "scope"),
        ("dynamite", {}, 404, "unknown"),
    ],
)
def test_an_outsiders_failures_are_audited_once_and_not_as_refusals_too(
    tool: str, arguments: dict[str, str], status: int, fault: str, house: House
) -> None:
    laptop = house.outsider(Scope.CALCULATOR)
    assert house.http.post(f"/tools/{tool}", json=arguments, headers=laptop.headers).status_code == status
    assert [(row.agent_name, row.session_id, row.fault) for row in house.rows()] == [("laptop", None, fault)]
    assert house.told("access.refused") == []


def test_an_outsider_that_is_disabled_is_refused_at_once_and_that_is_on_record(house: House) -> None:
    laptop = house.outsider(Scope.CALCULATOR)
    Registrations(house.runtime.engine).disable("laptop", "2026-01-02T00:00:00.000000Z")
    answer = house.http.post("/tools/calculator", json={"expression": "1"}, headers=laptop.headers)
    assert answer.status_code == 401
    assert house.rows() == []
    assert [(event["session_id"], event["client"]) for event in house.told("access.refused")] == [
        (None, laptop.client_id)
    ]


def test_an_agents_own_token_is_worth_nothing_over_http(house: House) -> None:
    client = house.client(Scope.CALCULATOR)
    known = house.runtime.clients.agent(client.client_id)
    assert known is not None
    inside = {"Authorization": f"Bearer {house.runtime.auth.issue(known, known.scopes)}"}
    assert house.http.get("/tools", headers=inside).status_code == 401
    assert house.http.post("/tools/calculator", json={"expression": "1"}, headers=inside).status_code == 401
    assert house.rows() == []


@pytest.mark.mission("S8")
def test_the_use_of_each_tool_is_counted_by_fault(house: House) -> None:
    admin = house.outsider(Scope.TOOLS_ADMIN, Scope.CALCULATOR, name="admin")
    for expression in ("1 + 1", "2 + 2", "1 / 0"):
        house.http.post("/tools/calculator", json={"expression": expression}, headers=admin.headers)
    house.http.post("/tools/file_reader", json={"filename": "index"}, headers=admin.headers)
    counted = {tool["name"]: tool for tool in house.http.get("/tools/stats", headers=admin.headers).json()}
    assert list(counted) == CARDS
    calculator, reader, database = (counted[name] for name in ("calculator", "file_reader", "database_query"))
    assert (calculator["scope"], calculator["enabled"], calculator["calls"]) == ("calculator:use", True, 3)
    assert (calculator["succeeded"], calculator["faults"]) == (2, {"arguments": 1})
    assert calculator["last"] == max(row.timestamp for row in house.rows() if row.tool_name == "calculator")
    assert calculator["milliseconds"] == pytest.approx(
        sum(row.milliseconds for row in house.rows() if row.tool_name == "calculator") / 3, abs=0.051
    )
    assert (reader["calls"], reader["succeeded"], reader["faults"]) == (1, 0, {"scope": 1})
    assert (database["calls"], database["last"], database["milliseconds"]) == (0, None, 0.0)


def test_the_use_of_the_tools_is_closed_to_those_who_do_not_run_the_house(house: House, browser: TestClient) -> None:
    answer = house.http.get("/tools/stats", headers=house.client(*AGENT_SCOPES).headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert 'scope="tools:admin"' in answer.headers["www-authenticate"]
    assert house.http.get("/tools/stats").status_code == 401
    assert browser.get("/tools/stats").status_code == 401
