"""The outcome: a plan played out minute by minute against what is true; no chance is in it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from math import factorial
from typing import Literal, NamedTuple

from heist.world.expressions import Scope, expression
from heist.world.facts import DAY, Type, Value, clock, minutes
from heist.world.game import Game
from heist.world.scenario import PLACE, Leg, Rule, Scenario

Kind = Literal["clean", "messy", "empty", "busted"]
Plan = Mapping[str, Value | None]
"""By slot, what is set; a slot that is missing or None is not set."""
CEILING: Mapping[Kind, int] = {"clean": 100, "messy": 80, "empty": 45, "busted": 20}
"""The score of each kind before findings take their share."""
Work = Callable[[Scope], Value]
_Scope = dict[str, Value]


class Finding(NamedTuple):
    """What went wrong: when, in which words, and which slot it comes of. `costs` is percent of the score that was
    left."""

    time: str
    text: str
    slot: str
    costs: int


class Step(NamedTuple):
    """One line of the account: the clock, where the crew is, and what happens there. `finding` is what went wrong, if
    the line is about that."""

    clock: str
    place: str
    text: str
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`score` is 0 to 100 with one decimal, `loot` percent of what there was."""

    kind: Kind
    score: float
    loot: int
    findings: tuple[Finding, ...]
    steps: tuple[Step, ...]


def reference(game: Game) -> dict[str, Value]:
    """The plan of a crew that knows the truth: every slot as its reckoning says."""
    return believed(game, game.values)


def believed(game: Game, facts: Mapping[str, Value]) -> dict[str, Value]:
    """The plan that follows when `facts` are thought to be true, and all that they do not name is as it is."""
    night = _night(game.scenario)
    scope = night.inside({**game.values, **facts})
    for slot, reckon in night.reckonings:
        scope[slot] = reckon(scope)
    return {slot: night.outside(slot, scope[slot]) for slot in game.scenario.slots}


def play(game: Game, plan: Plan) -> Outcome:
    """What comes of the plan. Findings are in the order of the clock; the steps hold each change, no quiet minute."""
    night = _night(game.scenario)
    run = _run(night, night.scope(game, plan))
    steps = tuple(run.steps())
    findings = tuple(step.finding for step in steps if step.finding)
    return Outcome(run.kind, run.score, run.loot, findings, steps)


def score(game: Game, plan: Plan) -> float:
    return play(game, plan).score


def slot_costs(game: Game, plan: Plan) -> dict[str, float]:
    """By slot, what the score would gain if that slot alone were as the reckoning from the plan's other slots says."""
    night = _night(game.scenario)
    scope = night.scope(game, plan)
    actual = _scored(night, scope)
    costs = {}
    for slot, reckon in night.reckonings:
        costs[slot] = round(_scored(night, {**scope, slot: reckon(scope)}) - actual, 1)
    return {slot: costs[slot] for slot in game.scenario.slots}


def damage(game: Game, plan: Plan, owners: Mapping[str, str]) -> dict[str, float]:
    """What each owner's slots cost, in points of the score: exact Shapley values over the owners. They sum to the
    reference's score less the plan's. A slot that belongs to nobody is nobody's fault, and belongs to the owner "".

    An owner is in a coalition with what its slots are beside what they should be: a number with its distance from the
    reckoning of the plan's own slots, a choice as it is if it differs from that. An owner outside of it reckons rightly
    from whatever stands upstream. So whoever follows a wrong slot of somebody else correctly has no share in it."""
    night = _night(game.scenario)
    actual = night.scope(game, plan)
    deviations = {slot: _deviation(actual[slot], reckon(actual)) for slot, reckon in night.reckonings}
    whose = {slot: owners.get(slot, "") for slot in game.scenario.slots}
    guilty = sorted({whose[slot] for slot, deviation in deviations.items() if deviation is not None})
    truth = night.inside(game.values)
    value = {
        coalition: _scored(night, _mixed(night, truth, deviations, whose, frozenset(coalition)))
        for size in range(len(guilty) + 1)
        for coalition in combinations(guilty, size)
    }
    shares = dict.fromkeys(sorted({*whose.values(), *owners.values()} - {""}), 0.0)
    for owner in guilty:
        shares[owner] = _shapley(owner, guilty, value)
    return shares


def _shapley(owner: str, players: list[str], value: Mapping[tuple[str, ...], float]) -> float:
    others = [player for player in players if player != owner]
    total = 0.0
    for size in range(len(others) + 1):
        weight = factorial(size) * factorial(len(others) - size) / factorial(len(players))
        for coalition in combinations(others, size):
            total += weight * (value[coalition] - value[tuple(sorted((*coalition, owner)))])
    return total


def _deviation(actual: Value, reckoned: Value) -> Value | None:
    """How a slot differs from its reckoning: a distance, or the choice itself; None when it does not."""
    if actual == reckoned:
        return None
    if isinstance(actual, int) and isinstance(reckoned, int):
        return actual - reckoned
    return actual


def _mixed(
    night: "_Night",
    truth: Scope,
    deviations: Mapping[str, Value | None],
    whose: Mapping[str, str],
    coalition: frozenset[str],
) -> _Scope:
    scope = dict(truth)
    for slot, reckon in night.reckonings:
        reckoned, deviation = reckon(scope), deviations[slot]
        if deviation is None or whose[slot] not in coalition:
            scope[slot] = reckoned
        elif isinstance(deviation, int) and isinstance(reckoned, int):
            moved = reckoned + deviation
            scope[slot] = moved % DAY if night.types[slot] == "clock" else moved
        else:
            scope[slot] = deviation
    return scope


def _scored(night: "_Night", scope: _Scope) -> float:
    return _run(night, scope).score


def _run(night: "_Night", scope: _Scope) -> "_Run":
    run = _Run(night, dict(scope), night.ends)
    run.go()
    return run


class _Leg(NamedTuple):
    """A leg with its expressions compiled. Of its rules, `fixed` do not name the minute: they hold from its beginning
    or not at all."""

    leg: Leg
    number: int
    at: Work | None
    takes: Work
    timed: tuple[tuple[int, Work], ...]
    fixed: tuple[tuple[int, Work], ...]


class _Night(NamedTuple):
    """A scenario made ready to be played: every expression compiled, clock times as minutes since the night began."""

    scenario: Scenario
    types: Mapping[str, Type]
    reckonings: tuple[tuple[str, Work], ...]
    legs: tuple[_Leg, ...]
    police: Work
    out: int
    begins: int
    ends: int

    def inside(self, values: Mapping[str, Value]) -> _Scope:
        return {name: self._inside(name, value) for name, value in values.items()}

    def _inside(self, name: str, value: Value) -> Value:
        if self.types[name] == "clock" and isinstance(value, str):
            return (minutes(value) - self.begins) % DAY
        return value

    def outside(self, name: str, value: Value) -> Value:
        if self.types[name] == "clock" and isinstance(value, int):
            return clock(value + self.begins)
        return value

    def scope(self, game: Game, plan: Plan) -> _Scope:
        """Facts and slots together, what is not set as its slot says."""
        scope = dict(game.values)
        for name, slot in game.scenario.slots.items():
            value = plan.get(name)
            scope[name] = slot.unset if value is None else value
        return self.inside(scope)


class _Same:
    """A scenario by its identity: it holds mappings, so it has no hash of its own."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def __hash__(self) -> int:
        return id(self.scenario)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.scenario is self.scenario


def _night(scenario: Scenario) -> _Night:
    return _ready(_Same(scenario))


@lru_cache(maxsize=32)
def _ready(same: _Same) -> _Night:
    scenario = same.scenario
    return _Night(
        scenario,
        scenario.types,
        tuple((slot, _reckoning(scenario, slot)) for slot in scenario.order),
        tuple(_leg(scenario, number, leg) for number, leg in enumerate(scenario.legs)),
        expression(scenario.police.after).of,
        [leg.name for leg in scenario.legs].index(scenario.out),
        minutes(scenario.night.since),
        scenario.night.after(scenario.night.until),
    )


def _reckoning(scenario: Scenario, slot: str) -> Work:
    work = expression(scenario.slots[slot].reckon).of
    if scenario.slots[slot].type != "clock":
        return work
    return lambda scope: int(work(scope)) % DAY


def _leg(scenario: Scenario, number: int, leg: Leg) -> _Leg:
    mine = [(index, expression(rule.when)) for index, rule in enumerate(scenario.rules) if leg.name in rule.during]
    return _Leg(
        leg,
        number,
        None if leg.at is None else expression(leg.at).of,
        expression(leg.takes).of,
        tuple((index, when.of) for index, when in mine if "now" in when.names),
        tuple((index, when.of) for index, when in mine if "now" not in when.names),
    )


class _Told(NamedTuple):
    minute: int
    place: str
    text: str
    rule: Rule | None


@dataclass(slots=True)
class _Run:
    """One night as it goes, in minutes since it began. `limit` is the first minute at which the crew is found."""

    night: _Night
    scope: _Scope
    limit: int
    now: int = 0
    place: str = ""
    left: float = 1.0
    bagged: bool = False
    kept: float = 1.0
    traced: bool = False
    alarmed: bool = False
    given_up: bool = False
    caught: bool = False
    fired: set[int] = field(default_factory=set)
    told: list[_Told] = field(default_factory=list)

    @property
    def loot(self) -> int:
        return round(100 * self.kept) if self.bagged and not self.caught else 0

    @property
    def kind(self) -> Kind:
        if self.caught:
            return "busted"
        if not self.loot:
            return "empty"
        return "messy" if self.traced or self.alarmed else "clean"

    @property
    def score(self) -> float:
        return round(CEILING[self.kind] * self.left, 1)

    def go(self) -> None:
        """Every leg in its turn, until the last is over or the crew is found."""
        legs = self.night.legs
        first = legs[0].at
        self.now = int(first(self.scope)) if first else 0
        number = 0
        while number < len(legs) and not self.caught:
            self._walk(legs[number], legs[number + 1].at if number + 1 < len(legs) else None)
            number = self.night.out if self._flees(legs[number]) else number + 1
        if not self.caught:
            self._tell("They are away.")

    def _walk(self, here: _Leg, next_at: Work | None) -> None:
        leg, scope = here.leg, self.scope
        self.place = str(scope.get(leg.place, leg.place))
        scope["now"] = scope["leg"] = self.now
        if leg.name == self.night.scenario.police.until:
            self.limit = self.night.ends
        if self.now >= self.limit:
            return self._catch()
        self._tell(leg.text)
        over = self.now + max(1, int(here.takes(scope)))
        end = over if next_at is None else max(over, int(next_at(scope)))
        self._find(here.fixed)
        for now in range(self.now, end):
            self.now = scope["now"] = now
            if now >= self.limit:
                return self._catch()
            if now == over:
                self._bag(leg)
                self._tell("They wait.")
            self._find(here.timed)
            if self._flees(here):
                return None
        self.now = end
        return self._bag(leg)

    def _flees(self, here: _Leg) -> bool:
        return self.given_up and here.number < self.night.out

    def _bag(self, leg: Leg) -> None:
        self.bagged |= leg.loot

    def _catch(self) -> None:
        self.caught = True
        found = "The morning shift finds the crew" if self.limit == self.night.ends else "The police find the crew"
        self._tell(f"{found}.")

    def _find(self, rules: tuple[tuple[int, Work], ...]) -> None:
        for index, holds in rules:
            if index not in self.fired and holds(self.scope):
                self.fired.add(index)
                self._suffer(self.night.scenario.rules[index])

    def _suffer(self, rule: Rule) -> None:
        self.left *= 1 - rule.costs / 100
        self.kept *= 1 - rule.loses / 100
        self.traced |= rule.trace
        self.given_up |= rule.ends
        self._tell(rule.finding, rule)
        if rule.alarm and not self.alarmed:
            self.alarmed = True
            self.limit = min(self.limit, self.now + max(1, int(self.night.police(self.scope))))
            self._tell("The police are called.")

    def _tell(self, text: str, rule: Rule | None = None) -> None:
        self.told.append(_Told(self.now, self.place, text, rule))

    def steps(self) -> Iterator[Step]:
        for told in self.told:
            at = clock(told.minute + self.night.begins)
            text = PLACE.sub(lambda found: str(self.night.outside(found[1], self.scope[found[1]])), told.text)
            sentence = text[:1].upper() + text[1:].removesuffix(".") + "."
            cause = told.rule
            yield Step(at, told.place, sentence, Finding(at, sentence, cause.slot, cause.costs) if cause else None)


def mistakes(game: Game) -> Iterator[tuple[str, Value]]:
    """Each fact of this game with each value that it may plausibly be mistaken for; no decoration."""
    for name, fact in game.scenario.facts.items():
        if not fact.decoration:
            yield from ((name, wrong) for wrong in fact.wrongs(game.values[name]))
