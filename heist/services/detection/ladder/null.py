"""Null detectors: what can be had without understanding a word. They stand in every table."""

from collections.abc import Callable, Mapping
from math import exp, fsum, sqrt

from heist.services.detection import bayes, verdict
from heist.services.detection.bayes import Posterior
from heist.services.detection.calibration import Calibrations
from heist.services.detection.case import Case
from heist.services.detection.config import Detection
from heist.services.detection.verdict import Verdict


def scored(case: Case, detector: str, scores: Mapping[str, float], settings: Detection) -> Verdict:
    """A verdict from log-odds that know nothing of nobody: the prior alone says how likely that is."""
    whole = fsum(exp(score) for score in scores.values()) or 1.0
    shares = {name: settings.prior * exp(score) / whole for name, score in scores.items()}
    return opinion(case, detector, Posterior(shares, 1 - settings.prior), settings)


def opinion(case: Case, detector: str, told: Posterior, settings: Detection) -> Verdict:
    """A verdict with a posterior and no evidence."""
    suggested, confidence = verdict.answer(told.agents, told.nobody)
    chosen, covered = bayes.suspects(told, settings.coverage)
    return Verdict(
        session_id=case.session_id,
        detector=detector,
        turn=case.turns,
        model=case.model,
        posterior=dict(told.agents),
        nobody=told.nobody,
        suggested_mole=suggested,
        confidence=confidence,
        suspicion_scores=dict(told.agents),
        suspects=tuple(chosen),
        coverage=covered,
        weights=verdict.Weights(configured={detector: 1.0}, effective={detector: 1.0}),
    )


def standardised(values: Mapping[str, float]) -> dict[str, float]:
    """How far each is from the mean of its crew, in standard deviations; all 0 where all are the same."""
    mean = fsum(values.values()) / len(values)
    spread = sqrt(fsum((value - mean) ** 2 for value in values.values()) / len(values))
    return {name: (value - mean) / spread if spread > 1e-9 else 0.0 for name, value in values.items()}


class Null:
    """A detector that gives each agent a score."""

    def __init__(
        self, name: str, about: str, settings: Detection, score: Callable[[Case], Mapping[str, float]]
    ) -> None:
        self.name = name
        self.about = about
        self._settings = settings
        self._score = score

    async def assess(self, case: Case) -> Verdict:
        if not case.members:
            return verdict.abstention(case, self.name, "there is nobody to suspect")
        return scored(case, self.name, self._score(case), self._settings)


def chance(settings: Detection) -> Null:
    return Null("chance", "Everybody alike.", settings, lambda case: dict.fromkeys(case.names, 0.0))


def role_prior(settings: Detection, calibrations: Calibrations) -> Null:
    def score(case: Case) -> dict[str, float]:
        known = calibrations.of(case.model, case.scenario).holders
        return {member.name: known.get(member.duty, 0.0) for member in case.members}

    return Null("role", "By how often each role was the mole in games that are over.", settings, score)


def length(settings: Detection) -> Null:
    def score(case: Case) -> dict[str, float]:
        spoken: dict[str, list[int]] = {name: [] for name in case.names}
        for said in case.said:
            if said.agent in spoken:
                spoken[said.agent].append(len(said.text))
        return standardised({name: fsum(some) / len(some) if some else 0.0 for name, some in spoken.items()})

    return Null("length", "Who makes longer messages than the others.", settings, score)
