"""A scenario: a job with its facts, its sources, its plan and its night, as a YAML file."""

import datetime
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from heist.configfile import Misplaced, Section, load
from heist.errors import ConfigError
from heist.world.expressions import Formula, expression, gives, of_type
from heist.world.facts import DAY, Fact, Type, minutes
from heist.world.plan import Slot

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z ]{0,39}$")]
"""Of a place or a leg: lower-case words."""
Cell = str | int | float | None
PLACE = re.compile(r"\{(\w+)(?::(said|Said|old))?\}")
OUTSIDE = "outside"
"""The place where the crew comes from, and to which it must get back."""


class Role(Section):
    """What a member of this name answers for; `tool` is its own source."""

    tool: Word
    about: Line


class Document(Section):
    """A dated text that states facts by `{name}`; those in `outdated` it states as they were once."""

    title: Line
    date: datetime.date
    outdated: tuple[Word, ...] = ()
    text: Prose


class Table(Section):
    """A table of the security database; a cell that is text may state facts by `{name}`."""

    columns: tuple[Word, ...] = Field(min_length=1)
    rows: tuple[tuple[Cell, ...], ...]

    @field_validator("columns")
    @classmethod
    def _columns_differ(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column stands twice")
        return columns

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells, expected {len(self.columns)}")
            if any(isinstance(cell, int) and cell.bit_length() > 63 for cell in row):
                raise ValueError(f"row {number} holds a number that is too large for the database")
        return self


class Phase(Section):
    """A stretch of the session: what it is called, and what a turn in it is for."""

    name: Line
    purpose: Prose


class Place(Section):
    """A room of the floor plan: a rectangle (left, top, width, height, in any one unit) and the rooms next to it; a way
    leads in both directions."""

    at: tuple[int, int, int, int]
    to: tuple[Name, ...] = ()

    @field_validator("at")
    @classmethod
    def _has_room(cls, at: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        if at[2] < 1 or at[3] < 1 or min(at) < 0:
            raise ValueError("expected left, top, width and height, not negative, and with room inside")
        return at


class Night(Section):
    """Clock times are compared as minutes since `from`; what is not over at `until` is found in the morning."""

    since: str = Field(alias="from")
    until: str

    @field_validator("since", "until")
    @classmethod
    def _is_a_clock(cls, text: str) -> str:
        minutes(text)
        return text

    def after(self, text: str) -> int:
        """A clock time as minutes since the night began."""
        return (minutes(text) - minutes(self.since)) % DAY


class Leg(Section):
    """A stretch of the crew's way. It begins when the one before is over, and not before `at`; a crew that waits is
    still at the leg before. `place` is a place, or a slot or fact that names one; `takes` is in minutes, at least one.
    When a leg with `loot` is over, the crew has it."""

    name: Name
    text: Line
    place: str
    at: Formula | None = None
    takes: Formula
    loot: bool = False


class Rule(Section):
    """What goes wrong, at the first minute of the legs in `during` at which `if` holds. It takes `costs` percent of
    what the score has left, and `loses` percent of the loot. `trace` is seen in the morning, `alarm` calls the police,
    `ends` drives the crew to the way out. `slot` is what it comes of."""

    during: tuple[Name, ...] = Field(min_length=1)
    when: Formula = Field(alias="if")
    slot: Word
    finding: Line
    costs: int = Field(ge=0, le=100)
    loses: int = Field(0, ge=0, le=100)
    trace: bool = False
    alarm: bool = False
    ends: bool = False


class Police(Section):
    """They come `after` so many minutes (an expression) of the first alarm, and find whoever has not begun the leg
    `until`."""

    after: Formula
    until: Name


class Scenario(Section):
    """Everything but the draw. `out` is the leg with which a crew that gives up goes on."""

    title: Line
    brief: Prose
    goal: Prose
    phases: tuple[Phase, ...] = Field(min_length=1)
    roles: Mapping[Word, Role] = Field(min_length=1)
    facts: Mapping[Word, Fact]
    documents: Mapping[Word, Document] = Field(min_length=1)
    observations: Mapping[Word, Document] = Field(default_factory=dict)
    routes: Mapping[Word, Document] = Field(default_factory=dict)
    database: Mapping[Word, Table] = Field(min_length=1)
    places: Mapping[Name, Place]
    slots: Mapping[Word, Slot] = Field(min_length=1, max_length=40)
    night: Night
    legs: tuple[Leg, ...] = Field(min_length=1)
    rules: tuple[Rule, ...]
    police: Police
    out: Name

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for check in (_check_names, _check_sources, _check_places, _check_slots, _check_legs, _check_rules):
            check(self)
        return self

    def phase(self, round_: int, rounds: int) -> Phase:
        """The phase of a round (from 1). The phases share the rounds evenly, and the last round is always of the last
        phase."""
        if round_ == rounds:
            return self.phases[-1]
        return self.phases[(round_ - 1) * len(self.phases) // rounds]

    @property
    def types(self) -> dict[str, Type]:
        """The type of each fact and slot, which share one set of names."""
        kinds: dict[str, Type] = {name: fact.type for name, fact in self.facts.items()}
        return kinds | {name: slot.type for name, slot in self.slots.items()}

    @property
    def order(self) -> tuple[str, ...]:
        """The slots so that each comes after those that it is reckoned from; raises `CycleError`."""
        upstream = {
            name: [one for one in expression(slot.reckon).names if one in self.slots]
            for name, slot in self.slots.items()
        }
        return tuple(TopologicalSorter(upstream).static_order())


def texts(scenario: Scenario) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(where, the text) of all that states facts."""
    for part in ("documents", "observations", "routes"):
        for name, document in getattr(scenario, part).items():
            yield (part, name, "text"), document.text
    for name, table in scenario.database.items():
        for number, row in enumerate(table.rows):
            yield from ((("database", name, "rows", number), cell) for cell in row if isinstance(cell, str))


def _check_names(scenario: Scenario) -> None:
    for name in scenario.slots:
        if name in scenario.facts:
            raise Misplaced(f"{name!r} is already the name of a fact", "slots", name)
    for part in ("facts", "slots"):
        for name in getattr(scenario, part):
            if name in ("now", "leg"):
                raise Misplaced(f"{name!r} is what rules call the time", part, name)
    spoken: dict[str, str] = {}
    for name, fact in scenario.facts.items():
        for label in fact.names if fact.label else ():
            if label in spoken:
                raise Misplaced(f"{label!r} is also what {spoken[label]} is called", "facts", name)
            spoken[label] = name


def _check_sources(scenario: Scenario) -> None:
    for part in ("documents", "observations", "routes"):
        for name, document in getattr(scenario, part).items():
            if name == "index":
                raise Misplaced("nothing in it may be called index, the list has that name", part)
            for fact in document.outdated:
                if fact not in scenario.facts:
                    raise Misplaced(f"there is no fact {fact!r}", part, name, "outdated")
    for where, text in texts(scenario):
        for fact, _ in PLACE.findall(text):
            if fact not in scenario.facts:
                raise Misplaced(f"there is no fact {fact!r}", *where)
    for name in scenario.database:
        if name.startswith("sqlite_"):
            raise Misplaced("the database keeps names that begin with sqlite_ for itself", "database", name)


def _check_places(scenario: Scenario) -> None:
    if OUTSIDE not in scenario.places:
        raise Misplaced(f"expected a place called {OUTSIDE}, where the crew comes from", "places")
    for name, place in scenario.places.items():
        for other in place.to:
            if other not in scenario.places:
                raise Misplaced(f"there is no place {other!r}", "places", name, "to")
    reached, ahead = set[str](), [OUTSIDE]
    while ahead:
        here = ahead.pop()
        reached.add(here)
        near = {*scenario.places[here].to, *(name for name, place in scenario.places.items() if here in place.to)}
        ahead += near - reached
    for name in scenario.places:
        if name not in reached:
            raise Misplaced(f"no way leads from {OUTSIDE} to here", "places", name)


def _check_slots(scenario: Scenario) -> None:
    types = scenario.types
    for name, slot in scenario.slots.items():
        if slot.role not in scenario.roles:
            raise Misplaced(
                f"there is no role {slot.role!r}; there are: {', '.join(scenario.roles)}", "slots", name, "role"
            )
        _check_expression(slot.reckon, types, of_type(slot.type), "slots", name, "reckon")
        for fact in expression(slot.reckon).names:
            missing = (
                [one for one in scenario.facts[fact].among if one not in slot.among]
                if (slot.type == "choice" and fact in scenario.facts)
                else []
            )
            if missing:
                raise Misplaced(f"{missing[0]!r} may be the {fact}, and cannot be chosen", "slots", name, "among")
    try:
        _ = scenario.order
    except CycleError as ring:
        raise Misplaced(
            f"reckoned in a ring: {' -> '.join(ring.args[1])}", "slots", ring.args[1][0], "reckon"
        ) from None


def _check_legs(scenario: Scenario) -> None:
    types = scenario.types
    names = [leg.name for leg in scenario.legs]
    for number, leg in enumerate(scenario.legs):
        if names.index(leg.name) < number:
            raise Misplaced(f"another leg is called {leg.name!r} too", "legs", number, "name")
        if leg.at is not None:
            _check_expression(leg.at, types, "clock", "legs", number, "at")
        _check_expression(leg.takes, types, "count", "legs", number, "takes")
        _check_whereabouts(scenario, leg, number)
        _check_text(scenario, leg.text, "legs", number, "text")
    _check_expression(scenario.police.after, types, "count", "police", "after")
    for place, name in ((("police", "until"), scenario.police.until), (("out",), scenario.out)):
        if name not in names:
            raise Misplaced(f"there is no leg {name!r}", *place)


def _check_whereabouts(scenario: Scenario, leg: Leg, number: int) -> None:
    if leg.place in scenario.slots:
        chosen = scenario.slots[leg.place].among
    elif leg.place in scenario.facts:
        chosen = scenario.facts[leg.place].among
    else:
        chosen = (leg.place,)
    for place in chosen or (leg.place,):
        if place not in scenario.places:
            raise Misplaced(f"there is no place {place!r}", "legs", number, "place")


def _check_rules(scenario: Scenario) -> None:
    types: dict[str, Type] = {**scenario.types, "now": "clock", "leg": "clock"}
    legs = {leg.name for leg in scenario.legs}
    for number, rule in enumerate(scenario.rules):
        for leg in rule.during:
            if leg not in legs:
                raise Misplaced(f"there is no leg {leg!r}", "rules", number, "during")
        if rule.slot not in scenario.slots:
            raise Misplaced(f"there is no slot {rule.slot!r}", "rules", number, "slot")
        _check_expression(rule.when, types, "condition", "rules", number, "if")
        _check_text(scenario, rule.finding, "rules", number, "finding")


def _check_expression(text: str, types: Mapping[str, Type], wanted: str, *place: str | int) -> None:
    try:
        expression(text)
        given = gives(text, types)
    except ValueError as error:
        raise Misplaced(str(error), *place) from None
    if given != wanted:
        raise Misplaced(f"expected a {wanted}, found a {given}", *place)


def _check_text(scenario: Scenario, text: str, *place: str | int) -> None:
    for name, _ in PLACE.findall(text):
        if name not in scenario.types:
            raise Misplaced(f"{name!r} is neither a fact nor a slot", *place)


def read(folder: Path, name: str) -> Scenario:
    """Reads `folder/scenarios/name.yaml`; raises `ConfigError`."""
    path = folder / "scenarios" / f"{name}.yaml"
    if path.parent != folder / "scenarios" or not path.is_file():
        raise ConfigError(
            f"there is no scenario {name!r} in {path.parent}; there are: {', '.join(names(folder)) or 'none'}"
        )
    return load(path, Scenario)


def names(folder: Path) -> list[str]:
    """The scenarios of a config folder."""
    return sorted(path.stem for path in (folder / "scenarios").glob("*.yaml"))
