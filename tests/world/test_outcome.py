"""The outcome: the truth wins, every mistake costs, and the damage adds up."""

import time
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heist.settings import shipped
from heist.world.facts import Value, clock, minutes
from heist.world.game import Game, draw
from heist.world.outcome import CEILING, believed, damage, mistakes, play, reference, score, slot_costs
from heist.world.scenario import Scenario, names, read
from tests.world.test_scenario import SMALL

pytestmark = pytest.mark.mission("B1")

NAMES = names(shipped("config"))
named = st.sampled_from(NAMES)
seeds = st.none() | st.integers(0, 2**31)


@cache
def scenario(name: str) -> Scenario:
    return read(shipped("config"), name)


@st.composite
def games(draw_: st.DrawFn) -> Game:
    return draw(scenario(draw_(named)), draw_(seeds))


@st.composite
def plans(draw_: st.DrawFn, game: Game) -> dict[str, Value | None]:
    """The reference with some slots set to something else, or to nothing."""
    plan: dict[str, Value | None] = dict(reference(game))
    for name, slot in game.scenario.slots.items():
        match draw_(st.sampled_from(["right", "right", "wrong", "unset"])), slot.type:
            case "unset", _:
                plan[name] = None
            case "wrong", "clock":
                plan[name] = clock(draw_(st.integers(0, 1439)))
            case "wrong", "choice":
                plan[name] = draw_(st.sampled_from(slot.among))
            case "wrong", _:
                plan[name] = draw_(st.integers(0, 200))
    return plan


@st.composite
def played(draw_: st.DrawFn) -> tuple[Game, dict[str, Value | None]]:
    game = draw_(games())
    return game, draw_(plans(game))


def owners(game: Game) -> dict[str, str]:
    return {name: slot.role for name, slot in game.scenario.slots.items()}


@given(game=games())
def test_who_knows_the_truth_always_gets_away_clean(game: Game) -> None:
    outcome = play(game, reference(game))
    assert (outcome.kind, outcome.score, outcome.loot, outcome.findings) == ("clean", 100.0, 100, ())


@given(game=games())
def test_every_plausible_mistake_always_costs_at_least_five_points(game: Game) -> None:
    for fact, wrong in mistakes(game):
        assert score(game, believed(game, {fact: wrong})) <= 95, (fact, wrong)


@given(game=games())
def test_every_slot_that_is_not_set_always_costs_at_least_five_points(game: Game) -> None:
    right = reference(game)
    for slot in game.scenario.slots:
        assert score(game, {**right, slot: None}) <= 95, slot
        assert score(game, {name: value for name, value in right.items() if name != slot}) <= 95, slot


@given(given_=played())
def test_the_same_plan_always_has_the_same_outcome_and_one_that_makes_sense(
    given_: tuple[Game, dict[str, Value | None]],
) -> None:
    game, plan = given_
    outcome = play(game, plan)
    assert outcome == play(game, plan)
    assert 0 <= outcome.score <= CEILING[outcome.kind]
    assert (outcome.loot > 0) == (outcome.kind in ("clean", "messy"))
    assert all(finding.slot in game.scenario.slots for finding in outcome.findings)
    assert outcome.findings == tuple(step.finding for step in outcome.steps if step.finding)


@given(given_=played())
def test_the_account_never_goes_back_in_time_and_stays_in_the_house(
    given_: tuple[Game, dict[str, Value | None]],
) -> None:
    game, plan = given_
    night = game.scenario.night
    times = [night.after(step.clock) for step in play(game, plan).steps]
    assert times == sorted(times)
    assert {step.place for step in play(game, plan).steps} <= set(game.scenario.places)
    assert all("{" not in step.text and step.text.endswith(".") for step in play(game, plan).steps)


@settings(deadline=None)
@given(given_=played())
def test_damage_always_sums_to_what_the_plan_lacks(given_: tuple[Game, dict[str, Value | None]]) -> None:
    game, plan = given_
    shares = damage(game, plan, owners(game))
    assert sum(shares.values()) == pytest.approx(score(game, reference(game)) - score(game, plan), abs=1e-9)
    assert set(shares) == set(game.scenario.roles)


@settings(deadline=None)
@given(given_=played(), order=st.permutations(["a", "b", "c", "d", "e", "f"]))
def test_damage_never_depends_on_what_the_owners_are_called(
    given_: tuple[Game, dict[str, Value | None]], order: list[str]
) -> None:
    game, plan = given_
    called = dict(zip(game.scenario.roles, order, strict=True))
    shares = damage(game, plan, owners(game))
    renamed = damage(game, plan, {slot: called[role] for slot, role in owners(game).items()})
    assert renamed == pytest.approx({called[role]: share for role, share in shares.items()})


@settings(deadline=None)
@given(game=games(), data=st.data())
def test_who_reckons_rightly_from_what_stands_upstream_never_has_a_share(game: Game, data: st.DataObject) -> None:
    """One owner errs about any slots of its own; all others follow them correctly."""
    guilty = data.draw(st.sampled_from(sorted(game.scenario.roles)))
    wrong = data.draw(plans(game))
    mine = {slot: value for slot, value in wrong.items() if owners(game)[slot] == guilty and value is not None}
    plan = _followed(game, mine)
    shares = damage(game, plan, owners(game))
    assert {role for role, share in shares.items() if share} <= {guilty}
    assert shares[guilty] == pytest.approx(100 - score(game, plan))


def _followed(game: Game, wrong: dict[str, Value]) -> dict[str, Value]:
    """The plan in which `wrong` stands and every other slot follows."""
    slots = {
        name: slot.model_copy(update={"reckon": "0"}) if name in wrong else slot
        for name, slot in game.scenario.slots.items()
    }
    plan = dict(wrong)
    for name in game.scenario.order:
        if name not in plan:
            plan[name] = _reckoned(game, plan, slots[name].reckon, slots[name].type)
    return plan


def _reckoned(game: Game, plan: dict[str, Value], reckon: str, type_: str) -> Value:
    begins = minutes(game.scenario.night.since)
    types = game.scenario.types
    scope = {
        name: (minutes(str(value)) - begins) % 1440 if types[name] == "clock" else value
        for name, value in {**game.values, **plan}.items()
    }
    worked: Any = eval(reckon, {}, scope)
    return clock(worked + begins) if type_ == "clock" else worked


def test_a_slot_that_nobody_owns_is_nobodys_of_the_crew() -> None:
    game = draw(scenario("first_national_bank"), 3)
    plan = {**reference(game), "road": "main street"}
    shares = damage(game, plan, {"entry_time": "planner"})
    assert shares == {"planner": 0.0, "": pytest.approx(40.0)}


def test_the_cost_of_a_slot_is_what_mending_it_alone_would_gain() -> None:
    game = draw(scenario("first_national_bank"), 3)
    right = reference(game)
    assert set(slot_costs(game, right).values()) == {0.0}
    costs = slot_costs(game, {**right, "road": "main street"})
    assert {slot: cost for slot, cost in costs.items() if cost} == {"road": 40.0}


SCENARIO = Scenario.model_validate(SMALL)
GAME = draw(SCENARIO, None)


def small(**parts: Any) -> Game:
    return draw(Scenario.model_validate(SMALL | parts), None)


def test_the_account_tells_each_change_with_its_minute_and_place() -> None:
    steps = play(GAME, {"entry_time": "02:05"}).steps
    assert [(step.clock, step.place, step.text) for step in steps] == [
        ("02:05", "vault", "In."),
        ("02:05", "vault", "Too early."),
        ("02:10", "outside", "Out."),
        ("02:11", "outside", "They are away."),
    ]
    assert steps[1].finding is not None
    assert steps[1].finding[0::2] == ("02:05", "entry_time")


def test_a_rule_fires_once_and_at_the_first_minute_at_which_it_holds() -> None:
    rule = {"during": ["go in"], "if": "now >= rest_from + 3", "slot": "entry_time", "finding": "x", "costs": 10}
    outcome = play(small(rules=[rule]), {"entry_time": "02:11"})
    assert [finding.time for finding in outcome.findings] == ["02:13"]
    assert outcome.score == 90.0


@pytest.mark.parametrize(
    ("rule", "kind", "reached"),
    [
        ({}, "clean", 90.0),
        ({"trace": True}, "messy", 72.0),
        ({"alarm": True}, "messy", 72.0),
        ({"loses": 100}, "empty", 40.5),
        ({"ends": True}, "empty", 40.5),
    ],
)
def test_what_a_finding_does_decides_how_the_night_ends(rule: dict[str, Any], kind: str, reached: float) -> None:
    full = {"during": ["go in"], "if": "now > leg", "slot": "entry_time", "finding": "x", "costs": 10} | rule
    outcome = play(small(rules=[full]), {"entry_time": "02:11"})
    assert (outcome.kind, outcome.score) == (kind, reached)


def test_the_police_find_whoever_has_not_begun_the_last_leg() -> None:
    rule = {"during": ["go in"], "if": "now > leg", "slot": "entry_time", "finding": "x", "costs": 10, "alarm": True}
    outcome = play(small(rules=[rule], police={"after": 2, "until": "go"}), {"entry_time": "02:11"})
    assert (outcome.kind, outcome.score, outcome.loot) == ("busted", 18.0, 0)
    assert (outcome.steps[-1].clock, outcome.steps[-1].text) == ("02:14", "The police find the crew.")


@pytest.mark.parametrize("entry", ["05:58", "21:00", "12:00"])
def test_the_morning_shift_finds_whoever_is_still_there(entry: str) -> None:
    outcome = play(small(rules=[]), {"entry_time": entry})
    assert (outcome.kind, outcome.score) == ("busted", 20.0)
    assert outcome.steps[-1].text == "The morning shift finds the crew."


def test_a_crew_waits_at_the_leg_before_and_its_rules_go_on() -> None:
    legs = [*SMALL["legs"][:1], {**SMALL["legs"][1], "at": "entry_time + 30"}]
    rule = {"during": ["go in"], "if": "now >= leg + 20", "slot": "entry_time", "finding": "x", "costs": 10}
    outcome = play(small(legs=legs, rules=[rule]), {"entry_time": "02:11"})
    assert [step.clock for step in outcome.steps] == ["02:11", "02:16", "02:31", "02:41", "02:42"]
    assert outcome.kind == "clean"


def test_a_night_is_played_in_a_few_milliseconds_at_most() -> None:
    for name in NAMES:
        game = draw(scenario(name), 1)
        plan = reference(game)
        best = 1e9
        for _ in range(20):
            began = time.perf_counter()
            play(game, plan)
            best = min(best, time.perf_counter() - began)
        assert best < 0.005  # 0.2 ms on a quiet machine
