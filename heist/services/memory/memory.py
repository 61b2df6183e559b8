"""The memory of one agent: what it said, found out and chose to remember, and nothing of anybody else.

It is a fold over the log: there is no second store that could say something else, and it survives whatever the log
survives.
"""

import asyncio
from collections.abc import Awaitable, Callable

from pydantic import Field

from heist.errors import InsufficientScope, ToolFailure
from heist.events import MemoryCompressed, MessageCompleted, ToolCalled, parse
from heist.services.auth import Principal, Scope
from heist.services.memory.facts import Entry
from heist.services.memory.recollection import Recollection, recollect
from heist.services.memory.record import Record
from heist.services.tools.registry import AnyTool, Arguments, Caller, Result, Tool
from heist.store.queries import Queries
from heist.telemetry import names as n
from heist.telemetry.here import work

LONGEST = 2000
NOTE_LENGTH = 900
"""Characters of a tool's result that are remembered."""
STORE = "store_memory"
RECALL = "get_compressed_memory"
_KINDS = ("message.completed", "tool.called", "memory.compressed")


class Memory:
    """Each method takes the principal first: an agent recalls its own memory, in its own session, and no other.
    `settled` returns once what has happened so far is on the log, which a session runs ahead of."""

    def __init__(self, queries: Queries, settled: Callable[[], Awaitable[None]]) -> None:
        self._queries = queries
        self._settled = settled

    async def recall(
        self, principal: Principal, max_tokens: int, recent_count: int, question: str = "", agent: str | None = None
    ) -> Recollection:
        """What the principal remembers. Raises `InsufficientScope` without `memory:read` or for another's memory,
        `ToolFailure` for a client that has no session."""
        principal.require(Scope.MEMORY_READ)
        check_owner(principal, agent or principal.name, Scope.MEMORY_READ)
        if principal.session_id is None:
            raise ToolFailure("the token belongs to no session, so there is nothing to remember")
        with work("search_memory", {n.OPERATION: "search_memory"}):
            await self._settled()
            record = await asyncio.to_thread(self._record, principal.session_id, principal.name)
            return recollect(record, max_tokens, recent_count, question)

    def _record(self, session_id: str, agent: str) -> Record:
        record = Record()
        turn = 0
        for row in self._queries.of_agent(session_id, agent, _KINDS):
            match parse(row.body):
                case MemoryCompressed(owner=owner) as block if owner == agent:
                    record.fold(block)
                case MessageCompleted(agent=name) as message if name == agent:
                    turn = message.turn
                    record.add(Entry(turn, agent, f"I said: {message.text}"))
                case ToolCalled(agent=name, success=True, tool=tool) as call if name == agent and tool != RECALL:
                    turn = call.turn or turn
                    record.add(Entry(turn, agent, remembered(call)))
        return record


def check_owner(principal: Principal, agent: str, scope: Scope) -> None:
    """Raises `InsufficientScope` for the memory of another."""
    if agent != principal.name:
        sentence = f"{principal.name} cannot reach the memory of {agent[:64]!r}; agents share by speaking"
        raise InsufficientScope(sentence, scope, principal.client_id)


def remembered(call: ToolCalled) -> str:
    """A tool's result as its caller remembers it; what was stored by `store_memory` is remembered as it was said."""
    if call.tool == STORE and isinstance(call.arguments, dict):
        return f"I noted: {call.arguments.get('message', '')}"
    return f"{called(call)} gave: {call.result[:NOTE_LENGTH]}"


def called(call: ToolCalled) -> str:
    """The call as it is written: `tool(argument, argument)`."""
    values = call.arguments.values() if isinstance(call.arguments, dict) else [call.arguments]
    return f"{call.tool}({', '.join(map(str, values))})"


class Note(Arguments):
    message: str = Field(description="what to remember, in a sentence", min_length=1, max_length=LONGEST)


class Noted(Result):
    noted: str

    def text(self) -> str:
        return f"Noted: {self.noted[:80]}"


class Question(Arguments):
    question: str = Field("", description="what it is about, or nothing for the newest", max_length=500)
    max_tokens: int = Field(400, ge=50, le=4000, description="how long the answer may be")
    recent_count: int = Field(5, ge=0, le=50, description="how many of the newest are told word by word")


class Recalled(Result):
    memory: str
    tokens: int = Field(description="its length, estimated")
    left_out: int = Field(description="how many entries there was no room for")

    def text(self) -> str:
        return self.memory or "You remember nothing yet."


def tools(memory: Memory) -> tuple[AnyTool, AnyTool]:
    """Memory as tools. Storing is the call itself: it is on the log, and the log is the memory."""

    async def store(arguments: Note, caller: Caller) -> Noted:
        if caller.principal.session_id is None:
            raise ToolFailure("the token belongs to no session, so nothing can be remembered")
        return Noted(noted=arguments.message)

    async def recall(arguments: Question, caller: Caller) -> Recalled:
        found = await memory.recall(caller.principal, arguments.max_tokens, arguments.recent_count, arguments.question)
        return Recalled(memory=found.text, tokens=found.tokens, left_out=found.left_out)

    return (
        Tool(STORE, "Remembers something for you alone.", Scope.MEMORY_WRITE, Note, Noted, store),
        Tool(RECALL, "Tells what you said, found out and noted.", Scope.MEMORY_READ, Question, Recalled, recall),
    )
