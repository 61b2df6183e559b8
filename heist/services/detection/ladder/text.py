"""Learned text: logistic regression over words, fitted on sessions that are over. The standard library is enough.

`bag` counts single words, as the null detector that every benchmark needs; `text` takes pairs of words too, measures
each agent against the mean of its crew, and so cannot be led by what the game is about. Both forget the names of the
crew. What such a model finds is in part "has a secret", not "is a mole".
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log, sqrt
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from heist import seeds
from heist.configfile import first_error, sentence
from heist.errors import ConfigError
from heist.services.detection import verdict
from heist.services.detection.case import Case
from heist.services.detection.config import Detection
from heist.services.detection.ladder.null import scored
from heist.services.detection.verdict import Verdict

FOLDER = "text_models"
WORDS = 4000
RARE = 3
EPOCHS = 15
RATE = 0.5
DECAY = 1e-4
_WORD = re.compile(r"[a-z']+|\d+")
Kind = Literal["bag", "text"]
Features = dict[str, float]


class Fit(BaseModel):
    """A fitted model with what it was fitted on; `words` are weights, `rarity` how much a word counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Kind
    source: str
    model: str = ""
    games: int
    bias: float
    words: dict[str, float]
    rarity: dict[str, float]
    metrics: dict[str, float] = {}


class _Table(NamedTuple):
    """The words of a game's agents, and the mean that is subtracted from each of them; nothing for single words."""

    rows: dict[str, Features]
    mean: Features


class Labelled(NamedTuple):
    """A case with who in it worked against the others."""

    case: Case
    moles: frozenset[str]


def fit(kind: Kind, games: Sequence[Labelled], source: str, model: str = "") -> Fit:
    """Fits one; raises `ConfigError` when there is nothing to learn from."""
    labels = [[name in game.moles for name in game.case.names] for game in games]
    flat = [label for some in labels for label in some]
    if not any(flat) or all(flat):
        raise ConfigError("a text model needs games with moles and with innocents")
    spoken = [_spoken(kind, game.case) for game in games]
    rarity = _rarity(spoken)
    weights, bias = _descend([_table(kind, some, rarity) for some in spoken], labels)
    kept = {word: round(weight, 5) for word, weight in weights.items() if abs(weight) > 1e-4}
    return Fit(kind=kind, source=source, model=model, games=len(games), bias=bias, words=kept, rarity=rarity)


def logits(fitted: Fit, case: Case) -> dict[str, float]:
    """Log-odds of each agent as the model has them."""
    table = _table(fitted.kind, _spoken(fitted.kind, case), fitted.rarity)
    middle = _dot(fitted.words, table.mean)
    return {name: fitted.bias + _dot(fitted.words, row) - middle for name, row in table.rows.items()}


def _spoken(kind: Kind, case: Case) -> dict[str, Counter[str]]:
    """Words by agent, and pairs of words, without the names of the crew."""
    names = {word for name in case.names for word in _WORD.findall(name.lower())}
    counts: dict[str, Counter[str]] = {name: Counter() for name in case.names}
    for said in case.said:
        if said.agent not in counts:
            continue
        words = [word for word in _WORD.findall(said.text.lower()) if word not in names]
        counts[said.agent].update(words)
        if kind == "text":
            counts[said.agent].update(f"{one} {other}" for one, other in pairwise(words))
    return counts


def _rarity(spoken: Sequence[Mapping[str, Counter[str]]]) -> dict[str, float]:
    """The words that count, by the logarithm of how few agents say them."""
    agents = [counts for some in spoken for counts in some.values()]
    said_by = Counter(word for counts in agents for word in counts)
    common = sorted(said_by, key=lambda word: (-said_by[word], word))[:WORDS]
    return {
        word: round(log((1 + len(agents)) / (1 + said_by[word])) + 1, 5) for word in common if said_by[word] >= RARE
    }


def _table(kind: Kind, spoken: Mapping[str, Counter[str]], rarity: Mapping[str, float]) -> _Table:
    rows = {name: _row(counts, rarity) for name, counts in spoken.items()}
    mean: Features = {}
    if kind == "text":
        for row in rows.values():
            for word, worth in row.items():
                mean[word] = mean.get(word, 0.0) + worth / len(rows)
    return _Table(rows, mean)


def _row(counts: Counter[str], rarity: Mapping[str, float]) -> Features:
    row = {word: (1 + log(count)) * rarity[word] for word, count in counts.items() if word in rarity}
    length = sqrt(sum(worth * worth for worth in row.values()))
    return {word: worth / length for word, worth in row.items()} if length else {}


def _descend(tables: Sequence[_Table], labels: Sequence[Sequence[bool]]) -> tuple[dict[str, float], float]:
    """Stochastic descent game by game with a falling rate, each label as heavy as the other; the same games give the
    same weights. What is subtracted from every row of a game is worked out once for all of them."""
    weights: dict[str, float] = {}
    bias = 0.0
    share = sum(map(sum, labels)) / sum(map(len, labels))
    heavy = {True: 0.5 / share, False: 0.5 / (1 - share)}
    order = list(range(len(tables)))
    for epoch in range(EPOCHS):
        seeds.stream(1, "descend", epoch).shuffle(order)
        rate = RATE / (1 + 0.2 * epoch)
        for index in order:
            table = tables[index]
            middle = _dot(weights, table.mean)
            steps = []
            for row, label in zip(table.rows.values(), labels[index], strict=True):
                logit = bias + _dot(weights, row) - middle
                steps.append(rate * heavy[label] * (label - _sigmoid(logit)))
            bias += 0.1 * sum(steps)
            for row, step in zip(table.rows.values(), steps, strict=True):
                for word, worth in row.items():
                    weights[word] = weights.get(word, 0.0) * (1 - rate * DECAY) + step * worth
            for word, worth in table.mean.items():
                weights[word] = weights.get(word, 0.0) - sum(steps) * worth
    return weights, bias


def _dot(weights: Mapping[str, float], row: Features) -> float:
    return sum(weights.get(word, 0.0) * worth for word, worth in row.items())


def _sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-logit)) if logit >= 0 else exp(logit) / (1 + exp(logit))


def save(fitted: Fit, folder: Path) -> Path:
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    path = folder / FOLDER / f"{fitted.kind}.json"
    path.write_text(json.dumps(fitted.model_dump(), ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    return path


def read(folder: Path, kind: Kind) -> Fit | None:
    """The saved model; None when there is none. Raises `ConfigError`."""
    path = folder / FOLDER / f"{kind}.json"
    try:
        return Fit.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError(f"{path}: {sentence(first['loc'], first['msg'])}") from None


class Text:
    """A fitted text model as a detector."""

    def __init__(self, kind: Kind, fitted: Fit | None, settings: Detection) -> None:
        self.name = kind
        self.about = {
            "bag": "Single words, by a model that is fitted on games that are over.",
            "text": "Words and pairs of words against the rest of the crew, by a model that is fitted likewise.",
        }[kind]
        self._fit = fitted
        self._settings = settings

    async def assess(self, case: Case) -> Verdict:
        if self._fit is None:
            why = "no text model is fitted; `heist detect calibrate --text` fits one on the games that are over"
            return verdict.abstention(case, self.name, why)
        if not case.said:
            return verdict.abstention(case, self.name, "nobody has spoken")
        return scored(case, self.name, logits(self._fit, case), self._settings)
