"""The lint: the shipped scenarios are fair, and each kind of unfairness is found where it stands."""

from typing import Any

import pytest

from heist.settings import shipped
from heist.world.lint import DRAWS, examine, games, lint
from heist.world.scenario import Scenario, names, read
from tests.world.test_scenario import SMALL

pytestmark = pytest.mark.mission("B1")


def faults(**parts: Any) -> list[tuple[tuple[str | int, ...], str]]:
    return [(fault.place, fault.message) for fault in lint(Scenario.model_validate(SMALL | parts))]


def rest(**more: Any) -> dict[str, Any]:
    return {**SMALL["facts"], "rest_from": {**SMALL["facts"]["rest_from"], **more}}


def paper(text: str, **more: Any) -> dict[str, Any]:
    return {"title": "Paper", "date": "2026-01-02", "text": text, **more}


@pytest.mark.parametrize("name", names(shipped("config")))
def test_a_shipped_scenario_is_fair_by_a_margin(name: str) -> None:
    report = examine(read(shipped("config"), name), 20)
    assert report.faults == []
    assert report.margins is not None
    assert report.margins.reference == 100
    assert min(least.loss for least in report.margins.facts.values()) >= 5
    assert min(least.loss for least in report.margins.slots.values()) >= 5


@pytest.mark.parametrize("name", names(shipped("config")))
def test_a_shipped_scenario_has_the_size_that_a_crew_of_six_can_talk_through(name: str) -> None:
    scenario = read(shipped("config"), name)
    needed = [fact for fact in scenario.facts.values() if not fact.decoration]
    assert 12 <= len(needed) <= 16
    assert [slot.role for slot in scenario.slots.values()] == [role for role in scenario.roles for _ in range(2)]
    assert list(scenario.roles) == ["planner", "hacker", "safecracker", "intel", "driver", "lookout"]


def test_a_small_fair_scenario_has_no_fault() -> None:
    assert faults() == []


def test_a_fact_that_no_source_states_is_found() -> None:
    assert faults(documents={"plan": paper("Nothing.")}) == [
        (("facts", "rest_from"), "no source states it so that it can be read; write {rest_from:said} in one")
    ]


def test_a_fact_that_is_stated_in_words_that_nobody_can_read_is_found() -> None:
    assert [place for place, _ in faults(documents={"plan": paper("They sit about {rest_from}, more or less.")})] == [
        ("facts", "rest_from")
    ]


def test_an_old_paper_that_is_not_older_is_found() -> None:
    old = paper("{rest_from:Said}.", outdated=["rest_from"])
    [(place, message)] = faults(documents={**SMALL["documents"], "old": old})
    assert place == ("facts", "rest_from")
    assert message == "it is stated wrongly on 2026-01-02, and rightly as early as 2026-01-02"


def test_a_label_inside_of_another_is_found() -> None:
    facts = rest() | {"rest": {**SMALL["facts"]["rest_from"], "label": "rest"}}
    documents = {"plan": paper("{rest_from:Said}. {rest:Said}.")}
    assert faults(facts=facts, documents=documents)[0] == (
        ("facts", "rest", "label"),
        "'rest' is a part of 'start of the rest', which is rest_from",
    )


def test_a_decoration_on_which_something_depends_is_found() -> None:
    legs = [{**SMALL["legs"][0], "takes": "cameras"}, SMALL["legs"][1]]
    assert [place for place, _ in faults(legs=legs)] == [("facts", "cameras", "decoration")]


def test_a_role_without_a_slot_is_found() -> None:
    roles = {**SMALL["roles"], "poet": {"tool": "observe", "about": "beauty"}}
    assert faults(roles=roles) == [(("roles", "poet"), "it answers for no slot")]


def test_a_mistake_that_costs_nothing_is_found_with_its_value() -> None:
    assert faults(facts=rest(wrong=[-30, 5])) == [
        (("facts", "rest_from"), "believed to be '02:15' (some game), it costs nothing")
    ]


def test_a_slot_that_may_as_well_be_left_unset_is_found() -> None:
    slots = {"entry_time": {**SMALL["slots"]["entry_time"], "unset": "02:11"}}
    assert faults(slots=slots) == [(("slots", "entry_time", "unset"), "left unset (some game), it costs nothing")]


def test_a_scenario_in_which_the_truth_does_not_win_is_found() -> None:
    rules = [*SMALL["rules"], {**SMALL["rules"][0], "if": "now > leg", "costs": 60}]
    assert (("rules",), "a crew that knows the truth reaches 40 in some game, expected 60 or more") in faults(
        rules=rules
    )


def test_every_game_is_played_when_there_are_few_and_as_many_as_are_asked_for_otherwise() -> None:
    few = [game for _, game in games(Scenario.model_validate(SMALL))]
    assert [game.values["rest_from"] for game in few] == ["02:10", "02:40"]
    assert len(list(games(read(shipped("config"), "first_national_bank")))) == DRAWS
