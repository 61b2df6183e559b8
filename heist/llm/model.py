"""What a language model is to the rest of the house."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol


class Call(NamedTuple):
    """A tool call as the model wrote it: `arguments` is text, JSON if the model kept to it."""

    id: str
    name: str
    arguments: str


class Message(NamedTuple):
    """`calls` only with role assistant, `call_id` only with role tool."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""


class ToolSpec(NamedTuple):
    """A tool as a model is told of it; `parameters` is JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `seed` makes a model that knows seeds repeat itself; `max_tokens` bounds the answer; `schema` is the
    JSON Schema that the answer is to keep to, where the model can be held to one; at a `stop` it ends."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float = 0.7
    max_tokens: int = 300
    seed: int = 0
    schema: Mapping[str, Any] | None = None
    stop: tuple[str, ...] = ()

    def followed_by(self, *messages: Message) -> "Prompt":
        return replace(self, messages=(*self.messages, *messages))

    def with_tools(self, tools: tuple[ToolSpec, ...]) -> "Prompt":
        return replace(self, tools=tools)


class Usage(NamedTuple):
    """Tokens; `estimated` when the server gave none and a quarter of the characters stands in. `cached` are those of
    the prompt that the server had in its cache, None where it does not tell."""

    prompt: int
    completion: int
    estimated: bool
    cached: int | None = None


Form = Literal["native", "schema", "text"]
"""How tools are offered and asked for: by the API's own calls, as a field of a JSON answer, or written into the
text."""


class Ability(NamedTuple):
    """What is known of a model server; None is not known. `context` is in tokens, `slots` is how many answers it gives
    at once; `tools`, `schemas` and `tokenizer` say whether it has native calls, keeps to a JSON Schema, and counts
    tokens for others."""

    kind: str
    context: int | None = None
    slots: int | None = None
    tools: bool | None = None
    schemas: bool | None = None
    tokenizer: bool = False


class Completion(NamedTuple):
    """The end of an answer. `text` is all that was said; `model` is who says that it answered. `did` is what a
    simulated agent says in private that it did against the crew; sealed, and empty for everybody else."""

    text: str
    calls: tuple[Call, ...]
    usage: Usage
    model: str
    did: str = ""


class Model(Protocol):
    """Somebody who answers prompts."""

    @property
    def name(self) -> str:
        """The model that is asked for."""

    @property
    def server(self) -> str:
        """Who serves it, in words for people: `LM Studio at http://…`."""

    @property
    def simulated(self) -> bool:
        """Whether no language model is behind it."""

    @property
    def ability(self) -> Ability:
        """What is known of its server."""

    @property
    def form(self) -> Form:
        """How tools are best offered to it now."""

    @property
    def warm(self) -> bool:
        """Whether it has answered before, so that it is loaded."""

    async def ready(self) -> None:
        """Returns when it may be asked: at once, unless it is known to be out of order."""

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        """(tokens of each text, whether they are estimated)."""

    def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        """Pieces of text as they come, then one `Completion`, always last. Raises `ModelError`."""


class Wrapper:
    """A model around a model goes by the name of the inner one."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.name
        self.server = model.server
        self.simulated = model.simulated

    @property
    def ability(self) -> Ability:
        return self._model.ability

    @property
    def form(self) -> Form:
        return self._model.form

    @property
    def warm(self) -> bool:
        return self._model.warm

    async def ready(self) -> None:
        await self._model.ready()

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        return await self._model.count(texts)


def estimate(prompt: Prompt, text: str) -> Usage:
    """A guess at the tokens of an answer."""
    return Usage(sum(guess(message.content) for message in prompt.messages), guess(text) + 1, True)


def guess(text: str) -> int:
    """Tokens of a text: four characters each, which is about right for English."""
    return len(text) // 4
