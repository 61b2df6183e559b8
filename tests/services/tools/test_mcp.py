"""The tools over MCP, on a real port: the official SDK as the client in both eras, and requests by hand."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx2
import jsonschema  # type: ignore[import-untyped]
import pytest
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.client import Client
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent, ToolListChangedNotification
from pydantic import SecretStr
from sqlalchemy import select

from heist.events import AccessRefused, Event, ToolCalled, parse
from heist.services.auth import LEEWAY, LIFETIME, Auth, Resource
from heist.services.clients import hashed, new_credentials
from heist.settings import Settings
from heist.store.clients import Registrations
from heist.store.tables import events, tool_usage
from tests.conftest import SECRET, House, serving
from tests.times import HandClock

pytestmark = pytest.mark.mission("S9")

Mode = Literal["legacy", "auto"]
OLD, NEW = "2025-11-25", "2026-07-28"
ERAS = (OLD, NEW)
BOTH = ("calculator:use", "files:read")
STAMP = "2026-01-01T00:00:00.000000Z"
numbers = itertools.count(1)
both_modes = pytest.mark.parametrize("mode", ["legacy", "auto"])
both_eras = pytest.mark.parametrize("era", ERAS)


class Guest(NamedTuple):
    """A client from outside, as the command line adds one."""

    house: House
    name: str
    client_id: str
    secret: str

    def token(self, path: str = "/mcp", **more: str) -> str:
        form = {"grant_type": "client_credentials", "resource": self.house.url + path, **more}
        answer = httpx2.post(f"{self.house.url}/oauth/token", data=form, auth=(self.client_id, self.secret))
        token: str = answer.json()["access_token"]
        return token

    def late(self, age: float) -> str:
        """A token that was given `age` seconds ago."""
        runtime = self.house.runtime
        known = asyncio.run(runtime.clients.find(self.client_id))
        assert known is not None
        then = Auth(runtime.keys, runtime.clients, HandClock(datetime.now(UTC) - timedelta(seconds=age)))
        return then.issue(known, known.scopes, Resource(self.house.url, "/mcp"))

    def revoke(self, token: str) -> None:
        who = (self.client_id, self.secret)
        httpx2.post(f"{self.house.url}/oauth/revoke", data={"token": token}, auth=who).raise_for_status()

    def disable(self) -> None:
        Registrations(self.house.runtime.engine).disable(self.client_id, STAMP)

    def calls(self) -> list[ToolCalled]:
        """What the audit says of this guest's calls, in order."""
        return [event for event in audited(self.house) if isinstance(event, ToolCalled) and event.agent == self.name]


def audited(house: House) -> list[Event]:
    with house.runtime.engine.connect() as connection:
        return [parse(body) for body in connection.scalars(select(events.c.body).order_by(events.c.seq))]


def guest(house: House, *scopes: str) -> Guest:
    name = f"guest{next(numbers)}"
    client_id, secret = new_credentials(name)
    written = " ".join(scopes or BOTH)
    Registrations(house.runtime.engine).add(client_id, name, hashed(secret).hex(), written, STAMP)
    return Guest(house, name, client_id, secret)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[House]:
    """One server for all tests that leave it as it was."""
    folder: Path = tmp_path_factory.mktemp("mcp")
    with serving(
        Settings(llm="simulated", database_url=f"sqlite:///{folder}/heist.db", secret=SecretStr(SECRET))
    ) as one:
        yield one


def switch(house: House, tool: str, on: bool) -> None:
    """Switches a tool as the operator's page does."""
    with httpx2.Client(headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=True) as http:
        http.get(house.login)
        http.request("PUT" if on else "DELETE", f"{house.url}/admin/tools/{tool}").raise_for_status()


class Kept:
    """What a program keeps of its login: nothing but what it holds in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.info = client_info


class Program(NamedTuple):
    """The official SDK's client, connected, and what it was told."""

    client: Client
    told: "asyncio.Queue[str]"

    async def names(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def until_told(self) -> None:
        assert await asyncio.wait_for(self.told.get(), 5) == "tools"


@asynccontextmanager
async def program(who: Guest, mode: Mode) -> AsyncGenerator[Program]:
    """Finds its way from the address of `/mcp` alone, and listens as its era does."""
    login = ClientCredentialsOAuthProvider(
        server_url=f"{who.house.url}/mcp",
        storage=Kept(),
        client_id=who.client_id,
        client_secret=who.secret,
        issuer=who.house.url,
    )
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            told.put_nowait("tools")

    async with httpx2.AsyncClient(auth=login, timeout=10) as http:
        wire = streamable_http_client(f"{who.house.url}/mcp", http_client=http)
        async with Client(wire, mode=mode, message_handler=hear) as client:
            if mode == "legacy":
                await asyncio.sleep(0.3)  # the client opens its stream by itself, and does not say when it has
                yield Program(client, told)
                return
            async with client.listen(tools_list_changed=True):
                yield Program(client, told)


@pytest.mark.anyio
@both_modes
async def test_the_sdks_client_finds_its_way_and_calls_what_its_token_opens(house: House, mode: Mode) -> None:
    who = guest(house, "calculator:use")
    async with program(who, mode) as here:
        assert here.client.protocol_version == (OLD if mode == "legacy" else NEW)
        cards = (await here.client.list_tools()).tools
        assert [card.name for card in cards] == ["calculator"]
        answer = await here.client.call_tool("calculator", {"expression": "6 * 7"})
    assert not answer.is_error
    assert answer.structured_content == {"expression": "6 * 7", "value": 42}
    jsonschema.validate(answer.structured_content, cards[0].output_schema)
    assert isinstance(answer.content[0], TextContent)
    assert json.loads(answer.content[0].text) == answer.structured_content


@pytest.mark.anyio
@both_modes
async def test_every_tool_gives_what_its_schema_says(house: House, mode: Mode) -> None:
    asked = {
        "calculator": {"expression": "1 / 3"},
        "database_query": {"query": "SELECT name FROM sqlite_master LIMIT 2"},
        "file_reader": {"filename": "index"},
    }
    async with program(guest(house, *BOTH, "database:read"), mode) as here:
        cards = {card.name: card for card in (await here.client.list_tools()).tools}
        assert list(cards) == sorted(asked)
        for name, arguments in asked.items():
            answer = await here.client.call_tool(name, arguments)
            assert isinstance(answer.content[0], TextContent)
            assert not answer.is_error, answer.content[0].text
            jsonschema.validate(answer.structured_content, cards[name].output_schema)
            assert json.loads(answer.content[0].text) == answer.structured_content


@pytest.mark.anyio
@both_modes
async def test_a_tool_goes_and_comes_while_a_program_stays_connected(served: House, mode: Mode) -> None:
    async with program(guest(served), mode) as here:
        assert await here.names() == ["calculator", "file_reader"]
        await asyncio.to_thread(switch, served, "calculator", False)
        await here.until_told()
        assert await here.names() == ["file_reader"]
        await asyncio.to_thread(switch, served, "calculator", True)
        await here.until_told()
        assert await here.names() == ["calculator", "file_reader"]


def fault(answer: CallToolResult) -> object:
    return (answer.meta or {}).get("heist/fault")


@pytest.mark.anyio
async def test_a_tool_that_is_switched_off_fails_by_the_services_fault(served: House) -> None:
    who = guest(served)
    async with program(who, "auto") as here:
        await asyncio.to_thread(switch, served, "calculator", False)
        answer = await here.client.call_tool("calculator", {"expression": "1"})
    assert answer.is_error
    assert fault(answer) == "service"
    assert [call.fault for call in who.calls()] == ["service"]


@pytest.mark.anyio
@both_modes
async def test_a_program_is_told_what_it_did_wrong(house: House, mode: Mode) -> None:
    who = guest(house)
    async with program(who, mode) as here:
        wrong = await here.client.call_tool("calculator", {"expression": "6 */ 7"})
        extra = await here.client.call_tool("calculator", {"expression": "6 * 7", "places": 2})
        with pytest.raises(MCPError, match="there is no tool 'safe_cracker'") as unknown:
            await here.client.call_tool("safe_cracker", {})
    for answer in (wrong, extra):
        assert (answer.is_error, answer.structured_content) == (True, None)
        assert fault(answer) == "arguments"
    assert unknown.value.error.code == -32602
    assert [call.fault for call in who.calls()] == ["arguments", "arguments", "unknown"]


@pytest.mark.anyio
@both_modes
async def test_every_call_of_an_outsider_is_on_record_and_belongs_to_no_session(house: House, mode: Mode) -> None:
    who = guest(house)
    async with program(who, mode) as here:
        await here.client.call_tool("calculator", {"expression": "6 * 7"})
        await here.client.call_tool("file_reader", {"filename": "no such paper"})
    calls = who.calls()
    assert [(call.tool, call.success, call.fault) for call in calls] == [
        ("calculator", True, None),
        ("file_reader", False, "arguments"),
    ]
    assert {(call.session_id, call.turn, call.form) for call in calls} == {(None, None, "mcp")}
    with house.runtime.engine.connect() as connection:
        rows = connection.execute(select(tool_usage).where(tool_usage.c.agent_name == who.name)).all()
    assert [(row.session_id, row.tool_name, row.form) for row in rows] == [
        (None, "calculator", "mcp"),
        (None, "file_reader", "mcp"),
    ]


class Hand:
    """Requests by hand, in either era, with whatever token."""

    def __init__(self, house: House, era: str = NEW) -> None:
        self.house = house
        self.era = era
        self.session: dict[str, str] = {}

    def message(self, method: str, params: dict[str, Any] | None = None, number: object = 7) -> dict[str, Any]:
        meta = {
            "io.modelcontextprotocol/protocolVersion": NEW,
            "io.modelcontextprotocol/clientInfo": {"name": "hand", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        return {
            "jsonrpc": "2.0",
            "id": number,
            "method": method,
            "params": {**(params or {}), **({"_meta": meta} if self.era == NEW else {})},
        }

    def headers(self, token: str | None, message: dict[str, Any] | None = None) -> dict[str, str]:
        headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": self.era,
            **self.session,
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if self.era == NEW and message is not None:
            headers["Mcp-Method"] = message["method"]
            if "name" in message["params"]:
                headers["Mcp-Name"] = message["params"]["name"]
        return headers

    def post(self, token: str | None, message: dict[str, Any]) -> httpx2.Response:
        return httpx2.post(f"{self.house.url}/mcp", json=message, headers=self.headers(token, message), timeout=10)

    def raw(self, token: str, body: bytes, **headers: str) -> httpx2.Response:
        sent = {**self.headers(token), **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx2.post(f"{self.house.url}/mcp", content=body, headers=sent, timeout=10)

    def open(self, token: str) -> "Hand":
        """Shakes hands, as the era of sessions wants it; the other era needs nothing of the kind."""
        if self.era == NEW:
            return self
        hello = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "hand", "version": "1"}}
        answer = self.post(token, self.message("initialize", hello))
        self.session = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
        done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert httpx2.post(f"{self.house.url}/mcp", json=done, headers=self.headers(token)).status_code == 202
        return self

    def call(self, token: str | None, tool: str, number: object = 7, **arguments: object) -> httpx2.Response:
        return self.post(token, self.message("tools/call", {"name": tool, "arguments": arguments}, number))

    def names(self, token: str) -> list[str]:
        return [tool["name"] for tool in self.post(token, self.message("tools/list")).json()["result"]["tools"]]

    @contextmanager
    def listening(self, token: str, patience: float = 10) -> Generator[Iterator[str]]:
        """The lines of a stream that has been opened; it raises when the server lets it drop instead of ending it."""
        asked = self.message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        headers = self.headers(token, asked)
        sent: dict[str, Any] = {"method": "POST", "json": asked} if self.era == NEW else {"method": "GET"}
        if self.era == OLD:
            headers["Accept"] = "text/event-stream"
        with httpx2.stream(url=f"{self.house.url}/mcp", headers=headers, timeout=patience, **sent) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["transfer-encoding"] == "chunked"
            yield response.iter_lines()


@both_eras
def test_without_a_token_there_is_no_error_code_but_a_place_to_look(house: House, era: str) -> None:
    answer = Hand(house, era).call(None, "calculator", expression="1")
    assert answer.status_code == 401
    metadata = f"{house.url}/.well-known/oauth-protected-resource/mcp"
    assert answer.headers["www-authenticate"] == f'Bearer realm="heist", resource_metadata="{metadata}"'
    assert httpx2.get(metadata).json()["resource"] == f"{house.url}/mcp"


@both_eras
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_token_for_the_http_api_opens_nothing_here(house: House, era: str, method: str) -> None:
    hand = Hand(house, era)
    asked = hand.message("tools/list")
    headers = hand.headers(guest(house).token(path=""), asked)
    body = json.dumps(asked) if method == "POST" else None
    answer = httpx2.request(method, f"{house.url}/mcp", headers=headers, content=body)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert "/.well-known/oauth-protected-resource/mcp" in answer.headers["www-authenticate"]


def test_a_token_for_mcp_opens_nothing_of_the_http_api(house: House) -> None:
    headers = {"Authorization": f"Bearer {guest(house).token()}"}
    assert httpx2.get(f"{house.url}/tools", headers=headers).status_code == 401


@pytest.mark.parametrize("number", [7, "seven"])
@both_eras
def test_a_call_without_the_scope_is_refused_as_http_and_json_rpc_want_it(
    house: House, era: str, number: int | str
) -> None:
    who = guest(house, "calculator:use")
    token = who.token()
    answer = Hand(house, era).open(token).call(token, "file_reader", number, filename="index")
    assert answer.status_code == 403
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    for part in ('error="insufficient_scope"', 'scope="files:read"', "/.well-known/oauth-protected-resource/mcp"):
        assert part in challenge
    body = answer.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", number)
    assert "files:read" in body["error"]["message"]
    (call,) = who.calls()
    assert (call.tool, call.fault, call.form, call.session_id) == ("file_reader", "scope", "mcp", None)


def test_a_token_with_less_than_its_client_opens_less(house: House) -> None:
    token = guest(house).token(scope="files:read")
    hand = Hand(house)
    assert hand.names(token) == ["file_reader"]
    assert hand.call(token, "calculator", expression="1").status_code == 403


def test_in_one_session_each_request_sees_what_its_own_token_opens(house: House) -> None:
    who = guest(house)
    wide, narrow = who.token(), who.token(scope="files:read")
    hand = Hand(house, OLD).open(wide)
    assert hand.names(narrow) == ["file_reader"]
    assert hand.names(wide) == ["calculator", "file_reader"]
    assert hand.call(narrow, "calculator", expression="1").status_code == 403


def test_a_session_goes_on_with_its_clients_next_token(house: House) -> None:
    who = guest(house)
    first = who.token()
    hand = Hand(house, OLD).open(first)
    who.revoke(first)
    assert hand.post(first, hand.message("tools/list")).status_code == 401
    assert hand.names(who.token()) == ["calculator", "file_reader"]


def test_a_session_of_another_client_does_not_exist(house: House) -> None:
    hand = Hand(house, OLD).open(guest(house).token())
    thief = guest(house).token()
    assert hand.call(thief, "calculator", expression="1").status_code == 404
    for method in ("GET", "DELETE"):
        accepted = {**hand.headers(thief), "Accept": "text/event-stream"}
        assert httpx2.request(method, f"{house.url}/mcp", headers=accepted).status_code == 404


@both_eras
def test_an_unknown_tool_is_a_wrong_parameter(house: House, era: str) -> None:
    who = guest(house)
    token = who.token()
    answer = Hand(house, era).open(token).call(token, "safe_cracker")
    assert answer.status_code < 500
    assert answer.json()["error"]["code"] == -32602
    assert [(call.tool, call.fault) for call in who.calls()] == [("safe_cracker", "unknown")]


@both_eras
def test_a_list_is_nobody_elses_and_is_sorted(house: House, era: str) -> None:
    token = guest(house).token()
    hand = Hand(house, era).open(token)
    answer = hand.post(token, hand.message("tools/list")).json()["result"]
    assert [tool["name"] for tool in answer["tools"]] == ["calculator", "file_reader"]
    assert {"inputSchema", "outputSchema"} <= answer["tools"][0].keys()
    if era == NEW:
        assert (answer["cacheScope"], answer["ttlMs"]) == ("private", 0)


def test_both_eras_are_told_that_the_list_changes(house: House) -> None:
    token = guest(house).token()
    hello = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "hand", "version": "1"}}
    old, new = Hand(house, OLD), Hand(house, NEW)
    for hand, asked in ((old, old.message("initialize", hello)), (new, new.message("server/discover"))):
        assert hand.post(token, asked).json()["result"]["capabilities"]["tools"] == {"listChanged": True}


def ended(lines: Iterator[str]) -> float:
    """Reads to the proper end; answers the seconds that it took."""
    started = time.monotonic()
    for _ in lines:
        pass
    return time.monotonic() - started


def told(lines: Iterator[str]) -> bool:
    """Reads until the stream says that the list of tools has changed; False when it ends without."""
    return any("notifications/tools/list_changed" in line for line in lines)


@both_eras
def test_a_stream_ends_when_its_token_expires(house: House, era: str) -> None:
    token = guest(house).late(LIFETIME + LEEWAY - 1.5)
    hand = Hand(house, era).open(token)
    with hand.listening(token) as lines:
        assert ended(lines) < 3.6
    assert hand.call(token, "calculator", expression="1").status_code == 401


@both_eras
@pytest.mark.parametrize("how", ["revoked", "disabled"])
def test_a_stream_ends_when_its_token_is_taken_back(house: House, era: str, how: str) -> None:
    who = guest(house)
    token = who.token()
    with Hand(house, era).open(token).listening(token) as lines:
        if how == "revoked":
            who.revoke(token)
        else:
            who.disable()
        assert ended(lines) < 2


@both_eras
def test_a_stream_outlives_another_token_of_its_client(house: House, era: str) -> None:
    who = guest(house)
    mine, other = who.token(), who.token()
    with Hand(house, era).open(mine).listening(mine, patience=1.5) as lines:
        who.revoke(other)
        with pytest.raises(httpx2.ReadTimeout):
            ended(lines)


@both_eras
def test_who_comes_back_with_the_next_token_is_told_again(served: House, era: str) -> None:
    who = guest(served)
    first = who.token()
    hand = Hand(served, era).open(first)
    with hand.listening(first) as lines:
        who.revoke(first)
        ended(lines)
    second = who.token()
    switch(served, "calculator", False)
    with hand.listening(second) as lines:
        if era == NEW:
            next(line for line in lines if "acknowledged" in line)
        switch(served, "calculator", True)
        assert told(lines)
    assert hand.names(second) == ["calculator", "file_reader"]


@both_eras
def test_two_that_listen_are_both_told(served: House, era: str) -> None:
    with ExitStack() as streams:
        both = [guest(served).token() for _ in range(2)]
        lines = [streams.enter_context(Hand(served, era).open(token).listening(token)) for token in both]
        time.sleep(0.2)  # an answer has begun; that it listens is told only in the newer era
        switch(served, "calculator", False)
        assert [told(one) for one in lines] == [True, True]


def test_a_server_with_open_streams_stops_at_once(settings: Settings) -> None:
    with ExitStack() as streams:
        with serving(settings) as house:
            for era in ERAS:
                token = guest(house).token()
                for _ in range(3):
                    streams.enter_context(Hand(house, era).open(token).listening(token))
            started = time.monotonic()
        assert time.monotonic() - started < 2


def test_a_client_ends_its_session(house: House) -> None:
    token = guest(house).token()
    hand = Hand(house, OLD).open(token)
    gone = httpx2.delete(f"{house.url}/mcp", headers=hand.headers(token))
    assert gone.status_code in (200, 204)
    assert hand.post(token, hand.message("tools/list")).status_code == 404


def nested(open_: str, close: str) -> bytes:
    return (open_ * 9000 + "1" + close * 9000).encode()


def wrapped(arguments: str) -> bytes:
    call = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "calculator", "arguments": %s}}'
    return (call % arguments).encode()


NO_REQUESTS = {
    "empty": b"",
    "half": b"{",
    "text": b"hello",
    "null": b"null",
    "number": b"7",
    "list": b"[]",
    "batch": b'[{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]',
    "object": b"{}",
    "no version": b'{"id": 1, "method": "tools/list"}',
    "wrong version": b'{"jsonrpc": "1.0", "id": 1, "method": "tools/list"}',
    "method a number": b'{"jsonrpc": "2.0", "id": 1, "method": 7}',
    "id a list": b'{"jsonrpc": "2.0", "id": [1], "method": "tools/list"}',
    "id a fraction": b'{"jsonrpc": "2.0", "id": 1.5, "method": "tools/list"}',
    "params a list": b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ["calculator"]}',
    "not UTF-8": b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe"}',
    "deep lists": nested("[", "]"),
    "deep objects": nested('{"a":', "}"),
    "deep arguments": wrapped(nested("[", "]").decode()),
    "a number of 5000 digits": wrapped('{"expression": %s}' % ("9" * 5000)),
}


@both_eras
@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_request_is_the_clients_fault(house: House, era: str, name: str) -> None:
    token = guest(house).token()
    answer = Hand(house, era).open(token).raw(token, NO_REQUESTS[name])
    if era == OLD and name in ("id a list", "id a fraction"):
        assert answer.status_code == 202  # the SDK takes what has no proper id for a notification, and drops it
        return
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"].startswith("application/json")
    assert "error" in answer.json()


ODD: dict[str, dict[str, Any]] = {
    "name of half a character": {"name": "\ud800", "arguments": {}},
    "argument of half a character": {"name": "calculator", "arguments": {"expression": "\ud800"}},
    "argument named by half a character": {"name": "calculator", "arguments": {"\ud800": 1}},
    "name with a null byte": {"name": "calc\0ulator", "arguments": {}},
    "name of 10000 characters": {"name": "a" * 10_000, "arguments": {}},
    "name empty": {"name": "", "arguments": {}},
    "name a number": {"name": 7, "arguments": {}},
    "no name": {"arguments": {}},
    "no arguments": {"name": "calculator"},
    "arguments null": {"name": "calculator", "arguments": None},
    "arguments a text": {"name": "calculator", "arguments": "6 * 7"},
    "arguments a list": {"name": "calculator", "arguments": ["6 * 7"]},
    "arguments not a number": {"name": "calculator", "arguments": {"expression": float("nan")}},
    "arguments infinite": {"name": "calculator", "arguments": {"expression": float("inf")}},
    "an argument of 40000 characters": {"name": "calculator", "arguments": {"expression": "1" * 40_000}},
}


@both_eras
@pytest.mark.parametrize("name", ODD)
def test_an_odd_call_gives_no_result_and_never_an_error_of_the_server(house: House, era: str, name: str) -> None:
    token = guest(house).token()
    hand = Hand(house, era).open(token)
    message = hand.message("tools/call", ODD[name])
    named = "".join(one for one in str(ODD[name].get("name", "")) if one.isascii() and one.isprintable())
    headers = hand.headers(token) | {"Mcp-Method": "tools/call", "Mcp-Name": named}
    answer = httpx2.post(f"{house.url}/mcp", content=json.dumps(message), headers=headers, timeout=10)
    assert answer.status_code < 500
    body = answer.json()
    assert "error" in body or body["result"]["isError"]


ODD_IDS = {"half a character": "\ud800", "71 bits": 2**70, "negative": -1, "empty": "", "long": "x" * 5000}


@pytest.mark.parametrize("number", ODD_IDS.values(), ids=ODD_IDS.keys())
@both_eras
def test_an_odd_id_is_no_error_of_the_server(house: House, era: str, number: int | str) -> None:
    token = guest(house, "calculator:use").token()
    hand = Hand(house, era).open(token)
    for tool in ("calculator", "file_reader"):
        message = hand.message("tools/call", {"name": tool, "arguments": {"expression": "1"}}, number)
        answer = httpx2.post(
            f"{house.url}/mcp", content=json.dumps(message), headers=hand.headers(token, message), timeout=10
        )
        assert answer.status_code < 500


@both_eras
def test_too_much_at_once_is_turned_away(house: House, era: str) -> None:
    token = guest(house).token()
    hand = Hand(house, era).open(token)
    assert hand.call(token, "calculator", expression="1" * 70_000).status_code == 413


@both_eras
def test_wrong_types_are_the_clients_fault(house: House, era: str) -> None:
    token = guest(house).token()
    hand = Hand(house, era).open(token)
    body = json.dumps(hand.message("tools/list")).encode()
    assert hand.raw(token, body, Content_Type="text/plain", Mcp_Method="tools/list").status_code in (400, 415)
    assert hand.raw(token, body, Accept="text/html", Mcp_Method="tools/list").status_code == 406
    assert hand.raw(token, body, MCP_Protocol_Version="1999-01-01", Mcp_Method="tools/list").status_code == 400


@both_eras
@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(house: House, era: str, method: str) -> None:
    token = guest(house).token()
    answer = httpx2.request(method, f"{house.url}/mcp", headers=Hand(house, era).headers(token))
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


def test_a_token_counts_only_in_its_header(house: House) -> None:
    token = guest(house).token()
    hand = Hand(house)
    asked = hand.message("tools/list")
    headers = hand.headers(None, asked)
    by_query = httpx2.post(f"{house.url}/mcp", params={"access_token": token}, json=asked, headers=headers)
    by_cookie = httpx2.post(
        f"{house.url}/mcp", json=asked, headers={**headers, "Cookie": f"access_token={token}; Authorization={token}"}
    )
    assert (by_query.status_code, by_cookie.status_code) == (401, 401)
    assert hand.post(token, asked).status_code == 200


def test_the_pages_cookie_opens_nothing_here(house: House) -> None:
    hand = Hand(house)
    asked = hand.message("tools/list")
    with httpx2.Client(headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=True) as http:
        assert http.get(house.login).status_code == 200
        assert http.get(f"{house.url}/api/house").status_code == 200
        assert http.post(f"{house.url}/mcp", json=asked, headers=hand.headers(None, asked)).status_code == 401


@both_eras
def test_a_foreign_name_is_not_answered_to(house: House, era: str) -> None:
    token = guest(house).token()
    hand = Hand(house, era)
    asked = hand.message("tools/list")
    answer = httpx2.post(f"{house.url}/mcp", json=asked, headers={**hand.headers(token, asked), "Host": "evil.example"})
    assert answer.status_code == 421


def test_a_refused_token_is_on_record(house: House) -> None:
    who = guest(house)
    token = who.token()
    who.revoke(token)
    assert Hand(house).call(token, "calculator", expression="1").status_code == 401
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        found = [event for event in audited(house) if isinstance(event, AccessRefused)]
        if any((event.client, event.path, event.status) == (who.client_id, "/mcp", 401) for event in found):
            return
        time.sleep(0.05)
    pytest.fail("nothing was recorded")
