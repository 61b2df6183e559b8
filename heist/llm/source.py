"""Who speaks in the next session: the model that the settings name, or the best that is there."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from heist.clock import Clock
from heist.errors import ModelError
from heist.llm.discovery import Found
from heist.llm.model import Model
from heist.llm.network import Network, Wanted
from heist.llm.observed import Observed
from heist.llm.resilience import Breaker, Breaking, State
from heist.telemetry.telemetry import Telemetry

AGAIN_SECONDS = 10.0
"""How long an unsuccessful search counts before the next session looks again."""
HOW_TO_CONNECT = "start LM Studio, Ollama, llama.cpp or vLLM, or set HEIST_LLM to a base URL"
Told = Callable[[str, State, str], None]


class Server(NamedTuple):
    """One that was found: its breaker, which all sessions share, and the models that were asked for, each with that
    breaker around it."""

    found: Found
    breaker: Breaker
    models: dict[str, Model]


class Source:
    """A session keeps the models that it began with; what is found later, speaks later. `told` hears of each server
    that is given up on and comes back."""

    def __init__(
        self, wanted: Wanted, network: Network, clock: Clock, told: Told, telemetry: Telemetry | None = None
    ) -> None:
        self._wanted = wanted
        self._network = network
        self._clock = clock
        self._told = told
        self._telemetry = telemetry or Telemetry()
        self._lock = asyncio.Lock()
        self._servers: dict[str, Server] = {}
        self._simulated: Model | None = None
        self._default: Server | None = None
        self._looked = float("-inf")
        self.notice = ""

    async def model(self, name: str | None = None, llm: str | None = None) -> Model:
        """The model for somebody who begins to speak now: the one of this name, at this address, or what the settings
        say of them. In auto mode without a server it is the simulated crew, and `notice` says why; with an address that
        does not answer it raises `ModelError`."""
        return Observed(await self._model(name, llm), self._telemetry)

    async def _model(self, name: str | None, llm: str | None) -> Model:
        async with self._lock:
            address = llm or self._wanted.llm
            if address == "simulated":
                return self._nobody()
            if address != "auto":
                server = self._keep(await self._network.ask(address))
                return self._at(server, name or (None if llm else self._wanted.name))
            await self._search()
            if self._default is None:
                return self._nobody()
            try:
                return self._at(self._default, name or self._wanted.name)
            except ModelError as error:
                if name is not None:
                    raise
                self.notice = f"{error}, so the crew is simulated"
                return self._nobody()

    def states(self) -> dict[str, State]:
        """The state of each server's breaker, by the server's name."""
        return {str(server.found): server.breaker.state for server in self._servers.values()}

    def reasons(self) -> dict[str, str]:
        """Why a breaker is not closed, by the server's name."""
        breakers = {str(server.found): server.breaker for server in self._servers.values()}
        return {name: breaker.reason for name, breaker in breakers.items() if breaker.state != "closed"}

    async def _search(self) -> None:
        if self._default is not None or self._clock.monotonic() - self._looked <= AGAIN_SECONDS:
            return
        found = await self._network.find()
        self._looked = self._clock.monotonic()
        self.notice = f"no model server found, so the crew is simulated; {HOW_TO_CONNECT}"
        if found is not None:
            self.notice = ""
            self._default = self._keep(found)

    def _keep(self, found: Found) -> Server:
        if found.base_url not in self._servers:
            breaker = Breaker(self._clock, partial(self._told, str(found)))
            self._servers[found.base_url] = Server(found, breaker, {})
        return self._servers[found.base_url]

    def _nobody(self) -> Model:
        """The simulated crew."""
        if self._simulated is None:
            self._simulated = self._network.simulated()
        return self._simulated

    def _at(self, server: Server, name: str | None) -> Model:
        chosen = server.found.choose(name)
        if chosen not in server.models:
            server.models[chosen] = Breaking(self._network.model(server.found, chosen), server.breaker)
        return server.models[chosen]

    async def close(self) -> None:
        await self._network.close()
