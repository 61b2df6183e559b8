"""The judge alone, and the hybrid: the rules and a judge, pooled."""

from collections.abc import Awaitable, Callable

from heist.errors import HeistError
from heist.llm.model import Model
from heist.services.detection import bayes, verdict
from heist.services.detection.bayes import Posterior
from heist.services.detection.calibration import Calibrations
from heist.services.detection.case import Case
from heist.services.detection.config import Detection
from heist.services.detection.judge import Judge, Purse
from heist.services.detection.ladder.null import opinion
from heist.services.detection.ladder.rules import Rules
from heist.services.detection.verdict import JudgeState, Verdict, Weights

Asked = Callable[[Case], Awaitable[Model]]
"""Gives the model that judges a case; raises `HeistError` when there is none."""


class Bench:
    """A judge with the model that it asks."""

    def __init__(self, settings: Detection, calibrations: Calibrations, asked: Asked) -> None:
        self.judge = Judge(settings.judge, settings.prior)
        self.settings = settings
        self._calibrations = calibrations
        self._asked = asked

    async def state(self, case: Case, rules: Rules, purse: Purse | None = None) -> JudgeState:
        """What the judge makes of the case. Never raises for what a model does."""
        arm, form = self.settings.judge.arm, self.settings.judge.form
        if arm == "off":
            return JudgeState()
        assessment = rules.assessed(case)
        items = assessment.items if assessment else ()
        scores = assessment.standing().posterior if assessment else None
        try:
            model = await self._asked(case)
        except HeistError as error:
            return JudgeState(status="failed", arm=arm, form=form, error=str(error))
        calibration = self._calibrations.of(case.model, case.scenario)
        return await self.judge.judge(model, case, items, scores, purse or self.judge.purse(), calibration)


def posterior(state: JudgeState) -> Posterior | None:
    if state.posterior is None or state.nobody is None:
        return None
    return Posterior(state.posterior, state.nobody)


class Judged:
    """The judge as a detector of its own; it abstains when it has no valid answer."""

    name = "judge"
    about = "A language model that reads the record under other names, without the rules' scores."

    def __init__(self, bench: Bench, rules: Rules) -> None:
        self._bench = bench
        self._rules = rules

    async def assess(self, case: Case) -> Verdict:
        state = await self._bench.state(case, self._rules)
        told = posterior(state)
        if told is None:
            why = "no judge is set up: judge.arm is off" if state.status == "off" else state.error
            return verdict.abstention(case, self.name, why).model_copy(update={"judge": state})
        return opinion(case, self.name, told, self._bench.settings).model_copy(update={"judge": state})


class Hybrid:
    """60/40: the rules, and the judge as far as its samples hold."""

    name = "hybrid"
    about = "The evidence rules, pooled with the judge as far as its answers hold."

    def __init__(self, bench: Bench, rules: Rules) -> None:
        self._bench = bench
        self._rules = rules

    async def assess(self, case: Case) -> Verdict:
        return self.pool(case, await self._rules.assess(case), await self._bench.state(case, self._rules))

    def pool(self, case: Case, rules: Verdict, state: JudgeState) -> Verdict:
        """The rules' verdict with the judge's opinion in it. Where the rules abstain, the judge is heard alone."""
        settings = self._bench.settings
        share = settings.judge.weight
        effective = share * state.valid / state.samples if state.samples else 0.0
        told = posterior(state)
        if told is None:
            effective = 0.0
        if rules.abstained:
            if told is None:
                return rules.model_copy(update={"detector": self.name, "judge": state})
            effective, mixed = 1.0, told
        else:
            assert rules.nobody is not None
            ours = Posterior(rules.posterior, rules.nobody)
            mixed = bayes.pooled(ours, told, effective) if told else ours
        plain = opinion(case, self.name, mixed, settings)
        named = {"posterior", "nobody", "suggested_mole", "confidence", "suspicion_scores", "suspects", "coverage"}
        weights = Weights(
            configured={"rules": 1 - share, "judge": share}, effective={"rules": 1 - effective, "judge": effective}
        )
        given = {name: getattr(plain, name) for name in named}
        return rules.model_copy(
            update={**given, "detector": self.name, "judge": state, "weights": weights, "abstained": ""}
        )
