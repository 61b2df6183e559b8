"""The authorization server: OAuth 2.0 client credentials (RFC 6749, sections 2.3, 4.4 and 5)."""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from heist.clock import Clock
from heist.errors import GrantError, TooMany
from heist.services.auth import LIFETIME, Auth, Client, Clients, Scope, hashed, written

FAILURES = 10
WINDOW = 60.0
"""More than FAILURES wrong secrets from one address for one client within WINDOW seconds, and it has to wait."""
_NOBODY = hashed("no client has this secret")
_LARGEST = 8192


class Grant(NamedTuple):
    access_token: str
    scopes: frozenset[Scope]


class Throttle:
    """Counts failures by (address, client), so that guessing at one client never locks it out from elsewhere."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[tuple[str, str], list[float]] = {}

    def check(self, address: str, client_id: str) -> None:
        """Raises `TooMany` when there were too many failures of late."""
        recent = self._recent(address, client_id)
        if len(recent) >= FAILURES:
            wait = int(recent[0] + WINDOW - self._clock.monotonic()) + 1
            raise TooMany(f"too many wrong secrets; try again in {wait} s", wait)

    def failed(self, address: str, client_id: str) -> None:
        if len(self._failures) > 10_000:
            self._failures = {key: times for key in self._failures if (times := self._recent(*key))}
        self._failures.setdefault((address, client_id), []).append(self._clock.monotonic())

    def _recent(self, address: str, client_id: str) -> list[float]:
        since = self._clock.monotonic() - WINDOW
        recent = [moment for moment in self._failures.get((address, client_id), []) if moment > since]
        if (address, client_id) in self._failures:
            self._failures[address, client_id] = recent
        return recent


class AuthorizationServer:
    """Gives tokens to clients that prove who they are; in process and over HTTP it is the same method."""

    def __init__(self, auth: Auth, clients: Clients, clock: Clock) -> None:
        self._auth = auth
        self._clients = clients
        self._throttle = Throttle(clock)

    def grant(self, client_id: str, secret: str, scope: str | None = None, address: str = "in process") -> Grant:
        """A token with what was asked for, as far as the client may have it; all of the client's when nothing was
        asked. Raises `GrantError` (invalid_client, invalid_scope) or `TooMany`."""
        self._throttle.check(address, client_id)
        client = self._clients.get(client_id)
        right = hmac.compare_digest(client.secret_hash if client else _NOBODY, hashed(secret))
        if client is None or not right:
            self._throttle.failed(address, client_id)
            raise GrantError("invalid_client", "the client is unknown or its secret is wrong")
        scopes = _asked(client, scope)
        return Grant(self._auth.issue(client, scopes), scopes)


def _asked(client: Client, scope: str | None) -> frozenset[Scope]:
    if scope is None:
        return client.scopes
    names = scope.split(" ")
    known = {entry.value for entry in Scope}
    if not all(name in known for name in names):
        raise GrantError("invalid_scope", "a scope that was asked for does not exist")
    granted = frozenset(entry for entry in client.scopes if entry.value in names)
    if not granted:
        raise GrantError("invalid_scope", "the client may have none of the scopes that were asked for")
    return granted


def router(server: AuthorizationServer) -> APIRouter:
    routes = APIRouter(tags=["oauth"])

    @routes.post("/oauth/token", summary="A token by client credentials", openapi_extra=_TOKEN_OPENAPI)
    async def token(request: Request) -> JSONResponse:
        form = _form(request.headers.get("content-type", ""), await _body(request))
        client_id, secret = _credentials(request.headers.get("authorization"), form)
        match form.get("grant_type"):
            case None:
                raise GrantError("invalid_request", "grant_type is missing")
            case "client_credentials":
                address = request.client.host if request.client else "unknown"
                grant = server.grant(client_id, secret, form.get("scope"), address)
            case _:
                raise GrantError("unsupported_grant_type", "only client_credentials is supported")
        answer = {
            "access_token": grant.access_token,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "scope": written(grant.scopes),
        }
        return JSONResponse(answer, headers=NO_STORE)

    return routes


NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_TOKEN_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        name: {"type": "string"} for name in ("grant_type", "client_id", "client_secret", "scope")
                    },
                }
            }
        },
    }
}


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST:
            raise GrantError("invalid_request", "the request is too large")
    return body


def _form(content_type: str, body: bytes) -> Mapping[str, str]:
    """The parameters; one without a value counts as absent, one given twice is an error (RFC 6749, section 3.2)."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise GrantError("invalid_request", "the request must be application/x-www-form-urlencoded")
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=50)
    except ValueError:
        raise GrantError("invalid_request", "the form cannot be read") from None
    form = dict(pairs)
    once = [name for name, _ in pairs if name != "resource"]
    if len(once) != len(set(once)):
        raise GrantError("invalid_request", "a parameter stands twice")
    return form


def _credentials(authorization: str | None, form: Mapping[str, str]) -> tuple[str, str]:
    """(client id, secret), by HTTP Basic or in the form, never by both."""
    if authorization is None:
        if "client_id" not in form or "client_secret" not in form:
            raise GrantError("invalid_client", "client authentication is missing")
        return form["client_id"], form["client_secret"]
    if "client_secret" in form:
        raise GrantError("invalid_request", "the client authenticates twice")
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise GrantError("invalid_client", "the Authorization header cannot be read") from None
    if scheme.lower() != "basic" or not colon:
        raise GrantError("invalid_client", "the Authorization header is not HTTP Basic")
    client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    if form.get("client_id", client_id) != client_id:
        raise GrantError("invalid_request", "the client authenticates twice, under two names")
    return client_id, secret
