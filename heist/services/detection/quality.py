"""Quality: how right the rules were, and the player beside them, in the games of this house that are over."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from heist.services.detection import metrics
from heist.services.detection.fitting import Over
from heist.services.detection.ladder.rules import Rules
from heist.services.detection.metrics import Figure, Scored

FEW = 5
"""Of fewer games no interval means anything."""


class Judged(BaseModel):
    """One game, by what was said last before the reveal: shares are of who it was, the mole or nobody; scores are
    Brier's over the crew and nobody, 0 at best and 2 at worst. `own` is the player's, None where none was noted."""

    session_id: str
    arm: str
    strategy: str | None
    mole: str | None
    share: float
    brier: float
    first: float = Field(description="how far the first suspect was the mole: 1, 0, or less where several were first")
    own_share: float | None
    own_brier: float | None


class Measure(BaseModel):
    """A figure with its 95 % interval; `n` games are behind it, and of fewer than five there is no interval. `of` says
    which: all, with a mole, without one, or those in which the player noted a suspicion."""

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    of: str


class Quality(BaseModel):
    """The newest games that are over, oldest first, and what they amount to."""

    detector: str
    measures: list[Measure]
    games: list[Judged]


def scored(game: Over, rules: Rules) -> Scored | None:
    """The game as the rules saw it at the end of its talk; None when they abstain."""
    assessment = rules.assessed(game.case)
    if assessment is None:
        return None
    told = assessment.standing().posterior
    moles = frozenset({game.mole} if game.mole else ())
    return Scored(game.case.session_id, game.arm, dict(told.agents), told.nobody, moles)


def judged(game: Over, detector: Scored, player: Scored | None) -> Judged:
    return Judged(
        session_id=detector.game,
        arm=game.arm,
        strategy=game.strategy,
        mole=game.mole,
        share=_truth(detector),
        brier=metrics.brier(detector),
        first=metrics.top(detector),
        own_share=None if player is None else _truth(player),
        own_brier=None if player is None else metrics.brier(player),
    )


def _truth(game: Scored) -> float:
    return max((game.posterior.get(name, 0.0) for name in game.moles), default=game.nobody)


def measures(games: Sequence[Scored], told: Sequence[Judged]) -> list[Measure]:
    moles = [game for game in games if game.moles]
    honest = [game for game in games if not game.moles]
    both = [(one.own_brier, one.brier) for one in told if one.own_brier is not None]
    found: list[tuple[str, str, Figure]] = [
        ("the first suspect is the mole", "with a mole", metrics.figure([metrics.top(game) for game in moles])),
        ("the mole is above an innocent", "with a mole", metrics.figure([metrics.within(game) for game in moles])),
        ("games with a mole told from games without", "all", metrics.between(moles, honest)),
        ("share of nobody", "without", metrics.figure([game.nobody for game in honest])),
        ("Brier score of the rules", "all", metrics.figure([one.brier for one in told])),
        ("Brier score of the player", "noted", metrics.figure([own for own, _ in both])),
        ("player less rules, the same games", "noted", metrics.figure([own - brier for own, brier in both])),
    ]
    return [_measure(name, of, figure) for name, of, figure in found if figure.n]


def _measure(name: str, of: str, figure: Figure) -> Measure:
    few = figure.n < FEW
    low, high = (None, None) if few else (figure.low, figure.high)
    return Measure(name=name, of=of, value=figure.value, low=low, high=high, n=figure.n)
