"""Fitting: baselines, what moles add, and the alarm's threshold, from games that are over and revealed."""

from collections.abc import Sequence
from itertools import product
from math import exp, fsum, lgamma, log
from typing import NamedTuple

from heist.errors import ConfigError
from heist.services.detection.calibration import Calibration, Measured, Seen
from heist.services.detection.calibration import Calibrations as Known
from heist.services.detection.case import Case, Said
from heist.services.detection.config import Detection
from heist.services.detection.evidence import Count
from heist.services.detection.ladder.rules import Assessment, Rules
from heist.services.detection.metrics import Scored, between, figure, top, within

STRENGTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 150.0)
EXCESSES = (0.1, 0.2, 0.35, 0.5, 0.7)
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
FEWEST = 10
"""Agents who could be hit; of fewer nothing is measured, and the default stays."""


class Over(NamedTuple):
    """A game that is over: its case, its arm, and who carried the arm's own brief."""

    case: Case
    arm: str
    holder: str | None
    strategy: str | None = None

    @property
    def mole(self) -> str | None:
        return self.holder if self.arm == "mole" else None


def fit(games: Sequence[Over], settings: Detection, source: str) -> Calibration:
    """What the games measure. Honest is who carried no brief but an honest one, in a game of any arm. Raises
    `ConfigError` when there is nothing to measure."""
    rules = Rules(settings, Known())
    told = [(game, assessment) for game in games if (assessment := rules.assessed(game.case)) is not None]
    if not any(game.arm == "none" for game, _ in told):
        raise ConfigError("a calibration needs games without a mole that are over and revealed; there are none")
    models = {game.case.model for game, _ in told}
    scenarios = {game.case.scenario for game, _ in told}
    fitted = Calibration(
        source=source,
        model=models.pop() if len(models) == 1 else "",
        scenario=scenarios.pop() if len(scenarios) == 1 else "",
        games={arm: sum(game.arm == arm for game, _ in told) for arm in sorted({game.arm for game, _ in told})},
        checks=_checks(told, settings),
    )
    fitted = fitted.model_copy(update={"alarm": _alarm(games, settings, fitted)})
    return fitted.model_copy(update={"metrics": _metrics(games, settings, fitted)})


def _checks(told: Sequence[tuple[Over, Assessment]], settings: Detection) -> dict[str, Measured]:
    honest: dict[str, list[tuple[str, Count]]] = {}
    moles: dict[str, list[Count]] = {}
    for game, assessment in told:
        roles = {member.name: member.duty for member in game.case.members}
        for agent, own in assessment.counts.items():
            for (family, check), count in own.items():
                name = f"{family}.{check}"
                if agent != game.holder:
                    honest.setdefault(name, []).append((roles[agent], count))
                elif game.mole == agent:
                    moles.setdefault(name, []).append(count)
    measured = {}
    for name, some in sorted(honest.items()):
        if len(some) < FEWEST:
            continue
        belief = settings.checks[name.partition(".")[2]]  # type: ignore[index]
        pooled = _summed([count for _, count in some])
        roles_seen = {
            role: _seen(_summed([count for other, count in some if other == role]))
            for role in sorted({one for one, _ in some})
        }
        mean = (belief.honest * 2 + pooled.hits) / (2 + pooled.of)
        strength = _strength([count for _, count in some], mean)
        excess, share = _moles(moles.get(name, ()), mean, strength)
        measured[name] = Measured(pooled=_seen(pooled), roles=roles_seen, strength=strength, excess=excess, share=share)
    return measured


def _summed(counts: Sequence[Count]) -> Count:
    return Count(sum(count.hits for count in counts), sum(count.of for count in counts))


def _seen(count: Count) -> Seen:
    return Seen(hits=count.hits, of=count.of)


def _likelihood(count: Count, mean: float, strength: float) -> float:
    """ln BB without the binomial coefficient."""
    alpha, beta = mean * strength, (1 - mean) * strength
    whole = lgamma(strength) - lgamma(strength + count.of)
    return whole + lgamma(count.hits + alpha) - lgamma(alpha) + lgamma(count.of - count.hits + beta) - lgamma(beta)


def _strength(counts: Sequence[Count], mean: float) -> float:
    """How much honest agents are alike, by the likelihood."""
    return max(STRENGTHS, key=lambda strength: fsum(_likelihood(count, mean, strength) for count in counts))


def _moles(counts: Sequence[Count], mean: float, strength: float) -> tuple[tuple[float, ...], float | None]:
    """What moles add and how many of them, by the likelihood; nothing where too few of them could be hit."""
    if len(counts) < FEWEST:
        return (), None

    def worth(excess: float, share: float) -> float:
        raised = mean + (1 - mean) * excess
        plain = [_likelihood(count, mean, strength) for count in counts]
        shown = [_likelihood(count, raised, strength) for count in counts]
        return fsum(one + log(1 - share + share * exp(other - one)) for one, other in zip(plain, shown, strict=True))

    excess, share = max(product(EXCESSES, SHARES), key=lambda pair: worth(*pair))
    near = sorted({excess, EXCESSES[max(EXCESSES.index(excess) - 1, 0)]})
    return tuple(near), share


def _alarm(games: Sequence[Over], settings: Detection, fitted: Calibration) -> float | None:
    """The e-value that at most `alpha` of the honest games ever reached; None before there are games enough."""
    honest = [game for game in games if game.arm == "none"]
    if len(honest) < settings.alarm.games:
        return None
    rules = Rules(settings, Known((fitted,)))
    highest = sorted((_highest(rules, game.case) for game in honest), reverse=True)
    return highest[int(settings.alarm.alpha * len(highest))] * (1 + 1e-9)


def _highest(rules: Rules, case: Case) -> float:
    assessment = rules.begin(case)
    assert assessment is not None
    highest = 0.0
    for deed in case.deeds:
        assessment.see(deed)
        if isinstance(deed, Said):
            highest = assessment.standing().alarm.value
    return highest


def _metrics(games: Sequence[Over], settings: Detection, fitted: Calibration) -> dict[str, float]:
    """How right the rules are on the games that they were fitted on: better than on others, and named so."""
    scored = [one for game in games if (one := score(Rules(settings, Known((fitted,))), game)) is not None]
    moles = [one for one in scored if one.moles]
    honest = [one for one in scored if one.group == "none"]
    if not moles:
        return {}
    return {
        "fitted_top1": round(figure([top(one) for one in moles]).value, 3),
        "fitted_agent_auroc": round(figure([within(one) for one in moles]).value, 3),
        "fitted_game_auroc": round(between(moles, honest).value, 3),
    }


def score(rules: Rules, game: Over) -> Scored | None:
    assessment = rules.assessed(game.case)
    if assessment is None:
        return None
    told = assessment.standing().posterior
    moles = frozenset({game.mole} if game.mole else ())
    return Scored(game.case.session_id, game.strategy or game.arm, dict(told.agents), told.nobody, moles)
