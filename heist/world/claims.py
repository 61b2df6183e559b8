"""Claims: what a text says about the facts, read by their labels and wordings; no model is asked."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from heist.world.facts import Fact, Value, clock
from heist.world.words import either, lower

_GAP = r"\s{1,4}"
"""Between two words, also where a line is broken; bounded, so that no text is read twice for its blanks."""
_MARKS = r"[*_`\"'“”]{0,3}"
_HEDGE = rf"(?:(?:about|around|roughly|exactly|precisely|only|just|now|still|currently|set to|the|at|~){_GAP}|~)"
_SAYS = rf"(?:is|are|stays|remains|stands|becomes|equals){_GAP}(?:not{_GAP}[\w: ]{{1,30}},?{_GAP}but{_GAP})?"
_AFTER = rf"{_MARKS}(?:\s?(?:=|:|\|)\s{{0,4}}|,?{_GAP}(?:{_SAYS}|of{_GAP}|at{_GAP}|to{_GAP})){_HEDGE}{{0,3}}{_MARKS}"
_BEFORE = rf"{_MARKS}(?:{_GAP}(?:is|for|as){_GAP}|\s?=\s?|\s?\|\s?)(?:(?:the|our|a){_GAP})?{_MARKS}$"
_CLOCK = r"(?<![\d:.])(?:[01]?\d|2[0-3])[:.h][0-5]\d(?![\d\w]|[:.]\d)"
_COUNT = r"(?<![\d:.,-])\d{1,4}(?![\d\w%]|[:.,]\d|\s?(?:-|–)\s?\d|\s?%|\s(?:hours?|seconds?|percent|per cent)\b)"
_END = re.compile(r"[.!?;\n](?:(?<!\n)(?=\s|$)|(?<=\n)(?=\s{0,8}[-*•\d\n]))")
_DENIES = frozenset("not never nor if whether unless suppose supposing doubt deny false wrong untrue".split())
_THINKS = frozenset("true so think believe say".split())
_SMALL = frozenset("that the our a".split())
_LOOK = 60
"""Characters before a label in which its value may stand."""


class Claim(NamedTuple):
    """`quote` stands in the text as it is here."""

    fact: str
    value: Value
    quote: str


class _Said(NamedTuple):
    start: int
    end: int
    at: int
    """Where the value stands; nobody claims two values in one place."""
    fact: str
    value: Value


class _Reader(NamedTuple):
    """How one fact is spoken of: `after` from the end of its label, `before` up to its beginning."""

    after: re.Pattern[str]
    before: re.Pattern[str]
    among: Mapping[str, str]
    clock: bool

    def value(self, text: str) -> Value:
        if self.among:
            return self.among[" ".join(text.split())]
        if self.clock:
            hours, minutes = re.split(r"[:.h]", text)
            return clock(int(hours) * 60 + int(minutes))
        return int(text)


class _Wording(NamedTuple):
    """A sentence of a fact's own: the words that a text must hold, the longest first, and the pattern of it."""

    fact: str
    words: Sequence[str]
    pattern: re.Pattern[str]


class _Language(NamedTuple):
    """How the facts of a game are spoken of; `names` are their labels, each with its fact."""

    readers: Mapping[str, _Reader]
    names: Mapping[str, str]
    labels: re.Pattern[str]
    wordings: Sequence[_Wording]


def claims(facts: Mapping[str, Fact], text: str) -> list[Claim]:
    """What the text claims, in its order: "the start of the rest is 02:10", "start of the rest: 02:10", "02:10 for the
    start of the rest", "put the start of the rest at 02:10" and the wordings of the facts' own. A question claims
    nothing, nor does what is denied or only supposed; of "02:10, not 02:40" the first is claimed. The same text gives
    the same claims, and the time for it grows with its length alone."""
    language, low = _language(_Same(facts)), lower(text)
    found = sorted([*_by_label(language, low), *_by_wording(language, low)], key=lambda one: (one.at, one.start))
    ends = [end.start() for end in _END.finditer(low)] if found and "?" in low else []
    kept: dict[int, _Said] = {}
    for said in found:
        if not _is_asked(low, ends, said.end) and not _is_denied(low[max(0, said.start - _LOOK) : said.start]):
            kept.setdefault(said.at, said)
    return [Claim(said.fact, said.value, text[said.start : said.end]) for said in kept.values()]


def _is_denied(before: str) -> bool:
    """Whether what comes next is said not to be so, or only supposed, as far as the words before it tell."""
    words = [word for word in before.split() if word not in _SMALL][-2:]
    if words and words[-1] in _THINKS:
        words.pop()
    return bool(words) and (words[-1] in _DENIES or words[-1].endswith("n't"))


def _is_asked(text: str, ends: list[int], end: int) -> bool:
    index = bisect_left(ends, end)
    return index < len(ends) and text[ends[index]] == "?"


def _by_label(language: _Language, text: str) -> Iterator[_Said]:
    for label in language.labels.finditer(text):
        fact = language.names[" ".join(label[0].split())]
        reader = language.readers[fact]
        if after := reader.after.match(text, label.end()):
            yield _Said(label.start(), after.end(), after.start("value"), fact, reader.value(after["value"]))
            continue
        begin = max(0, label.start() - _LOOK)
        if before := reader.before.search(text[begin : label.start()]):
            at = begin + before.start("value")
            yield _Said(at, label.end(), at, fact, reader.value(before["value"]))


def _by_wording(language: _Language, text: str) -> Iterator[_Said]:
    for fact, words, wording in [one for one in language.wordings if one.words[0] in text]:
        if all(map(text.__contains__, words)):
            value = language.readers[fact].value
            for found in wording.finditer(text):
                yield _Said(found.start(), found.end(), found.start("value"), fact, value(found["value"]))


class _Shape(NamedTuple):
    """What of a fact decides how it is spoken of."""

    fact: str
    names: tuple[str, ...]
    type: str
    unit: str
    among: tuple[str, ...]
    wordings: tuple[str, ...]


class _Same(NamedTuple):
    """The very mapping, which nobody changes: to compare two by what is in them takes longer than to read a text."""

    facts: Mapping[str, Fact]

    def __hash__(self) -> int:
        return id(self.facts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.facts is other.facts


@lru_cache(maxsize=32)
def _language(same: _Same) -> _Language:
    return _compiled(
        tuple(
            _Shape(
                name,
                fact.names,
                fact.type,
                "|".join((*fact.units, "min") if fact.type == "minutes" else fact.units),
                fact.among,
                fact.wordings,
            )
            for name, fact in same.facts.items()
            if fact.label
        )
    )


@lru_cache(maxsize=32)
def _compiled(shapes: tuple[_Shape, ...]) -> _Language:
    names = {name: shape.fact for shape in shapes for name in shape.names}
    wordings = [_wording(shape, wording) for shape in shapes for wording in shape.wordings]
    return _Language(
        {shape.fact: _reader(shape) for shape in shapes}, names, re.compile(either(names, _spaced)), wordings
    )


def _reader(shape: _Shape) -> _Reader:
    value = _value(shape)
    unit = rf"(?:\s?(?:{shape.unit}))?" if shape.unit else ""
    return _Reader(
        re.compile(_AFTER + value + (rf"(?:\s(?:{shape.unit})\b)?" if shape.unit else "")),
        re.compile(value + unit + _BEFORE),
        {" ".join(one.lower().split()): one for one in shape.among},
        shape.type == "clock",
    )


def _wording(shape: _Shape, wording: str) -> _Wording:
    head, _, tail = wording.lower().partition("{value}")
    pattern = re.compile(rf"(?<!\w){_spaced(head)}{_value(shape)}{_spaced(tail)}(?!\w)")
    return _Wording(shape.fact, sorted(f"{head} {tail}".split(), key=len, reverse=True), pattern)


def _value(shape: _Shape) -> str:
    if shape.type == "clock":
        return rf"(?P<value>{_CLOCK})"
    if shape.type != "choice":
        return rf"(?P<value>{_COUNT})"
    among = either((one.lower() for one in shape.among), _spaced)
    return rf"(?:(?:the|an?){_GAP})?(?P<value>{among})"


def _spaced(words: str) -> str:
    """The words as a pattern in which a blank may also be the end of a line."""
    return _GAP.join(map(re.escape, words.split(" ")))
