"""A tool call from outside of a turn: let in by its token, run, and put on record."""

from typing import Literal

from heist.bus import Bus
from heist.errors import InvalidToken
from heist.events import ToolCalled, sound
from heist.services.auth import Auth, Principal, Resource
from heist.services.clients import Clients
from heist.services.tools.registry import Outcome, Registry, recordable

Form = Literal["http", "mcp"]


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
        """The outcome, once it is on record; raises `StoreError` when it could not be put there."""
        outcome = await self._registry.call(principal, tool, arguments)
        await self._record(principal.session_id, principal.name, outcome)
        return outcome

    async def _record(self, session_id: str | None, agent: str, outcome: Outcome) -> None:
        await self._bus.publish(
            ToolCalled(
                session_id=session_id,
                turn=None,
                agent=agent,
                tool=sound(outcome.tool[:64]),
                arguments=outcome.arguments,
                result=outcome.text,
                success=outcome.success,
                fault=outcome.fault,
                form=self._form,
                milliseconds=outcome.milliseconds,
            )
        )
        if outcome.error:
            outcome.error.recorded = True
