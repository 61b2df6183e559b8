"""Writes: every event and its row in one transaction, from one thread.

All events that wait are committed together (group commit), and each publisher is told when its own is on disk. An event
for which nobody waits yet lingers a moment for company, so that a turn costs about one transaction and 200 sessions
hardly more than one: a transaction for each event alone doubled the audit's cost.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json
from sqlalchemy import (
    Engine,
    Insert,
    PoolProxiedConnection,
    Select,
    String,
    Table,
    Update,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.compiler import SQLCompiler

from heist import events as e
from heist.errors import Conflict, HeistError, StoreError
from heist.events import Event
from heist.store import tables
from heist.store.engine import begin_writing, reason
from heist.store.mentions import named

LINGER_SECONDS = 0.02
RETURN_SECONDS = 10.0
"""For so long a database server that is gone is waited for."""
_STATUS = {
    "session.paused": "paused",
    "session.resumed": "running",
    "session.recovered": "paused",
    "session.stopped": "stopped",
    "session.completed": "completed",
    "session.failed": "failed",
}
_SESSION = update(tables.sessions).where(tables.sessions.c.session_id == bindparam("session"))
_TAKE_OVER = _SESSION.where(
    tables.sessions.c.process == bindparam("before"), tables.sessions.c.end_time.is_(None)
).values(process=bindparam("number"))
_GAME = (e.SuspicionStated, e.GuessMade, e.OutcomeStep, e.OutcomeDecided, e.MoleRevealed)
"""What the player does, at any process, and what comes of it."""
_CLOSING = (e.SessionFailed, e.SessionRecovered)
_LAST = "SELECT max(seq) FROM events"
_CREW = select(tables.events.c.body).where(
    tables.events.c.session_id == bindparam("session"), tables.events.c.kind == bindparam("started")
)
_BEFORE, _LATEST = tables.messages.alias("before"), tables.messages.alias("latest")
_PREVIOUS = select(_BEFORE.c.agent_name).where(
    _BEFORE.c.session_id == bindparam("session_id"),
    _BEFORE.c.turn_id
    == select(func.max(_LATEST.c.turn_id))
    .where(_LATEST.c.session_id == bindparam("session_id"), _LATEST.c.turn_id < bindparam("turn_id"))
    .scalar_subquery(),
)
"""Who spoke before a message, read while it is written, so that counting who follows whom needs no join."""
_DRIVER = select(tables.sessions.c.process).where(tables.sessions.c.session_id == bindparam("session"))
_HAPPENED = select(tables.events.c.seq).where(
    tables.events.c.session_id == bindparam("session"), tables.events.c.kind == bindparam("happened")
)
_EVENT = select(tables.events.c.session_id, tables.events.c.at, tables.events.c.body).where(
    tables.events.c.seq == bindparam("number")
)
_SEALED = select(tables.sealed.c.session_id, tables.sealed.c.at, tables.sealed.c.body).where(
    tables.sealed.c.session_id == bindparam("session"), tables.sealed.c.body == bindparam("content")
)


class Waiting(NamedTuple):
    event: Event
    at: str
    body: str
    kept: asyncio.Future[int]


Committed = Callable[[Sequence[Event], bool, int, int], None]
"""Hears of each transaction: its events, whether all were stored, when it began and ended, in nanoseconds of the
epoch."""


def _untold(*_: object) -> None: ...


class Prepared:
    """A statement compiled once for the database at hand and then given to its driver as it is: on SQLite, going
    through the toolkit for every row costs three times as much as the whole transaction. PostgreSQL refuses a text that
    is longer than its column or holds a zero; there the row has it shortened and marked, and the event has it whole."""

    def __init__(self, statement: Insert | Update | Select[Any], engine: Engine) -> None:
        compiled = statement.compile(engine)
        assert isinstance(compiled, SQLCompiler)
        self._sql = str(compiled)
        self._order = compiled.positiontup
        self._names = list(compiled.params)
        columns = statement.table.columns if isinstance(statement, Insert) else ()
        limits = {one.name: one.type.length for one in columns if isinstance(one.type, String)}
        self._limits = {} if engine.dialect.name == "sqlite" else limits

    def run(self, cursor: DBAPICursor, rows: Sequence[Mapping[str, object]]) -> int:
        """Executes for each row, given by the names of its columns or bound parameters; answers how many it touched."""
        if self._limits:
            rows = [{name: self._fitting(name, value) for name, value in row.items()} for row in rows]
        cursor.executemany(self._sql, [self._given(row) for row in rows])
        return cursor.rowcount

    def one(self, cursor: DBAPICursor, row: Mapping[str, object]) -> tuple[object, ...] | None:
        """The first row that is found."""
        cursor.execute(self._sql, self._given(row))
        found: tuple[object, ...] | None = cursor.fetchone()
        return found

    def _given(self, row: Mapping[str, object]) -> Any:
        if self._order is None:
            return {name: row.get(name) for name in self._names}
        return [row.get(name) for name in self._order]

    def _fitting(self, name: str, value: object) -> object:
        if not isinstance(value, str) or name not in self._limits:
            return value
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: self._limits[name]]


class Audit:
    """The keeper of the log. `keep` and `flush` may be called from the event loop alone; what lingers
    at `close` is lost unless it was flushed."""

    def __init__(self, engine: Engine, committed: Committed = _untold) -> None:
        self._engine = engine
        self._committed = committed
        self._queue: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._lingering: list[Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop

    def open(self) -> None:
        """Begins to write, for the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def keep(self, event: Event, at: str, body: str) -> asyncio.Future[int]:
        """The future gives the event's `seq` once it is on disk; it raises `StoreError` if that was not possible. It
        may linger for LINGER_SECONDS unless `flush` is called."""
        kept = self._loop.create_future()
        if self._thread is None:
            kept.set_exception(StoreError("the audit is closed"))
            return kept
        self._lingering.append(Waiting(event, at, body, kept))
        if self._timer is None:
            self._timer = self._loop.call_later(LINGER_SECONDS, self.flush)
        return kept

    def flush(self) -> None:
        """Whatever lingers is written now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lingering:
            self._queue.put(self._lingering)
            self._lingering = []

    def _write(self) -> None:
        writer = Writer(self._engine)
        open_ = True
        while open_:
            waiting, open_ = self._next_batch()
            began = time.time_ns()
            results = writer.write(waiting)
            if results and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._tell, waiting, results, began, time.time_ns())
        writer.close()

    def _tell(self, waiting: Sequence[Waiting], results: Sequence[int | HeistError], began: int, ended: int) -> None:
        _settle([entry.kept for entry in waiting], results)
        well = not any(isinstance(result, StoreError) for result in results)
        self._committed([entry.event for entry in waiting], well, began, ended)

    def _next_batch(self) -> tuple[list[Waiting], bool]:
        """All that is to be written, nothing only when the audit closes; and whether it stays open."""
        waiting: list[Waiting] = []
        entries = self._queue.get()
        while entries is not None:
            waiting += entries
            try:
                entries = self._queue.get_nowait()
            except queue.Empty:
                return waiting, True
        return waiting, False


def _settle(waiting: Sequence[asyncio.Future[int]], results: Sequence[int | HeistError]) -> None:
    for kept, result in zip(waiting, results, strict=True):
        if kept.cancelled():
            continue
        if isinstance(result, HeistError):
            kept.set_exception(result)
        else:
            kept.set_result(result)


class Writer:
    """The one connection that writes, in the audit's own thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: PoolProxiedConnection | None = None
        self._may_return = engine.dialect.name != "sqlite"
        self._unsure: list[int | HeistError] | None = None
        self._lossy: set[str] = set()
        self._crews: dict[str, list[str]] = {}
        self._mine: dict[str, int] = {}
        self._inserts = {
            table: Prepared(_insert(table), engine)
            for table in (
                tables.sessions,
                tables.events,
                tables.sealed,
                tables.messages,
                tables.mentions,
                tables.tool_usage,
                tables.games,
            )
        }
        self._crew_of = Prepared(_CREW, engine)
        self._set_status = Prepared(_SESSION.values(status=bindparam("state"), end_time=bindparam("ended")), engine)
        self._take_over = Prepared(_TAKE_OVER, engine)
        self._set_turns = Prepared(_SESSION.values(num_turns=bindparam("turns")), engine)
        self._driver, self._happened = Prepared(_DRIVER, engine), Prepared(_HAPPENED, engine)
        self._event, self._sealed = Prepared(_EVENT, engine), Prepared(_SEALED, engine)

    def write(self, waiting: Sequence[Waiting]) -> list[int | HeistError]:
        """One row number or error per entry. When the database refuses a batch for what stands in it, each entry is
        tried alone, so that one bad event fails its own session and no other. A log never gets a hole: once an event
        of a session is lost, nothing more of it is written but its end, or that a process begins with it anew."""
        fit = [self._fits(entry.event) for entry in waiting]
        written = iter(self._written([entry for entry, fits in zip(waiting, fit, strict=True) if fits]))
        hole = StoreError("the audit could not be written: an earlier event of this session is missing")
        return [next(written) if fits else hole for fits in fit]

    def _fits(self, event: Event) -> bool:
        return event.session_id not in self._lossy or isinstance(event, _CLOSING)

    def _written(self, waiting: Sequence[Waiting]) -> list[int | HeistError]:
        if not waiting:
            return []
        try:
            numbers = self._stubbornly(waiting)
        except Exception as error:  # whatever a row holds, the thread that writes for all must outlive it
            if len(waiting) > 1 and not isinstance(error, self._engine.dialect.loaded_dbapi.OperationalError):
                return [self.write([entry])[0] for entry in waiting]
            happened = [entry.event for entry in waiting if not entry.event.kind.startswith("session.")]
            self._lossy |= {event.session_id for event in happened if event.session_id is not None}
            return [StoreError(f"the audit could not be written: {reason(error)}") for _ in waiting]
        self._lossy -= {entry.event.session_id for entry in waiting if isinstance(entry.event, _CLOSING)}
        return numbers

    def _stubbornly(self, waiting: Sequence[Waiting]) -> list[int | HeistError]:
        """A server that is gone, say because it is begun anew, is waited for. Whatever else goes wrong is raised."""
        deadline = time.monotonic() + RETURN_SECONDS
        self._unsure = None
        while True:
            try:
                return self._transaction(waiting)
            except Exception as error:
                gone = self._may_return and self._is_gone(error)
                if gone and self._connection is not None:
                    self._connection.invalidate()
                self.close()
                if not gone or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _is_gone(self, error: Exception) -> bool:
        """Whether it was not the transaction that failed but the way to the server."""
        dialect = self._engine.dialect
        if self._connection is None:
            return isinstance(error, OperationalError | dialect.loaded_dbapi.OperationalError)
        raw = self._connection.dbapi_connection
        return isinstance(error, dialect.loaded_dbapi.Error) and dialect.is_disconnect(error, raw, None)

    def _transaction(self, waiting: Sequence[Waiting]) -> list[int | HeistError]:
        if self._connection is None:
            self._connection = self._engine.raw_connection()
        cursor = self._connection.cursor()
        begin_writing(cursor, self._engine)
        if self._unsure is not None and self._stands(cursor, waiting, self._unsure):
            self._connection.rollback()
            return self._unsure
        numbers = self._store(cursor, waiting)
        self._unsure = numbers
        self._connection.commit()
        self._remember(waiting)
        return numbers

    def write_whole(self, session: Sequence[Waiting]) -> None:
        """A session from its start on, all of it or nothing. Raises `StoreError`."""
        try:
            self._connection = self._connection or self._engine.raw_connection()
            cursor = self._connection.cursor()
            begin_writing(cursor, self._engine)
            for some in (session[:1], session[1:]):  # its row must stand before a later event claims or counts on it
                self._store(cursor, some)
            self._connection.commit()
        except StoreError:
            self.close()
            raise
        except Exception as error:  # whatever a row holds
            self.close()
            raise StoreError(f"the audit could not be written: {reason(error)}") from None

    def _stands(self, cursor: DBAPICursor, waiting: Sequence[Waiting], numbers: Sequence[int | HeistError]) -> bool:
        """Whether the transaction of which the server gave no answer any more was committed after all."""
        for (event, at, body, _), number in zip(waiting, numbers, strict=True):
            if isinstance(number, int):
                content = {"session": event.session_id, "content": body, "number": number}
                asked = self._event if number else self._sealed
                return asked.one(cursor, content) == (event.session_id, at, body)
        return True

    def _remember(self, waiting: Sequence[Waiting]) -> None:
        """Which sessions this process drives, by which number."""
        for entry in waiting:
            if isinstance(entry.event, e.SessionStarted | e.SessionRecovered):
                self._mine[entry.event.session_id] = entry.event.process
            elif entry.event.kind in e.ENDS and entry.event.session_id in self._mine:
                del self._mine[entry.event.session_id]

    def close(self) -> None:
        """Gives the connection back; what was not committed is rolled back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _store(self, cursor: DBAPICursor, waiting: Sequence[Waiting]) -> list[int | HeistError]:
        """Inserts the events and their rows; answers their row numbers. The write lock is held, so the numbers follow
        the largest one without a gap, also when another process writes to the same database. What is sealed takes no
        number (it has 0 here), so that no gap in the log tells of it. What another process has settled meanwhile is
        refused."""
        taken = self._taken(cursor, waiting)
        refused = [self._refused(cursor, entry.event, taken) for entry in waiting]
        cursor.execute(_LAST)
        last = (cursor.fetchone() or [None])[0] or 0
        following = count(last + 1)
        stored = [entry for entry, error in zip(waiting, refused, strict=True) if error is None]
        numbers = [0 if entry.event.sealed else next(following) for entry in stored]
        self._insert(cursor, stored, numbers)
        given = iter(numbers)
        return [next(given) if error is None else error for error in refused]

    def _taken(self, cursor: DBAPICursor, waiting: Sequence[Waiting]) -> set[str | None]:
        """Sessions that this process drove, and that another one drives now: it held this one for dead."""
        mine = {entry.event.session_id for entry in waiting} & self._mine.keys()
        mine -= {entry.event.session_id for entry in waiting if isinstance(entry.event, e.SessionRecovered)}
        return {one for one in mine if one and self._driver.one(cursor, {"session": one}) != (self._mine[one],)}

    def _refused(self, cursor: DBAPICursor, event: Event, taken: set[str | None]) -> HeistError | None:
        """Nothing is stored of a session that another process has taken over; but a game may be played at any, where
        one guess counts and one ending is told: what is posted together stands or falls together."""
        if not isinstance(event, _GAME):
            return _taken_over(event) if event.session_id in taken else None
        if self._happened.one(cursor, {"session": event.session_id, "happened": "mole.revealed"}):
            return Conflict(f"the game of {event.session_id} is over: its log tells all")
        if isinstance(event, e.GuessMade) and self._happened.one(
            cursor, {"session": event.session_id, "happened": event.kind}
        ):
            return Conflict(f"the guess of {event.session_id} is made")
        return None

    def _insert(self, cursor: DBAPICursor, waiting: Sequence[Waiting], numbers: Sequence[int]) -> None:
        rows: dict[Table, list[dict[str, object]]] = {table: [] for table in self._inserts}
        turns: dict[str, int] = {}
        statuses: list[dict[str, object]] = []
        for seq, (event, at, body, _) in zip(numbers, waiting, strict=True):
            session_id = event.session_id
            row: dict[str, object] = {"session_id": session_id, "kind": event.kind, "at": at, "body": body}
            if event.sealed:
                rows[tables.sealed].append(row)
                continue
            rows[tables.events].append({"seq": seq, **row})
            match event:
                case e.SessionStarted():
                    rows[tables.sessions].append(_session_row(event, at))
                    self._crews[event.session_id] = [seat.name for seat in event.seats]
                case e.MessageCompleted():
                    rows[tables.messages].append(_message_row(event, at))
                    rows[tables.mentions] += _mention_rows(event, self._crew(cursor, event.session_id))
                    turns[event.session_id] = event.turn
                case e.MessageFailed():
                    turns[event.session_id] = event.turn
                case e.ToolCalled():
                    rows[tables.tool_usage].append(_tool_row(event, at, seq))
                case e.MoleRevealed(fork_of=None):
                    rows[tables.games].append(_game_row(event, at))
                case _ if event.kind in _STATUS:
                    ended = at if event.kind in e.ENDS else None
                    if ended is not None:
                        self._crews.pop(event.session_id or "", None)
                    statuses.append({"session": session_id, "state": _STATUS[event.kind], "ended": ended})
            if isinstance(event, e.SessionRecovered):
                claim = {"session": session_id, "number": event.process, "before": event.before}
                if self._take_over.run(cursor, [claim]) != 1:
                    raise _taken_over(event)
        for table, some in rows.items():
            if some:
                self._inserts[table].run(cursor, some)
        if turns:
            self._set_turns.run(cursor, [{"session": one, "turns": turn} for one, turn in turns.items()])
        if statuses:
            self._set_status.run(cursor, statuses)

    def _crew(self, cursor: DBAPICursor, session_id: str) -> list[str]:
        """The names of a session's agents, which its log begins with; nobody where it does not."""
        if session_id not in self._crews:
            found = self._crew_of.one(cursor, {"session": session_id, "started": "session.started"})
            seats = from_json(str(found[0]))["seats"] if found else ()
            self._crews[session_id] = [seat["name"] for seat in seats]
        return self._crews[session_id]


def _taken_over(event: Event) -> StoreError:
    return StoreError(f"another process has taken the session {event.session_id} over")


def _insert(table: Table) -> Insert:
    """Every column but one that the database counts up by itself."""
    given = [column.name for column in table.columns if column is not table.autoincrement_column]
    values: dict[str, object] = {name: bindparam(name) for name in given}
    if table is tables.messages:
        values["previous"] = _PREVIOUS.scalar_subquery()
    return insert(table).inline().values(values)


def _session_row(event: e.SessionStarted, at: str) -> dict[str, object]:
    copied = ("crew", "scenario", "title", "rounds", "model", "server", "simulated", "process", "variant")
    return {
        "session_id": event.session_id,
        "start_time": at,
        "num_turns": 0,
        "status": "running",
        **{name: getattr(event, name) for name in copied},
    }


def _message_row(event: e.MessageCompleted, at: str) -> dict[str, object]:
    return {
        "session_id": event.session_id,
        "turn_id": event.turn,
        "agent_name": event.agent,
        "agent_role": event.role,
        "message": event.text,
        "timestamp": at,
        "round": event.round,
        "model": event.model,
        "prompt_tokens": event.prompt_tokens,
        "completion_tokens": event.completion_tokens,
        "tokens_estimated": event.estimated,
        "milliseconds": event.milliseconds,
    }


def _mention_rows(event: e.MessageCompleted, crew: Sequence[str]) -> list[dict[str, object]]:
    said = {"session_id": event.session_id, "turn_id": event.turn, "agent_name": event.agent}
    return [{**said, "named": name} for name in named(event.text, crew, event.agent)]


def _game_row(event: e.MoleRevealed, at: str) -> dict[str, object]:
    copied = ("arm", "strategy", "holder", "guess", "result", "outcome", "score", "reference", "damage")
    return {"session_id": event.session_id, "revealed_at": at, **{name: getattr(event, name) for name in copied}}


def _tool_row(event: e.ToolCalled, at: str, seq: int) -> dict[str, object]:
    return {
        "seq": seq,
        "session_id": event.session_id,
        "turn_id": event.turn,
        "agent_name": event.agent,
        "tool_name": event.tool,
        "tool_params": to_json(event.arguments, inf_nan_mode="null").decode(),
        "tool_result": event.result,
        "timestamp": at,
        "success": event.success,
        "fault": event.fault,
        "form": event.form,
        "milliseconds": event.milliseconds,
    }
