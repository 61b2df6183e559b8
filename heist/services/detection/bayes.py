"""Likelihood ratios in closed form, and the posterior over the agents and nobody.

Each check of an agent gives n hits of m. For an honest agent they are beta-binomial, `BB(n, m; α, β)` with the
baseline's mean and strength; a mole's mean is raised by an excess at the same strength. With equal strengths the ratio
rises with every hit and falls with every miss, for each excess and so for their mixture. A part of the moles shows
nothing in a check (`share`), so that the ratio has a floor: a clean record in one place hardly clears anybody, and a
strategy that nobody has thought of need not show everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import exp, fsum, lgamma, log
from typing import NamedTuple

from heist.services.detection.config import Belief
from heist.services.detection.evidence import FAMILIES, Check, Count, Counts, Family, Item

LEAST = 0.001
"""No baseline is held to be rarer than that."""
QUARTER = 4.0
"""Weights sum to 1 over four families; times four, a ratio of average weight counts as it is."""


_NONE = Count()


class Baseline(NamedTuple):
    """How often honest agents were hit in a check: of all roles, and of each as far as it was seen."""

    pooled: Count
    roles: Mapping[str, Count]


class Odds(NamedTuple):
    """Log-odds in nats: of each agent against nobody, and what each family has added."""

    total: Mapping[str, float]
    families: Mapping[str, Mapping[Family, float]]


class Posterior(NamedTuple):
    """Sums to 1 with `nobody`."""

    agents: Mapping[str, float]
    nobody: float


def log_ratio(hits: int, of: int, honest: float, strength: float, excess: tuple[float, ...], share: float) -> float:
    """Nats by which n hits of m are likelier of a mole than of an honest agent; 0 for nothing seen."""
    if of == 0 or share == 0:
        return 0.0
    plain = _beta_binomial(hits, of, honest, strength)
    shown = [exp(_beta_binomial(hits, of, honest + (1 - honest) * one, strength) - plain) for one in excess]
    return log(1 - share + share * fsum(shown) / len(shown))


@lru_cache(maxsize=256)
def _ratios(strength: float, excess: tuple[float, ...], share: float) -> Callable[[int, int, float], float]:
    """`log_ratio` by hits, of and honest; it remembers, since the counts of one game are those of the next."""
    return lru_cache(maxsize=20_000)(lambda hits, of, honest: log_ratio(hits, of, honest, strength, excess, share))


def _beta_binomial(hits: int, of: int, mean: float, strength: float) -> float:
    """ln BB without what does not depend on the mean: the binomial coefficient and the terms in α + β."""
    alpha, beta = mean * strength, (1 - mean) * strength
    return lgamma(hits + alpha) - lgamma(alpha) + lgamma(of - hits + beta) - lgamma(beta)


def honest_rate(belief: Belief, baseline: Baseline | None, role: str) -> float:
    """The mean of the honest baseline for a role: what was measured of it, shrunk to what was measured of all, and that
    to the belief."""
    mean, strength = belief.honest, belief.strength
    if baseline is not None:
        for seen in (baseline.pooled, baseline.roles.get(role, Count())):
            mean = (mean * strength + seen.hits) / (strength + seen.of)
    return mean


Key = tuple[Family, Check]


class Balance:
    """`U_a = 4 Σ w_f LLR_af` for each agent, from what it shows and what the rest of its crew shows. Items are added
    one by one; only what they touch is worked out anew."""

    def __init__(
        self,
        roles: Mapping[str, str],
        beliefs: Mapping[Check, Belief],
        weights: Mapping[Family, float],
        baselines: Mapping[str, Baseline],
        rest: float,
    ) -> None:
        self.counts: Counts = {agent: {} for agent in roles}
        self._roles = roles
        self._beliefs = beliefs
        self._weights = weights
        self._baselines = baselines
        self._rest = rest
        self._touched: set[Key] = set()
        self._scales: dict[Key, _Scale] = {}
        self._worth: dict[str, dict[Family, dict[Check, float]]] = {
            agent: {family: {} for family in FAMILIES} for agent in roles
        }

    def add(self, item: Item) -> None:
        """Counts the item; one that is only noted, or of somebody who is not in the crew, changes nothing."""
        own = self.counts.get(item.agent)
        if item.hit is None or own is None:
            return
        key = item.family, item.check
        hits, of = own.get(key, _NONE)
        own[key] = Count(hits + item.hit, of + 1)
        self._touched.add(key)

    def checks(self) -> dict[str, dict[Key, float]]:
        """Nats by agent and check."""
        return {
            agent: {(family, check): one for family, checks in worth.items() for check, one in checks.items()}
            for agent, worth in self._weighed().items()
        }

    def odds(self) -> Odds:
        families = {
            agent: {family: fsum(checks.values()) for family, checks in worth.items()}
            for agent, worth in self._weighed().items()
        }
        return Odds({agent: fsum(added.values()) for agent, added in families.items()}, families)

    def _weighed(self) -> Mapping[str, Mapping[Family, Mapping[Check, float]]]:
        for key in self._touched:
            self._weigh(key)
        self._touched.clear()
        return self._worth

    def _weigh(self, key: Key) -> None:
        family, check = key
        scale = self._scales.get(key) or self._scales.setdefault(key, self._scale(key))
        seen = [(agent, *own[key]) for agent, own in self.counts.items() if key in own]
        all_hits = sum([hits for _, hits, _ in seen])
        all_of = sum([of for _, _, of in seen])
        for agent, hits, of in seen:
            rest = self._rest * (all_of - of)
            mean = (scale.prior[agent] + self._rest * (all_hits - hits)) / (scale.strength + rest)
            honest = round(mean, 3) or LEAST  # so that the ratios of one game serve the next
            self._worth[agent][family][check] = scale.weight * scale.ratio(hits, of, honest)

    def _scale(self, key: Key) -> "_Scale":
        family, check = key
        belief, baseline = self._beliefs[check], self._baselines.get(f"{family}.{check}")
        return _Scale(
            QUARTER * self._weights[family],
            belief.strength,
            {agent: honest_rate(belief, baseline, role) * belief.strength for agent, role in self._roles.items()},
            _ratios(belief.strength, belief.excess, belief.share),
        )


class _Scale(NamedTuple):
    """By what a check is weighed: `prior` is the hits that each agent's role is held to begin with, of `strength`."""

    weight: float
    strength: float
    prior: Mapping[str, float]
    ratio: Callable[[int, int, float], float]


def posterior(total: Mapping[str, float], prior: float) -> Posterior:
    """Softmax over agents and nobody; every agent is as likely before anything is seen."""
    if not total:
        return Posterior({}, 1.0)
    each = log(prior / len(total))
    logs = {agent: each + worth for agent, worth in total.items()}
    none = log(1 - prior)
    top = max(none, *logs.values())
    parts = {agent: exp(worth - top) for agent, worth in logs.items()}
    nobody = exp(none - top)
    whole = fsum((*parts.values(), nobody))
    return Posterior({agent: part / whole for agent, part in parts.items()}, nobody / whole)


def suspects(told: Posterior, coverage: float) -> tuple[list[str | None], float]:
    """(the fewest, None being nobody, who have `coverage` of the posterior together; how much they have)."""
    ranked: list[tuple[float, str | None]] = sorted(
        [*((share, agent) for agent, share in told.agents.items()), (told.nobody, None)],
        key=lambda one: (-one[0], one[1] or ""),
    )
    chosen: list[str | None] = []
    covered = 0.0
    for share, agent in ranked:
        if covered >= coverage:
            break
        chosen.append(agent)
        covered += share
    return chosen, min(covered, 1.0)


def pooled(rules: Posterior, judge: Posterior, weight: float) -> Posterior:
    """The two opinions, the judge's by `weight`."""
    agents = {name: (1 - weight) * share + weight * judge.agents[name] for name, share in rules.agents.items()}
    return Posterior(agents, (1 - weight) * rules.nobody + weight * judge.nobody)


def strategies(
    counts: Mapping[tuple[Family, Check], Count],
    beliefs: Mapping[Check, Belief],
    known: Mapping[str, Sequence[Check]],
    baselines: Mapping[str, Baseline],
) -> dict[str, float]:
    """How likely each way to be a mole is, given that this agent is one; `other` is one that nobody has thought of,
    which shows in any check."""
    ratios: dict[Check, float] = {}
    for (family, check), count in counts.items():
        honest = honest_rate(beliefs[check], baselines.get(f"{family}.{check}"), "")
        belief = beliefs[check]
        ratio = log_ratio(count.hits, count.of, honest, belief.strength, belief.excess, 0.9)
        ratios[check] = ratios.get(check, 0.0) + ratio
    logs = {name: fsum(ratios.get(check, 0.0) for check in checks) for name, checks in known.items()}
    logs["other"] = fsum(log(0.7 + 0.3 * exp(min(ratio, 50.0))) for ratio in ratios.values())
    return _shares(logs)


def _shares(logs: Mapping[str, float]) -> dict[str, float]:
    top = max(logs.values())
    parts = {name: exp(worth - top) for name, worth in logs.items()}
    whole = fsum(parts.values())
    return {name: part / whole for name, part in parts.items()}


def e_value(odds_: Mapping[str, Mapping[Family, float]], weights: Mapping[Family, float]) -> float:
    """The mean of e^U over the agents. Where a family's weight is more than a quarter, its ratio counts once and no
    more: only then is the expected value over honest games at most 1, and Ville's inequality holds."""
    capped = {family: max(QUARTER * weight, 1.0) for family, weight in weights.items()}
    worth = [fsum([one / capped[family] for family, one in added.items()]) for added in odds_.values()]
    return fsum(exp(min(one, 700.0)) for one in worth) / len(worth) if worth else 1.0
