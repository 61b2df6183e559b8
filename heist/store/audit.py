"""Writes: every event and its row in one transaction, from one thread.

All events that wait are committed together (group commit), and each publisher is told when its own is on disk. One
transaction per event blocks on the disk for each; together, 200 sessions cost hardly more than one.
"""

import asyncio
import json
import queue
import threading
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine, Table, bindparam, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from heist import events as e
from heist.errors import StoreError
from heist.events import Event
from heist.store import tables
from heist.store.engine import WRITING

BATCH = 1000
_STATUS = {
    "session.paused": "paused",
    "session.resumed": "running",
    "session.stopped": "stopped",
    "session.completed": "completed",
    "session.failed": "failed",
}
_ENDS = ("session.stopped", "session.completed", "session.failed")
_SESSION = update(tables.sessions).where(tables.sessions.c.session_id == bindparam("session"))
_SET_STATUS = _SESSION.values(status=bindparam("state"), end_time=bindparam("ended"))
_SET_TURNS = _SESSION.values(num_turns=bindparam("turns"))


class Waiting(NamedTuple):
    event: Event
    at: str
    body: str
    kept: asyncio.Future[int]
    loop: asyncio.AbstractEventLoop


class Audit:
    """The keeper of the log. `keep` may be called from the event loop alone; `close` writes what still waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def keep(self, event: Event, at: str, body: str) -> asyncio.Future[int]:
        """The future gives the event's `seq` once it is on disk; it raises `StoreError` if that was not possible."""
        loop = asyncio.get_running_loop()
        kept = loop.create_future()
        if self._thread is None:
            kept.set_exception(StoreError("the audit is closed"))
        else:
            self._queue.put(Waiting(event, at, body, kept, loop))
        return kept

    def _write(self) -> None:
        open_ = True
        while open_:
            waiting, open_ = self._next_batch()
            results = self._commit(waiting)
            for loop in {entry.loop for entry in waiting}:
                mine = [
                    (entry.kept, result) for entry, result in zip(waiting, results, strict=True) if entry.loop is loop
                ]
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_tell, mine)

    def _next_batch(self) -> tuple[list[Waiting], bool]:
        waiting: list[Waiting] = []
        entry = self._queue.get()
        while entry is not None:
            waiting.append(entry)
            if len(waiting) == BATCH:
                return waiting, True
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return waiting, True
        return waiting, False

    def _commit(self, waiting: Sequence[Waiting]) -> list[int | StoreError]:
        """One row number or error per entry. When a batch is refused each entry is tried alone, so that one bad event
        fails one publisher."""
        if not waiting:
            return []
        try:
            with self._engine.connect().execution_options(**WRITING) as connection, connection.begin():
                return list(_store(connection, waiting))
        except SQLAlchemyError as error:
            if len(waiting) > 1:
                return [result for entry in waiting for result in self._commit([entry])]
            cause = getattr(error, "orig", None) or error
            return [StoreError(f"the audit could not be written: {cause}")]


def _tell(results: list[tuple[asyncio.Future[int], int | StoreError]]) -> None:
    for kept, result in results:
        if kept.cancelled():
            continue
        if isinstance(result, StoreError):
            kept.set_exception(result)
        else:
            kept.set_result(result)


def _store(connection: Connection, waiting: Sequence[Waiting]) -> range:
    """Inserts the events and their rows; answers their row numbers. The write lock is held, so the numbers follow the
    largest one without a gap, also when another process writes to the same file."""
    last = connection.scalar(select(func.max(tables.events.c.seq))) or 0
    numbers = range(last + 1, last + 1 + len(waiting))
    by_table: dict[Table, list[dict[str, object]]] = {}
    for seq, entry in zip(numbers, waiting, strict=True):
        event = entry.event
        row = {"seq": seq, "session_id": event.session_id, "kind": event.kind, "at": entry.at, "body": entry.body}
        by_table.setdefault(tables.events, []).append(row)
        match event:
            case e.SessionStarted():
                connection.execute(insert(tables.sessions), [_session_row(event, entry.at)])
            case e.MessageCompleted():
                by_table.setdefault(tables.messages, []).append(_message_row(event, entry.at))
            case e.ToolCalled():
                by_table.setdefault(tables.tool_usage, []).append(_tool_row(event, entry.at, seq))
    for table in (tables.events, tables.messages, tables.tool_usage):
        if rows := by_table.get(table):
            connection.execute(insert(table), rows)
    _update_sessions(connection, waiting)
    return numbers


def _update_sessions(connection: Connection, waiting: Sequence[Waiting]) -> None:
    turns: dict[str, int] = {}
    for entry in waiting:
        event = entry.event
        if isinstance(event, e.MessageCompleted | e.MessageFailed):
            turns[event.session_id] = event.turn
        elif event.kind in _STATUS:
            ended = entry.at if event.kind in _ENDS else None
            values = {"session": event.session_id, "state": _STATUS[event.kind], "ended": ended}
            connection.execute(_SET_STATUS, [values])
    if turns:
        connection.execute(_SET_TURNS, [{"session": session, "turns": turn} for session, turn in turns.items()])


def _session_row(event: e.SessionStarted, at: str) -> dict[str, object]:
    copied = ("crew", "scenario", "title", "rounds", "seed", "model", "server", "simulated", "process")
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


def _tool_row(event: e.ToolCalled, at: str, seq: int) -> dict[str, object]:
    return {
        "seq": seq,
        "session_id": event.session_id,
        "turn_id": event.turn,
        "agent_name": event.agent,
        "tool_name": event.tool,
        "tool_params": json.dumps(event.arguments),
        "tool_result": event.result,
        "timestamp": at,
        "success": event.success,
        "fault": event.fault,
        "form": event.form,
        "milliseconds": event.milliseconds,
    }
