"""Who may do what: scopes, principals, the keys and the one place where a token is verified."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import jwt
from fastapi import Depends
from fastapi.requests import HTTPConnection
from fastapi.security import OAuth2
from fastapi.security.utils import get_authorization_scheme_param
from jwt.types import Options

from heist.clock import Clock
from heist.errors import InsufficientScope, InvalidToken

ALGORITHM = "HS256"
LEEWAY = 5
LIFETIME = 300
"""Seconds that a token lives; short, because a revoked agent should not outlive its revocation by much."""


class Scope(StrEnum):
    """Every right in the house; the values are what tokens and crew files say."""

    CALCULATOR = "calculator:use"
    FILES = "files:read"
    DATABASE = "database:read"
    SESSION_READ = "session:read"
    SESSION_CONTROL = "session:control"


AGENT_SCOPES = frozenset({Scope.CALCULATOR, Scope.FILES, Scope.DATABASE})
USER_SCOPES = frozenset({Scope.SESSION_READ, Scope.SESSION_CONTROL})


class Principal(NamedTuple):
    """Who calls, as far as a verified token or cookie says. `session_id` is set for the agents of a session."""

    name: str
    scopes: frozenset[Scope]
    session_id: str | None = None

    def require(self, scope: Scope) -> None:
        """Raises `InsufficientScope` when the principal lacks `scope`."""
        if scope not in self.scopes:
            raise InsufficientScope(f"{self.name} lacks the scope {scope.value!r}", scope.value)


class Keys:
    """Every key derives from one secret; without a secret, from a random one that lasts as long as the process."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret.encode() if secret else secrets.token_bytes(32)
        self.signing = self.derive("access token, HS256")
        self.kid = hashlib.sha256(self.signing).hexdigest()[:16]

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HMAC-SHA-256 of it under the secret)."""
        return hmac.digest(self._secret, purpose.encode(), "sha256")


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who may ask for tokens. The secret is not kept, only its SHA-256."""

    client_id: str
    name: str
    secret_hash: bytes
    scopes: frozenset[Scope]
    session_id: str | None = None

    @property
    def principal(self) -> Principal:
        """The client with all that it may have; a token may hold less."""
        return Principal(self.name, self.scopes, self.session_id)


class Clients:
    """The clients that exist now: one per agent and session, in memory, gone with the session."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    def register(self, name: str, scopes: frozenset[Scope], session_id: str | None) -> tuple[str, str]:
        """A new client; answers its (id, secret). The secret has 256 bits and is shown only here."""
        client_id, secret = f"{name}-{secrets.token_hex(8)}", secrets.token_urlsafe(32)
        self._clients[client_id] = Client(client_id, name, hashed(secret), scopes, session_id)
        return client_id, secret

    def remove(self, client_id: str) -> None:
        self._clients.pop(client_id, None)

    def get(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)


def hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class Auth:
    """The one validation. Tokens have the shape of RFC 9068: `typ` at+jwt, `kid`, and the eight claims below."""

    issuer = "heist"
    audience = "heist/tools"
    claims = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope")

    def __init__(self, keys: Keys, clients: Clients, clock: Clock) -> None:
        self._keys = keys
        self._clients = clients
        self._clock = clock

    def issue(self, client: Client, scopes: frozenset[Scope]) -> str:
        """A signed token for `client`, good for `LIFETIME` seconds."""
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": client.client_id,
            "client_id": client.client_id,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": secrets.token_hex(16),
            "scope": written(scopes),
        }
        headers = {"typ": "at+jwt", "kid": self._keys.kid}
        return jwt.encode(claims, self._keys.signing, ALGORITHM, headers)

    def verify(self, token: str) -> Principal:
        """The principal of a good token; anything else raises `InvalidToken`, whatever the token holds."""
        claims = self._signed(token)
        subject = claims["sub"]
        now = self._clock.now().timestamp()
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= LIFETIME:
            raise InvalidToken("the token's times are not ones that this server gives")
        if issued > now + LEEWAY:
            raise InvalidToken("the token is from the future")
        if expires <= now - LEEWAY:
            raise InvalidToken("the token has expired; ask for a new one", subject)
        client = self._clients.get(subject)
        if client is None:
            raise InvalidToken("the token's client no longer exists")
        granted = frozenset(scope for scope in client.scopes if scope.value in claims["scope"].split())
        return Principal(client.name, granted, client.session_id)

    def _signed(self, token: str) -> dict[str, Any]:
        """The claims of a token that we signed, with every claim there and of its type; times are not yet looked at."""
        options: Options = {
            "require": list(self.claims),
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        }
        try:
            decoded = jwt.decode_complete(
                token, self._keys.signing, [ALGORITHM], options, audience=self.audience, issuer=self.issuer
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise InvalidToken("the token is not one that this server gave") from None
        header = decoded["header"]
        claims: dict[str, Any] = decoded["payload"]
        whole = all(isinstance(claims[name], str) for name in ("sub", "client_id", "jti", "scope"))
        if header.get("typ") != "at+jwt" or header.get("kid") != self._keys.kid or not whole:
            raise InvalidToken("the token is not one that this server gave")
        if claims["sub"] != claims["client_id"] or claims["aud"] != self.audience:
            raise InvalidToken("the token is not one that this server gave")
        return claims


def written(scopes: frozenset[Scope]) -> str:
    """Scopes as OAuth writes them: separated by blanks, in one order."""
    return " ".join(sorted(scopes))


def challenge(error: InvalidToken | InsufficientScope) -> str:
    """The `WWW-Authenticate` value for a refusal (RFC 6750, section 3): no error code when no token was sent."""
    if isinstance(error, InsufficientScope):
        return f'Bearer realm="heist", error="insufficient_scope", scope="{error.scope}"'
    return 'Bearer realm="heist"' if error.missing else 'Bearer realm="heist", error="invalid_token"'


DOCUMENTED = OAuth2(
    flows={
        "clientCredentials": {"tokenUrl": "/oauth/token", "scopes": {scope.value: "" for scope in sorted(AGENT_SCOPES)}}
    },
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
