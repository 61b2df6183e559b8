"""Who may do what: scopes, principals, and the one place where a token is issued and verified."""

import secrets
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import jwt
from fastapi import Depends
from fastapi.requests import HTTPConnection
from fastapi.security import OAuth2
from fastapi.security.utils import get_authorization_scheme_param
from jwt.types import Options

from heist.clock import Clock
from heist.errors import InsufficientScope, InvalidToken
from heist.services.clients import Client, Clients
from heist.services.keys import Keys

LEEWAY = 5
LIFETIME = 300
"""Seconds that a token lives; short, because a revoked agent should not outlive its revocation by much."""
_FOREIGN = "the token is not one that this server gave"


class Scope(StrEnum):
    """Every right in the house but those that plug-ins bring; the values are what tokens and crew files say."""

    CALCULATOR = "calculator:use"
    FILES = "files:read"
    DATABASE = "database:read"
    STREET = "street:observe"
    ROUTES = "routes:read"
    PLAN_READ = "plan:read"
    PLAN_WRITE = "plan:write"
    MEMORY_READ = "memory:read"
    MEMORY_WRITE = "memory:write"
    SESSION_READ = "session:read"
    SESSION_CONTROL = "session:control"
    DETECTION = "detection:read"
    ANALYTICS = "analytics:read"
    METRICS = "metrics:read"
    TOOLS_ADMIN = "tools:admin"
    TOKENS_INTROSPECT = "tokens:introspect"


AGENT_SCOPES = frozenset(
    {
        Scope.CALCULATOR,
        Scope.FILES,
        Scope.DATABASE,
        Scope.STREET,
        Scope.ROUTES,
        Scope.PLAN_READ,
        Scope.PLAN_WRITE,
        Scope.MEMORY_READ,
        Scope.MEMORY_WRITE,
    }
)
USER_SCOPES = frozenset(
    {
        Scope.SESSION_READ,
        Scope.SESSION_CONTROL,
        Scope.DETECTION,
        Scope.ANALYTICS,
        Scope.METRICS,
        Scope.TOOLS_ADMIN,
    }
)


class Principal(NamedTuple):
    """Who calls, as far as a verified token or cookie says. `session_id` is set for the agents of a session."""

    name: str
    scopes: frozenset[str]
    session_id: str | None = None
    client_id: str = ""

    def require(self, scope: str) -> None:
        """Raises `InsufficientScope` when the principal lacks `scope`."""
        if scope not in self.scopes:
            raise InsufficientScope(f"{self.name} lacks the scope {str(scope)!r}", scope, self.client_id)


class Resource(NamedTuple):
    """What a token is for: an address of this server and one of its two parts, the HTTP API or MCP (RFC 8707). The
    address is also the issuer (RFC 8414)."""

    site: str
    path: Literal["", "/mcp"] = ""

    @property
    def uri(self) -> str:
        return self.site + self.path


class Auth:
    """The one validation. Tokens have the shape of RFC 9068: `typ` at+jwt, `kid`, and the eight claims below."""

    claims = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope")

    here = Resource("urn:heist:crew")
    """What the agents' tokens are for: they never leave the process, and one that did would open nothing."""

    def __init__(self, keys: Keys, clients: Clients, clock: Clock, url: str | None = None) -> None:
        self._keys = keys
        self._clients = clients
        self._clock = clock
        self._url = url

    def place(self, connection: HTTPConnection, path: Literal["", "/mcp"] = "") -> Resource:
        """What a request addresses: this server under the address that it was told it has, else under the one that the
        request names, which the guard has checked."""
        asked = connection.url
        return Resource(self._url or f"{asked.scheme.replace('ws', 'http')}://{asked.netloc.lower()}", path)

    def issue(self, client: Client, scopes: frozenset[str], *resources: Resource) -> str:
        """A signed token for `client`, good at `resources` (of one site) for `LIFETIME` seconds."""
        good_at = resources or (self.here,)
        now = int(self._clock.now().timestamp())
        audience = [resource.uri for resource in good_at]
        claims = {
            "iss": good_at[0].site,
            "aud": audience if len(audience) > 1 else audience[0],
            "sub": client.client_id,
            "client_id": client.client_id,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": secrets.token_hex(16),
            "scope": written(scopes),
        }
        key = self._keys.first
        return jwt.encode(claims, key.signs, key.algorithm, {"typ": "at+jwt", "kid": key.kid})

    async def verify(self, token: str, resource: Resource | None = None) -> Principal:
        """The principal of a token that is good at `resource`, or in process if that is None. Anything else raises
        `InvalidToken`, whatever the token holds; `StoreError` when it cannot be known."""
        place = resource or self.here
        claims = self._signed(token, place)
        client = await self._standing(claims)
        granted = frozenset(client.scopes & set(claims["scope"].split()))
        return Principal(client.name, granted, client.session_id, client.client_id)

    async def inspect(self, token: str) -> tuple[dict[str, Any], Client]:
        """The claims of a good token, whatever it is for, and its client. Raises like `verify`."""
        claims = self._signed(token, None)
        if claims["iss"] == self.here.site:
            raise InvalidToken(_FOREIGN)  # what is good in process is good for nobody who asks from outside
        return claims, await self._standing(claims)

    async def _standing(self, claims: dict[str, Any]) -> Client:
        """The client of a token that we signed, if both are still good."""
        subject = claims["sub"]
        self._check_times(claims)
        client = await self._clients.find(subject)
        if client is None:
            raise InvalidToken("the token's client no longer exists, or is disabled", subject)
        if client.suspended:
            raise InvalidToken(f"{client.name} is in quarantine: its tokens are no longer good", subject)
        if await self._clients.revoked(client, claims["jti"]):
            raise InvalidToken("the token was revoked", subject)
        return client

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._clock.now().timestamp()
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= LIFETIME:
            raise InvalidToken("the token's times are not ones that this server gives")
        if issued > now + LEEWAY:
            raise InvalidToken("the token is from the future")
        if expires <= now - LEEWAY:
            raise InvalidToken("the token has expired; ask for a new one", claims["sub"])

    def _signed(self, token: str, place: Resource | None) -> dict[str, Any]:
        """The claims of a token that we signed, for `place` if that is given, with every claim there and of its type;
        times are not yet looked at."""
        options: Options = {
            "require": list(self.claims),
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
            "verify_aud": place is not None,
        }
        try:
            key = self._keys.ring[jwt.get_unverified_header(token)["kid"]]
            audience, issuer = (place.uri, place.site) if place else (None, None)
            decoded = jwt.decode_complete(
                token, key.verifies, [key.algorithm], options, audience=audience, issuer=issuer
            )
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            wanted = place or self.here
            raise InvalidToken(
                "the token is for another address, or another part of this server; "
                f"ask {wanted.site}/oauth/token for one with resource={wanted.uri}"
            ) from None
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError):
            raise InvalidToken(_FOREIGN) from None
        claims: dict[str, Any] = decoded["payload"]
        whole = all(isinstance(claims[name], str) for name in ("sub", "client_id", "jti", "scope"))
        if decoded["header"].get("typ") != "at+jwt" or not whole or claims["sub"] != claims["client_id"]:
            raise InvalidToken(_FOREIGN)
        return claims


def written(scopes: frozenset[str]) -> str:
    """Scopes as OAuth writes them: separated by blanks, in one order."""
    return " ".join(sorted(scopes))


def challenge(error: InvalidToken | InsufficientScope, resource: Resource) -> str:
    """The `WWW-Authenticate` value for a refusal (RFC 6750, section 3; RFC 9728, section 5.1): no error code when no
    token was sent."""
    parts = ['Bearer realm="heist"']
    if isinstance(error, InsufficientScope):
        parts += ['error="insufficient_scope"', f'scope="{error.scope}"']
    elif not error.missing:
        parts += ['error="invalid_token"']
    return ", ".join(
        [*parts, f'resource_metadata="{resource.site}/.well-known/oauth-protected-resource{resource.path}"']
    )


DOCUMENTED = OAuth2(
    flows={"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": {scope.value: "" for scope in Scope}}},
    auto_error=False,
)
"""A dependency that does nothing but tell OpenAPI how to get a token, and for what."""


def bearer(connection: HTTPConnection) -> str:
    """The token of the `Authorization` header, and of nowhere else; raises `InvalidToken` when there is none."""
    scheme, token = get_authorization_scheme_param(connection.headers.get("Authorization"))
    if scheme.lower() != "bearer" or not token:
        raise InvalidToken("this needs a token: send Authorization: Bearer …", missing=True)
    return token


Bearer = Annotated[str, Depends(bearer)]
