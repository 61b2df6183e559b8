"""Cases: what an overseer could see of one session, and nothing that only the bank or an agent knows."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle, repeat
from typing import NamedTuple

from heist import events as e
from heist.world.facts import Fact, Value
from heist.world.plan import Slot
from heist.world.scenario import PLACE, Scenario

TOOL_OF = {"documents": "file_reader", "observations": "observe", "routes": "routes", "database": "database_query"}
"""Part of a scenario -> the tool that reads it out."""


class Member(NamedTuple):
    """`duty` is the scenario's role that the agent answers for; its name where there is none."""

    name: str
    duty: str


class Said(NamedTuple):
    turn: int
    agent: str
    text: str


class Called(NamedTuple):
    """A tool call and what came back. `argument` is its first one, `arguments` all of them in one form. `fault` is as
    in `tool.called`."""

    turn: int
    agent: str
    tool: str
    argument: str
    arguments: str
    result: str
    fault: str | None


class Put(NamedTuple):
    """A slot of the plan was set; `before` is None where it had no value."""

    turn: int
    agent: str
    slot: str
    value: Value
    before: Value | None


class Team(NamedTuple):
    """What a table of hidden roles sees of one team: who is on it, who voted for it, and how many spoiled its mission;
    -1 when it was voted down and did not go."""

    turn: int
    members: tuple[str, ...]
    approved_by: tuple[str, ...]
    fails: int


Deed = Said | Called | Put | Team


class Ended(NamedTuple):
    """What came of the plan, once it was played out. No input to a live detector."""

    outcome: str
    score: float
    reference: float
    damage: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Schema:
    """How people may speak of facts and slots. Which value is true stands nowhere in it: the facts hold those that may
    be drawn, in one order. `tools` says which tool states a fact, and `about` which one is a role's own."""

    facts: Mapping[str, Fact]
    slots: Mapping[str, Slot]
    tools: Mapping[str, frozenset[str]]
    about: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """`deeds` are in the order in which they happened. Without a `schema` there is nothing to check figures against.
    `model` is who spoke, `ended` is there when the game is over."""

    session_id: str
    members: tuple[Member, ...]
    deeds: tuple[Deed, ...]
    schema: Schema | None = None
    model: str = ""
    scenario: str = ""
    ended: Ended | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    @property
    def said(self) -> tuple[Said, ...]:
        return tuple(deed for deed in self.deeds if isinstance(deed, Said))

    @property
    def turns(self) -> int:
        """The last turn in which anything was seen; 0 when nothing was."""
        return max((deed.turn for deed in self.deeds), default=0)

    def until(self, turn: int) -> "Case":
        """What was there to see after this turn; how it ended was not."""
        seen = tuple(deed for deed in self.deeds if deed.turn <= turn)
        return replace(self, deeds=seen, ended=self.ended if turn >= self.turns else None)


def schema(scenario: Scenario) -> Schema:
    """The scenario without what is true in it."""
    stating: dict[str, set[str]] = {}
    for part, tool in TOOL_OF.items():
        for text in _texts(getattr(scenario, part)):
            for fact, _ in PLACE.findall(text):
                stating.setdefault(fact, set()).add(tool)
    return Schema(
        facts={name: _untold(fact) for name, fact in scenario.facts.items() if fact.label},
        slots=scenario.slots,
        tools={name: frozenset(tools) for name, tools in stating.items()},
        about={name: role.tool for name, role in scenario.roles.items()},
    )


def _texts(part: Mapping[str, object]) -> Iterator[str]:
    for one in part.values():
        yield getattr(one, "text", "")
        for row in getattr(one, "rows", ()):
            yield from (cell for cell in row if isinstance(cell, str))


def _untold(fact: Fact) -> Fact:
    """The fact with the values that may be drawn in the order of the alphabet, the first of them in place of the true
    one."""
    drawn = tuple(sorted(fact.draw, key=str))
    return fact.model_copy(update={"value": drawn[0], "draw": drawn})


def members(seats: Iterable[e.Seat]) -> tuple[Member, ...]:
    return tuple(Member(seat.name, seat.duty or seat.name) for seat in seats)


def begun(event: e.SessionStarted, known: Schema | None) -> Case:
    """The case of a session of which nothing else is known yet."""
    return Case(event.session_id, members(event.seats), (), known, event.model, event.scenario)


def of(events: Iterable[e.Event], known: Schema | None) -> Case:
    """The case that a session's log makes; events that are sealed add nothing, whoever hands them in."""
    first, *rest = events
    assert isinstance(first, e.SessionStarted)
    case = begun(first, known)
    deeds = tuple(deed for event in rest if (deed := deed_of(event)) is not None)
    ended = next((event for event in reversed(rest) if isinstance(event, e.OutcomeDecided)), None)
    over = Ended(ended.outcome, ended.score, ended.reference, ended.damage) if ended else None
    return replace(case, deeds=deeds, ended=over)


def deed_of(event: e.Event) -> Deed | None:
    """What an event shows of an agent; None for all others."""
    match event:
        case e.MessageCompleted():
            return Said(event.turn, event.agent, event.text)
        case e.ToolCalled(turn=int(turn)):
            arguments = event.arguments
            first = next(iter(arguments.values()), "") if isinstance(arguments, dict) else arguments
            written = json.dumps(arguments, sort_keys=True)
            return Called(turn, event.agent, event.tool, str(first), written, event.result, event.fault)
        case e.PlanChanged():
            return Put(event.turn, event.agent, event.slot, event.value, event.before)
    return None


def owners(known: Schema, crew: Iterable[Member]) -> dict[str, str]:
    """Slot -> the agent that answers for it, shared out as in a session: whoever has its role, else one of those who
    are there, in turn."""
    present = list(crew)
    having = {member.duty: member.name for member in reversed(present)}
    spare = cycle(member.name for member in present) if present else repeat("")
    return {name: having.get(slot.role) or next(spare) for name, slot in known.slots.items()}
