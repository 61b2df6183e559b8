"""A tool call from outside of a turn: let in by its token, run, and put on record."""

import asyncio
from typing import Literal

from heist.bus import Bus
from heist.errors import InvalidToken
from heist.services.auth import Auth, Principal, Resource
from heist.services.clients import Clients
from heist.services.tools.registry import Outcome, Registry, recordable

Form = Literal["http", "mcp"]


def withheld(clients: Clients, client_id: str, outcome: Outcome) -> Outcome:
    """The outcome of an agent's call, or, if the agent was put in quarantine or dismissed while it ran, that it was."""
    client = clients.agent(client_id)
    if client is not None and not client.suspended:
        return outcome
    refusal = InvalidToken("the token stopped being good while the tool ran; the result is withheld", client_id)
    return Outcome(outcome.tool, outcome.arguments, str(refusal), None, "token", refusal, outcome.milliseconds)


class Outside:
    """The way in for HTTP and for MCP; within a turn the turn itself tells of its calls."""

    def __init__(self, registry: Registry, auth: Auth, clients: Clients, bus: Bus, form: Form) -> None:
        self._registry = registry
        self._auth = auth
        self._clients = clients
        self._bus = bus
        self._form = form

    async def admit(self, token: str, place: Resource, tool: str, arguments: object) -> Principal:
        """Verifies the token for a call. A refusal that is known to be an agent's goes on its session's record."""
        try:
            return await self._auth.verify(token, place)
        except InvalidToken as refusal:
            refusal.tool = tool
            if client := self._clients.agent(refusal.client):
                outcome = Outcome(tool, recordable(arguments), str(refusal), None, "token", refusal, 0.0)
                await self._record(client.session_id, client.name, outcome)
            raise

    async def call(self, principal: Principal, tool: str, arguments: object) -> Outcome:
        """The outcome, once it is on record; raises `StoreError` when it could not be put there. A caller that does not
        wait for it is on record too, and an agent that is put in quarantine meanwhile does not get it."""
        try:
            outcome = await self._registry.call(principal, tool, arguments)
        except asyncio.CancelledError:
            gone = "the caller did not wait for the answer"
            cancelled = Outcome(tool, recordable(arguments), gone, None, "cancelled", None, 0.0)
            self._bus.post(cancelled.told(principal.session_id, principal.name, self._form))
            raise
        if principal.session_id is not None:
            outcome = withheld(self._clients, principal.client_id, outcome)
        await self._record(principal.session_id, principal.name, outcome)
        return outcome

    async def _record(self, session_id: str | None, agent: str, outcome: Outcome) -> None:
        await self._bus.publish(outcome.told(session_id, agent, self._form))
        if outcome.error:
            outcome.error.recorded = True
