"""What figures cost on a million messages: one session's, and the overview over all of them.

The log is made up and written in bulk: 33,334 sessions of six agents by five rounds with 200 letters a message, a call
in every third turn, one turn in two hundred without a word, a third of the games revealed. In SQLite, or in the empty
database that HEIST_TEST_DATABASE_URL names:

python -m tests.postgres python -m tests.bench_figures
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, insert

from heist.clock import stamp
from heist.runtime import Runtime
from heist.services.analytics.analytics import Analytics
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings
from heist.store import tables
from heist.store.engine import connect
from heist.store.figures import Chosen, Figures
from heist.store.migrate import upgrade

USER = Principal("bench", USER_SCOPES)
ONE, OVER_ALL = 50, 1000
"""Milliseconds that a question may take, of one session or a few, and of all."""
CREW = ("planner", "hacker", "safecracker", "intel", "driver", "lookout")
TOOLS = ("calculator", "file_reader", "database_query", "plan", "observe")
MESSAGES = 1_000_000
TURNS = 30
BATCH = 2_000
"""Sessions that are written together."""
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Rows = dict[sqlalchemy.Table, list[dict[str, Any]]]


class Reading(NamedTuple):
    """Milliseconds of the clock, of the processor, and how many were wanted at most."""

    question: str
    wall: float
    cpu: float
    limit: float


def fill(engine: Engine, messages: int = MESSAGES) -> int:
    """Writes so many messages, and all that comes with them; answers how many sessions that are."""
    chance = random.Random(1)
    numbers = iter(range(1, 10**9))
    sessions = -(-messages // TURNS)
    with engine.begin() as connection:
        for first in range(0, sessions, BATCH):
            rows: Rows = {one: [] for one in tables.metadata.sorted_tables}
            for number in range(first, min(first + BATCH, sessions)):
                _session(rows, number, numbers, chance)
            _write(connection, rows)
    return sessions


def _write(connection: Connection, rows: Rows) -> None:
    for one in tables.metadata.sorted_tables:
        if rows[one]:
            connection.execute(insert(one), rows[one])


def _session(rows: Rows, number: int, numbers: Iterator[int], chance: random.Random) -> None:
    session_id = f"s{number}"
    at = stamp(BEGIN + timedelta(minutes=number))
    rows[tables.sessions].append(
        {
            "session_id": session_id,
            "start_time": at,
            "end_time": at,
            "num_turns": TURNS,
            "status": "completed" if number % 10 else "stopped",
            "crew": f"crew{number % 3}",
            "scenario": "first_national_bank",
            "title": "First National Bank",
            "rounds": 5,
            "model": f"model{number % 4}",
            "server": "s",
            "simulated": True,
            "process": 1,
            "variant": ("a", "b", None)[number % 3],
        }
    )
    previous = None
    for turn in range(1, TURNS + 1):
        agent = chance.choice(CREW) if number % 2 else CREW[turn % 6]
        if chance.random() < 0.005:
            body = f'{{"session_id":"{session_id}","kind":"message.failed","turn":{turn},"agent":"{agent}"}}'
            rows[tables.events].append(_event(next(numbers), session_id, "message.failed", at, body))
            continue
        rows[tables.messages].append(_message(session_id, turn, agent, at, previous, chance))
        previous = agent
        if chance.random() < 0.7:
            named = chance.choice([name for name in CREW if name != agent])
            rows[tables.mentions].append(
                {"session_id": session_id, "turn_id": turn, "named": named, "agent_name": agent}
            )
        if turn % 3 == 0:
            seq = next(numbers)
            rows[tables.events].append(_event(seq, session_id, "tool.called", at, "{}"))
            rows[tables.tool_usage].append(_call(seq, session_id, turn, agent, at, chance))
    if number % 3 == 0:
        rows[tables.games].append(_game(session_id, at, chance))


def _event(seq: int, session_id: str, kind: str, at: str, body: str) -> dict[str, Any]:
    return {"seq": seq, "session_id": session_id, "kind": kind, "at": at, "body": body}


def _message(
    session_id: str, turn: int, agent: str, at: str, previous: str | None, chance: random.Random
) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "turn_id": turn,
        "agent_name": agent,
        "agent_role": "role",
        "message": "words " * 33,
        "timestamp": at,
        "round": (turn - 1) // 6 + 1,
        "model": "m",
        "prompt_tokens": chance.randrange(500, 4000),
        "completion_tokens": chance.randrange(20, 300),
        "tokens_estimated": False,
        "milliseconds": chance.random() * 1000,
        "previous": previous,
    }


def _call(seq: int, session_id: str, turn: int, agent: str, at: str, chance: random.Random) -> dict[str, Any]:
    fault = chance.choice([None, None, None, "scope", "arguments"])
    return {
        "seq": seq,
        "session_id": session_id,
        "turn_id": turn,
        "agent_name": agent,
        "tool_name": chance.choice(TOOLS),
        "tool_params": "{}",
        "tool_result": "1 + 1 = 2",
        "timestamp": at,
        "success": fault is None,
        "fault": fault,
        "form": "native",
        "milliseconds": chance.random(),
    }


def _game(session_id: str, at: str, chance: random.Random) -> dict[str, Any]:
    mole = chance.random() < 0.5
    return {
        "session_id": session_id,
        "revealed_at": at,
        "arm": "mole" if mole else "none",
        "strategy": chance.choice(["misinformation", "subtle_delays"]) if mole else None,
        "holder": "hacker" if mole else None,
        "guess": chance.choice([None, *CREW]),
        "result": chance.choice(["SUCCESS", "FAILURE", "BUSTED"]),
        "outcome": "messy",
        "score": chance.random() * 100,
        "reference": 90.0,
        "damage": chance.random() * 10 if mole else None,
    }


async def figures() -> list[Reading]:
    """The best of three, in milliseconds, with what the detector costs left out: nothing here can be judged."""
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("HEIST_TEST_DATABASE_URL", f"sqlite:///{folder}/figures.db")
        engine = connect(url)
        upgrade(engine)
        sessions = await asyncio.to_thread(fill, engine)
        if engine.dialect.name == "postgresql":  # as its autovacuum would a minute later
            with engine.begin() as connection:
                connection.exec_driver_sql("ANALYZE")
        analytics = Analytics(Figures(engine), Runtime(Settings(database_url=url)).desk)
        middle = f"s{sessions // 2}"
        every, some = Chosen(), Chosen(variant="a")
        since = Chosen(since=stamp(BEGIN))
        asked: list[tuple[str, Callable[[], Awaitable[object]], float]] = [
            ("one session", lambda: analytics.session(USER, middle), ONE),
            ("two sessions compared", lambda: analytics.compare(USER, [middle, "s1"]), ONE),
            ("a page of 50 sessions", lambda: analytics.sessions(USER, every, 50), ONE),
            ("the overview", lambda: analytics.metrics_summary(USER, every, detector=None), OVER_ALL),
            ("the tools of all", lambda: analytics.tool_stats(USER, every, 100), OVER_ALL),
            ("the agents of all", lambda: analytics.agent_activity(USER, every, 100), OVER_ALL),
            ("who with whom in all", lambda: analytics.interactions(USER, every, 100), OVER_ALL),
            ("the overview of a variant", lambda: analytics.metrics_summary(USER, some, detector=None), OVER_ALL),
            ("who with whom in a variant", lambda: analytics.interactions(USER, some, 100), OVER_ALL),
            ("the overview since a day", lambda: analytics.metrics_summary(USER, since, detector=None), OVER_ALL),
        ]
        readings = [Reading(name, *await _best(ask), limit) for name, ask, limit in asked]
        engine.dispose()
    return readings


async def _best(ask: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """(of the clock, of the processor)."""
    spent = []
    for _ in range(3):
        began, used = time.perf_counter(), time.process_time()
        await ask()
        spent.append(((time.perf_counter() - began) * 1000, (time.process_time() - used) * 1000))
    return min(spent)


def table(readings: list[Reading]) -> Table:
    shown = Table("question", "wall ms", "CPU ms", "wanted below", title=f"Figures on {MESSAGES:,} messages")
    for question, wall, cpu, limit in readings:
        shown.add_row(question, f"{wall:.1f}", f"{cpu:.1f}", f"{limit:.0f}")
    return shown


if __name__ == "__main__":
    Console().print(table(asyncio.run(figures())))
