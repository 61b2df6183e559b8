"""The ledger: who read what, who said what, and how the plan stands, as far as a case has been gone through."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

from heist.services.detection.case import Called, Case, Put, Schema, owners
from heist.world.claims import Claim, claims
from heist.world.expressions import expression
from heist.world.facts import DAY, Fact, Value, clock, minutes, parse

COMBINATIONS = 64
"""A slot is not checked against more sets of figures than that."""
_TITLE = re.compile(r"(?P<title>[^\n]+), dated (?P<date>\d{4}-\d\d-\d\d)\n")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class Reading(NamedTuple):
    """What a source told an agent of a fact; `date` is the source's own, empty where it has none."""

    fact: str
    value: Value
    date: str
    turn: int
    agent: str
    source: str
    quote: str


class Told(NamedTuple):
    """What an agent said of a fact."""

    fact: str
    value: Value
    turn: int
    agent: str
    quote: str


class Ledger:
    """Grows by one deed after the other. Nothing in it is ever taken back."""

    def __init__(self, case: Case, known: Schema) -> None:
        self.schema = known
        self.names = case.names
        self.owners = owners(known, case.members)
        self.board: dict[str, Put] = {}
        self.calls: dict[str, list[Called]] = {name: [] for name in case.names}
        self.readings: dict[str, list[Reading]] = {}
        self.told: dict[str, list[Told]] = {}
        self._own: dict[tuple[str, str], list[Reading]] = {}

    def call(self, call: Called) -> list[Reading]:
        """Enters a call; gives what its result states."""
        self.calls.setdefault(call.agent, []).append(call)
        found = list(readings(self.schema.facts, call)) if call.fault is None else []
        for reading in found:
            self.readings.setdefault(reading.fact, []).append(reading)
            self._own.setdefault((call.agent, reading.fact), []).append(reading)
        return found

    def tell(self, told: Told) -> None:
        self.told.setdefault(told.fact, []).append(told)

    def put(self, put: Put) -> None:
        self.board[put.slot] = put

    def own(self, agent: str, fact: str) -> Reading | None:
        """The newest that the agent has read of it itself; of two of one date, what it read last."""
        return max(self._own.get((agent, fact), ()), key=lambda one: (one.date, one.turn), default=None)

    def has_read(self, agent: str, fact: str, value: Value) -> bool:
        return any(reading.value == value for reading in self._own.get((agent, fact), ()))

    def newest(self, fact: str) -> Reading | None:
        """The newest that anybody has read."""
        return max(self.readings.get(fact, ()), key=lambda one: (one.date, one.turn), default=None)

    def words(self, agent: str, fact: str) -> list[Told]:
        """What the agent has said of it, in order."""
        return [told for told in self.told.get(fact, ()) if told.agent == agent]

    def others(self, agent: str, fact: str) -> list[Told]:
        """What its colleagues have said of it, in order."""
        return [told for told in self.told.get(fact, ()) if told.agent != agent]

    def believable(self, agent: str, fact: str) -> set[Value]:
        """The values that an honest agent in this seat may go by: what it has read itself, newer papers of colleagues
        and words of theirs that rest on one; without a paper of its own, whatever was said."""
        own = self.own(agent, fact)
        if own is None:
            return {told.value for told in self.told.get(fact, ())}
        backed = {told.value for told in self.others(agent, fact) if self.has_read(told.agent, fact, told.value)}
        return {own.value} | backed

    def reckoned(self, agent: str, slot: str, deep: bool = True) -> set[Value]:
        """The values of a slot that follow from what an honest agent in this seat may go by; none while something is
        missing. With `deep` a slot that is not set counts as it would follow."""
        names = expression(self.schema.slots[slot].reckon).names
        wanted = [self._worth(agent, name, deep) for name in names]
        found: set[Value] = set()
        combined = 1
        for some in wanted:
            combined *= len(some)
        if not combined or combined > COMBINATIONS:
            return found
        for combination in product(*wanted):
            found.add(self._worked_out(slot, dict(zip(names, combination, strict=True))))
        return found

    def _worth(self, agent: str, name: str, deep: bool) -> set[Value]:
        if name not in self.schema.slots:
            return self.believable(agent, name)
        if name in self.board:
            return {self.board[name].value}
        return self.reckoned(agent, name) if deep else set()

    def _worked_out(self, slot: str, scope: Mapping[str, Value]) -> Value:
        what = self.schema.slots[slot]
        given = {name: _counted(value) for name, value in scope.items()}
        worth = expression(what.reckon).of(given)
        if not isinstance(worth, int):
            return worth
        return clock(worth) if what.type == "clock" else worth % DAY if worth < 0 else worth


def _counted(value: Value) -> Value:
    """A clock time as minutes; everything else as it is."""
    if isinstance(value, str) and len(value) == 5 and value[2] == ":" and value[:2].isdigit():
        return minutes(value)
    return value


def stated(facts: Mapping[str, Fact], text: str) -> list[Claim]:
    """The claims of a text, of which only those count that stand in it word by word."""
    return [claim for claim in claims(facts, text) if claim.quote in text]


def readings(facts: Mapping[str, Fact], call: Called) -> Iterator[Reading]:
    """What a result states: a dated paper in sentences, a table in rows."""
    if titled := _TITLE.match(call.result):
        for claim in stated(facts, call.result[titled.end() :]):
            yield Reading(claim.fact, claim.value, titled["date"], call.turn, call.agent, titled["title"], claim.quote)
    elif call.tool == "database_query":
        yield from _rows(facts, call)


def _rows(facts: Mapping[str, Fact], call: Called) -> Iterator[Reading]:
    """Rows in which a fact stands by its name beside its value. A row without the name counts when the query named the
    fact and it is the only row."""
    names = {name: fact for fact, what in facts.items() for name in what.names}
    lines = call.result.split("\n")[1:]
    asked = [fact for name, fact in names.items() if name in call.argument.lower()]
    for line in lines:
        cells = [cell.strip() for cell in line.split(" | ")]
        date = next((cell for cell in cells if _DATE.fullmatch(cell)), "")
        named = next((names[cell.lower()] for cell in cells if cell.lower() in names), None)
        if named is None and len(asked) == 1 and len(lines) == 1:
            named = asked[0]
        value = _first(facts[named], cells) if named else None
        if named and value is not None:
            yield Reading(named, value, date, call.turn, call.agent, "the security database", line)


def _first(fact: Fact, cells: Iterable[str]) -> Value | None:
    for cell in cells:
        try:
            return parse(fact.type, cell, fact.among)
        except ValueError:
            continue
    return None
