"""The case: what everybody could see, and not a byte of what is true or sealed."""

import random

from hypothesis import given
from hypothesis import strategies as st

from heist import events as e
from heist.services.detection import case as cases
from heist.services.detection.case import Called, Put, Said
from heist.settings import shipped
from heist.world import scenario
from tests.services.detection.cases import CREW, SCHEMA
from tests.strategies import message, session_started

BANK = scenario.read(shipped("config"), "first_national_bank")
SEALED = (
    e.MoleAssigned(
        session_id="s1", seed=1, arm="mole", holder="hacker", strategy="false_info", briefs={"hacker": "lie"}, facts={}
    ),
    e.SabotageDone(session_id="s1", turn=1, agent="hacker", did="lied"),
    e.ThoughtsKept(session_id="s1", turn=1, agent="hacker", text="I am the mole"),
    e.SuspicionStated(session_id="s1", by="user", turns=1, suspicions={"hacker": 1.0}, nobody=0.0),
    e.GuessMade(session_id="s1", by="user", turns=1, agent="hacker"),
)
TOOL = e.ToolCalled(
    session_id="s1",
    turn=1,
    agent="planner",
    tool="calculator",
    arguments={"expression": "1 + 1"},
    result="1 + 1 = 2",
    success=True,
    fault=None,
    form="native",
    milliseconds=1,
)
PLAN = e.PlanChanged(session_id="s1", turn=1, agent="planner", slot="entry_time", value="02:11", before=None)


@given(st.integers(0, 10**6))
def test_the_schema_is_the_same_whatever_is_true(seed: int) -> None:
    chance = random.Random(seed)
    facts = {
        name: fact.model_copy(
            update={"value": chance.choice(fact.draw), "draw": tuple(chance.sample(fact.draw, len(fact.draw)))}
        )
        for name, fact in BANK.facts.items()
    }
    other = BANK.model_copy(update={"facts": facts})
    assert cases.schema(other) == SCHEMA


def test_a_case_is_what_was_said_called_and_set() -> None:
    spoken = message("s1", 1, "Good evening.")
    told = cases.of([session_started(), TOOL, PLAN, spoken], SCHEMA)
    assert told.names == CREW
    assert told.deeds == (
        Called(1, "planner", "calculator", "1 + 1", '{"expression": "1 + 1"}', "1 + 1 = 2", None),
        Put(1, "planner", "entry_time", "02:11", None),
        Said(1, "planner", "Good evening."),
    )


def test_what_is_sealed_and_what_players_think_changes_nothing() -> None:
    plain = cases.of([session_started(), message("s1", 1, "Good evening.")], SCHEMA)
    assert cases.of([session_started(), *SEALED, message("s1", 1, "Good evening.")], SCHEMA) == plain


def test_a_cut_case_does_not_know_how_it_ended() -> None:
    decided = e.OutcomeDecided(
        session_id="s1", outcome="busted", score=1, reference=9, loot=0, damage={"planner": 8}, slots={}
    )
    told = cases.of([session_started(), message("s1", 1, "a"), message("s1", 2, "b", "hacker"), decided], SCHEMA)
    assert told.ended is not None
    assert told.until(2).ended is not None
    assert told.until(1).ended is None
    assert [said.text for said in told.until(1).said] == ["a"]


def test_slots_are_shared_out_as_in_a_session() -> None:
    told = cases.of([session_started()], SCHEMA)
    assert cases.owners(SCHEMA, told.members)["entry_time"] == "planner"
    few = told.members[:2]
    assert set(cases.owners(SCHEMA, few).values()) == {"planner", "hacker"}
