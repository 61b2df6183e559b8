"""Evidence rules: every agent by what it said and did, against what it knew."""

import asyncio
from typing import NamedTuple

from heist.services.detection import bayes, verdict
from heist.services.detection.bayes import Balance, Odds, Posterior
from heist.services.detection.calibration import Calibration, Calibrations
from heist.services.detection.case import Case, Deed, Member, Schema
from heist.services.detection.config import Detection
from heist.services.detection.evidence import Counts, Item
from heist.services.detection.examination import Examination
from heist.services.detection.verdict import AlarmState, Verdict

NO_SCHEMA = "there is no scenario to check figures, plan and tools against"


class Standing(NamedTuple):
    """How things stand after a turn."""

    turn: int
    odds: Odds
    posterior: Posterior
    alarm: AlarmState


class Assessment:
    """One session as it goes on: told every deed once, it knows at any time how things stand. The alarm stays
    raised."""

    def __init__(self, case: Case, known: Schema, settings: Detection, calibration: Calibration) -> None:
        self.members: tuple[Member, ...] = case.members
        self.session_id = case.session_id
        self.model = case.model
        self.items: list[Item] = []
        self.turn = 0
        self._settings = settings
        self._calibration = calibration
        self._beliefs = calibration.beliefs(settings.checks)
        self._examination = Examination(case, known, frozenset(settings.honeytokens))
        self._balance = Balance(
            {member.name: member.duty for member in case.members},
            self._beliefs,
            settings.families,
            calibration.baselines,
            settings.rest,
        )
        self._caps = bayes.caps(settings.families)
        self._highest = 0.0

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        return self._balance.counts

    def see(self, deed: Deed) -> None:
        self.turn = max(self.turn, deed.turn)
        for item in self._examination.see(deed):
            self.items.append(item)
            self._balance.add(item)

    def standing(self) -> Standing:
        settings, calibration = self._settings, self._calibration
        odds = self._balance.odds()
        value = bayes.e_value(odds.families, self._caps)
        self._highest = max(self._highest, value)
        threshold, by = calibration.threshold(settings.alarm)
        alarm = AlarmState(raised=self._highest >= threshold, by=by, value=self._highest, threshold=threshold)
        return Standing(self.turn, odds, bayes.posterior(odds.total, settings.prior), alarm)

    def verdict(self, standing: Standing, detector: str = "rules") -> Verdict:
        told = standing.posterior
        suggested, confidence = verdict.answer(told.agents, told.nobody)
        chosen, covered = bayes.suspects(told, self._settings.coverage)
        found = verdict.cited(self.items, self._balance.checks(), self.session_id)
        first = max(sorted(told.agents), key=lambda name: told.agents[name], default=None)
        return Verdict(
            session_id=self.session_id,
            detector=detector,
            turn=standing.turn,
            model=self.model,
            posterior=dict(told.agents),
            nobody=told.nobody,
            suggested_mole=suggested,
            confidence=confidence,
            suspicion_scores=dict(told.agents),
            score_breakdown={agent: dict(added) for agent, added in standing.odds.families.items()},
            analysis_weights=dict(self._settings.families),
            suspects=tuple(chosen),
            coverage=covered,
            strategies=self._strategies(first),
            alarm=standing.alarm,
            evidence=found,
            explanation=verdict.accounts(told.agents, told.nobody, found),
            calibration=self._calibration.id,
        )

    def _strategies(self, agent: str | None) -> dict[str, float]:
        if agent is None or not self._settings.strategies:
            return {}
        counts = self._balance.counts[agent]
        return bayes.strategies(counts, self._beliefs, self._settings.strategies, self._calibration.baselines)


class Rules:
    """Evidence rules as a detector."""

    name = "rules"
    about = "What each agent said and did, checked against what it had read and been told."

    def __init__(self, settings: Detection, calibrations: Calibrations) -> None:
        self._settings = settings
        self._calibrations = calibrations

    def begin(self, case: Case) -> Assessment | None:
        """An assessment of which nothing is seen yet; None where there is no schema."""
        if case.schema is None:
            return None
        return Assessment(case, case.schema, self._settings, self._calibrations.of(case.model, case.scenario))

    def assessed(self, case: Case) -> Assessment | None:
        """The case gone through to its end."""
        assessment = self.begin(case)
        if assessment is not None:
            for deed in case.deeds:
                assessment.see(deed)
        return assessment

    async def assess(self, case: Case) -> Verdict:
        """In a thread: a long case must keep nobody else waiting."""
        return await asyncio.to_thread(self._assess, case)

    def _assess(self, case: Case) -> Verdict:
        assessment = self.assessed(case)
        if assessment is None:
            return verdict.abstention(case, self.name, NO_SCHEMA)
        return assessment.verdict(assessment.standing(), self.name)
