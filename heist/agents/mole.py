"""The game: what it is of, who carries which secret, and what every agent is told in private.

Chance decides by the session's seed alone. Every agent of a session has a brief of the same length and form, so that
nothing that is measured of a prompt tells them apart.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, StringConstraints, ValidationError

from heist.configfile import Section, first_error, load, sentence
from heist.errors import ConfigError, Invalid, NotFound
from heist.events import Arm
from heist.seeds import stream
from heist.services import plugins
from heist.settings import shipped
from heist.world.scenario import Line, Prose, Word

GROUP = "heist.strategies"
FILE = "strategies.yaml"
ARMS: tuple[Arm, ...] = ("mole", "none", "placebo", "incompetent")
RANDOM, NOBODY = "random", "none"
Means = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z ]{0,39}$")]
_CLOSING = "Keep this to yourself. "


class Brief(Section):
    """What an agent is told in private: `text` for everybody, `means` as words that the simulated crew knows too."""

    text: Prose
    means: tuple[Means, ...] = Field(min_length=1)


class Strategy(Brief):
    """A way to be a mole."""

    title: Line


class Shares(Section):
    """How often each arm is drawn."""

    mole: float = Field(6, ge=0, allow_inf_nan=False)
    none: float = Field(2, ge=0, allow_inf_nan=False)
    placebo: float = Field(1, ge=0, allow_inf_nan=False)
    incompetent: float = Field(1, ge=0, allow_inf_nan=False)


class Rules(Section):
    """`rate` and `slips` are turns in ten."""

    arms: Shares = Field(default_factory=lambda: Shares())
    rate: int = Field(6, ge=0, le=10)
    slips: int = Field(4, ge=0, le=10)
    honest: tuple[Brief, ...] = Field(min_length=1)
    placebo: tuple[Brief, ...] = Field(min_length=1)
    incompetent: tuple[Brief, ...] = Field(min_length=1)
    strategies: Mapping[Word, Strategy] = Field(min_length=1)


class Wish(NamedTuple):
    """What somebody who starts a session says of its game: an arm, who is to carry its brief, a strategy, and how many
    turns in ten a mole acts; None is left to chance, or to the rules."""

    arm: Arm | None = None
    holder: str | None = None
    strategy: str | None = None
    rate: int | None = None


class Cast(NamedTuple):
    """What was drawn: `holder` carries the arm's own brief; `briefs` are everybody's."""

    arm: Arm
    holder: str | None
    strategy: str | None
    briefs: dict[str, str]


def read(folder: Path) -> Rules:
    """Reads `folder/strategies.yaml`, or the one that comes with the program where there is none, and the strategies of
    other packages with it; raises `ConfigError`. What the file names counts before a package's of the same name."""
    own = folder / FILE
    rules = load(own if own.exists() else shipped("config") / FILE, Rules)
    others = {entry.name: _taken(entry) for entry in plugins.of(GROUP)}
    return rules.model_copy(update={"strategies": {**others, **rules.strategies}}) if others else rules


def _taken(entry: EntryPoint) -> Strategy:
    """A strategy of another package: a `Strategy`, or a mapping that makes one."""
    given = plugins.loaded(entry)
    try:
        return given if isinstance(given, Strategy) else Strategy.model_validate(given)
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError(f"the strategy {entry.name} of {GROUP}: {sentence(first['loc'], first['msg'])}") from None


def wish(
    mole: str | None, arm: Arm | Literal["any"], strategy: str | None, rate: int | None, names: Sequence[str]
) -> Wish:
    """What the words of an order mean together. Raises `NotFound` for a name that nobody has, `Invalid` for words that
    contradict each other."""
    chosen: Arm | None = None if arm == "any" else arm
    if mole == NOBODY:
        if chosen not in (None, "none"):
            raise Invalid(f"mole none and arm {chosen} contradict each other")
        chosen = "none"
    elif mole is not None and chosen is None:
        chosen = "mole"
    if mole is not None and mole not in (RANDOM, NOBODY, *names):
        raise NotFound(f"there is no agent {mole[:64]!r}; mole is random, none, or one of: {', '.join(names)}")
    if mole not in (None, NOBODY) and chosen == "none":
        raise Invalid(f"mole {mole} and arm none contradict each other")
    if strategy is not None:
        if chosen not in (None, "mole"):
            raise Invalid(f"a strategy is a mole's, and a game of arm {chosen} has no mole")
        chosen = "mole"
    return Wish(chosen, None if mole in (None, RANDOM, NOBODY) else mole, strategy, rate)


def cast(rules: Rules, wanted: Wish, names: Sequence[str], seed: int) -> Cast:
    """Draws what is left to chance. Each choice has a stream of its own, so that the same seed with another wish
    changes nothing but what was wished for. Raises `NotFound` for an unknown strategy."""
    arm = wanted.arm or _arm(rules.arms, seed)
    holder = None if arm == "none" else wanted.holder or stream(seed, "mole").choice(sorted(names))
    drawn = stream(seed, "strategy").choice(sorted(rules.strategies))
    strategy = drawn if wanted.strategy is None else wanted.strategy
    if strategy not in rules.strategies:
        raise NotFound(f"there is no strategy {strategy[:64]!r}; there are: {', '.join(sorted(rules.strategies))}")
    rate = rules.rate if wanted.rate is None else wanted.rate
    rates = {"mole": rate, "incompetent": rules.slips}
    kinds = {"mole": (rules.strategies[strategy],), "placebo": rules.placebo, "incompetent": rules.incompetent}
    written = {}
    for name in names:
        its, turns = (kinds[arm], rates.get(arm, 0)) if name == holder else (rules.honest, 0)
        written[name] = _written(stream(seed, "brief", name).choice(its), turns)
    return Cast(arm, holder, strategy if arm == "mole" else None, _even(written, _longest(rules)))


def _arm(shares: Shares, seed: int) -> Arm:
    weights = [getattr(shares, arm) for arm in ARMS]
    return stream(seed, "arm").choices(ARMS, weights)[0] if any(weights) else "none"


def _written(brief: Brief, rate: int) -> tuple[str, str]:
    """(the text, the lines after it)."""
    return " ".join(brief.text.split()), f"Means: {'; '.join(brief.means)}.\nRate: {rate:>2} in 10 turns."


def _longest(rules: Rules) -> int:
    """Characters of the longest brief that any game by these rules could hold: all have so many, whatever was drawn."""
    briefs = (*rules.honest, *rules.placebo, *rules.incompetent, *rules.strategies.values())
    return max(len("\n".join(_written(brief, 0))) for brief in briefs)


def _even(written: Mapping[str, tuple[str, str]], length: int) -> dict[str, str]:
    """The briefs, each with as many closing words and blanks as it takes to have `length` characters."""
    return {name: _filled(text, lines, length) for name, (text, lines) in written.items()}


def _filled(text: str, lines: str, length: int) -> str:
    missing = length - len(f"{text}\n{lines}")
    words = " " + _CLOSING.strip() if missing > len(_CLOSING) else ""
    return f"{text}{words}{' ' * (missing - len(words))}\n{lines}"
