"""The guard in front of the pages: who may come in, from where, and what a page may load."""

import base64
import hmac
import json
import re
import secrets

from fastapi.requests import HTTPConnection
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heist.clock import Clock
from heist.errors import InvalidToken
from heist.services.auth import USER_SCOPES, Auth, Principal, bearer
from heist.services.keys import Keys

LOOPBACK = ("localhost", "127.0.0.1", "::1")
DAYS = 30
LARGEST = 65_536
"""Bytes of a request's body: the largest thing that anybody has to say here is a command."""
_TOKEN_REALM = ("/oauth", "/tools", "/memory", "/mcp", "/.well-known")
_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Gate:
    """Knows the login token, and the cookies that it gave for it."""

    def __init__(self, keys: Keys, auth: Auth, clock: Clock) -> None:
        self._keys = keys.derived("browser cookie")
        self._auth = auth
        self._clock = clock
        self.token = base64.urlsafe_b64encode(keys.derive("login token")[:24]).decode()

    def opens(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    def cookie(self) -> str:
        """A new cookie's value: when it ends, a nonce, and our signature over both."""
        ends = int(self._clock.now().timestamp()) + DAYS * 86_400
        content = f"{ends}.{secrets.token_hex(8)}"
        return f"{content}.{_signature(self._keys[0], content)}"

    async def user(self, connection: HTTPConnection) -> Principal:
        """Who sits at the browser, by cookie, or who calls with a bearer token; raises `InvalidToken`."""
        if "authorization" in connection.headers:
            return await self._auth.verify(bearer(connection), self._auth.place(connection))
        content, _, signature = connection.cookies.get(cookie_name(connection), "").rpartition(".")
        if not any(hmac.compare_digest(signature.encode(), _signature(key, content).encode()) for key in self._keys):
            raise InvalidToken("log in first, with the address that the server printed when it started", missing=True)
        if int(content.partition(".")[0]) < self._clock.now().timestamp():
            raise InvalidToken("the login has ended; log in again", missing=True)
        return Principal("user", USER_SCOPES, client_id="user")


def _signature(key: bytes, content: str) -> str:
    return hmac.digest(key, content.encode(), "sha256").hex()


def cookie_name(connection: HTTPConnection) -> str:
    """Browsers share cookies between the ports of a host, so the name carries the port."""
    return f"heist_{connection.url.port or 80}"


class Guard:
    """Pure ASGI, so that streams pass through it unharmed. Refuses a foreign Host (421), a request from another site
    that would ride on the cookie (403), and a body that is too large (413); sets the page's security headers."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in (*LOOPBACK, *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            else:
                await self._app(scope, receive, send)
            return

        async def armed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if refusal:
            await _answer(armed, *refusal)
        else:
            await self._app(scope, receive, armed)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return 421, f"this server does not answer to the name {host[:100]!r}; HEIST_HOSTS can add it"
        if scope["type"] == "websocket":
            origin = headers.get("origin")
            return None if origin is None or _comes_from(origin, host) else (403, "the request is from another site")
        by_token = scope["path"].startswith(_TOKEN_REALM)
        if by_token and not self._is_own(headers.get("origin")):
            return 403, "the request is from another site"
        if scope["method"] in _SAFE:
            return None
        if not headers.get("content-length", "0").isdigit() or int(headers.get("content-length", "0")) > LARGEST:
            return 413, f"the request's body is larger than {LARGEST} bytes"
        if "transfer-encoding" in headers:
            return 411, "the request must say how long its body is"
        if by_token or "authorization" in headers:
            return None  # what it may do does not hang on the cookie
        return _foreign(headers, host)

    def _is_own(self, origin: str | None) -> bool:
        """Whether a request is from no page, or from one on a host of ours; the MCP specification asks for it."""
        return origin is None or _name(origin.partition("://")[2]) in self._hosts


def _foreign(headers: Headers, host: str) -> tuple[int, str] | None:
    """Why a request that changes something may not count on its cookie; None when it comes from our own pages."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None:
        return 403, f"a request that changes something must say where it comes from; send Origin: http://{host}"
    own = site in ("same-origin", "none") if site is not None else _comes_from(origin or "", host)
    return None if own else (403, "the request is from another site")


def _name(host: str) -> str:
    """The host without its port, an IPv6 address without its brackets; empty when it is no host."""
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::[0-9]{1,5})?", host.lower())
    return (found[1] or found[2]) if found else ""


def _comes_from(origin: str, host: str) -> bool:
    return origin in (f"http://{host}", f"https://{host}")


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": "refused", "detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
