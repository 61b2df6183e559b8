"""Reads answer the questions that they are named for."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from heist import events as e
from heist.errors import StoreError
from heist.store.audit import Audit
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.queries import Queries
from tests.strategies import message, session_started

pytestmark = pytest.mark.anyio


@pytest.fixture
async def queries(tmp_path: Path) -> AsyncGenerator[Queries]:
    """Five sessions, the odd ones over, each with two messages; the third and fourth began in the same instant."""
    engine = connect(f"sqlite:///{tmp_path}/q.db")
    upgrade(engine)
    audit = Audit(engine)
    audit.open()
    for number, second in enumerate((0, 1, 2, 2, 4)):
        session_id = f"s{number}"
        events: list[e.Event] = [session_started(session_id), message(session_id, 1, "a"), message(session_id, 2, "b")]
        if number % 2:
            events.append(e.SessionCompleted(session_id=session_id, turns=2, failed=0))
        kept = [audit.keep(event, f"2026-01-01T00:00:0{second}.000000Z", e.body_of(event)) for event in events]
        audit.flush()
        await asyncio.gather(*kept)
    yield Queries(engine)
    audit.close()


async def test_pages_of_sessions_meet_without_gap_or_overlap(queries: Queries) -> None:
    first = queries.newest_sessions(2)
    second = queries.newest_sessions(2, first[-1].session_id)
    third = queries.newest_sessions(2, second[-1].session_id)
    assert [row.session_id for row in (*first, *second, *third)] == ["s4", "s3", "s2", "s1", "s0"]


async def test_unfinished_sessions_are_those_that_have_not_ended(queries: Queries) -> None:
    assert [row.session_id for row in queries.unfinished()] == ["s0", "s2", "s4"]


async def test_the_log_of_one_session_holds_no_other(queries: Queries) -> None:
    log = queries.log(0, "s2", 100)
    assert [entry.kind for entry in log] == ["session.started", "message.completed", "message.completed"]
    assert {entry.session_id for entry in log} == {"s2"}
    assert queries.log(log[0].seq, "s2", 1) == [log[1]]


async def test_the_log_of_the_list_holds_only_what_concerns_it(queries: Queries) -> None:
    assert {entry.kind for entry in queries.log(0, None, 100, "session.%")} == {"session.started", "session.completed"}
    assert queries.last_seq() == queries.log(0, None, 100)[-1].seq


async def test_one_session_is_found_or_is_none(queries: Queries) -> None:
    found = queries.session("s1")
    assert found is not None
    assert (found.status, found.num_turns, found.simulated) == ("completed", 2, True)
    assert queries.session("s9") is None


async def test_a_database_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the audit could not be read: no such table"):
        Queries(connect(f"sqlite:///{tmp_path}/empty.db")).last_seq()
