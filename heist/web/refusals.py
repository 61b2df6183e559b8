"""Every refusal as one sentence in JSON: `{"error": code, "detail": sentence}`, with the status of its kind, and on
record where it is one of rights."""

import asyncio
import logging
import re
from collections.abc import Container
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from heist.bus import Bus
from heist.configfile import foremost, sentence
from heist.errors import GrantError, HeistError, InsufficientScope, InvalidToken, SwitchedOff, TooMany, Unavailable
from heist.events import AccessRefused, sound
from heist.services.auth import Auth, challenge
from heist.services.clients import Clients
from heist.services.oauth.router import NO_STORE

log = logging.getLogger(__name__)
_OF_RIGHTS = (401, 403, 429)
_OF_GRANTS = ("invalid_scope", "invalid_target", "invalid_grant", "unauthorized_client")
_UNPROVEN = ("invalid_client", "too_many")
_UNROUTED = ("/mcp", "/api/ws")
_BRANCHES = ("str", "int")
"""Steps that are no key: the types that a value may have."""
PATIENCE_SECONDS = 2.0
_CLIENT = re.compile(r"[A-Za-z][\w-]{0,46}-[0-9a-f]{16}", re.ASCII)
_SCOPE = re.compile(r"[a-z][a-z0-9_]{0,31}:[a-z0-9_]{1,32}")


class Refusals:
    """Answers, and tells the audit. What was claimed without proof is told as far as it looks like what it claims to
    be, so that a secret that was sent in the wrong place is not written down: a path as its route has it, a tool if it
    exists."""

    def __init__(self, auth: Auth, clients: Clients, tools: Container[str], bus: Bus) -> None:
        self._auth = auth
        self._clients = clients
        self._tools = tools
        self._bus = bus

    def install(self, app: FastAPI) -> None:
        async def refused(request: Request, error: Exception) -> JSONResponse:
            assert isinstance(error, HeistError)
            answer = _answer(request, error, self._auth)
            await self.tell(request, error, answer.status_code)
            return answer

        async def unreadable(_: Request, error: Exception) -> JSONResponse:
            assert isinstance(error, OSError)
            log.error("a file or a folder cannot be read: %s", error)
            detail = f"a file or a folder of this house cannot be read: {error.strerror or 'unknown'}; see the log"
            return JSONResponse({"error": "unavailable", "detail": detail}, 503, NO_STORE)

        app.add_exception_handler(HeistError, refused)
        app.add_exception_handler(OSError, unreadable)
        app.add_exception_handler(RequestValidationError, _misunderstood)
        app.add_exception_handler(HTTPException, _no_route)

    async def tell(self, connection: HTTPConnection, error: HeistError, status: int) -> None:
        """Puts a refusal of rights on record, unless it is there; waits for that, though not for ever."""
        code = error.error if isinstance(error, GrantError) else error.code
        if error.recorded or isinstance(error, SwitchedOff) or not (status in _OF_RIGHTS or code in _OF_GRANTS):
            return
        error.recorded = True
        kept = self._bus.post(self._event(connection, error, status, code))
        if kept is not None:
            kept.add_done_callback(_log_loss)
            self._bus.flush()
            await asyncio.wait([kept], timeout=PATIENCE_SECONDS)

    def _event(self, connection: HTTPConnection, error: HeistError, status: int, code: str) -> AccessRefused:
        proven = None if code in _UNPROVEN else self._clients.agent(error.client)
        claimed = error.client if _CLIENT.fullmatch(error.client) else error.client and "unknown"
        path = connection.url.path
        route = getattr(connection.scope.get("route"), "path", path if path in _UNROUTED else "unknown")
        called = connection.scope.get("method") == "POST" and path.startswith("/tools/")
        tool = error.tool or (path.removeprefix("/tools/") if called else "")
        asked = " ".join(_SCOPE.findall(getattr(error, "scope", "")))
        return AccessRefused(
            session_id=proven.session_id if proven else None,
            client=proven.name if proven else claimed,
            path=route,
            tool=(tool if tool in self._tools else "unknown") if tool else None,
            scope=asked[:200] or None,
            status=status,
            error=code,
            detail=sound(str(error))[:500],
        )


def _log_loss(kept: "asyncio.Future[int]") -> None:
    if not kept.cancelled() and (error := kept.exception()):
        log.error("a refusal could not be put on record: %s", error)


def _answer(request: Request, error: HeistError, auth: Auth) -> JSONResponse:
    said = sound(str(error))
    content, status = {"error": error.code, "detail": said}, error.status
    headers = {}
    match error:
        case GrantError(error=code):
            content = {"error": code, "error_description": said}
            if code == "invalid_client":
                status, headers = 401, {"WWW-Authenticate": 'Basic realm="heist"'}
        case InvalidToken() | InsufficientScope():
            place = auth.place(request, "/mcp" if request.url.path == "/mcp" else "")
            headers = {"WWW-Authenticate": challenge(error, place)}
        case TooMany(retry_after=seconds) | Unavailable(retry_after=seconds):
            headers = {"Retry-After": str(seconds)}
    return JSONResponse(content, status, {**NO_STORE, **headers})


def _misunderstood(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = foremost(error.errors())
    place = [step for step in first["loc"] if step not in ("body", "query", "path", *_BRANCHES)]
    match first["type"]:
        case "json_invalid":
            detail = f"the body is not valid JSON at character {place[0]}"
        case "model_attributes_type" | "dict_type" if not place:
            detail = "the body must be a JSON object, sent with Content-Type: application/json"
        case _:
            detail = sentence(place, first["msg"].replace("dictionary or object to extract fields from", "object"))
    return JSONResponse({"error": "invalid", "detail": detail}, 422, NO_STORE)


def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == HTTPStatus.BAD_REQUEST and "parsing the body" in detail:
        return JSONResponse({"error": "invalid", "detail": "the body is not JSON in UTF-8"}, 422, NO_STORE)
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path[:200]!r}"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not allowed here"
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return JSONResponse({"error": code, "detail": detail}, error.status_code, {**NO_STORE, **(error.headers or {})})
