"""Reads answer the questions that they are named for."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import Engine

from heist import events as e
from heist.errors import StoreError
from heist.store.audit import Audit
from heist.store.clients import Registrations
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.queries import Queries, ToolUse
from tests.conftest import NO_TABLE
from tests.strategies import message, session_started, tool_called

pytestmark = pytest.mark.anyio


@pytest.fixture
async def queries(database_url: str) -> AsyncGenerator[Queries]:
    """Five sessions, the odd ones over, each with two messages; the third and fourth began in the same instant."""
    engine = connect(database_url)
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


async def test_a_database_that_is_gone_is_one_sentence(database_url: str) -> None:
    with pytest.raises(StoreError, match=f"the audit could not be read: {NO_TABLE}"):
        Queries(connect(database_url)).last_seq()


AT = "2026-01-01T00:00:0{}.000000Z"


@pytest.fixture
def engine(database_url: str) -> Engine:
    engine = connect(database_url)
    upgrade(engine)
    return engine


async def keep(engine: Engine, *events: e.Event) -> Queries:
    """The events, a second apart."""
    audit = Audit(engine)
    audit.open()
    kept = [audit.keep(event, AT.format(second), e.body_of(event)) for second, event in enumerate(events)]
    audit.flush()
    await asyncio.gather(*kept)
    audit.close()
    return Queries(engine)


async def test_what_belongs_to_no_session_stands_in_the_log_and_in_no_session(engine: Engine) -> None:
    refused = e.AccessRefused(
        session_id=None, client="x", path="/tools", tool=None, scope=None, status=401, error="invalid_token", detail="d"
    )
    queries = await keep(engine, session_started("s1"), refused, message("s1", 1, "a"))
    assert [entry.kind for entry in queries.log(0, None, 10)] == [
        "session.started",
        "access.refused",
        "message.completed",
    ]
    assert [entry.seq for entry in queries.log(0, "s1", 10)] == [1, 3]
    [entry] = queries.log(0, None, 10, "access.%")
    assert (entry.session_id, e.parse(entry.body)) == (None, refused)


async def test_the_clients_stand_in_the_order_in_which_they_were_added(engine: Engine) -> None:
    registrations, queries = Registrations(engine), Queries(engine)
    assert queries.all_clients() == []
    for name, second in (("b", 1), ("a", 2), ("c", 0)):
        registrations.add(f"{name}-1", name, "00", "files:read", AT.format(second))
    assert [row.name for row in queries.all_clients()] == ["c", "b", "a"]
    assert queries.client("a-1") == queries.all_clients()[2]
    assert queries.client("a") is None


async def test_the_use_of_a_tool_is_counted_by_outcome_over_sessions_and_outsiders(engine: Engine) -> None:
    from_outside = tool_called("s1", None, agent="clerk").model_copy(update={"session_id": None, "milliseconds": 0.5})
    queries = await keep(
        engine,
        session_started("s1"),
        tool_called("s1", 1),
        from_outside,
        tool_called("s1", 2, success=False, fault="scope"),
        tool_called("s1", 2, tool="file_reader"),
    )
    assert sorted(queries.tool_use(), key=repr) == [
        ToolUse("calculator", "scope", 1, 0.1, AT.format(3)),
        ToolUse("calculator", None, 2, 0.3, AT.format(2)),
        ToolUse("file_reader", None, 1, 0.1, AT.format(4)),
    ]


async def test_a_tool_is_switched_as_the_house_switched_it_last_whatever_a_session_was_told(engine: Engine) -> None:
    queries = await keep(
        engine,
        session_started("s1"),
        e.ToolRemoved(session_id=None, tool="calculator", by="user"),
        e.ToolRemoved(session_id=None, tool="file_reader", by="user"),
        e.ToolAdded(session_id=None, tool="calculator", by="user"),
        e.ToolRemoved(session_id="s1", tool="database_query", by="user"),
    )
    assert queries.switched() == {"calculator": "tool.added", "file_reader": "tool.removed"}


async def test_a_house_where_nothing_happened_yet_has_nothing_to_tell(engine: Engine) -> None:
    queries = Queries(engine)
    assert (queries.tool_use(), queries.switched(), queries.is_revoked("x"), queries.last_seq()) == ([], {}, False, 0)
