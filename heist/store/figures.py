"""Figures: the SELECTs that count, each named for its question.

All answers of one `Reading` are of the same moment. Nothing here reads what is sealed: what was secret in a game is
known from `games` alone, where it stands since the reveal."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json
from sqlalchemy import Column, ColumnElement, Connection, Engine, Row, Select, Table, case, func, literal_column, select
from sqlalchemy.sql import Executable

from heist.store.engine import failing
from heist.store.queries import SessionRow
from heist.store.tables import events, games, mentions, messages, sessions, tool_usage

_FAILED = events.c.kind == literal_column("'message.failed'")
"""Written out as in the index of failures, which is not found by a bound parameter."""


By = Literal["crew", "model", "variant"]
"""What sessions can be told apart by."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which sessions are meant: those that fit all that is given. They began at `since` or later and before `until`
    (UTC, ISO 8601); a `strategy` is that of games that are revealed, and of no other."""

    since: str | None = None
    until: str | None = None
    crew: str | None = None
    model: str | None = None
    variant: str | None = None
    strategy: str | None = None
    session_ids: tuple[str, ...] | None = None

    def narrowed(self, by: By, value: str) -> "Chosen":
        """Those of them that have this value."""
        match by:
            case "crew":
                return replace(self, crew=value)
            case "model":
                return replace(self, model=value)
            case "variant":
                return replace(self, variant=value)

    def conditions(self) -> list[ColumnElement[bool]]:
        row = sessions.c
        found: list[ColumnElement[bool]] = []
        if self.since is not None:
            found.append(row.start_time >= self.since)
        if self.until is not None:
            found.append(row.start_time < self.until)
        if self.strategy is not None:
            found.append(row.session_id.in_(select(games.c.session_id).where(games.c.strategy == self.strategy)))
        if self.session_ids is not None:
            found.append(row.session_id.in_(self.session_ids))
        equal = ((row.crew, self.crew), (row.model, self.model), (row.variant, self.variant))
        return [*found, *(column == value for column, value in equal if value is not None)]


class Status(NamedTuple):
    """How many sessions have a status, and the turns that they took."""

    status: str
    sessions: int
    turns: int


class Talk(NamedTuple):
    """What an agent said; `milliseconds` is the sum."""

    session_id: str
    agent: str
    messages: int
    prompt_tokens: int
    completion_tokens: int
    milliseconds: float


class Calls(NamedTuple):
    """Calls of one tool by one agent with one end; `milliseconds` is the sum."""

    session_id: str
    tool: str
    agent: str
    success: bool
    fault: str | None
    calls: int
    milliseconds: float


class Totals(NamedTuple):
    """All that was said and called; `milliseconds` is the sum over messages."""

    messages: int
    prompt_tokens: int
    completion_tokens: int
    milliseconds: float
    calls: int
    successes: int


class Pair(NamedTuple):
    """How often the one came upon the other."""

    agent: str
    other: str
    times: int


class Failed(NamedTuple):
    """A turn that was spent without a word."""

    session_id: str
    agent: str


class Outcome(NamedTuple):
    """A game that is over and revealed."""

    session_id: str
    revealed_at: str
    arm: str
    strategy: str | None
    holder: str | None
    guess: str | None
    result: str
    outcome: str
    score: float
    reference: float
    damage: float | None


class Figures:
    """Opens readings. A reading blocks, so the event loop runs it in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def reading(self) -> Generator["Reading"]:
        """The audit as it is at this moment, whatever is written meanwhile. Raises `StoreError`."""
        with failing("the audit could not be read"), self._engine.connect() as connection:
            if self._engine.dialect.name != "sqlite":  # where every transaction sees one moment
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield Reading(connection)


class Reading:
    """Questions to one moment of the audit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sessions(self, chosen: Chosen, limit: int, before: str | None = None) -> list[SessionRow]:
        """The sessions that began last, newest first; `before` is the session id that the page before ended on."""
        row = sessions.c
        newest = select(sessions).where(*chosen.conditions()).order_by(row.start_time.desc(), row.session_id.desc())
        if before is not None:
            cursor = select(row.start_time).where(row.session_id == before).scalar_subquery()
            newest = newest.where((row.start_time < cursor) | ((row.start_time == cursor) & (row.session_id < before)))
        return [SessionRow(**found._mapping) for found in self._rows(newest.limit(limit))]

    def statuses(self, chosen: Chosen) -> list[Status]:
        row = sessions.c
        counted = select(row.status, func.count(), func.sum(row.num_turns)).where(*chosen.conditions())
        return [Status(status, many, int(turns)) for status, many, turns in self._rows(counted.group_by(row.status))]

    def values(self, chosen: Chosen, by: By) -> list[str]:
        """The values of a column of `sessions`, each once, in order."""
        column = sessions.c[by]
        found = select(column).where(column.is_not(None), *chosen.conditions()).distinct().order_by(column)
        return [value for (value,) in self._rows(found)]

    def totals(self, chosen: Chosen) -> Totals:
        """Summed as it is found; to tell agents apart, all that is chosen would have to be sorted first."""
        said, used = messages.c, tool_usage.c
        sums = [func.sum(column) for column in (said.prompt_tokens, said.completion_tokens, said.milliseconds)]
        [(many, prompt, completion, spent)] = self._rows(select(func.count(), *sums).where(*_of(messages, chosen)))
        succeeded = func.sum(case((used.success, 1), else_=0))
        counted = select(func.count(), succeeded).where(used.session_id.is_not(None), *_of(tool_usage, chosen))
        [(calls, successes)] = self._rows(counted)
        return Totals(many, int(prompt or 0), int(completion or 0), spent or 0.0, calls, int(successes or 0))

    def talk(self, chosen: Chosen) -> list[Talk]:
        """What each agent said, over all sessions together."""
        return [Talk("", *_spoken(row)) for row in self._rows(_talk(chosen, messages.c.agent_name))]

    def talk_by_session(self, session_ids: Sequence[str]) -> list[Talk]:
        of = Chosen(session_ids=tuple(session_ids))
        rows = self._rows(_talk(of, messages.c.session_id, messages.c.agent_name))
        return [Talk(row[0], *_spoken(row[1:])) for row in rows]

    def calls(self, chosen: Chosen) -> list[Calls]:
        """The calls of agents in sessions, over all sessions together."""
        return [Calls("", *_called(row)) for row in self._rows(_calls(chosen))]

    def calls_by_session(self, session_ids: Sequence[str]) -> list[Calls]:
        of = Chosen(session_ids=tuple(session_ids))
        return [Calls(row[0], *_called(row[1:])) for row in self._rows(_calls(of, tool_usage.c.session_id))]

    def failed(self, chosen: Chosen) -> list[Failed]:
        failures = select(events.c.session_id, events.c.body).where(_FAILED, *_of(events, chosen))
        return [Failed(session_id, from_json(body)["agent"]) for session_id, body in self._rows(failures)]

    def follows(self, chosen: Chosen) -> list[Pair]:
        """(who spoke, who spoke next, how often)."""
        said = messages.c
        pairs = select(said.previous, said.agent_name, func.count()).where(said.previous.is_not(None))
        return self._pairs(pairs.where(*_of(messages, chosen)).group_by(said.agent_name, said.previous))

    def names(self, chosen: Chosen) -> list[Pair]:
        """(who spoke, whose name stood in it, in how many messages)."""
        named = mentions.c
        pairs = select(named.agent_name, named.named, func.count()).where(*_of(mentions, chosen))
        return self._pairs(pairs.group_by(named.agent_name, named.named))

    def outcomes(self, chosen: Chosen) -> list[Outcome]:
        """The games that are revealed, the last one first."""
        columns = [games.c[name] for name in Outcome._fields]
        some = select(*columns).where(*_of(games, chosen))
        newest = some.order_by(games.c.revealed_at.desc(), games.c.session_id.desc())
        return [Outcome._make(row) for row in self._rows(newest)]

    def _pairs(self, statement: Select[Any]) -> list[Pair]:
        return [Pair._make(row) for row in self._rows(statement)]

    def _rows(self, statement: Executable) -> Sequence[Row[*tuple[Any, ...]]]:
        return self._connection.execute(statement).all()


def _of(table: Table, chosen: Chosen) -> list[ColumnElement[bool]]:
    """The rows of the sessions that are meant. Where that is all of them, no session is looked at."""
    if chosen == Chosen():
        return []
    if chosen.session_ids is not None and chosen == Chosen(session_ids=chosen.session_ids):
        return [table.c.session_id.in_(chosen.session_ids)]
    return [table.c.session_id.in_(select(sessions.c.session_id).where(*chosen.conditions()))]


def _talk(chosen: Chosen, *keys: Column[Any]) -> Select[Any]:
    said = messages.c
    sums = [func.sum(column) for column in (said.prompt_tokens, said.completion_tokens, said.milliseconds)]
    return select(*keys, func.count(), *sums).where(*_of(messages, chosen)).group_by(*keys)


def _spoken(row: Sequence[Any]) -> tuple[str, int, int, int, float]:
    agent, many, prompt, completion, milliseconds = row
    return agent, many, int(prompt), int(completion), milliseconds


def _calls(chosen: Chosen, *keys: Column[Any]) -> Select[Any]:
    used = tool_usage.c
    groups = (*keys, used.tool_name, used.agent_name, used.success, used.fault)
    counted = select(*groups, func.count(), func.sum(used.milliseconds))
    return counted.where(used.session_id.is_not(None), *_of(tool_usage, chosen)).group_by(*groups)


def _called(row: Sequence[Any]) -> tuple[str, str, bool, str | None, int, float]:
    tool, agent, success, fault, many, milliseconds = row
    return tool, agent, success, fault, many, milliseconds
