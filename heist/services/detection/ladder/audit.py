"""The outcome audit: who it was by what came of it, without a word of what was said. Only for games that are over.

In our own games it reads what each agent's slots have cost. In games of missions it weighs every set of saboteurs that
the rules allow by who went, who voted and how many spoiled it: an exact sum, since there are few hundred sets.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb, exp, fsum, log

from heist.services.detection import bayes, verdict
from heist.services.detection.bayes import Posterior
from heist.services.detection.case import Case, Team
from heist.services.detection.config import Detection
from heist.services.detection.ladder.null import opinion
from heist.services.detection.verdict import Verdict

SABOTEURS: Mapping[int, int] = {5: 2, 6: 2, 7: 3, 8: 3, 9: 3, 10: 4}
"""How many there are at a table of so many; the rules of the game, which all players know."""
SPOILS = 0.75
"""How often a saboteur on a mission spoils it."""
APPROVES = {(True, True): 0.75, (True, False): 0.5, (False, True): 0.6, (False, False): 0.65}
"""How often (a saboteur, of a team with saboteurs) votes for it."""
HONEST, MOLE = 3.0, 15.0
"""Points of the score that an agent's slots cost on average, without intent and with it."""
TABLE = 12
"""At larger tables there are too many sets."""


class Audit:
    name = "audit"
    about = "What each agent's part has cost in the end, or who was on the missions that failed; only after the game."

    def __init__(self, settings: Detection) -> None:
        self._settings = settings

    async def assess(self, case: Case) -> Verdict:
        teams = [deed for deed in case.deeds if isinstance(deed, Team)]
        if case.ended is not None and case.names:
            total = {name: _worth(case.ended.damage.get(name, 0.0)) for name in case.names}
            return opinion(case, self.name, bayes.posterior(total, self._settings.prior), self._settings)
        if teams and len(case.names) in SABOTEURS:
            shares = saboteurs(case.names, teams)
            whole = fsum(shares.values())
            told = Posterior({name: share / whole for name, share in shares.items()}, 0.0)
            return opinion(case, self.name, told, self._settings)
        why = "the game is not over, or nothing came of it that could be audited"
        return verdict.abstention(case, self.name, why)


def _worth(damage: float) -> float:
    """The log-ratio of two exponential distributions of what a part costs."""
    return log(HONEST / MOLE) + max(damage, 0.0) * (1 / HONEST - 1 / MOLE)


def saboteurs(names: Sequence[str], teams: Sequence[Team]) -> dict[str, float]:
    """How likely each is a saboteur: exact, over all sets of as many as the table has."""
    sets = list(combinations(sorted(names), SABOTEURS[len(names)]))
    logs = [fsum(_log_likelihood(frozenset(some), names, team) for team in teams) for some in sets]
    top = max(logs)
    parts = [exp(one - top) for one in logs]
    whole = fsum(parts)
    return {name: fsum(part for part, some in zip(parts, sets, strict=True) if name in some) / whole for name in names}


def _log_likelihood(evil: frozenset[str], names: Sequence[str], team: Team) -> float:
    aboard = len(evil & set(team.members))
    worth = 0.0
    if team.fails >= 0:
        if team.fails > aboard:
            return -50.0  # impossible by the rules; finite, in case that a record is wrong
        worth += log(comb(aboard, team.fails)) + team.fails * log(SPOILS) + (aboard - team.fails) * log(1 - SPOILS)
    for name in names:
        approves = APPROVES[name in evil, aboard > 0]
        worth += log(approves if name in team.approved_by else 1 - approves)
    return worth
