"""A whole house over HTTP, as the tests of tokens see it: its clients, its doors, and what its log says of refusals."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
from pydantic import SecretStr
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from heist.app import create_app
from heist.events import AccessRefused, Event, ToolAdded, parse
from heist.runtime import Runtime
from heist.services.auth import written
from heist.services.clients import hashed, new_credentials
from heist.settings import Settings
from heist.store.clients import Registrations
from heist.web.guard import Gate
from tests.conftest import SECRET, Announced, announcing

SITE = "http://127.0.0.1:8008"
MCP = f"{SITE}/mcp"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
AT = "2026-01-01T00:00:00.000000Z"
LIST_TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
STREAMING = {"Accept": "application/json, text/event-stream"}


class Known(NamedTuple):
    """A client, with what only it knows."""

    client_id: str
    secret: str

    @property
    def form(self) -> dict[str, str]:
        return {"client_id": self.client_id, "client_secret": self.secret}


class Door(NamedTuple):
    http: TestClient
    runtime: Runtime
    gate: Gate
    session_id: str

    def outsider(self, *scopes: str, name: str = "") -> Known:
        """A new client in the database."""
        chosen = name or f"o{secrets.token_hex(4)}"
        known = Known(*new_credentials(chosen))
        row = (known.client_id, chosen, hashed(known.secret).hex(), written(frozenset(scopes)), AT)
        Registrations(self.runtime.engine).add(*row)
        return known

    def agent(self, *scopes: str, name: str = "mole") -> Known:
        """A new client of the session that is paused here."""
        return Known(*self.runtime.clients.register(name, frozenset(scopes), self.session_id))

    def ask(self, who: Known, path: str = "/oauth/token", address: str = "testclient", **more: str) -> httpx2.Response:
        """A request to the authorization server with the client's credentials in the form."""
        grant = {"grant_type": "client_credentials"} if path == "/oauth/token" else {}
        return self.http.post(path, data=grant | who.form | more, headers={"X-Address": address})

    def token(self, who: Known, **more: str) -> str:
        token = self.ask(who, **more).json()["access_token"]
        assert isinstance(token, str)
        return token

    def tools(self, token: str) -> httpx2.Response:
        return self.http.get("/tools", headers=bearing(token))

    def use(self, token: str, tool: str = "calculator", **arguments: Any) -> httpx2.Response:
        return self.http.post(f"/tools/{tool}", json=arguments or {"expression": "1 + 1"}, headers=bearing(token))

    def mcp(self, token: str | None, message: object = LIST_TOOLS) -> httpx2.Response:
        headers = STREAMING if token is None else STREAMING | bearing(token)
        return self.http.post("/mcp", json=message, headers=headers)

    def log(self) -> list[Event]:
        """The whole log, once all that was posted until now is in it."""
        assert self.http.portal is not None
        self.http.portal.call(self.runtime.bus.publish, ToolAdded(session_id=None, tool="calculator", by="barrier"))
        return [parse(entry.body) for entry in self.runtime.queries.log(0, None, 100_000)]

    def refusals(self) -> list[AccessRefused]:
        return [event for event in self.log() if isinstance(event, AccessRefused)]


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def claimed(refused: AccessRefused) -> dict[str, object]:
    """What an event of refusal says, but for its sentence."""
    return refused.model_dump(exclude={"kind", "detail"})


@contextmanager
def opened(folder: Path, secret: str = SECRET, **more: Any) -> Generator[Door]:
    """The whole app in process, with a session that is paused before its first turn, and nobody logged in."""
    announced: Announced = []
    url = f"sqlite:///{folder}/heist.db"
    app = create_app(
        Settings(llm="simulated", database_url=url, secret=SecretStr(secret), **more), announcing(announced)
    )
    with TestClient(_addressed(app), base_url=SITE) as http:
        runtime, gate = announced[0]
        http.get("/login", params={"token": gate.token})
        started = http.post("/api/sessions", json={"paused": True}, headers={"Sec-Fetch-Site": "same-origin"})
        http.cookies.clear()
        yield Door(http, runtime, gate, started.json()["session_id"])


def _addressed(app: ASGIApp) -> ASGIApp:
    """The app, called from the address that the header X-Address names."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        named = dict(scope.get("headers", [])).get(b"x-address")
        await app({**scope, "client": (named.decode(), 4711)} if named else scope, receive, send)

    return called
