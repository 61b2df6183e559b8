"""Reads: every SELECT of the house, each named for its question."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, Select, case, func, select

from heist.errors import Conflict
from heist.events import Event, parse, placed
from heist.store.engine import failing
from heist.store.tables import ENDED, clients, events, games, revocations, sealed, sessions, tool_usage


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of `sessions`; times are UTC, ISO 8601; `end_time` is None until it has ended; `process` is the number of
    the process that drives it, `variant` the arm of a comparison that it belongs to."""

    session_id: str
    start_time: str
    end_time: str | None
    num_turns: int
    status: str
    crew: str
    scenario: str
    title: str
    rounds: int
    model: str
    server: str
    simulated: bool
    process: int
    variant: str | None = None


class ClientRow(NamedTuple):
    """A client from outside; `scopes` are separated by blanks, times are UTC, ISO 8601."""

    client_id: str
    name: str
    secret_hash: str
    scopes: str
    created_at: str
    disabled_at: str | None


class ToolUse(NamedTuple):
    """How often a tool was called with one outcome; `fault` is None where the calls succeeded."""

    tool: str
    fault: str | None
    calls: int
    milliseconds: float
    last: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Games that are over, of one arm and strategy: how they ended for who guessed and for the crew. `score`,
    `reference` and `damage` are means; `damage` is None where nobody carried a brief of the arm's own."""

    arm: str
    strategy: str | None
    games: int
    success: int
    failure: int
    busted: int
    clean: int
    score: float
    reference: float
    damage: float | None


class Ended(NamedTuple):
    """What came of one game that is over."""

    session_id: str
    arm: str
    strategy: str | None
    guess: str | None
    result: str
    outcome: str
    score: float
    reference: float


class Logged(NamedTuple):
    """A row of the log; `session_id` is None for what happened outside of every session."""

    seq: int
    session_id: str | None
    kind: str
    at: str
    body: str

    @property
    def json(self) -> str:
        return placed(self.seq, self.at, self.body)


def parsed(session_id: str, bodies: Iterable[str]) -> list[Event]:
    """The events of a session's log; raises `Conflict` when it holds what this version does not know."""
    try:
        return [parse(body) for body in bodies]
    except ValueError:
        raise Conflict(f"the log of {session_id} holds what this version of heist does not know") from None


class Queries:
    """Each call is one statement on a connection of its own; it blocks, so the event loop runs it in a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest_sessions(self, limit: int, before: str | None = None) -> list[SessionRow]:
        """The sessions that started last, newest first; `before` is the session id that the page before ended on."""
        newest = select(sessions).order_by(sessions.c.start_time.desc(), sessions.c.session_id.desc()).limit(limit)
        if before is not None:
            cursor = select(sessions.c.start_time).where(sessions.c.session_id == before).scalar_subquery()
            older = sessions.c.start_time < cursor
            beside = (sessions.c.start_time == cursor) & (sessions.c.session_id < before)
            newest = newest.where(older | beside)
        return [SessionRow(**row._mapping) for row in self._rows(newest)]

    def session(self, session_id: str) -> SessionRow | None:
        rows = self._rows(select(sessions).where(sessions.c.session_id == session_id))
        return SessionRow(**rows[0]._mapping) if rows else None

    def unfinished(self) -> list[SessionRow]:
        """Sessions that have not ended, oldest first, whichever process drives them."""
        open_ = select(sessions).where(sessions.c.status.in_(["running", "paused"])).order_by(sessions.c.start_time)
        return [SessionRow(**row._mapping) for row in self._rows(open_)]

    def client(self, client_id: str) -> ClientRow | None:
        rows = self._rows(select(clients).where(clients.c.client_id == client_id))
        return ClientRow._make(rows[0]) if rows else None

    def all_clients(self) -> list[ClientRow]:
        """The clients from outside, in the order in which they were added."""
        rows = self._rows(select(clients).order_by(clients.c.created_at, clients.c.client_id))
        return [ClientRow._make(row) for row in rows]

    def is_revoked(self, jti: str) -> bool:
        return bool(self._rows(select(revocations.c.jti).where(revocations.c.jti == jti)))

    def tool_use(self) -> list[ToolUse]:
        """Every tool's calls by outcome, over all sessions and outsiders; `milliseconds` is the mean."""
        usage = tool_usage.c
        counted = select(
            usage.tool_name, usage.fault, func.count(), func.avg(usage.milliseconds), func.max(usage.timestamp)
        ).group_by(usage.tool_name, usage.fault)
        return [ToolUse._make(row) for row in self._rows(counted)]

    def of_agent(self, session_id: str, agent: str, kinds: Sequence[str]) -> list[Logged]:
        """The events of these kinds that an agent has made or that are told for all, in order; also some of an agent
        with a name that is like it."""
        its = events.c.body.like(f'%"agent":"{agent}"%') | events.c.kind.like("memory.%")
        some = select(events).where(events.c.session_id == session_id, events.c.kind.in_(kinds), its)
        return [Logged._make(row) for row in self._rows(some.order_by(events.c.seq))]

    def tally(self) -> list[Tally]:
        """The games that are revealed, by arm and strategy."""
        game = games.c
        ended = [func.sum(case((game.result == word, 1), else_=0)) for word in ("SUCCESS", "FAILURE", "BUSTED")]
        clean = func.sum(case((game.outcome == "clean", 1), else_=0))
        means = [func.avg(column) for column in (game.score, game.reference, game.damage)]
        counted = select(game.arm, game.strategy, func.count(), *ended, clean, *means)
        grouped = counted.group_by(game.arm, game.strategy).order_by(game.arm, game.strategy)
        return [Tally(*tuple(row)) for row in self._rows(grouped)]

    def ended(self, session_ids: Sequence[str]) -> list[Ended]:
        """Those of the sessions' games that are over."""
        columns = [games.c[name] for name in Ended._fields]
        some = select(*columns).where(games.c.session_id.in_(session_ids))
        return [Ended._make(row) for row in self._rows(some)]

    def guessed(self) -> list[str]:
        """Sessions that are over, with a guess and without a reveal: there are some after a kill, and forks that
        wait for the game that they come from."""
        over = sessions.c.status.in_(ENDED)
        made = select(events.c.session_id).where(events.c.kind == "guess.made")
        revealed = select(events.c.session_id).where(events.c.kind == "mole.revealed")
        some = select(sessions.c.session_id).where(
            over, sessions.c.session_id.in_(made), sessions.c.session_id.not_in(revealed)
        )
        return [row.session_id for row in self._rows(some)]

    def is_sealed(self, session_id: str) -> bool:
        """Whether there is a game of such a session that can still be ended; the secrets of an imported one are not
        here."""
        told = events.c.session_id == session_id, events.c.kind == "mole.revealed"
        return bool(self.sealed(session_id)) and not self._rows(select(events.c.seq).where(*told))

    def sealed(self, session_id: str) -> list[str]:
        """The bodies of the events of a session that nobody is to see before its reveal, in order."""
        some = select(sealed.c.body).where(sealed.c.session_id == session_id).order_by(sealed.c.number)
        return [row.body for row in self._rows(some)]

    def switched(self) -> dict[str, str]:
        """Tool -> the kind of the last event that switched it on or off for the whole house."""
        switches = select(events.c.kind, events.c.body).where(
            events.c.session_id.is_(None), events.c.kind.in_(["tool.added", "tool.removed"])
        )
        return {json.loads(row.body)["tool"]: row.kind for row in self._rows(switches.order_by(events.c.seq))}

    def last_seq(self) -> int:
        """The row number of the newest event; 0 when there is none."""
        return int(self._rows(select(func.coalesce(func.max(events.c.seq), 0)))[0][0])

    def log(self, after: int, session_id: str | None, limit: int | None = None, kinds: str = "%") -> list[Logged]:
        """Events with `seq` > `after`, in order; of one session, or of all; `kinds` is a LIKE pattern."""
        some = select(events).where(events.c.seq > after).order_by(events.c.seq).limit(limit)
        if session_id is not None:
            some = some.where(events.c.session_id == session_id)
        if kinds != "%":
            some = some.where(events.c.kind.like(kinds))
        return [Logged._make(row) for row in self._rows(some)]

    def _rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        with failing("the audit could not be read"), self._engine.connect() as connection:
            return connection.execute(statement).all()
