"""Tapes: the model calls of one session, by all of its models, and with them the servers that were found for it.

A tape is a file of JSON lines as a cassette is, and as secret. Its first line says which session it is (`Label`); then
come the servers, a header for each model, and the calls, in the order in which all of it happened.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from heist.errors import CassetteMiss, ConfigError
from heist.llm.cassette import Counts, Header, Line, Player, Recording, Take, begin, line, lines, parsed
from heist.llm.discovery import Found
from heist.llm.model import Completion, Model, Prompt, Wrapper
from heist.llm.network import Network, parted

SEARCH = "auto"
"""The address under which it stands what a search found."""


class Label(Line):
    """What was asked for, in the words of the command line, and who was to speak: `llm` and `model` are HEIST_LLM and
    HEIST_MODEL."""

    tape: Literal[1] = 1
    order: Mapping[str, JsonValue]
    llm: str
    model: str | None


class Answer(Line):
    """Which server there was at an address; None when a search found none."""

    address: str
    found: Found | None


_LABEL = TypeAdapter(Label)
_ANSWER = TypeAdapter(Answer)
_HEADER = TypeAdapter(Header)


class Taping:
    """A network of which everything that a session asks is kept in a file that must not exist yet; nothing is written
    before the first server is found, or the simulated crew called. Raises `ConfigError`."""

    def __init__(self, network: Network, path: Path, label: Label) -> None:
        if path.exists():
            raise ConfigError(f"{path} is there already; record to a new file")
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: cannot be recorded to: there is no folder {path.parent}")
        self._network = network
        self._path = path
        self._label: Label | None = label
        self._models = 0

    async def find(self) -> Found | None:
        found = await self._network.find()
        self._keep(Answer(address=SEARCH, found=found))
        return found

    async def ask(self, address: str) -> Found:
        found = await self._network.ask(address)
        self._keep(Answer(address=parted(address).base_url, found=found))
        return found

    async def reach(self, found: Found) -> None:
        await self._network.reach(found)

    def model(self, found: Found, name: str) -> Model:
        return self._recorded(self._network.model(found, name))

    def simulated(self) -> Model:
        return self._recorded(self._network.simulated())

    def _recorded(self, model: Model) -> Model:
        self._begin()
        self._models += 1
        return Recording(model, self._path, self._models)

    def _keep(self, answer: Answer) -> None:
        self._begin()
        begin(self._path, answer)

    def _begin(self) -> None:
        if self._label is not None:
            begin(self._path, self._label)
            self._label = None

    async def close(self) -> None:
        await self._network.close()


class Taped:
    """The network as a tape has it: no server is needed. `missed` hears of each call that is not on it, and has the
    session ended: such a call never ends by itself. A server or a model that is not on it raises `ConfigError`, as does
    a file that is no tape."""

    def __init__(self, path: Path, missed: Callable[[CassetteMiss], None]) -> None:
        first, *rest = lines(path)
        if first.startswith(b'{"format"'):
            told = f"`heist model serve --model cassette:{path}` plays it"
            raise ConfigError(f"{path} is a recording of one model and not of a session; {told}")
        self.label = parsed(path, 1, first, _LABEL)
        self._path = path
        self._missed = missed
        self._answers: dict[str, Found | None] = {}
        self._headers: list[Header] = []
        self._calls: dict[int, list[Take | Counts]] = {}
        for number, text in enumerate(rest, 2):
            self._read(number, text)

    def _read(self, number: int, text: bytes) -> None:
        if text.startswith(b'{"address"'):
            answer = parsed(self._path, number, text, _ANSWER)
            self._answers.setdefault(parted(answer.address).base_url, answer.found)
        elif text.startswith(b'{"format"'):
            self._headers.append(parsed(self._path, number, text, _HEADER))
        else:
            call = line(self._path, number, text)
            self._calls.setdefault(call.of, []).append(call)

    async def find(self) -> Found | None:
        return self._answers.get(SEARCH)

    async def ask(self, address: str) -> Found:
        found = self._answers.get(parted(address).base_url)
        if found is None:
            raise ConfigError(f"{self._path} is of a session that asked no server at {parted(address).base_url!r}")
        return found

    async def reach(self, found: Found) -> None:
        """What is on the tape is always there."""

    def model(self, found: Found, name: str) -> Model:
        return self._played(name, str(found), False)

    def simulated(self) -> Model:
        return self._played("the simulated crew", "", True)

    def _played(self, name: str, server: str, simulated: bool) -> Model:
        for header in self._headers:
            if header.simulated == simulated and (simulated or (header.model, header.server) == (name, server)):
                return Watched(Player(header, self._calls.get(header.of, ())), self._missed)
        raise ConfigError(f"{self._path} is of a session in which {name} did not speak")

    async def close(self) -> None:
        """Nothing was open."""


class Watched(Wrapper):
    """A model that is heard of when it misses an answer, and then says nothing: of an error a session would make a
    failed turn, or a summary without a model, and go on."""

    def __init__(self, model: Model, missed: Callable[[CassetteMiss], None]) -> None:
        super().__init__(model)
        self._missed = missed

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        try:
            async with aclosing(self._model.complete(prompt)) as answer:
                async for chunk in answer:
                    yield chunk
        except CassetteMiss as miss:
            self._missed(miss)
            await asyncio.Event().wait()
