"""Facts: the sentences that a summary must not lose, by kind."""

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Kind = Literal["decision", "figure", "question"]
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_DECISION = re.compile(
    r"\b(agreed|decided?|settled|final|the plan is|we (will|go|use|take|enter|leave))\b", re.IGNORECASE
)
_FIGURE = re.compile(r"\d")
_WORD = re.compile(r"[a-z]{3,}|\d+(?::\d+)?")
_COMMON = frozenset(
    "the and for that this with you your are was were will have has had not but from they them what when who how "
    "why "
    "can could should would there here our out all any one get got its his her him she into about than then".split()
)


class Entry(NamedTuple):
    """Something that was said, or noted, in a turn."""

    turn: int
    agent: str
    text: str


class Fact(NamedTuple):
    turn: int
    agent: str
    kind: Kind
    text: str


def sentences(text: str) -> list[str]:
    return [sentence for piece in _SENTENCE.split(text) if (sentence := " ".join(piece.split()))]


def facts(entry: Entry) -> list[Fact]:
    """The facts in what somebody said. A sentence that quotes another («…») adds none: what it quotes is one
    already."""
    found = []
    for sentence in sentences(entry.text):
        kind = _kind(sentence)
        if kind is not None and "«" not in sentence:
            found.append(Fact(entry.turn, entry.agent, kind, sentence))
    return found


def _kind(sentence: str) -> Kind | None:
    if sentence.endswith("?"):
        return "question"
    if _DECISION.search(sentence):
        return "decision"
    return "figure" if _FIGURE.search(sentence) else None


def distinct(found: Iterable[Fact]) -> list[Fact]:
    """Each sentence once, as it was said last, in the order of the turns."""
    latest = {fact.text.lower(): fact for fact in found}
    return sorted(latest.values())


@lru_cache(maxsize=20_000)
def words(text: str) -> frozenset[str]:
    """The words and figures of a text that tell it from others."""
    return frozenset(_WORD.findall(text.lower())) - _COMMON


def relevant(found: Sequence[Fact], question: str, most: int) -> list[Fact]:
    """The facts that share most with a question, at most `most` of them, in the order of the turns. A word counts the
    more the fewer facts have it."""
    asked = words(question)
    having: dict[str, int] = {}
    for fact in found:
        for word in words(fact.text) & asked:
            having[word] = having.get(word, 0) + 1
    # Sets come in another order in each process, and a plain sum with it in another last digit: ties would be broken.
    scored = [(math.fsum(1 / having[word] for word in words(fact.text) & asked), fact) for fact in found]
    best = sorted((one for one in scored if one[0] > 0), key=lambda one: (-one[0], -one[1].turn))
    return sorted(fact for _, fact in best[:most])
