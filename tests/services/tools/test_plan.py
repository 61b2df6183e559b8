"""The plan's tools, and the two readers beside the papers: who may call them, and what they answer."""

from collections.abc import Generator
from typing import Any

import pytest

from heist.services.auth import Principal, Scope
from heist.services.tools.observe import observe
from heist.services.tools.plan import plan, plan_board
from heist.services.tools.registry import Outcome, Registry
from heist.services.tools.routes import routes
from heist.settings import shipped
from heist.world.documents import Bank
from heist.world.game import draw
from heist.world.plan import Edit
from heist.world.scenario import read
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("B1")]

SCENARIO = read(shipped("config"), "first_national_bank")
PLANNER = Principal("planner", frozenset({Scope.PLAN_READ, Scope.PLAN_WRITE, Scope.STREET, Scope.ROUTES}), "heist_1")
OUTSIDER = PLANNER._replace(name="laptop", session_id=None)


@pytest.fixture
def bank() -> Bank:
    return Bank(draw(SCENARIO, 5))


@pytest.fixture
def registry(bank: Bank) -> Generator[Registry]:
    registry = Registry((plan, plan_board, observe, routes), HandClock(), lambda: Bank(draw(SCENARIO, None)))
    registry.furnish("heist_1", bank)
    yield registry
    registry.close()


async def test_an_entry_is_answered_by_what_will_stand_in_the_plan_and_changes_nothing(
    registry: Registry, bank: Bank
) -> None:
    outcome = await registry.call(PLANNER, "plan", "entry_time = 2:11; the thing")
    assert outcome.fault == "arguments"
    outcome = await registry.call(PLANNER, "plan", "entry_time = 2:11; entry_point = Coal Chute; open_minutes = 12 min")
    assert outcome.result == {
        "changes": [
            {"slot": "entry_time", "value": "02:11"},
            {"slot": "entry_point", "value": "coal chute"},
            {"slot": "open_minutes", "value": 12},
        ]
    }
    assert outcome.text == "entry_time = 02:11\nentry_point = coal chute\nopen_minutes = 12"
    assert set(bank.board.values().values()) == {None}


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "exit = 02:11",
        "entry_time = soon",
        "entry_time",
        "entry_time = 02:11; " * 10_000,
        "a = 1\n" * 100,
        "\ud800",
        "entry_time = \ud800",
        None,
        5,
        ["entry_time = 02:11"],
        {"entry_time": "02:11"},
    ],
)
async def test_a_hostile_entry_is_the_callers_fault_in_one_sentence(registry: Registry, entry: Any) -> None:
    outcome = await registry.call(PLANNER, "plan", {"entry": entry})
    assert (outcome.fault, outcome.result) == ("arguments", None)
    assert outcome.text.startswith("plan: ")
    assert "\n" not in outcome.text
    assert len(outcome.text) < 500
    outcome.text.encode()


async def test_the_board_shows_who_set_what_and_what_is_missing(registry: Registry, bank: Bank) -> None:
    bank.board.put(Edit("entry_time", "02:11", None, "planner", 3))
    bank.board.put(Edit("entry_time", "02:41", "02:11", "lookout", 5))
    whole = await registry.call(PLANNER, "plan_board", {})
    lines = whole.text.splitlines()
    assert lines[0] == "entry_time = 02:41 (lookout, turn 5; when the crew goes in)"
    assert lines[1] == "leave_time: not set (when the crew leaves the vault; planner answers for it)"
    assert lines[-1] == f"not set: {', '.join(slot for slot in SCENARIO.slots if slot != 'entry_time')}"
    one = await registry.call(PLANNER, "plan_board", "Entry Time")
    assert one.text.splitlines() == [
        "entry_time = 02:41 (lookout, turn 5; when the crew goes in)",
        "set by planner in turn 3 to 02:11",
        "set by lookout in turn 5 to 02:41",
    ]


async def test_a_slot_that_does_not_exist_is_answered_with_those_that_do(registry: Registry) -> None:
    outcome = await registry.call(PLANNER, "plan_board", "exit")
    assert (outcome.fault, outcome.text[:50]) == ("arguments", "there is no slot 'exit'; there are: entry_time, le")


@pytest.mark.parametrize(("tool", "argument"), [("plan", "entry_time = 02:11"), ("plan_board", "")])
async def test_a_caller_without_a_session_has_no_plan(registry: Registry, tool: str, argument: str) -> None:
    outcome = await registry.call(OUTSIDER, tool, argument)
    assert (outcome.fault, outcome.text) == (
        "service",
        "only the agents of a session have a plan; this token belongs to none",
    )


@pytest.mark.parametrize("tool", ["plan", "plan_board", "observe", "routes"])
async def test_each_tool_needs_its_own_scope(registry: Registry, tool: str) -> None:
    others = PLANNER._replace(scopes=PLANNER.scopes - {registry.tools[tool].scope})
    assert (await registry.call(others, tool, "index")).fault == "scope"


async def answers(registry: Registry, tool: str, argument: str) -> Outcome:
    return await registry.call(PLANNER, tool, argument)


async def test_the_lookout_reads_the_views_of_its_own_game(registry: Registry, bank: Bank) -> None:
    index = await answers(registry, "observe", "index")
    assert [line.partition(":")[0] for line in index.text.splitlines()] == list(SCENARIO.observations)
    street = await answers(registry, "observe", " STREET ")
    assert street.text == f"{bank.views['street'].title}, dated 2026-09-13\n{bank.views['street'].text}"
    assert str(bank.game.values["patrol_at"]) in street.text


async def test_the_driver_reads_the_routes_and_no_papers(registry: Registry, bank: Bank) -> None:
    assert str(bank.game.values["open_road"]) in (await answers(registry, "routes", "road_works")).text
    wrong = await answers(registry, "routes", "camera_plan")
    assert wrong.text == f"there is no route 'camera_plan'; there are: index, {', '.join(SCENARIO.routes)}"


async def test_callers_from_outside_read_the_fixed_game(registry: Registry) -> None:
    assert "is 02:10." in (await registry.call(OUTSIDER, "observe", "guard_room_window")).text
