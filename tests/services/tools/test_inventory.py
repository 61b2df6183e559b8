"""The tools as an operator sees them: switched for everybody, on record, and the same in the next process."""

import asyncio

import pytest

from heist import events as e
from heist.agents.sessions import Order
from heist.errors import InsufficientScope, NotFound, StoreError
from heist.runtime import Runtime
from heist.services.auth import AGENT_SCOPES, USER_SCOPES, Principal, Scope
from heist.settings import Settings
from tests.conftest import USER
from tests.strategies import session_started, tool_called

REST = ("get_compressed_memory", "observe", "plan", "plan_board", "routes", "store_memory")
pytestmark = [pytest.mark.anyio, pytest.mark.mission("S8")]
AGENT = Principal("planner", AGENT_SCOPES)


def switches(runtime: Runtime) -> list[tuple[str | None, str, str]]:
    """(session, kind, tool) of every switch in the log."""
    logged = [e.parse(entry.body) for entry in runtime.queries.log(0, None, 10_000)]
    return [
        (event.session_id, event.kind, event.tool) for event in logged if isinstance(event, e.ToolAdded | e.ToolRemoved)
    ]


async def test_a_switch_is_on_record_and_at_once_everywhere(runtime: Runtime) -> None:
    await runtime.inventory.switch(USER, "calculator", False)
    assert switches(runtime) == [(None, "tool.removed", "calculator")]
    assert [tool.name for tool in runtime.registry.visible(AGENT)] == ["database_query", "file_reader", *REST]
    await runtime.inventory.switch(USER, "calculator", True)
    assert switches(runtime) == [(None, "tool.removed", "calculator"), (None, "tool.added", "calculator")]
    assert "calculator" in [tool.name for tool in runtime.registry.visible(AGENT)]


async def test_a_switch_says_who_turned_it(runtime: Runtime, heard: list[e.Event]) -> None:
    await runtime.inventory.switch(Principal("night watch", USER_SCOPES), "calculator", False)
    assert heard == [e.ToolRemoved(session_id=None, tool="calculator", by="night watch")]


async def test_what_is_so_already_is_not_logged_again_however_many_ask_at_once(runtime: Runtime) -> None:
    await runtime.inventory.switch(USER, "calculator", True)
    assert switches(runtime) == []
    await asyncio.gather(*(runtime.inventory.switch(USER, "calculator", False) for _ in range(20)))
    assert switches(runtime) == [(None, "tool.removed", "calculator")]


async def test_an_unknown_tool_is_not_found_and_nothing_is_logged(runtime: Runtime) -> None:
    with pytest.raises(NotFound, match=r"there is no tool 'dynamite'; there are: calculator, database_query, file_re"):
        await runtime.inventory.switch(USER, "dynamite", False)
    assert switches(runtime) == []


@pytest.mark.parametrize("scopes", [frozenset(), AGENT_SCOPES, frozenset(Scope) - {Scope.TOOLS_ADMIN}])
async def test_who_does_not_run_the_house_is_refused_before_the_tool_is_looked_up(
    runtime: Runtime, scopes: frozenset[str]
) -> None:
    mole = Principal("mole", scopes)
    for refused in (
        runtime.inventory.switch(mole, "calculator", False),
        runtime.inventory.switch(mole, "dynamite", False),
        runtime.inventory.stock(mole),
    ):
        with pytest.raises(InsufficientScope, match="mole lacks the scope 'tools:admin'"):
            await refused
    assert switches(runtime) == []


async def test_a_switch_that_cannot_be_written_has_not_happened(runtime: Runtime) -> None:
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME COLUMN at TO gone")
    with pytest.raises(StoreError, match="the audit could not be written"):
        await runtime.inventory.switch(USER, "calculator", False)
    assert runtime.registry.is_on("calculator")
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME COLUMN gone TO at")
    await runtime.inventory.switch(USER, "calculator", False)
    assert not runtime.registry.is_on("calculator")


async def test_a_new_process_finds_the_tools_as_they_were_left(settings: Settings) -> None:
    async with Runtime(settings).opened() as first:
        for name, on in (
            ("calculator", False),
            ("file_reader", False),
            ("calculator", True),
            ("database_query", False),
        ):
            await first.inventory.switch(USER, name, on)
    async with Runtime(settings).opened() as second:
        assert [tool.name for tool in second.registry.visible(AGENT)] == ["calculator", *REST]
        stocked = {tool.name: tool.enabled for tool in await second.inventory.stock(USER)}
        assert stocked == {"calculator": True, "database_query": False, "file_reader": False} | dict.fromkeys(
            REST, True
        )
        assert (await second.registry.call(AGENT, "file_reader", "index")).fault == "service"
        await second.inventory.switch(USER, "file_reader", False)
        assert len(switches(second)) == 4


async def test_only_what_was_switched_for_the_whole_house_counts_at_the_next_start(settings: Settings) -> None:
    async with Runtime(settings).opened() as first:
        await first.inventory.switch(USER, "calculator", False)
        await first.inventory.switch(USER, "calculator", True)
        await first.bus.publish(session_started("s1"))
        await first.bus.publish(e.ToolRemoved(session_id="s1", tool="calculator", by="user"))  # told late
        await first.bus.publish(e.SessionCompleted(session_id="s1", turns=30, failed=0))
    async with Runtime(settings).opened() as second:
        assert second.registry.is_on("calculator")


async def test_a_tool_that_was_switched_off_and_is_gone_harms_no_later_start(settings: Settings) -> None:
    async with Runtime(settings).opened() as first:
        await first.bus.publish(e.ToolRemoved(session_id=None, tool="weather", by="user"))
    async with Runtime(settings).opened() as second:
        assert len(second.registry.visible(AGENT)) == 9
        assert [tool.name for tool in await second.inventory.stock(USER)] == [
            "calculator",
            "database_query",
            "file_reader",
            *REST,
        ]


async def test_the_log_of_each_session_that_runs_tells_of_the_switch_and_of_no_other(runtime: Runtime) -> None:
    over = await runtime.sessions.start(USER, Order(rounds=1))
    await runtime.sessions.finished(over)
    first, second = [await runtime.sessions.start(USER, Order(paused=True)) for _ in range(2)]
    await runtime.inventory.switch(USER, "calculator", False)
    async with asyncio.timeout(5):
        while len(switches(runtime)) < 3:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    assert switches(runtime)[0] == (None, "tool.removed", "calculator")
    assert sorted(switches(runtime)[1:]) == sorted((one, "tool.removed", "calculator") for one in (first, second))


async def test_every_tool_is_counted_over_all_sessions_and_outsiders(runtime: Runtime) -> None:
    await runtime.bus.publish(session_started("s1"))
    for call in (
        tool_called("s1", 1),
        tool_called("s1", 2, success=False, fault="scope"),
        tool_called(None, None),
        tool_called(None, None, success=False, fault="token"),
        tool_called("s1", 3, success=False, fault="scope"),
        tool_called("s1", 3, tool="file_reader", success=False, fault="service"),
        tool_called("s1", 3, tool="dynamite", success=False, fault="unknown"),
    ):
        await runtime.bus.publish(call)
    stocked = {tool.name: tool for tool in await runtime.inventory.stock(USER)}
    assert list(stocked) == ["calculator", "database_query", "file_reader", *REST]
    calculator = stocked["calculator"]
    assert (calculator.calls, calculator.succeeded, calculator.faults) == (5, 2, {"scope": 2, "token": 1})
    assert calculator.milliseconds == pytest.approx(0.1)
    assert calculator.last is not None
    assert (stocked["file_reader"].calls, stocked["file_reader"].faults) == (1, {"service": 1})
    assert (stocked["database_query"].calls, stocked["database_query"].last) == (0, None)


async def test_of_two_processes_over_one_database_each_switches_what_is_so_in_the_log(settings: Settings) -> None:
    async with Runtime(settings).opened() as first, Runtime(settings).opened(recover=False) as second:
        await first.inventory.switch(USER, "calculator", False)
        await second.inventory.switch(USER, "calculator", True)
        await first.inventory.switch(USER, "calculator", True)  # it is on already, as the log knows
        assert first.registry.is_on("calculator")
        assert second.registry.is_on("calculator")
        assert first.queries.switched() == {"calculator": "tool.added"}
