"""The tools over the Model Context Protocol, in both of its eras: the SDK speaks on the wire, we check the token.

Up to 2025-11-25 a client opens a session and hears of changes on a stream of its own; since 2026-07-28 each request
stands for itself and `subscriptions/listen` is the stream. The same two handlers serve both.
"""

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import JSONResponse
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    NotificationParams,
    PaginatedRequestParams,
    TextContent,
)
from mcp_types import Tool as Card
from starlette.types import Message, Receive, Scope, Send

from heist import __version__
from heist.errors import HeistError, InsufficientScope, InvalidToken
from heist.events import Recorded, ToolAdded, ToolRemoved, sound
from heist.later import Later
from heist.services.auth import Auth, Principal, Resource, bearer, challenge
from heist.services.tools.outside import Outside
from heist.services.tools.registry import Outcome, Registry

IDLE_SECONDS = 600.0
SESSIONS = 1000
LOOK_SECONDS = 1.0
"""How often a listening stream looks whether its token is still good."""
Context = ServerRequestContext[Any, Request]


class _Server(Server[Any]):
    """The SDK's server, which tells clients of the session era too that the list of tools may change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)


class Mcp:
    """The ASGI app at `/mcp`. Every request is let in by its own token and sees what that token opens."""

    def __init__(self, registry: Registry, outside: Outside, auth: Auth) -> None:
        self._registry = registry
        self._outside = outside
        self._auth = auth
        self._changes = InMemorySubscriptionBus()
        self._told: set[str] = set()
        self._later = Later()
        server = _Server(
            "heist",
            version=__version__,
            title="heist",
            instructions="The tools of a crew that plans a bank heist. Which of them there are depends on your token.",
            cache_hints={"tools/list": CacheHint(0, "private")},
            get_tool_input_schema=lambda name: registry.tools[name].schema if name in registry.tools else None,
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=ListenHandler(self._changes),
        )
        server.add_notification_handler("notifications/initialized", NotificationParams, self._keep_told)
        self._wire = StreamableHTTPSessionManager(
            server, json_response=True, session_idle_timeout=IDLE_SECONDS, max_sessions=SESSIONS
        )

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Runs what the sessions of clients need; once per app."""
        return self._wire.run()

    def hear(self, recorded: Recorded) -> None:
        """A watcher of the bus: when the tools of the house have changed, each client that listens is told."""
        if isinstance(recorded.event, ToolAdded | ToolRemoved) and recorded.event.session_id is None:
            self._later.begin(self._changes.publish(ToolsListChanged()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        place = self._auth.place(request, "/mcp")
        token = bearer(request)
        asked = Asked.read(await request.body()) if request.method == "POST" else Asked()
        if asked.tool is None:
            principal = await self._auth.verify(token, place)
        else:
            principal = await self._outside.admit(token, place, asked.tool, asked.arguments)
            if refusal := await self._refusal(principal, asked, place):
                await refusal(scope, receive, send)
                return
        access = AccessToken(token=token, client_id=principal.client_id, scopes=sorted(principal.scopes))
        inside = {**scope, "user": AuthenticatedUser(access), "heist.principal": principal}
        inside["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]  # RFC 9110, section 5.5
        again = _replayed(await request.body(), receive) if request.method == "POST" else receive
        if request.method == "GET" or asked.method == "subscriptions/listen":
            await self._stream(token, place, inside, again, send)
        else:
            await self._wire.handle_request(inside, again, send)

    async def _refusal(self, principal: Principal, asked: "Asked", place: Resource) -> JSONResponse | None:
        """403 for a call of a tool that the token does not open (RFC 6750), which the wire itself could not say."""
        tool = self._registry.tools.get(asked.tool or "")
        if tool is None or tool.scope in principal.scopes:
            return None
        outcome = await self._outside.call(principal, tool.name, asked.arguments)
        if not isinstance(outcome.error, InsufficientScope):
            return None
        error = {"code": INVALID_REQUEST, "message": outcome.text}
        headers = {"WWW-Authenticate": challenge(outcome.error, place)}
        return JSONResponse({"jsonrpc": "2.0", "id": asked.id, "error": error}, 403, headers)

    async def _stream(self, token: str, place: Resource, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a stream that may stay open; it ends when its token does."""
        open_ = False

        async def watched(message: Message) -> None:
            nonlocal open_
            open_ = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        serving = asyncio.create_task(self._wire.handle_request(scope, receive, watched))
        try:
            while not serving.done() and await self._is_good(token, place):
                await asyncio.wait([serving], timeout=LOOK_SECONDS)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()
        if open_:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _is_good(self, token: str, place: Resource) -> bool:
        try:
            await self._auth.verify(token, place)
        except InvalidToken:
            return False
        except HeistError:
            return True  # nobody can know just now
        return True

    async def _list(self, ctx: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
        cards = [
            Card(
                name=tool.name,
                description=tool.description,
                input_schema=tool.schema,
                output_schema=tool.result_schema,
            )
            for tool in self._registry.visible(_principal(ctx))
        ]
        return ListToolsResult(tools=cards)

    async def _call(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        outcome = await self._outside.call(_principal(ctx), params.name, params.arguments or {})
        if outcome.fault in ("unknown", "scope"):
            raise MCPError(INVALID_PARAMS, outcome.text)
        return _answer(outcome)

    async def _keep_told(self, ctx: Context, _: NotificationParams) -> None:
        """Lives as long as a client's session of the older era, and tells it of each change."""
        session_id = _request(ctx).headers.get("mcp-session-id", "")
        if session_id in self._told:
            return
        self._told.add(session_id)
        changed = asyncio.Event()
        forget = self._changes.subscribe(lambda _: changed.set())
        try:
            while await changed.wait():
                changed.clear()
                await ctx.session.send_tool_list_changed()
        finally:
            forget()
            self._told.discard(session_id)


class Asked(NamedTuple):
    """What a request wants, as far as the door needs to know it; whatever else stands in it is for the wire."""

    method: str | None = None
    id: str | int | None = None
    tool: str | None = None
    arguments: object = None

    @classmethod
    def read(cls, body: bytes) -> "Asked":
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            return cls()
        match message:
            case {"method": "tools/call", "params": {"name": str(name), **rest}}:
                number = message.get("id")
                number = sound(number) if isinstance(number, str) else number if isinstance(number, int) else None
                return cls("tools/call", number, name, rest.get("arguments"))
            case {"method": str(method)}:
                return cls(method)
        return cls()


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already once more, then whatever else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _request(ctx: Context) -> Request:
    assert ctx.request is not None
    return ctx.request


def _principal(ctx: Context) -> Principal:
    principal = _request(ctx).scope["heist.principal"]
    assert isinstance(principal, Principal)
    return principal


def _answer(outcome: Outcome) -> CallToolResult:
    """The result for programs, and as text the same; a failure says in one sentence what is wrong, and whose fault."""
    if outcome.result is None:
        content = [TextContent(type="text", text=outcome.text)]
        return CallToolResult(content=content, is_error=True, _meta={"heist/fault": outcome.fault})
    content = [TextContent(type="text", text=json.dumps(outcome.result, ensure_ascii=False))]
    return CallToolResult(content=content, structured_content=outcome.result)
