"""One agent's reach: who it is to the services, and which tools that opens."""

from heist.errors import GrantError, InvalidToken, TooMany
from heist.events import Seat
from heist.services.auth import Auth, Clients, Principal, Scope
from heist.services.oauth import AuthorizationServer
from heist.services.tools.registry import AnyTool, Outcome, Registry


class Agent:
    """Holds a client of its own and asks for tokens like anybody else; every call is authorised by its token alone."""

    def __init__(
        self, seat: Seat, session_id: str, clients: Clients, server: AuthorizationServer, auth: Auth, registry: Registry
    ) -> None:
        self.seat = seat
        self._clients = clients
        self._server = server
        self._auth = auth
        self._registry = registry
        self._client_id, self._secret = clients.register(seat.name, frozenset(map(Scope, seat.scopes)), session_id)
        self._token: str | None = None

    def tools(self) -> tuple[AnyTool, ...]:
        """The tools that this agent's client may use now; a client that is gone may use none. Seeing is not using:
        each call is authorised by its token."""
        client = self._clients.get(self._client_id)
        return self._registry.visible(client.principal) if client else ()

    async def use(self, tool: str, arguments: object) -> Outcome:
        """Calls a tool with a verified token. A refused token is an outcome too: the model reads why."""
        try:
            principal = self._principal()
        except (InvalidToken, GrantError, TooMany) as refusal:
            return Outcome(tool, arguments, str(refusal), "token", refusal, 0.0)
        return await self._registry.call(principal, tool, arguments)

    def leave(self) -> None:
        """The agent's client is gone, and with it every token that it was given."""
        self._clients.remove(self._client_id)

    def _principal(self) -> Principal:
        """Verifies the token that the agent holds; when it is no longer good, asks once for a new one."""
        if self._token is not None:
            try:
                return self._auth.verify(self._token)
            except InvalidToken:
                self._token = None
        self._token = self._server.grant(self._client_id, self._secret).access_token
        return self._auth.verify(self._token)
