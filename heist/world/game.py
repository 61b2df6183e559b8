"""A game: one scenario with the facts that are true this time."""

from collections.abc import Mapping
from dataclasses import dataclass

from heist import seeds
from heist.world.facts import Value
from heist.world.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Game:
    """`values` are the facts by name; `seed` is what they were drawn by, None in the fixed game."""

    scenario: Scenario
    values: Mapping[str, Value]
    seed: int | None = None

    def __repr__(self) -> str:
        return f"Game({self.scenario.title!r}, seed={self.seed})"

    def outdated(self, fact: str) -> Value:
        """What an old source says instead: one of the plausible wrong values, the same in every source of this game,
        and never the true one. A decoration without wrong values is the same in old papers."""
        wrong = self.scenario.facts[fact].wrongs(self.values[fact])
        if not wrong:
            return self.values[fact]
        return wrong[0] if self.seed is None else seeds.stream(self.seed, "outdated", fact).choice(wrong)


def draw(scenario: Scenario, seed: int | None) -> Game:
    """The game of this seed; without one the fixed game, in which each fact has its own `value`."""
    if seed is None:
        return Game(scenario, {name: fact.value for name, fact in scenario.facts.items()})
    drawn = {name: seeds.stream(seed, "facts", name).choice(fact.draw) for name, fact in scenario.facts.items()}
    return Game(scenario, drawn, seed)
