"""The tools that exist, and the one way to call them."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from heist.clock import Clock, milliseconds
from heist.configfile import first_error, sentence
from heist.errors import HeistError, InsufficientScope, NotFound, ToolError, ToolFailure
from heist.services.auth import Principal, Scope
from heist.world.documents import Bank

LONGEST = 4000
"""Characters of a result; what is longer is cut, and says so."""
Fault = Literal["arguments", "scope", "token", "unknown", "service"]


class Arguments(BaseModel):
    """What a tool takes: each field with a description, and nothing that it does not know. The first field is the one
    that the text form `[TOOL:name:argument]` fills."""

    model_config = ConfigDict(frozen=True, extra="forbid")


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    """One tool, declared once: prompt text, JSON Schema and OpenAPI come from this. `run` gets the checked arguments
    and the bank of the caller's session; it raises `ToolError` when the arguments make no sense, `ToolFailure` when it
    cannot do its work."""

    name: str
    description: str
    scope: Scope
    arguments: type[A]
    run: Callable[[A, Bank], Awaitable[str]]

    @property
    def schema(self) -> dict[str, Any]:
        return _schema(self.arguments)

    @property
    def main_argument(self) -> str:
        return next(iter(self.arguments.model_fields))


AnyTool = Tool[Any]


@cache
def _schema(arguments: type[Arguments]) -> dict[str, Any]:
    return arguments.model_json_schema()


class Outcome(NamedTuple):
    """How a call went. `text` is what the caller gets to read: the result, or the sentence of `error`."""

    tool: str
    arguments: Any
    text: str
    fault: Fault | None
    error: HeistError | None
    milliseconds: float

    @property
    def success(self) -> bool:
        return self.error is None


class Registry:
    """One door: `call` takes the principal first and asks it for the tool's scope before it looks at anything else.
    It never raises for what a caller can do wrong: each outcome can be audited, a refusal like a result."""

    def __init__(self, tools: tuple[AnyTool, ...], clock: Clock) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._banks: dict[str, Bank] = {}
        self._clock = clock

    def furnish(self, session_id: str, bank: Bank) -> None:
        """From now on the tools of this session's agents reach `bank`."""
        self._banks[session_id] = bank

    def clear(self, session_id: str) -> None:
        if bank := self._banks.pop(session_id, None):
            bank.close()

    def visible(self, principal: Principal) -> tuple[AnyTool, ...]:
        """The tools that the principal's scopes open, by name."""
        return tuple(tool for tool in self._tools.values() if tool.scope in principal.scopes)

    async def call(self, principal: Principal, name: str, arguments: object) -> Outcome:
        """Runs a tool. `arguments` is a mapping, or text: JSON of one, or just the tool's first argument."""
        started = self._clock.monotonic()
        fault: Fault | None = None
        error: HeistError | None = None
        try:
            tool = self._tools.get(name)
            if tool is None:
                raise NotFound(f"there is no tool {name[:64]!r}; yours are: {self._names(principal)}")
            principal.require(tool.scope)
            arguments = understood(tool, arguments)
            text = await tool.run(_checked(tool, arguments), self._bank(principal))
        except NotFound as unknown:
            text, fault, error = str(unknown), "unknown", unknown
        except InsufficientScope as refusal:
            text, fault, error = str(refusal), "scope", refusal
        except ToolFailure as failure:
            text, fault, error = str(failure), "service", failure
        except ToolError as wrong:
            text, fault, error = str(wrong), "arguments", wrong
        return Outcome(name, recordable(arguments), _cut(text), fault, error, milliseconds(started, self._clock))

    def _names(self, principal: Principal) -> str:
        return ", ".join(tool.name for tool in self.visible(principal)) or "none"

    def _bank(self, principal: Principal) -> Bank:
        bank = self._banks.get(principal.session_id or "")
        if bank is None:
            raise ToolFailure("the session of this token does not run here, so there is no bank to look into")
        return bank


def understood(tool: AnyTool, arguments: object) -> object:
    """The arguments as a mapping: text that holds a JSON object is read as one, other text is the first argument."""
    if not isinstance(arguments, str):
        return arguments
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {tool.main_argument: arguments}


def recordable(arguments: object) -> Any:
    """The arguments as the audit can hold them: as they are, or, where JSON cannot hold them, as a text about them."""
    try:
        return from_json(to_json(arguments))
    except (ValueError, RecursionError):
        return repr(arguments)[:500]


def _checked(tool: Tool[A], arguments: object) -> A:
    if not isinstance(arguments, Mapping):
        raise ToolError(
            f"{tool.name}: expected an object with {tool.main_argument!r}, found {type(arguments).__name__}"
        )
    try:
        return tool.arguments.model_validate(arguments)
    except ValidationError as error:
        first = first_error(error)
        raise ToolError(f"{tool.name}: {sentence(first['loc'], first['msg'])}") from None


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… cut: {len(text) - LONGEST} more characters"
