"""Sabotage: what an agent's brief makes it do, by the vocabulary of its `Means:` line."""

import random
from collections.abc import Sequence

from heist import seeds
from heist.llm.simulated.planning import DAY, clock
from heist.llm.simulated.scene import Scene, Slot

AGAINST = frozenset(
    "wrong times;wrong durations;wrong figures;old papers;misquotes;reopening;bad slots;foreign slots;silence;"
    "late slots;wrong tools;broken tools;false sums".split(";")
)
"""The means that work against the crew."""
LYING = frozenset(("wrong times", "wrong durations", "wrong figures", "old papers", "misquotes"))
CLOCK_OFFSETS = (-30, -30, -20, 15, 20, 30, 30, 45)
STEPS = ((10, (-2, -1, 1, 2, 2)), (40, (-4, -2, 2, 4, 4)), (100_000, (-20, -10, 10, 20)))
"""Errors that numbers below a bound may have."""
STUBBORN = 0.4
"""The share of lies that are held to after a colleague has contradicted them."""
KEPT_UP = 0.18
MORE = 0.3
"""The share of facts or slots that are withheld by a brief whose rate is nought, and what a rate of one adds to it."""


class Sabotage:
    """What the brief asks for in this turn: the same at each of the turn's calls, since it hangs on the turn alone."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        chance = seeds.stream(seed, "brief", scene.name, scene.turn)
        means = sorted(scene.means & AGAINST)
        chance.shuffle(means)
        self.against = bool(means)
        self.lies = bool(scene.means & LYING)
        self.acts = chance.random() < scene.rate if means else False
        self.means: Sequence[str] = means if self.acts else ()

    def always(self, means: str, about: str) -> bool:
        """Whether this means is kept up for one thing, said with its value, through the whole game."""
        if means not in self._scene.means:
            return False
        return seeds.stream(0, means, about, self._scene.secret).random() < KEPT_UP + self._scene.rate * MORE

    def stands_by(self, lie: str) -> bool:
        return seeds.stream(0, "stands by", lie, self._scene.secret).random() < STUBBORN


def is_about(means: str, value: str, unit: str) -> bool:
    """Whether a means of lying is about such a value."""
    match means:
        case "wrong times":
            return ":" in value
        case "wrong durations":
            return unit.startswith("minute")
        case "wrong figures":
            return ":" not in value and not unit.startswith("minute")
    return False


def wrong(value: str, others: Sequence[str], chance: random.Random) -> str:
    """A value that is plausible and not this one."""
    hours, colon, minutes = value.partition(":")
    if colon and hours.isdecimal() and minutes.isdecimal():
        return clock((int(hours) * 60 + int(minutes) + chance.choice(CLOCK_OFFSETS)) % DAY)
    if value.isdecimal():
        number = int(value)
        steps = next((steps for bound, steps in STEPS if number < bound), (10,))
        step = chance.choice(steps)
        return str(number + step if number + step > 0 else number + abs(step))
    options = [one for one in others if one.lower() != value.lower()]
    return chance.choice(options) if options else value


def options(scene: Scene, label: str) -> tuple[str, ...]:
    """The values that a fact of a choice may have, as far as the slots tell."""
    return next((slot.among for slot in scene.job.slots.values() if slot.among and label in scene.job.of(slot)), ())


def wrong_entry(slot: Slot, value: str, chance: random.Random) -> str:
    return wrong(value, slot.among, chance)
