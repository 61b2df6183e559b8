"""Who speaks in the next session: the model that the settings name, or the best that is there."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import httpx2
import openai

from heist.clock import Clock
from heist.errors import ModelError
from heist.llm import discovery, endpoint, local
from heist.llm.discovery import Found
from heist.llm.endpoint import Endpoint, Patience
from heist.llm.model import Form, Model
from heist.llm.resilience import Breaker, Breaking, Lanes, Limited, Retrying, State
from heist.llm.simulated import Simulated

AGAIN_SECONDS = 10.0
"""How long an unsuccessful search counts before the next session looks again."""
HOW_TO_CONNECT = "start LM Studio, Ollama, llama.cpp or vLLM, or set HEIST_LLM to a base URL"
Told = Callable[[str, State, str], None]


class Wanted(NamedTuple):
    """What the settings say of models. `slots` None is what the server tells."""

    llm: str
    name: str | None = None
    key: str | None = None
    tools: Form | Literal["auto"] = "auto"
    patience: Patience = Patience()
    slots: int | None = None


class Server(NamedTuple):
    """One that was found: its client, its lanes and its breaker, which all sessions share, and the models that were
    asked for, each with what stands around it."""

    found: Found
    client: openai.AsyncOpenAI
    lanes: Lanes
    breaker: Breaker
    models: dict[str, Model]


class Source:
    """Keeps one client per server. A session keeps the models that it began with; what is found later, speaks later.
    `told` hears of each server that is given up on and comes back."""

    def __init__(self, wanted: Wanted, clock: Clock, told: Told) -> None:
        self._wanted = wanted
        self._clock = clock
        self._told = told
        self._lock = asyncio.Lock()
        self._servers: dict[str, Server] = {}
        self._own: dict[str, local.Running] = {}
        self._simulated = Simulated()
        self._default: Server | None = None
        self._looked = float("-inf")
        self.notice = ""

    async def model(self, name: str | None = None, llm: str | None = None) -> Model:
        """The model for somebody who begins to speak now: the one of this name, at this address, or what the settings
        say of them. In auto mode without a server it is the simulated crew, and `notice` says why; with an address that
        does not answer it raises `ModelError`."""
        async with self._lock:
            address = llm or self._wanted.llm
            if address == "simulated":
                return self._simulated
            if address != "auto":
                return self._at(await self._server(address), name or (None if llm else self._wanted.name))
            await self._search()
            if self._default is None:
                return self._simulated
            try:
                return self._at(self._default, name or self._wanted.name)
            except ModelError as error:
                if name is not None:
                    raise
                self.notice = f"{error}, so the crew is simulated"
                return self._simulated

    def states(self) -> dict[str, State]:
        """The state of each server's breaker, by the server's name."""
        return {str(server.found): server.breaker.state for server in self._servers.values()}

    async def _search(self) -> None:
        if self._default is not None or self._clock.monotonic() - self._looked <= AGAIN_SECONDS:
            return
        async with httpx2.AsyncClient(trust_env=False) as http:
            found = await discovery.find(http)
        self._looked = self._clock.monotonic()
        self.notice = f"no model server found, so the crew is simulated; {HOW_TO_CONNECT}"
        if found is not None:
            self.notice = ""
            self._default = self._keep(found)

    async def _server(self, address: str) -> Server:
        if local.is_local(address):
            return await self._own_server(address)
        known = address.rstrip("/")
        if known not in self._servers:
            headers = {"Authorization": f"Bearer {self._wanted.key}"} if self._wanted.key else None
            async with httpx2.AsyncClient(headers=headers) as http:
                return self._keep(await discovery.ask(http, known))
        return self._servers[known]

    async def _own_server(self, address: str) -> Server:
        """One that this process has started for itself, or starts now."""
        own = self._own.get(address)
        if own is None or not own.alive:
            wanted = local.wanted(address, self._wanted.slots)
            self._own[address] = own = await asyncio.to_thread(local.start, wanted)
        if own.base_url not in self._servers:
            async with httpx2.AsyncClient(trust_env=False) as http:
                return self._keep(await discovery.ask(http, own.base_url))
        return self._servers[own.base_url]

    def _keep(self, found: Found) -> Server:
        breaker = Breaker(self._clock, partial(self._told, str(found)))
        slots = self._wanted.slots or next((able.slots for able in found.models.values()), None)
        client = endpoint.client(found.base_url, self._wanted.key)
        server = Server(found, client, Lanes(slots), breaker, {})
        self._servers[found.base_url] = server
        return server

    def _at(self, server: Server, name: str | None) -> Model:
        found = server.found
        chosen = found.choose(name)
        if chosen not in server.models:
            ability, told = found.ability(chosen), self._wanted
            plain = Endpoint(server.client, chosen, str(found), ability, told.tools, told.patience)
            server.models[chosen] = Breaking(Retrying(Limited(plain, server.lanes)), server.breaker)
        return server.models[chosen]

    async def close(self) -> None:
        for server in self._servers.values():
            await server.client.close()
        for own in self._own.values():
            await asyncio.to_thread(own.close)
