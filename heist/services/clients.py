"""The clients: who may ask for tokens."""

import asyncio
import hashlib
import re
import secrets
from dataclasses import dataclass, replace

from heist.clock import Clock
from heist.store.clients import GRACE, Registrations
from heist.store.queries import Queries


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who may ask for tokens. The secret is not kept, only its SHA-256. `session_id` is set for the agents of
    a session. A client that is `suspended` exists, and none of its tokens is good."""

    client_id: str
    name: str
    secret_hash: bytes
    scopes: frozenset[str]
    session_id: str | None = None
    suspended: bool = False


class Clients:
    """The agents of the sessions that run here are in memory and gone with their session; outsiders are in the
    database, where the command line adds and disables them while the server runs."""

    def __init__(self, queries: Queries, registrations: Registrations, clock: Clock) -> None:
        self._queries = queries
        self._registrations = registrations
        self._clock = clock
        self._agents: dict[str, Client] = {}
        self._revoked: dict[str, int] = {}

    def register(self, name: str, scopes: frozenset[str], session_id: str) -> tuple[str, str]:
        """A new client for an agent; answers its (id, secret). The secret has 256 bits and is shown only here."""
        client_id, secret = new_credentials(name)
        self._agents[client_id] = Client(client_id, name, hashed(secret), scopes, session_id)
        return client_id, secret

    def remove(self, client_id: str) -> None:
        self._agents.pop(client_id, None)

    def suspend(self, client_id: str) -> None:
        """From now on no token of this agent is good, and it gets no other."""
        self._agents[client_id] = replace(self._agents[client_id], suspended=True)

    def agent(self, client_id: str) -> Client | None:
        """The client of an agent whose session runs here."""
        return self._agents.get(client_id)

    async def find(self, client_id: str) -> Client | None:
        """The client, if it exists and is not disabled. Raises `StoreError`."""
        if (agent := self._agents.get(client_id)) or not re.fullmatch(r"[\w-]{1,64}", client_id, re.ASCII):
            return agent
        row = await asyncio.to_thread(self._queries.client, client_id)
        if row is None or row.disabled_at is not None:
            return None
        return Client(client_id, row.name, bytes.fromhex(row.secret_hash), frozenset(row.scopes.split()))

    async def revoke(self, client: Client, jti: str, expires: int) -> None:
        """The token of this id is no longer good; it is remembered until it would have expired. Raises `StoreError`."""
        now = int(self._clock.now().timestamp())
        if client.session_id is None:
            await asyncio.to_thread(self._registrations.revoke, jti, expires, now)
            return
        self._revoked = {known: ends for known, ends in self._revoked.items() if ends > now - GRACE} | {jti: expires}

    async def revoked(self, client: Client, jti: str) -> bool:
        if client.session_id is None:
            return await asyncio.to_thread(self._queries.is_revoked, jti)
        return jti in self._revoked


def new_credentials(name: str) -> tuple[str, str]:
    """A new (id, secret) for a client of this name."""
    return f"{name}-{secrets.token_hex(8)}", secrets.token_urlsafe(32)


def hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
