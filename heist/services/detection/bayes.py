"""Likelihood ratios in closed form, and the posterior over the agents and nobody.

Each check of an agent gives n hits of m. For an honest agent they are beta-binomial, `BB(n, m; α, β)` with the
baseline's mean and strength; a mole's mean is raised by an excess at the same strength. With equal strengths the ratio
rises with every hit and falls with every miss, for each excess and so for their mixture. A part of the moles shows
nothing in a check (`share`), so that the ratio has a floor: a clean record in one place hardly clears anybody, and a
strategy that nobody has thought of need not show everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, fsum, lgamma, log
from typing import NamedTuple

from heist.services.detection.config import Belief
from heist.services.detection.evidence import FAMILIES, Check, Count, Counts, Family, Item

PARTS = 1000
"""Baselines are told apart by that much, so that the ratios of one game serve the next; none is held to be rarer."""
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
def _ratios(strength: float, excess: tuple[float, ...], share: float) -> Callable[[int, int, int], float]:
    """`log_ratio` by hits, of and `PARTS` of honest; it remembers, since the counts of one game are those of the
    next."""

    def ratio(hits: int, of: int, parts: int) -> float:
        return log_ratio(hits, of, max(parts, 1) / PARTS, strength, excess, share)

    return lru_cache(maxsize=20_000)(ratio)


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
        self._roles = roles
        self._beliefs = beliefs
        self._weights = weights
        self._baselines = baselines
        self._rest = rest
        self._tallies: dict[Key, _Tally] = {}
        self._touched: set[Key] = set()
        self._worth: dict[Family, dict[str, dict[Check, float]]] = {
            family: {agent: {} for agent in roles} for family in FAMILIES
        }
        self._families = {agent: dict.fromkeys(FAMILIES, 0.0) for agent in roles}

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        found: Counts = {agent: {} for agent in self._roles}
        for key, tally in self._tallies.items():
            for agent, count in tally.counts.items():
                found[agent][key] = count
        return found

    def add(self, item: Item) -> None:
        """Counts the item; one that is only noted, or of somebody who is not in the crew, changes nothing."""
        if item.hit is None or item.agent not in self._roles:
            return
        key = item.family, item.check
        tally = self._tallies.get(key) or self._tallies.setdefault(key, self._tally(key))
        tally.add(item.agent, item.hit)
        self._touched.add(key)

    def checks(self) -> dict[str, dict[Key, float]]:
        """Nats by agent and check."""
        self._weigh()
        return {
            agent: {
                (family, check): one for family, worth in self._worth.items() for check, one in worth[agent].items()
            }
            for agent in self._roles
        }

    def odds(self) -> Odds:
        self._weigh()
        families = {agent: added.copy() for agent, added in self._families.items()}
        return Odds({agent: fsum(added.values()) for agent, added in families.items()}, families)

    def _weigh(self) -> None:
        for family, check in self._touched:
            self._tallies[family, check].weigh(check, self._worth[family])
        for family in {family for family, _ in self._touched}:
            for agent, checks in self._worth[family].items():
                self._families[agent][family] = fsum(checks.values())
        self._touched.clear()

    def _tally(self, key: Key) -> "_Tally":
        family, check = key
        belief, baseline = self._beliefs[check], self._baselines.get(f"{family}.{check}")
        return _Tally(
            QUARTER * self._weights[family],
            belief.strength,
            {agent: honest_rate(belief, baseline, role) * belief.strength for agent, role in self._roles.items()},
            self._rest,
            _ratios(belief.strength, belief.excess, belief.share),
        )


@dataclass(slots=True)
class _Tally:
    """What a check has counted, of each agent and of all, and by what it is weighed: `prior` is the hits that each
    agent's role is held to begin with, of `strength`; what its colleagues show counts for `rest` of what it shows."""

    weight: float
    strength: float
    prior: Mapping[str, float]
    rest: float
    ratio: Callable[[int, int, int], float]
    counts: dict[str, Count] = field(default_factory=dict)
    hits: int = 0
    of: int = 0

    def add(self, agent: str, hit: bool) -> None:
        hits, of = self.counts.get(agent, _NONE)
        self.counts[agent] = Count(hits + hit, of + 1)
        self.hits += hit
        self.of += 1

    def weigh(self, check: Check, worth: Mapping[str, dict[Check, float]]) -> None:
        """Writes down the nats of each agent that the check has seen."""
        weight, strength, prior, rest, ratio = self.weight, self.strength, self.prior, self.rest, self.ratio
        all_hits, all_of = self.hits, self.of
        for agent, (hits, of) in self.counts.items():
            mean = (prior[agent] + rest * (all_hits - hits)) / (strength + rest * (all_of - of))
            worth[agent][check] = weight * ratio(hits, of, round(mean * PARTS))


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


def caps(weights: Mapping[Family, float]) -> dict[Family, float]:
    """By how much more than once a family's ratio counts. `e_value` takes that back: only then is the expected value
    over honest games at most 1, and Ville's inequality holds."""
    return {family: max(QUARTER * weight, 1.0) for family, weight in weights.items()}


def e_value(families: Mapping[str, Mapping[Family, float]], capped: Mapping[Family, float]) -> float:
    """The mean of e^U over the agents, with `caps`."""
    worth = [fsum([one / capped[family] for family, one in added.items()]) for added in families.values()]
    return fsum([exp(min(one, 700.0)) for one in worth]) / len(worth) if worth else 1.0
