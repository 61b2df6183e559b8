"""Refusals: each is one sentence with the status of its kind, and those of rights are on record."""

import asyncio
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from heist.bus import Bus
from heist.clock import SystemClock
from heist.errors import InvalidToken
from heist.events import Event, ToolCalled
from heist.runtime import Runtime
from heist.services.oauth.server import FAILURES
from heist.settings import Settings
from heist.store.clients import Registrations
from heist.web.refusals import Refusals
from tests.services.oauth import AT, SITE, STREAMING, Door, Known, bearing, claimed, opened

pytestmark = pytest.mark.mission("S1")

BOTH = ("calculator:use", "files:read")
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "calculator", "arguments": {"expression": "1 + 1"}},
}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Generator[Door]:
    with opened(tmp_path_factory.mktemp("refusals")) as one:
        yield one


def refused(path: str, status: int, error: str, **more: Any) -> dict[str, Any]:
    nothing = {"session_id": None, "client": "", "tool": None, "scope": None}
    return nothing | {"path": path, "status": status, "error": error} | more


NOBODY: dict[str, tuple[Callable[[Door], httpx2.Response], dict[str, Any]]] = {
    "the list of tools without a token": (
        lambda d: d.http.get("/tools"),
        refused("/tools", 401, "invalid_token"),
    ),
    "the list of tools with a forged token": (
        lambda d: d.tools("forged"),
        refused("/tools", 401, "invalid_token"),
    ),
    "a tool without a token": (
        lambda d: d.http.post("/tools/calculator", json={"expression": "1"}),
        refused("/tools/calculator", 401, "invalid_token", tool="calculator"),
    ),
    "a tool with a forged token": (
        lambda d: d.use("forged", "database_query", sql="SELECT 1"),
        refused("/tools/database_query", 401, "invalid_token", tool="database_query"),
    ),
    "the use of the tools without a token": (
        lambda d: d.http.get("/tools/stats"),
        refused("/tools/stats", 401, "invalid_token"),
    ),
    "MCP without a token": (
        lambda d: d.mcp(None),
        refused("/mcp", 401, "invalid_token"),
    ),
    "MCP with a forged token": (
        lambda d: d.mcp("forged"),
        refused("/mcp", 401, "invalid_token"),
    ),
    "a stream of MCP with a forged token": (
        lambda d: d.http.get("/mcp", headers=STREAMING | bearing("forged")),
        refused("/mcp", 401, "invalid_token"),
    ),
    "a tool over MCP with a forged token": (
        lambda d: d.mcp("forged", CALL),
        refused("/mcp", 401, "invalid_token", tool="calculator"),
    ),
    "the sessions without a login": (
        lambda d: d.http.get("/api/sessions"),
        refused("/api/sessions", 401, "invalid_token"),
    ),
    "the sessions with a forged cookie": (
        lambda d: d.http.get("/api/sessions", headers={"Cookie": "heist_8008=9999999999.a.b"}),
        refused("/api/sessions", 401, "invalid_token"),
    ),
    "the tools of the house without a login": (
        lambda d: d.http.put("/admin/tools/calculator", headers={"Sec-Fetch-Site": "same-origin"}),
        refused("/admin/tools/{name}", 401, "invalid_token"),
    ),
    "a token without credentials": (
        lambda d: d.http.post("/oauth/token", data={"grant_type": "client_credentials"}),
        refused("/oauth/token", 401, "invalid_client"),
    ),
    "a token by a name that nobody has": (
        lambda d: d.ask(Known("the-police", "x")),
        refused("/oauth/token", 401, "invalid_client", client="unknown"),
    ),
    "what a token is worth, by nobody": (
        lambda d: d.ask(Known("the-police", "x"), "/oauth/introspect", token="x"),
        refused("/oauth/introspect", 401, "invalid_client", client="unknown"),
    ),
    "a token taken back by nobody": (
        lambda d: d.ask(Known("the-police", "x"), "/oauth/revoke", token="x"),
        refused("/oauth/revoke", 401, "invalid_client", client="unknown"),
    ),
}


@pytest.mark.parametrize("name", NOBODY)
def test_a_refusal_of_somebody_unknown_is_on_record_once(door: Door, name: str) -> None:
    request, event = NOBODY[name]
    before = len(door.refusals())
    assert request(door).status_code == event["status"]
    new = door.refusals()[before:]
    assert [claimed(one) for one in new] == [event]
    assert new[0].detail


def spent(door: Door, who: Known) -> httpx2.Response:
    """After too many guesses."""
    for _ in range(FAILURES):
        door.ask(Known(who.client_id, "x"), address="10.9.9.9")
    return door.ask(who, address="10.9.9.9")


def revoked(door: Door, who: Known) -> str:
    token = door.token(who)
    door.ask(who, "/oauth/revoke", token=token)
    return token


KNOWN: dict[str, tuple[Callable[[Door, Known], httpx2.Response], dict[str, Any]]] = {
    "a wrong secret": (
        lambda d, who: d.ask(Known(who.client_id, "wrong")),
        refused("/oauth/token", 401, "invalid_client"),
    ),
    "too many wrong secrets": (spent, refused("/oauth/token", 429, "too_many")),
    "a scope that it may not have": (
        lambda d, who: d.ask(who, scope="session:control tools:admin"),
        refused("/oauth/token", 400, "invalid_scope", scope="session:control tools:admin"),
    ),
    "a scope that does not exist": (
        lambda d, who: d.ask(who, scope="vault:open"),
        refused("/oauth/token", 400, "invalid_scope", scope="vault:open"),
    ),
    "a resource of another server": (
        lambda d, who: d.ask(who, resource="https://bank.example"),
        refused("/oauth/token", 400, "invalid_target"),
    ),
    "the token of another taken back": (
        lambda d, who: d.ask(who, "/oauth/revoke", token=d.token(d.outsider(*BOTH))),
        refused("/oauth/revoke", 400, "invalid_grant"),
    ),
    "a token that was revoked": (
        lambda d, who: d.tools(revoked(d, who)),
        refused("/tools", 401, "invalid_token"),
    ),
    "a token that was revoked, over MCP": (
        lambda d, who: d.mcp(revoked(d, who)),
        refused("/mcp", 401, "invalid_token"),
    ),
    "the sessions without the scope": (
        lambda d, who: d.http.get("/api/sessions", headers=bearing(d.token(who))),
        refused("/api/sessions", 403, "insufficient_scope", scope="session:read"),
    ),
    "a session started without the scope": (
        lambda d, who: d.http.post("/api/sessions", headers=bearing(d.token(who))),
        refused("/api/sessions", 403, "insufficient_scope", scope="session:control"),
    ),
    "a tool switched off without the scope": (
        lambda d, who: d.http.delete("/admin/tools/calculator", headers=bearing(d.token(who))),
        refused("/admin/tools/{name}", 403, "insufficient_scope", scope="tools:admin"),
    ),
    "the use of the tools without the scope": (
        lambda d, who: d.http.get("/tools/stats", headers=bearing(d.token(who))),
        refused("/tools/stats", 403, "insufficient_scope", scope="tools:admin"),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_refusal_of_an_agent_is_on_the_record_of_its_session_under_its_name(door: Door, name: str) -> None:
    request, event = KNOWN[name]
    agent = door.agent(*BOTH, name="intel")
    before = len(door.refusals())
    assert request(door, agent).status_code == event["status"]
    proven = {"client": "intel", "session_id": door.session_id}
    claim = {"client": agent.client_id, "session_id": None}  # whoever has not proven who it is can blame nobody
    told = claimed(door.refusals()[before:][-1])
    assert told == event | (claim if event["error"] in ("invalid_client", "too_many") else proven)


def test_a_secret_that_was_sent_as_the_name_is_not_written_down(door: Door) -> None:
    before = len(door.refusals())
    door.ask(Known("JO1wlN5KU2biEnqgijlNbNs66Dn6NdXqum-88viArRA", "laptop-e4e4dc43982d5be8"))
    door.ask(door.outsider(*BOTH), scope="eyJhbGciOiJIUzI1NiJ9.eyJ9.c2lnbmF0dXJl calculator:use")
    assert [(one.client[:7], one.scope) for one in door.refusals()[before:]] == [
        ("unknown", None),
        (door.refusals()[-1].client[:7], "calculator:use"),
    ]


@pytest.mark.parametrize("name", KNOWN)
def test_a_refusal_of_a_client_from_outside_is_on_record_under_its_id(door: Door, name: str) -> None:
    request, event = KNOWN[name]
    outsider = door.outsider(*BOTH)
    before = len(door.refusals())
    assert request(door, outsider).status_code == event["status"]
    assert claimed(door.refusals()[before:][-1]) == event | {"client": outsider.client_id}


def test_a_token_of_a_client_that_was_disabled_still_says_whose_it_is(door: Door) -> None:
    outsider = door.outsider(*BOTH)
    token = door.token(outsider)
    Registrations(door.runtime.engine).disable(outsider.client_id, AT)
    before = len(door.refusals())
    assert door.use(token).status_code == 401
    [event] = door.refusals()[before:]
    assert (event.client, event.tool, event.session_id) == (outsider.client_id, "calculator", None)


def test_an_agent_in_quarantine_that_asks_for_a_token_is_on_record(door: Door) -> None:
    agent = door.agent(*BOTH, name="driver")
    door.runtime.clients.suspend(agent.client_id)
    before = len(door.refusals())
    assert door.ask(agent).status_code == 400
    [event] = door.refusals()[before:]
    assert (event.client, event.session_id, event.error) == ("driver", door.session_id, "unauthorized_client")
    assert "quarantine" in event.detail


def called(events: list[Event]) -> list[tuple[str | None, str, str, str | None, str]]:
    some = [one for one in events if isinstance(one, ToolCalled)]
    return [(one.session_id, one.agent, one.tool, one.fault, one.form) for one in some]


def test_a_call_by_a_known_client_that_is_refused_is_told_as_a_call_and_not_twice(door: Door) -> None:
    agent = door.agent("files:read", name="hacker")
    token = door.token(agent)
    outsider = door.token(door.outsider("files:read", name="clerk"))
    before = len(door.log())
    assert [door.use(one).status_code for one in (token, outsider)] == [403, 403]
    assert [door.mcp(one, CALL).status_code for one in (token, outsider)] == [403, 403]
    door.runtime.clients.suspend(agent.client_id)
    assert [door.use(token).status_code, door.mcp(token, CALL).status_code] == [401, 401]
    new = door.log()[before:]
    assert [event.kind for event in new if event.kind == "access.refused"] == []
    inside = (door.session_id, "hacker", "calculator")
    assert called(new) == [
        (*inside, "scope", "http"),
        (None, "clerk", "calculator", "scope", "http"),
        (*inside, "scope", "mcp"),
        (None, "clerk", "calculator", "scope", "mcp"),
        (*inside, "token", "http"),
        (*inside, "token", "mcp"),
    ]


def test_what_is_only_wrong_and_not_forbidden_is_no_refusal_of_rights(door: Door) -> None:
    known = door.outsider(*BOTH)
    token = door.token(known)
    before = len(door.refusals())
    answers = [
        door.http.get("/oauth/authorize"),
        door.http.get("/oauth/token"),
        door.http.get("/nothing"),
        door.http.post("/oauth/token", json={}),
        door.ask(known, grant_type="password"),
        door.ask(known, "/oauth/introspect"),
        door.ask(known, "/oauth/revoke", token="garbage"),
        door.use(token, "nothing"),
        door.use(token, colour="red"),
        door.http.get("/.well-known/jwks.json"),
    ]
    assert [one.status_code for one in answers] == [400, 405, 404, 400, 400, 400, 200, 404, 422, 404]
    assert door.refusals()[before:] == []


def test_a_guess_at_the_login_is_on_record(door: Door) -> None:
    before = len(door.refusals())
    assert door.http.get("/login", params={"token": "guessed"}).status_code == 401
    assert [(one.path, one.status) for one in door.refusals()[before:]] == [("/login", 401)]


def test_a_socket_that_is_refused_is_on_record(door: Door) -> None:
    before = len(door.refusals())
    with (
        pytest.raises(WebSocketDisconnect),
        door.http.websocket_connect(f"{SITE.replace('http', 'ws')}/api/ws", headers=bearing("forged")),
    ):
        pass
    assert [(one.path, one.error) for one in door.refusals()[before:]] == [("/api/ws", "invalid_token")]


def test_what_is_on_record_has_a_largest_size(door: Door) -> None:
    before = len(door.refusals())
    door.ask(Known("c" * 2000, "x"))
    door.ask(door.outsider(*BOTH), scope=" ".join(f"vault:open{number}" for number in range(300)))
    door.http.post(f"/tools/{'t' * 2000}", json={})
    first, second, third = door.refusals()[before:]
    assert (first.client, second.scope) == ("unknown", " ".join(f"vault:open{number}" for number in range(300))[:200])
    assert (third.path, third.tool) == ("/tools/{name}", "unknown")


def test_a_secret_in_the_path_is_not_written_down(door: Door) -> None:
    before = len(door.refusals())
    door.http.get(f"/s/{door.gate.token}", headers=bearing("forged"))
    door.http.post("/tools/JO1wlN5KU2biEnqgijlNbNs66Dn6NdXqum-88viArRA", json={})
    paths = [(one.path, one.tool) for one in door.refusals()[before:]]
    assert paths == [("/s/{session_id}", None), ("/tools/{name}", "unknown")]


@given(client_id=st.text(max_size=80), scope=st.text(max_size=80), tool=st.text(max_size=80))
def test_whatever_is_refused_can_be_recorded(door: Door, client_id: str, scope: str, tool: str) -> None:
    known = door.agent(*BOTH)
    assert door.ask(Known(client_id, "x")).status_code in (401, 429)
    assert door.ask(known, scope=f"{scope} vault:open").status_code == 400
    assert door.mcp("forged", CALL | {"params": {"name": tool}}).status_code == 401
    door.runtime.clients.remove(known.client_id)


def test_nothing_secret_is_ever_on_record(tmp_path: Path) -> None:
    with opened(tmp_path, "the secret of the house, which nobody is told") as door:
        agent, outsider = door.agent(*BOTH), door.outsider(*BOTH, "tokens:introspect")
        tokens = [door.token(known) for known in (agent, outsider)]
        for known, token in zip((agent, outsider), tokens, strict=True):
            wrong = Known(known.client_id, known.secret[:-1])
            for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
                door.ask(wrong, path, token=token)
                door.http.post(path, data=known.form | {"token": token, "scope": "vault:open"}, headers=bearing(token))
                door.http.post(f"{path}?client_secret={known.secret}", data={"client_id": known.client_id})
            door.http.get(f"/tools?access_token={token}")
            door.http.get(f"/login?token={door.gate.token[:-1]}")
            door.ask(known, "/oauth/revoke", token=token)
            for answer in (door.tools(token), door.use(token), door.mcp(token), door.mcp(token, CALL)):
                assert answer.status_code == 401
        assert len(door.refusals()) > 10
        hidden = [*tokens, agent.secret, outsider.secret, agent.secret[:-1], door.gate.token[:-1], "the secret of the"]
        signatures = [token.rpartition(".")[2] for token in tokens]
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert outsider.client_id.encode() in stored
    assert [one for one in (*hidden, *signatures) if one.encode() in stored] == []


class Ear:
    """A keeper that remembers which thread it was called from."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def keep(self, event: Event, at: str, body: str) -> asyncio.Future[int]:
        self.threads.append(threading.get_ident())
        kept: asyncio.Future[int] = asyncio.Future(loop=asyncio.new_event_loop())
        kept.get_loop().close()
        return kept

    def flush(self) -> None:
        pass


def test_a_refusal_is_handed_to_the_audit_by_the_event_loop_because_nobody_else_may(settings: Settings) -> None:
    runtime, ear, loops = Runtime(settings), Ear(), []
    app = FastAPI()
    Refusals(runtime.auth, runtime.clients, (), Bus(ear, SystemClock())).install(app)

    @app.get("/tools")
    async def tools(request: Request) -> None:
        loops.append(threading.get_ident())
        raise InvalidToken("no", missing=True)

    with TestClient(app) as http:
        assert http.get("/tools").status_code == 401
    assert ear.threads == loops
