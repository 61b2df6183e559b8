"""The lint of scenarios: what makes one a fair game, beyond a file that can be read."""

import math
from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

from heist.world.claims import claims
from heist.world.documents import Bank, fill_in
from heist.world.facts import Value
from heist.world.game import Game, draw
from heist.world.outcome import believed, mistakes, reference, score
from heist.world.scenario import PLACE, Scenario

GOOD = 60.0
"""The score that a crew which knows the truth reaches in every game."""
DRAWS = 200
Place = tuple[str | int, ...]


class Fault(NamedTuple):
    """What is wrong with a scenario, and the key at which its author mends it."""

    place: Place
    message: str


class Least(NamedTuple):
    """The smallest loss that was seen, by what, and in which game."""

    loss: float
    value: Value | None
    game: str


class Report(NamedTuple):
    """`margins` is None when the faults are such that nothing was played."""

    faults: list[Fault]
    margins: "Margins | None"


class Margins(NamedTuple):
    """`reference` is the lowest score of a crew that knows the truth, `facts` the least that a plausible mistake about
    each fact costs, `slots` the least that it costs to leave each unset."""

    reference: float
    facts: dict[str, Least]
    slots: dict[str, Least]


def lint(scenario: Scenario, draws: int = DRAWS) -> list[Fault]:
    """All that is wrong, in the file's order of keys; nothing for a fair scenario. It plays `draws` games, or every
    game if there are fewer."""
    return examine(scenario, draws).faults


def examine(scenario: Scenario, draws: int = DRAWS) -> Report:
    """What `lint` finds, with the margins by which all is well."""
    faults = [*_labels(scenario), *_sources(scenario), *_roles(scenario)]
    if faults:
        return Report(faults, None)
    found = margins(scenario, draws)
    return Report(list(_narrow(found)), found)


def games(scenario: Scenario, draws: int = DRAWS) -> Iterator[tuple[str, Game]]:
    """Games under a name: every one that there is, or those of the first `draws` seeds."""
    drawn = [fact.draw for fact in scenario.facts.values()]
    if math.prod(map(len, drawn)) > draws:
        yield from ((f"seed {seed}", draw(scenario, seed)) for seed in range(draws))
        return
    for values in product(*drawn):
        yield "some game", Game(scenario, dict(zip(scenario.facts, values, strict=True)))


def margins(scenario: Scenario, draws: int = DRAWS) -> Margins:
    """What is at stake in each fact and each slot, at the least."""
    lowest = 100.0
    facts: dict[str, Least] = {}
    slots: dict[str, Least] = {}
    for name, game in games(scenario, draws):
        right = reference(game)
        reached = score(game, right)
        lowest = min(lowest, reached)
        for fact, value in mistakes(game):
            loss = round(reached - score(game, believed(game, {fact: value})), 1)
            _keep(facts, fact, Least(loss, value, name))
        for slot in scenario.slots:
            _keep(slots, slot, Least(round(reached - score(game, {**right, slot: None}), 1), None, name))
    return Margins(lowest, facts, slots)


def _keep(losses: dict[str, Least], name: str, least: Least) -> None:
    if name not in losses or least.loss < losses[name].loss:
        losses[name] = least


def _labels(scenario: Scenario) -> Iterator[Fault]:
    """A label inside of another one would be read for it."""
    spoken = [(label, name) for name, fact in scenario.facts.items() for label in fact.names if label]
    for label, name in spoken:
        for other, whose in spoken:
            if whose != name and f" {label} " in f" {other} ":
                yield Fault(("facts", name, "label"), f"{label!r} is a part of {other!r}, which is {whose}")


def _sources(scenario: Scenario) -> Iterator[Fault]:
    """Each fact must be stated as it is, so that it can be read, and by nothing older than what states it wrongly."""
    game = draw(scenario, None)
    new, old = _stated(game)
    for name, fact in scenario.facts.items():
        if fact.decoration:
            if _used(scenario, name):
                yield Fault(("facts", name, "decoration"), "a slot, a leg or a rule depends on it, so it is none")
        elif name not in new:
            yield Fault(("facts", name), f"no source states it so that it can be read; write {{{name}:said}} in one")
        elif name in old and max(old[name]) >= min(new[name]):
            yield Fault(
                ("facts", name), f"it is stated wrongly on {max(old[name])}, and rightly as early as {min(new[name])}"
            )


def _used(scenario: Scenario, fact: str) -> bool:
    formulas = [slot.reckon for slot in scenario.slots.values()]
    formulas += [formula for leg in scenario.legs for formula in (leg.at, leg.takes, leg.place) if formula]
    formulas += [*(rule.when for rule in scenario.rules), scenario.police.after]
    return any(fact in formula.replace("(", " ").replace(")", " ").split() for formula in formulas)


def _stated(game: Game) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """(by fact, the dates of the sources that state it as it is, the same of those that state what was once)."""
    new: dict[str, set[str]] = {}
    old: dict[str, set[str]] = {}
    for date, text in _texts(game):
        for claim in claims(game.scenario.facts, text):
            (new if claim.value == game.values[claim.fact] else old).setdefault(claim.fact, set()).add(date)
    return new, old


def _texts(game: Game) -> Iterator[tuple[str, str]]:
    """(date, text) of every sheet, and of every row of the database as it is read; a row has the date that it holds."""
    bank = Bank(game)
    for sheets in (bank.papers, bank.views, bank.routes):
        yield from ((sheet.date, sheet.text) for sheet in sheets.values())
    for table in game.scenario.database.values():
        for row in table.rows:
            if any(isinstance(cell, str) and PLACE.search(cell) for cell in row):
                cells = [fill_in(str(cell), game) for cell in row]
                yield max(cells, key=_is_date), " | ".join(cells)


def _is_date(cell: str) -> bool:
    return len(cell) == 10 and cell[4] == cell[7] == "-"


def _roles(scenario: Scenario) -> Iterable[Fault]:
    busy = {slot.role for slot in scenario.slots.values()}
    return [Fault(("roles", role), "it answers for no slot") for role in scenario.roles if role not in busy]


def _narrow(found: Margins) -> Iterator[Fault]:
    if found.reference < GOOD:
        why = f"a crew that knows the truth reaches {found.reference:g} in some game, expected {GOOD:g} or more"
        yield Fault(("rules",), why)
    for fact, least in found.facts.items():
        if least.loss <= 0:
            yield Fault(("facts", fact), f"believed to be {least.value!r} ({least.game}), it costs nothing")
    for slot, least in found.slots.items():
        if least.loss <= 0:
            yield Fault(("slots", slot, "unset"), f"left unset ({least.game}), it costs nothing")
