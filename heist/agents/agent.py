"""One agent's reach: who it is to the services, and which tools that opens."""

from heist.errors import GrantError, InvalidToken, TooMany
from heist.events import Seat
from heist.services.auth import Auth, Principal
from heist.services.clients import Clients
from heist.services.oauth.server import AuthorizationServer
from heist.services.tools.outside import withheld
from heist.services.tools.registry import AnyTool, Outcome, Registry, recordable
from heist.telemetry.here import tool_work


class Agent:
    """Holds a client of its own and asks for tokens like anybody else; every call is authorised by its token alone."""

    def __init__(
        self, seat: Seat, session_id: str, clients: Clients, server: AuthorizationServer, auth: Auth, registry: Registry
    ) -> None:
        self.seat = seat
        self._session_id = session_id
        self._clients = clients
        self._server = server
        self._auth = auth
        self._registry = registry
        self.arrive()

    def arrive(self) -> None:
        """From now on the agent is a new client: no token from before is good."""
        self._client_id, self._secret = self._clients.register(
            self.seat.name, frozenset(self.seat.scopes), self._session_id
        )
        self._token: str | None = None

    def tools(self) -> tuple[AnyTool, ...]:
        """The tools that this agent's client may use now; one that is gone or in quarantine may use none. Seeing is not
        using: each call is authorised by its token."""
        client = self._clients.agent(self._client_id)
        if client is None or client.suspended:
            return ()
        return self._registry.visible(Principal(client.name, client.scopes, client.session_id))

    async def use(self, tool: str, arguments: object) -> Outcome:
        """Calls a tool with a verified token. A refused token is an outcome too: the model reads why."""
        with tool_work(tool) as span:
            outcome = await self._use(tool, arguments)
            if outcome.fault is not None:
                span.fail(outcome.fault)
            span.quote("speech", outcome.quoted)
        return outcome

    async def _use(self, tool: str, arguments: object) -> Outcome:
        try:
            principal = await self._principal()
        except (InvalidToken, GrantError, TooMany) as refusal:
            return Outcome(tool, recordable(arguments), str(refusal), None, "token", refusal, 0.0)
        return withheld(self._clients, self._client_id, await self._registry.call(principal, tool, arguments))

    def leave(self) -> None:
        """The agent's client is gone, and with it every token that it was given."""
        self._clients.remove(self._client_id)

    def suspend(self) -> None:
        """Quarantine: every token of the agent is dead at once, and it gets no other until it arrives anew."""
        self._clients.suspend(self._client_id)

    def release(self) -> None:
        self.leave()
        self.arrive()

    async def _principal(self) -> Principal:
        """Verifies the token that the agent holds; when it is no longer good, asks once for a new one."""
        if self._token is not None:
            try:
                return await self._auth.verify(self._token)
            except InvalidToken:
                self._token = None
        self._token = (await self._server.grant(self._client_id, self._secret)).access_token
        return await self._auth.verify(self._token)
