"""The tools that exist, and the one way to call them."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import from_json, to_json

from heist.clock import Clock, milliseconds
from heist.configfile import first_error, sentence
from heist.errors import HeistError, InsufficientScope, NotFound, ToolError, ToolFailure
from heist.events import CallForm, Recorded, ToolAdded, ToolCalled, ToolRemoved, sound
from heist.services.auth import Principal
from heist.telemetry import names as n
from heist.telemetry.here import Attributes
from heist.world.documents import Bank

LONGEST = 4000
"""Characters of a result as text; what is longer is cut, and says so."""
LARGEST = 32_000
"""Bytes of a result as JSON; what is larger is the tool's failure."""
SECONDS = 10.0
"""How long a tool may take; the ones of the house end much earlier by themselves."""
Fault = Literal["arguments", "scope", "token", "unknown", "service", "cancelled"]
log = logging.getLogger(__name__)


class Arguments(BaseModel):
    """What a tool takes: each field with a description, and nothing that it does not know. The first field is the one
    that the text form `[TOOL:name:argument]` fills."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Result(BaseModel):
    """What a tool gives, for programs; `text` is the same for those who read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def text(self) -> str:
        return self.model_dump_json()


class Caller(NamedTuple):
    """Who calls a tool, and what finds the bank that it may look into."""

    principal: Principal
    find_bank: Callable[[Principal], Bank]

    @property
    def bank(self) -> Bank:
        """Raises `ToolFailure` when there is none."""
        return self.find_bank(self.principal)


A = TypeVar("A", bound=Arguments)
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class Tool(Generic[A, R]):
    """One tool, declared once: prompt text, JSON Schemas, OpenAPI and MCP come from this. `run` gets the checked
    arguments and the caller; it raises `ToolError` when the arguments make no sense, `ToolFailure` when it cannot do
    its work, and has SECONDS for it."""

    name: str
    description: str
    scope: str
    arguments: type[A]
    result: type[R]
    run: Callable[[A, Caller], Awaitable[R]]

    @property
    def schema(self) -> dict[str, Any]:
        return _schema(self.arguments)

    @property
    def result_schema(self) -> dict[str, Any]:
        return _schema(self.result)

    @property
    def main_argument(self) -> str:
        return next(iter(self.arguments.model_fields))


AnyTool = Tool[Any, Any]


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(mode="serialization" if issubclass(model, Result) else "validation")


class Outcome(NamedTuple):
    """How a call went. `text` is what the caller gets to read: the result, or the sentence of `error`; `result` is the
    same for programs, None when there is none. `fault` says whose fault a failure was: the caller's `arguments`,
    `scope`, `token` or choice of tool (`unknown`), or the `service`; `cancelled` is nobody's, the caller
    did not wait."""

    tool: str
    arguments: JsonValue
    text: str
    result: dict[str, JsonValue] | None
    fault: Fault | None
    error: HeistError | None
    milliseconds: float

    @property
    def success(self) -> bool:
        return self.fault is None

    def quoted(self) -> Attributes:
        """Its words, for a span that may hold them."""
        return {n.TOOL_ARGUMENTS: json.dumps(self.arguments), n.TOOL_RESULT: self.text}

    def told(self, session_id: str | None, agent: str, form: CallForm, turn: int | None = None) -> ToolCalled:
        """The call as the log has it."""
        return ToolCalled(
            session_id=session_id,
            turn=turn,
            agent=agent,
            tool=sound(self.tool[:64]),
            arguments=self.arguments,
            result=self.text,
            success=self.success,
            fault=self.fault,
            form=form,
            milliseconds=self.milliseconds,
        )


class Room(NamedTuple):
    """What the agents of one session can reach; `tools` None is every tool that there is."""

    bank: Bank
    tools: frozenset[str] | None


class Registry:
    """One door: `call` takes the principal first and asks it for the tool's scope before it looks at anything else.
    It never raises for what a caller can do wrong: each outcome can be audited, a refusal like a result."""

    def __init__(
        self, tools: Iterable[AnyTool], clock: Clock, lobby: Callable[[], Bank], quick: Sequence[AnyTool] = ()
    ) -> None:
        """`lobby` makes the bank that callers from outside of every session look into, when one first does; `quick` are
        tools that never wait for anything."""
        self.tools: Mapping[str, AnyTool] = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._quick = frozenset(tool.run for tool in quick)
        self._off: frozenset[str] = frozenset()
        self._rooms: dict[str, Room] = {}
        self._lobby = lobby
        self._lobby_bank: Bank | None = None
        self._clock = clock

    @property
    def scopes(self) -> frozenset[str]:
        """Every scope that opens some tool, switched on or not."""
        return frozenset(str(tool.scope) for tool in self.tools.values())

    def named(self, name: str) -> AnyTool:
        """The tool of this name, switched on or not; raises `NotFound`."""
        if name not in self.tools:
            raise NotFound(f"there is no tool {name[:64]!r}; there are: {', '.join(self.tools) or 'none'}")
        return self.tools[name]

    def is_on(self, name: str) -> bool:
        return name in self.tools and name not in self._off

    def hear(self, recorded: Recorded) -> None:
        """A watcher of the bus: a tool is on or off once that is on record."""
        match recorded.event:
            case ToolAdded(session_id=None, tool=name):
                self.switch(name, True)
            case ToolRemoved(session_id=None, tool=name):
                self.switch(name, False)

    def switch(self, name: str, on: bool) -> None:
        """From now on callers see the tool, or no longer."""
        self._off = self._off - {name} if on else self._off | {name}

    def furnish(self, session_id: str, bank: Bank, tools: Iterable[str] | None = None) -> None:
        """From now on this session's agents reach `bank`, with these tools alone if they are given."""
        self._rooms[session_id] = Room(bank, None if tools is None else frozenset(tools))

    def clear(self, session_id: str) -> None:
        if room := self._rooms.pop(session_id, None):
            room.bank.close()

    def close(self) -> None:
        """No bank is open any more."""
        for session_id in list(self._rooms):
            self.clear(session_id)
        if self._lobby_bank:
            self._lobby_bank.close()

    def visible(self, principal: Principal) -> tuple[AnyTool, ...]:
        """The tools that the principal's scopes open now, by name."""
        return tuple(
            tool
            for tool in self.tools.values()
            if tool.scope in principal.scopes and tool.name not in self._off and self._offered(principal, tool.name)
        )

    def _offered(self, principal: Principal, name: str) -> bool:
        room = self._rooms.get(principal.session_id or "")
        return room is None or room.tools is None or name in room.tools

    async def call(self, principal: Principal, name: str, arguments: object) -> Outcome:
        """Runs a tool. `arguments` is a mapping, or text: JSON of one, or just the tool's first argument."""
        started = self._clock.monotonic()
        fault: Fault | None = None
        error: HeistError | None = None
        result: dict[str, JsonValue] | None = None
        try:
            tool = self._open(principal, name)
            arguments = understood(tool, arguments)
            text, result = await self._run(tool, _checked(tool, arguments), principal)
        except NotFound as unknown:
            text, fault, error = str(unknown), "unknown", unknown
        except InsufficientScope as refusal:
            text, fault, error = str(refusal), "scope", refusal
        except ToolFailure as failure:
            text, fault, error = str(failure), "service", failure
        except ToolError as wrong:
            text, fault, error = str(wrong), "arguments", wrong
        spent = milliseconds(started, self._clock)
        return Outcome(name, recordable(arguments), _cut(sound(text)), result, fault, error, spent)

    def _open(self, principal: Principal, name: str) -> AnyTool:
        """The tool, if the principal may use it now. One that is not offered to its session does not exist for it."""
        tool = self.tools.get(name)
        if tool is None or not self._offered(principal, name):
            names = ", ".join(tool.name for tool in self.visible(principal)) or "none"
            raise NotFound(f"there is no tool {name[:64]!r}; yours are: {names}")
        principal.require(tool.scope)
        if name in self._off:
            raise ToolFailure(f"the tool {name} is switched off at the moment")
        return tool

    async def _run(self, tool: Tool[A, R], arguments: A, principal: Principal) -> tuple[str, dict[str, JsonValue]]:
        """What the tool gives, for those who read and for programs. Whatever else a tool does, it is its own failure;
        it runs in a task of its own, so that one that does not let itself be ended keeps nobody waiting. (Not so one
        that is known never to wait: the task would cost more than its work.)"""
        attempt = _attempt(tool, arguments, Caller(principal, self._bank))
        if tool.run in self._quick:
            given = await attempt
        else:
            running = asyncio.create_task(attempt)
            try:
                await asyncio.wait([running], timeout=SECONDS)
            finally:
                running.cancel()
            if not running.done():
                raise ToolFailure(f"the tool {tool.name} has not answered within {SECONDS:g} s")
            given = running.result()
        if isinstance(given, BaseException):
            raise _told(tool, given)
        return given

    def _bank(self, principal: Principal) -> Bank:
        if principal.session_id is not None:
            if room := self._rooms.get(principal.session_id):
                return room.bank
            raise ToolFailure("the session of this token does not run here, so there is no bank to look into")
        if self._lobby_bank is None:
            try:
                self._lobby_bank = self._lobby()
            except HeistError as error:
                raise ToolFailure(f"there is no bank to look into: {error}") from None
        return self._lobby_bank


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


def _checked(tool: Tool[A, R], arguments: object) -> A:
    if not isinstance(arguments, Mapping):
        raise ToolError(
            f"{tool.name}: expected an object with {tool.main_argument!r}, found {type(arguments).__name__}"
        )
    try:
        return tool.arguments.model_validate(arguments)
    except ValidationError as error:
        first = first_error(error)
        raise ToolError(f"{tool.name}: {sentence(first['loc'], first['msg'])}") from None


def _shown(tool: Tool[A, R], given: R) -> tuple[str, dict[str, JsonValue]]:
    """(as text, as JSON); raises `ToolFailure` for what is not the tool's result, or too large."""
    if not isinstance(given, tool.result):
        raise ToolFailure(f"the tool {tool.name} gave {type(given).__name__}, not {tool.result.__name__}")
    text, dumped = given.text(), given.model_dump_json()
    text.encode()  # what is no text, or holds half of a character, fails here and not in the log
    if len(dumped.encode()) > LARGEST:
        raise ToolFailure(f"the result of {tool.name} is larger than {LARGEST} bytes")
    parsed: dict[str, JsonValue] = json.loads(dumped)
    return text, parsed


async def _attempt(tool: Tool[A, R], arguments: A, caller: Caller) -> tuple[str, dict[str, JsonValue]] | BaseException:
    """What the tool gives, or whatever it raised: an exit of somebody else's code must not become one of the house."""
    try:
        return _shown(tool, await tool.run(arguments, caller))
    except GeneratorExit:
        raise
    except BaseException as error:
        return error


def _told(tool: AnyTool, error: BaseException) -> HeistError:
    """The error as a caller may be told of it."""
    try:
        said = sound(str(error))[:LONGEST]
    except Exception:
        said = ""
    match error:
        case ToolFailure():
            return ToolFailure(said)
        case ToolError():
            return ToolError(said)
        case InsufficientScope(scope=scope) if re.fullmatch(r"[a-z0-9_:]{1,65}", str(scope)):
            return InsufficientScope(said, str(scope), sound(error.client))
    log.error("the tool %s failed", tool.name, exc_info=error)
    why = said if isinstance(error, HeistError) and said else type(error).__name__
    return ToolFailure(f"the tool {tool.name} failed: {why}")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… cut: {len(text) - LONGEST} more characters"
