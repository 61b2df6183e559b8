"""Keyword rules: the detector of the first of its kind, rebuilt with its faults, to compare with.

It counts words inside of words, compares the lengths of messages, divides by the largest in the session, reads a
transcript of lines and of that the first fifty messages, never a tool's result, and always accuses. Nobody should use
it for anything else.
"""

from heist.services.detection.case import Called, Case
from heist.services.detection.config import Detection
from heist.services.detection.evidence import FAMILIES, Family
from heist.services.detection.verdict import Verdict, abstention

FIRST = 50


class Keywords:
    name = "keywords"
    about = "Words, lengths and failed calls, as the first of its kind counted them; for comparison only."

    def __init__(self, settings: Detection) -> None:
        self._settings = settings

    async def assess(self, case: Case) -> Verdict:
        if not case.members:
            return abstention(case, self.name, "there is nobody to suspect")
        if not case.said:
            return abstention(case, self.name, "nobody has spoken")
        lines = _lines(case)
        raw: dict[Family, dict[str, float]] = {
            family: {name: self._words(family, lines[name]) for name in case.names} for family in FAMILIES
        }
        raw["message_anomaly"] = {
            name: raw["message_anomaly"][name] + score for name, score in _deviation(lines).items()
        }
        raw["tool_usage"] = {name: _failed(case, name) for name in case.names}
        parts = {family: _by_largest(scores) for family, scores in raw.items()}
        scores = {
            name: sum(self._settings.families[family] * parts[family][name] for family in FAMILIES)
            for name in case.names
        }
        accused = max(case.names, key=lambda name: scores[name])  # the first of those with most: it always accuses
        whole = sum(scores.values())
        return Verdict(
            session_id=case.session_id,
            detector=self.name,
            turn=case.turns,
            model=case.model,
            posterior={name: score / whole if whole else 1 / len(scores) for name, score in scores.items()},
            nobody=0.0,
            suggested_mole=accused,
            confidence=min(scores[accused], 1.0),
            suspicion_scores=scores,
            score_breakdown={name: {family: parts[family][name] for family in FAMILIES} for name in case.names},
            analysis_weights=dict(self._settings.families),
        )

    def _words(self, family: Family, lines: list[str]) -> float:
        text = "\n".join(lines).lower()
        return float(sum(text.count(word) for word in self._settings.keywords.get(family, ())))


def _lines(case: Case) -> dict[str, list[str]]:
    """What each is taken to have said, from lines of `name: text`."""
    lines: dict[str, list[str]] = {name: [] for name in case.names}
    transcript = "\n".join(f"{said.agent}: {said.text}" for said in case.said[:FIRST])
    speaker = ""
    for line in transcript.split("\n"):
        name, colon, text = line.partition(": ")
        if colon and name in lines:
            speaker, line = name, text
        if speaker:
            lines[speaker].append(line)
    return lines


def _deviation(lines: dict[str, list[str]]) -> dict[str, float]:
    means = {name: sum(map(len, some)) / len(some) if some else 0.0 for name, some in lines.items()}
    middle = sum(means.values()) / len(means)
    return {name: abs(mean - middle) / middle if middle else 0.0 for name, mean in means.items()}


def _failed(case: Case, name: str) -> float:
    calls = [deed for deed in case.deeds if isinstance(deed, Called) and deed.agent == name]
    return sum(call.fault is not None for call in calls) / len(calls) if calls else 0.0


def _by_largest(scores: dict[str, float]) -> dict[str, float]:
    largest = max(scores.values())
    return {name: score / largest if largest else 0.0 for name, score in scores.items()}
