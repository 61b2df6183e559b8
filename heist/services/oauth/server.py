"""Gives tokens to clients that prove who they are, tells what a token is worth, and takes it back."""

import hmac
from typing import Any, NamedTuple

from heist.clock import Clock
from heist.errors import GrantError, InvalidToken, TooMany
from heist.services.auth import Auth, Resource, Scope
from heist.services.clients import Client, Clients, hashed

FAILURES = 10
WINDOW = 60.0
"""More than FAILURES wrong secrets from one address for one client within WINDOW seconds, and it has to wait."""
CROWDED = 10_000
SWEEP_SECONDS = 1.0
"""With more than CROWDED clients on its mind the throttle forgets those whose time is over, at most once a second."""
_NOBODY = hashed("no client has this secret")


class Grant(NamedTuple):
    access_token: str
    scopes: frozenset[str]


class Throttle:
    """Counts failures by (address, client), so that guessing at one client never locks it out from elsewhere."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[tuple[str | None, str], list[float]] = {}
        self._swept = clock.monotonic()

    def check(self, address: str | None, client_id: str) -> None:
        """Raises `TooMany` when there were too many failures of late."""
        recent = self._recent(address, client_id)
        if len(recent) >= FAILURES:
            wait = int(recent[0] + WINDOW - self._clock.monotonic()) + 1
            raise TooMany(f"too many wrong secrets; try again in {wait} s", wait, client_id)

    def failed(self, address: str | None, client_id: str) -> None:
        if len(self._failures) > CROWDED and self._clock.monotonic() > self._swept + SWEEP_SECONDS:
            self._failures = {key: times for key in self._failures if (times := self._recent(*key))}
            self._swept = self._clock.monotonic()
        self._failures.setdefault((address, client_id), []).append(self._clock.monotonic())

    def _recent(self, address: str | None, client_id: str) -> list[float]:
        since = self._clock.monotonic() - WINDOW
        recent = [moment for moment in self._failures.get((address, client_id), []) if moment > since]
        if (address, client_id) in self._failures:
            self._failures[address, client_id] = recent
        return recent


class AuthorizationServer:
    """In process and over HTTP it is the same methods. `known` are the names of all scopes that there are."""

    def __init__(self, auth: Auth, clients: Clients, clock: Clock, known: frozenset[str]) -> None:
        self._auth = auth
        self._clients = clients
        self._throttle = Throttle(clock)
        self.known = known

    async def grant(
        self,
        client_id: str,
        secret: str,
        scope: str | None = None,
        resources: tuple[Resource, ...] = (),
        address: str | None = None,
    ) -> Grant:
        """`authenticate` and `give` in one."""
        return self.give(await self.authenticate(client_id, secret, address), scope, *resources)

    def give(self, client: Client, scope: str | None, *resources: Resource) -> Grant:
        """A token with what was asked for, as far as the client may have it; all of the client's when nothing was
        asked. Raises `GrantError` (invalid_scope)."""
        scopes = self._asked(client, scope)
        return Grant(self._auth.issue(client, scopes, *resources), scopes)

    async def authenticate(self, client_id: str, secret: str, address: str | None = None) -> Client:
        """The client of this id and secret; `address` None is in process. Raises `GrantError` (invalid_client), after
        the same work for a client that does not exist, or `TooMany`."""
        self._throttle.check(address, client_id)
        client = await self._clients.find(client_id)
        self._throttle.check(address, client_id)  # again: others may have guessed meanwhile
        right = hmac.compare_digest(client.secret_hash if client else _NOBODY, hashed(secret))
        if client is None or not right:
            self._throttle.failed(address, client_id)
            raise GrantError("invalid_client", "the client is unknown or its secret is wrong", client_id)
        if client.suspended:
            raise GrantError("unauthorized_client", f"{client.name} is in quarantine: it gets no tokens", client_id)
        return client

    async def introspect(self, client: Client, token: str) -> dict[str, Any]:
        """What `token` is worth (RFC 7662): its claims if it is good and `client` may know that, because it is its own
        or because of the scope `tokens:introspect`; for everything else just that it is not active."""
        try:
            claims, owner = await self._auth.inspect(token)
        except InvalidToken:
            return {"active": False}
        if owner.client_id != client.client_id and Scope.TOKENS_INTROSPECT not in client.scopes:
            return {"active": False}
        return {"active": True, "token_type": "Bearer", "username": owner.name, **claims}

    async def revoke(self, client: Client, token: str) -> None:
        """The token is no longer good (RFC 7009); one that is not good anyway is none of our worries. Raises
        `GrantError` (invalid_grant) for a token of another client."""
        try:
            claims, owner = await self._auth.inspect(token)
        except InvalidToken:
            return
        if owner.client_id != client.client_id:
            raise GrantError("invalid_grant", "the token was given to another client", client.client_id)
        await self._clients.revoke(owner, claims["jti"], claims["exp"])

    def _asked(self, client: Client, scope: str | None) -> frozenset[str]:
        if scope is None:
            return client.scopes
        names = scope.split(" ")
        if not self.known.issuperset(names):
            sentence = "a scope that was asked for does not exist"
            raise GrantError("invalid_scope", sentence, client.client_id, scope)
        granted = client.scopes.intersection(names)
        if not granted:
            sentence = "the client may have none of the scopes that were asked for"
            raise GrantError("invalid_scope", sentence, client.client_id, scope)
        return granted
