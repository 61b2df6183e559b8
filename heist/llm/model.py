"""What a language model is to the rest of the house."""

from collections.abc import AsyncGenerator, Mapping
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
    """One request. `seed` makes a model that knows seeds repeat itself; `max_tokens` bounds the answer."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float = 0.7
    max_tokens: int = 300
    seed: int = 0

    def followed_by(self, *messages: Message) -> "Prompt":
        return replace(self, messages=(*self.messages, *messages))

    def with_tools(self, tools: tuple[ToolSpec, ...]) -> "Prompt":
        return replace(self, tools=tools)


class Usage(NamedTuple):
    """Tokens; `estimated` when the server gave none and a quarter of the characters stands in."""

    prompt: int
    completion: int
    estimated: bool


class Completion(NamedTuple):
    """The end of an answer. `text` is all that was said; `model` is who says that it answered."""

    text: str
    calls: tuple[Call, ...]
    usage: Usage
    model: str


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

    def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        """Pieces of text as they come, then one `Completion`, always last. Raises `ModelError`."""


class Wrapper:
    """A model around a model goes by the name of the inner one."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.name
        self.server = model.server
        self.simulated = model.simulated


def estimate(prompt: Prompt, text: str) -> Usage:
    """A guess at the tokens: four characters each, which is about right for English."""
    return Usage(sum(len(message.content) for message in prompt.messages) // 4, len(text) // 4 + 1, True)
