"""The judge: a language model that is asked who it is, and believed as far as its answers hold."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Any, NamedTuple

from heist.errors import HeistError
from heist.llm.model import Completion, Model
from heist.services.detection.bayes import Posterior
from heist.services.detection.brief import NOBODY, REASONS, Question, ask, size, unmasked
from heist.services.detection.calibration import Calibration
from heist.services.detection.case import Case
from heist.services.detection.config import JudgeSettings
from heist.services.detection.evidence import Item
from heist.services.detection.verdict import JudgeState, Reason

LEAST = 0.5
"""A score counts as at least so many of 100: no answer of a model is certainty."""
SHORTEST = 3
"""Characters of a quote; fewer stand in every line."""
PATIENCE = 2
"""After so many failed calls in a row the judge is not asked again in this assessment."""


class Void(Exception):
    """A sample that does not hold; the sentence says why."""


@dataclass(slots=True)
class Purse:
    """What the judge may still spend in one session."""

    calls: int
    tokens: int

    def spend(self, tokens: int) -> None:
        """Raises `Void` when there is not enough left."""
        if self.calls < 1 or self.tokens < tokens:
            raise Void("the judge's budget for this session is spent")
        self.calls -= 1
        self.tokens -= tokens


class Opinion(NamedTuple):
    """One valid sample: shares by agent and nobody, or yes or no about one; `first` is the alias with the most."""

    posterior: Posterior | None
    yes: bool | None
    first: str
    reasons: tuple[Reason, ...]


class Judge:
    """Asks one question after the other, so that it never takes more than one place at a model server."""

    def __init__(self, settings: JudgeSettings, prior: float) -> None:
        self.settings = settings
        self._prior = prior

    def purse(self) -> Purse:
        """A full one, for one session."""
        return Purse(self.settings.calls, self.settings.tokens)

    async def judge(
        self,
        model: Model,
        case: Case,
        items: Sequence[Item],
        scores: Posterior | None,
        purse: Purse,
        calibration: Calibration,
    ) -> JudgeState:
        """Never raises for what a model does; without a valid sample there is no number, and `error` says why."""
        if self.settings.arm == "off":
            return JudgeState()
        if not case.said or not case.names:
            return self._state(model, [], 0, ["there is nothing to judge"], calibration, case)
        shown = items if self.settings.arm in ("evidence", "scores") else ()
        seen = scores if self.settings.arm == "scores" else None
        whom: Sequence[str | None] = case.names if self.settings.form == "each" else (None,)
        given: list[tuple[str | None, Opinion]] = []
        faults: list[str] = []
        asked = failed = 0
        for sample in range(self.settings.samples):
            for about in whom:
                asked += 1
                if failed >= PATIENCE:
                    continue
                try:
                    question = self._fitting(model, case, sample, shown, seen, about, items)
                    given.append((about, read(question, await self._answer(model, question, purse))))
                    failed = 0
                except Void as void:
                    faults.append(str(void))
                except TimeoutError:
                    faults.append(f"no answer within {self.settings.seconds:g} s")
                    failed += 1
                except HeistError as error:
                    faults.append(str(error))
                    failed += 1
        return self._state(model, given, asked, faults, calibration, case)

    def _fitting(
        self,
        model: Model,
        case: Case,
        sample: int,
        shown: Sequence[Item],
        seen: Posterior | None,
        about: str | None,
        items: Sequence[Item],
    ) -> Question:
        """The whole game if it is wanted and there is room for it, else excerpts."""
        room = model.ability.context
        if self.settings.whole:
            question = ask(case, self.settings, sample, shown, seen, about)
            if room is None or size(question) <= room:
                return question
        question = ask(case, self.settings, sample, shown or items, seen, about, whole=False)
        if room is not None and size(question) > room:
            raise Void(f"the record is longer than the judge's context of {room} tokens")
        return question

    async def _answer(self, model: Model, question: Question, purse: Purse) -> str:
        purse.spend(size(question))
        text = ""
        async with asyncio.timeout(self.settings.seconds), aclosing(model.complete(question.prompt)) as answer:
            async for piece in answer:
                text = piece.text if isinstance(piece, Completion) else text
        return text

    def _state(
        self,
        model: Model,
        given: Sequence[tuple[str | None, Opinion]],
        asked: int,
        faults: Sequence[str],
        calibration: Calibration,
        case: Case,
    ) -> JudgeState:
        told = Posterior({}, 0.0)
        error = "; ".join(dict.fromkeys(faults))[:500]
        if given:
            told = self._each(given, case) if self.settings.form == "each" else _mean([one for _, one in given])
            error = _degenerate(told, [one for _, one in given]) or error
        valid = 0 if given and _degenerate(told, [one for _, one in given]) else len(given)
        if valid:
            told = _mended(told, case, calibration)
        tried = "failed" if asked and not given and faults else "abstained"
        return JudgeState(
            status="given" if valid else tried,
            arm=self.settings.arm,
            form=self.settings.form,
            model=model.name,
            samples=asked,
            valid=valid,
            error=error,
            posterior=dict(told.agents) if valid else None,
            nobody=told.nobody if valid else None,
            reasons=tuple(reason for _, opinion in given for reason in opinion.reasons)[:REASONS] if valid else (),
        )

    def _each(self, given: Sequence[tuple[str | None, Opinion]], case: Case) -> Posterior:
        """Answers of yes or no as odds, each agent's against the prior; who was not answered about has none for it."""
        logs = {}
        for name in case.names:
            answers = [opinion.yes for about, opinion in given if about == name]
            share = (sum(map(bool, answers)) + 0.5) / (len(answers) + 1)
            logs[name] = log(self._prior / len(case.names)) + log(share / (1 - share))
        return _normal({name: exp(one) for name, one in logs.items()}, 1 - self._prior)


def read(question: Question, text: str) -> Opinion:
    """What a sample says; raises `Void` when it does not keep to its form, or a quote does not stand where it says."""
    told = last_object(text)
    if told is None:
        raise Void("the answer holds no JSON object")
    answer = "scores" if question.about is None else "answer"
    if told.keys() != {"case", "reasons", answer, "cannot_tell"} or told["case"] != question.nonce:
        raise Void("the answer is not about this case, or has other keys than were asked for")
    if told["cannot_tell"] is not False:
        raise Void("the judge cannot tell")
    reasons = _reasons(question, told["reasons"])
    if question.about is not None:
        if told["answer"] not in ("yes", "no"):
            raise Void("the answer is neither yes nor no")
        return Opinion(None, told["answer"] == "yes", "", reasons)
    scores = told["scores"]
    if not isinstance(scores, dict) or scores.keys() != {*question.aliases, NOBODY}:
        raise Void("the scores are not those of the crew and nobody")
    if not all(type(score) is int and 0 <= score <= 100 for score in scores.values()):
        raise Void("a score is no whole number from 0 to 100")
    if len(set(scores.values())) == 1:
        raise Void("all scores are equal")
    first = max(sorted(question.aliases), key=lambda alias: scores[alias])
    agents = {question.aliases[alias]: max(score, LEAST) for alias, score in scores.items() if alias != NOBODY}
    return Opinion(_normal(agents, max(scores[NOBODY], LEAST)), None, first, reasons)


def last_object(text: str) -> dict[str, Any] | None:
    """The last JSON object of a text that is in no other; whatever stands around it."""
    decoder = json.JSONDecoder()
    found: dict[str, Any] | None = None
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found = value
        at = text.find("{", end)
    return found


def _reasons(question: Question, told: object) -> tuple[Reason, ...]:
    if not isinstance(told, list) or not 0 < len(told) <= REASONS:
        raise Void("there is no reason, or there are too many")
    return tuple(_reason(question, one) for one in told)


def _reason(question: Question, told: object) -> Reason:
    match told:
        case {"who": str(who), "line": int(line), "quote": str(quote), "why": str(why), **more} if not more:
            pass
        case _:
            raise Void("a reason lacks its member, its line, its quote or its sentence")
    if who not in question.aliases or line not in question.lines:
        raise Void(f"a reason cites line {line} or a member who is not there")
    cited = question.lines[line]
    if len(quote.strip()) < SHORTEST or quote not in cited.text:
        raise Void(f"a quote does not stand in line {line}")
    return Reason(
        agent=question.aliases[who],
        turn=cited.deed.turn,
        quote=unmasked(question, quote)[:300],
        why=unmasked(question, why)[:300],
    )


def _degenerate(told: Posterior, opinions: Sequence[Opinion]) -> str:
    """Why the samples together say nothing; empty when they do."""
    shares = list(told.agents.values())
    if max(shares) - min(shares) < 1e-9 and told.nobody <= max(shares) + 1e-9:
        return "the judge suspects all alike"
    firsts = {opinion.first for opinion in opinions if opinion.first}
    accused = {
        max(sorted(one.posterior.agents), key=one.posterior.agents.__getitem__) for one in opinions if one.posterior
    }
    if len(opinions) > 2 and len(firsts) == 1 and len(accused) > 2:
        return "the judge goes by the order of the names"
    return ""


def _mean(opinions: Sequence[Opinion]) -> Posterior:
    told = [opinion.posterior for opinion in opinions if opinion.posterior is not None]
    agents = {name: fsum(one.agents[name] for one in told) / len(told) for name in told[0].agents}
    return Posterior(agents, fsum(one.nobody for one in told) / len(told))


def _mended(told: Posterior, case: Case, calibration: Calibration) -> Posterior:
    """Without the judge's prejudice against roles, and at the temperature at which it was right as often as it said."""
    duties = {member.name: member.duty for member in case.members}
    agents = {
        name: exp((log(max(share, 1e-9)) - calibration.roles.get(duties[name], 0.0)) / calibration.temperature)
        for name, share in told.agents.items()
    }
    return _normal(agents, exp(log(max(told.nobody, 1e-9)) / calibration.temperature))


def _normal(agents: dict[str, float], nobody: float) -> Posterior:
    whole = fsum((*agents.values(), nobody))
    return Posterior({name: share / whole for name, share in agents.items()}, nobody / whole)
