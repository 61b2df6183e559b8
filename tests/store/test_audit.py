"""The audit: one event and its row in one transaction, complete and in order."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.event import listen

from heist import events as e
from heist.errors import StoreError
from heist.store import audit as audits
from heist.store import tables
from heist.store.audit import Audit
from heist.store.engine import connect
from heist.store.migrate import upgrade
from tests.strategies import message, quarantined, released, session_started, tool_called

pytestmark = pytest.mark.anyio
AT = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path}/audit.db")
    upgrade(engine)
    return engine


@pytest.fixture
async def audit(engine: Engine) -> AsyncGenerator[Audit]:
    audit = Audit(engine)
    audit.open()
    yield audit
    audit.flush()
    audit.close()


async def keep(audit: Audit, *events: e.Event) -> list[int]:
    kept = [audit.keep(event, AT, e.body_of(event)) for event in events]
    audit.flush()
    return await asyncio.gather(*kept)


def rows(engine: Engine, table: Any) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


@pytest.mark.mission("S15")
async def test_an_event_and_its_row_are_one(audit: Audit, engine: Engine) -> None:
    call = tool_called("s1", 1, success=False, fault="scope", result="no")
    spoken = message("s1", 1, "hello")
    assert await keep(audit, session_started("s1"), call, spoken) == [1, 2, 3]
    assert [row["kind"] for row in rows(engine, tables.events)] == [
        "session.started",
        "tool.called",
        "message.completed",
    ]
    assert [e.parse(row["body"]) for row in rows(engine, tables.events)][1:] == [call, spoken]
    [session] = rows(engine, tables.sessions)
    assert (session["status"], session["num_turns"], session["start_time"]) == ("running", 1, AT)
    [stored] = rows(engine, tables.messages)
    assert (stored["turn_id"], stored["agent_name"], stored["message"]) == (1, "planner", "hello")
    [used] = rows(engine, tables.tool_usage)
    assert (used["seq"], used["success"], used["fault"]) == (2, False, "scope")
    assert json.loads(used["tool_params"]) == call.arguments


async def test_the_row_of_a_session_says_of_which_variant_it_is(audit: Audit, engine: Engine) -> None:
    dealt = session_started("s2").model_copy(update={"variant": "b"})
    await keep(audit, session_started("s1"), dealt)
    assert [row["variant"] for row in rows(engine, tables.sessions)] == [None, "b"]


@pytest.mark.parametrize(
    ("last", "status", "ended"),
    [
        (e.SessionPaused(session_id="s1", by="x"), "paused", None),
        (e.SessionResumed(session_id="s1", by="x"), "running", None),
        (e.SessionRecovered(session_id="s1", process=2, before=1), "paused", None),
        (e.SessionStopped(session_id="s1", by="x", turns=3), "stopped", AT),
        (e.SessionCompleted(session_id="s1", turns=3, failed=0), "completed", AT),
        (e.SessionFailed(session_id="s1", turns=3, error="x"), "failed", AT),
    ],
)
async def test_the_status_of_a_session_is_that_of_its_last_event(
    audit: Audit, engine: Engine, last: e.Event, status: str, ended: str | None
) -> None:
    await keep(audit, session_started("s1"), last)
    [session] = rows(engine, tables.sessions)
    assert (session["status"], session["end_time"]) == (status, ended)


async def test_an_error_is_counted_as_a_turn_and_never_stored_as_speech(audit: Audit, engine: Engine) -> None:
    failed = e.MessageFailed(
        session_id="s1", turn=1, round=1, agent="planner", role="r", error="model_error", detail="down", milliseconds=1
    )
    await keep(audit, session_started("s1"), failed)
    assert rows(engine, tables.messages) == []
    assert rows(engine, tables.sessions)[0]["num_turns"] == 1


async def test_one_bad_event_fails_its_session_alone_and_leaves_no_hole(audit: Audit, engine: Engine) -> None:
    await keep(audit, session_started("s1"), session_started("s2"))
    huge = message("s1", 3, "c").model_copy(update={"prompt_tokens": 10**30})
    events = [
        message("s1", 1, "a"),
        huge,
        message("s1", 4, "after the hole"),
        message("s2", 1, "b"),
        message("?", 1, "d"),
    ]
    kept = [audit.keep(event, AT, e.body_of(event)) for event in events]
    audit.flush()
    results = await asyncio.gather(*kept, return_exceptions=True)
    assert [type(result) for result in results] == [int, StoreError, StoreError, int, StoreError]
    assert [row["message"] for row in rows(engine, tables.messages)] == ["a", "b"]
    with pytest.raises(StoreError, match="an earlier event of this session is missing"):
        await keep(audit, message("s1", 5, "still after the hole"))
    assert await keep(audit, e.SessionFailed(session_id="s1", turns=1, error="the log")) == [5]
    assert [row["seq"] for row in rows(engine, tables.events)] == [1, 2, 3, 4, 5]


@pytest.mark.mission("B8")
async def test_of_two_processes_that_take_a_session_over_one_succeeds(audit: Audit, engine: Engine) -> None:
    await keep(audit, session_started("s1"))
    assert await keep(audit, e.SessionRecovered(session_id="s1", process=7, before=1)) == [2]
    with pytest.raises(StoreError, match="another process has taken the session s1 over"):
        await keep(audit, e.SessionRecovered(session_id="s1", process=8, before=1))
    assert rows(engine, tables.sessions)[0]["process"] == 7


async def test_a_database_that_is_locked_for_long_loses_the_batch_whole(engine: Engine, tmp_path: Path) -> None:
    listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=10"))
    engine.dispose()  # a connection that is kept in the pool would still wait for ten seconds
    audit = Audit(engine)
    audit.open()
    await keep(audit, session_started("s1"))
    with sqlite3.connect(tmp_path / "audit.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        kept = [audit.keep(event, AT, e.body_of(event)) for event in (message("s1", 1, "a"), message("s1", 2, "b"))]
        audit.flush()
        results = await asyncio.gather(*kept, return_exceptions=True)
        other.execute("ROLLBACK")
    other.close()
    assert [str(result) for result in results] == ["the audit could not be written: database is locked"] * 2
    with pytest.raises(StoreError, match="an earlier event"):
        await keep(audit, message("s1", 3, "c"))
    audit.close()


async def test_what_nobody_waits_for_lingers_only_a_moment(audit: Audit) -> None:
    kept = audit.keep(session_started("s1"), AT, e.body_of(session_started("s1")))
    assert await asyncio.wait_for(kept, audits.LINGER_SECONDS * 50) == 1


async def test_a_closed_audit_refuses(engine: Engine) -> None:
    audit = Audit(engine)
    audit.open()
    audit.close()
    with pytest.raises(StoreError, match="closed"):
        await audit.keep(session_started("s1"), AT, "{}")


async def test_two_writers_of_one_file_share_the_numbers(engine: Engine) -> None:
    first, second = Audit(engine), Audit(engine)
    first.open()
    second.open()
    seqs = []
    for number in range(20):
        one, two = session_started(f"a{number}"), session_started(f"b{number}")
        kept = [first.keep(one, AT, e.body_of(one)), second.keep(two, AT, e.body_of(two))]
        first.flush()
        second.flush()
        seqs += await asyncio.gather(*kept)
    first.close()
    second.close()
    assert sorted(seqs) == list(range(1, 41))


async def test_a_full_disk_is_one_sentence_and_what_was_stored_stays(audit: Audit, engine: Engine) -> None:
    await keep(audit, session_started("s1"))
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE messages RENAME TO gone")
        connection.commit()
    with pytest.raises(StoreError, match="the audit could not be written: no such table"):
        await keep(audit, message("s1", 1, "a"))
    assert len(rows(engine, tables.events)) == 1


@pytest.mark.mission("S1", "S15")
async def test_what_belongs_to_no_session_is_kept_without_one(audit: Audit, engine: Engine) -> None:
    refused = e.AccessRefused(
        session_id=None,
        client="laptop",
        path="/tools/x",
        tool="x",
        scope=None,
        status=401,
        error="invalid_token",
        detail="no",
    )
    told: list[e.Event] = [
        tool_called(None, None, agent="laptop"),
        e.ToolRemoved(session_id=None, tool="calculator", by="user"),
        e.ToolAdded(session_id=None, tool="calculator", by="user"),
        refused,
    ]
    assert await keep(audit, *told) == [1, 2, 3, 4]
    assert [(row["session_id"], e.parse(row["body"])) for row in rows(engine, tables.events)] == [
        (None, event) for event in told
    ]
    [used] = rows(engine, tables.tool_usage)
    assert (used["session_id"], used["turn_id"], used["agent_name"], used["tool_name"]) == (
        None,
        None,
        "laptop",
        "calculator",
    )


@pytest.mark.mission("S12")
async def test_quarantine_and_switches_change_no_sessions_status(audit: Audit, engine: Engine) -> None:
    switch = e.ToolRemoved(session_id="s1", tool="calculator", by="user")
    await keep(audit, session_started("s1"), quarantined("intel", "why"), released("intel"), switch)
    [session] = rows(engine, tables.sessions)
    assert (session["status"], session["end_time"], session["num_turns"]) == ("running", None, 0)
    assert [row["kind"] for row in rows(engine, tables.events)][1:] == [
        "agent.quarantined",
        "agent.released",
        "tool.removed",
    ]


async def test_what_fails_without_a_session_makes_a_hole_in_no_log(audit: Audit, engine: Engine) -> None:
    await keep(audit, session_started("s1"))
    wrong = tool_called(None, None).model_copy(update={"milliseconds": "\ud800"})
    kept = [audit.keep(event, AT, "{}") for event in (wrong, tool_called(None, None), message("s1", 1, "a"))]
    audit.flush()
    results = await asyncio.gather(*kept, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError, int, int]
    assert await keep(audit, tool_called(None, None)) == [4]
