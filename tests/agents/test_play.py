"""The simulated crew at play: honest agents fill the plan with what is true, and a mole does what its brief says."""

import asyncio

import pytest

from heist import events as e
from heist.agents.past import Past
from heist.agents.sessions import Order
from heist.runtime import Runtime
from heist.world.claims import claims
from tests.conftest import USER
from tests.strategies import CREW

pytestmark = pytest.mark.anyio
STRATEGIES = ("timing_errors", "false_info", "coordination_chaos", "subtle_delays", "wrong_tools")


async def played(runtime: Runtime, *orders: dict[str, object]) -> list[Past]:
    """Whole sessions, all at once."""
    ids = [await runtime.sessions.start(USER, Order.model_validate(order)) for order in orders]
    await asyncio.gather(*(runtime.sessions.finished(session_id) for session_id in ids))
    return [await runtime.sessions.past(session_id) for session_id in ids]


def did(past: Past) -> list[str]:
    return [event.did for event in past.secret if isinstance(event, e.SabotageDone)]


@pytest.mark.mission("B3")
async def test_nobody_but_a_mole_does_anything_against_the_crew(runtime: Runtime) -> None:
    arms: list[dict[str, object]] = [
        {"seed": seed, "arm": arm} for seed in range(2) for arm in ("none", "placebo", "incompetent")
    ]
    assert [did(past) for past in await played(runtime, *arms)] == [[]] * 6


@pytest.mark.mission("B1")
async def test_an_honest_crew_sets_the_whole_plan_and_says_little_that_is_wrong(runtime: Runtime) -> None:
    wrong = told = 0
    for past in await played(runtime, *({"seed": seed, "mole": "none"} for seed in range(5))):
        assert None not in past.conversation().board.values().values()
        for event in past.log:
            if isinstance(event, e.MessageCompleted):
                for claim in claims(past.game.scenario.facts, event.text):
                    told += 1
                    wrong += claim.value != past.game.values[claim.fact]
    assert told > 5 * 30
    assert wrong / told < 0.15


@pytest.mark.mission("S10")
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_every_strategy_sabotages_whoever_plays_it(runtime: Runtime, strategy: str) -> None:
    games = await played(runtime, *({"seed": 1, "mole": name, "strategy": strategy} for name in CREW))
    assert sum(bool(did(past)) for past in games) >= 4
    for name, past in zip(CREW, games, strict=True):
        assert {event.agent for event in past.secret if isinstance(event, e.SabotageDone)} <= {name}


@pytest.mark.mission("B1", "S6")
async def test_another_scenario_is_played_by_another_crew_file_alone(runtime: Runtime) -> None:
    [honest, other] = await played(
        runtime, {"seed": 2, "mole": "none", "crew": "museum"}, {"seed": 2, "mole": "hacker", "crew": "museum"}
    )
    assert honest.game.scenario.title != "First National Bank"
    assert set(honest.conversation().board.values()) == set(honest.game.scenario.slots)
    assert None not in honest.conversation().board.values().values()
    assert did(honest) == [] != did(other)
