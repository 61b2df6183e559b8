"""Who speaks in the next session: the model that the settings name, or the best that is there."""

import asyncio
from typing import Literal

import httpx2
import openai

from heist.clock import Clock
from heist.errors import ModelError
from heist.llm import discovery, endpoint
from heist.llm.discovery import Found
from heist.llm.endpoint import Endpoint
from heist.llm.model import Model
from heist.llm.resilience import Retrying
from heist.llm.simulated import Simulated

AGAIN_SECONDS = 10.0
"""How long an unsuccessful search counts before the next session looks again."""
HOW_TO_CONNECT = "start LM Studio, Ollama, llama.cpp or vLLM, or set HEIST_LLM to a base URL"


class Source:
    """Keeps one client per server. `patience` is in seconds: for the first byte, between two pieces, and in all. A
    session keeps the model that it began with; what is found later, speaks later."""

    def __init__(
        self,
        llm: str,
        name: str | None,
        key: str | None,
        tools: Literal["auto", "native", "text"],
        patience: tuple[float, float, float],
        clock: Clock,
    ) -> None:
        self._llm = llm
        self._name = name
        self._key = key
        self._tools = tools
        self._patience = patience
        self._clock = clock
        self._lock = asyncio.Lock()
        self._model: Model | None = None
        self._client: openai.AsyncOpenAI | None = None
        self._looked = float("-inf")
        self.notice = ""

    async def model(self) -> Model:
        """The model for a session that starts now. In auto mode without a server it is the simulated crew, and
        `notice` says why; with an address that does not answer it raises `ModelError`."""
        async with self._lock:
            settled = self._model is not None and not (self._llm == "auto" and self._model.simulated)
            if not settled and self._clock.monotonic() - self._looked > AGAIN_SECONDS:
                self._model = await self._look()
                self._looked = self._clock.monotonic() if self._model.simulated else self._looked
            assert self._model is not None
            return self._model

    async def _look(self) -> Model:
        if self._llm == "simulated":
            return Simulated()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key and self._llm != "auto" else None
        async with httpx2.AsyncClient(trust_env=self._llm != "auto", headers=headers) as http:
            if self._llm != "auto":
                return self._endpoint(await discovery.ask(http, self._llm))
            found = await discovery.find(http)
        if found is None:
            self.notice = f"no model server found, so the crew is simulated; {HOW_TO_CONNECT}"
            return Simulated()
        try:
            model = self._endpoint(found)
        except ModelError as error:
            self.notice = f"{error}, so the crew is simulated"
            return Simulated()
        self.notice = ""
        return model

    def _endpoint(self, found: Found) -> Model:
        name = found.choose(self._name)
        self._client = endpoint.client(found.base_url, self._key)
        return Retrying(Endpoint(self._client, name, str(found), self._tools, *self._patience))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
