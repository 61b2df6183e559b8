"""Summaries: fewer words, the same facts; by a model where there is one, else by taking sentences out."""

import re
from collections.abc import Sequence
from contextlib import aclosing

from heist.errors import ModelError
from heist.llm.model import Completion, Message, Model, Prompt, guess
from heist.services.memory.facts import Entry, Fact, distinct, sentences

EXTRACT = "extract"
"""Who made a summary that no model made."""
SHARE = 0.7
"""Of a summary's budget, what facts may take before prose gets any."""
_TITLES = {"decision": "Decided", "figure": "Figures", "question": "Open"}
_FIGURES = re.compile(r"\d+(?:[:.]\d+)*")


def extract(entries: Sequence[Entry], facts: Sequence[Fact], budget: int) -> str:
    """A summary of at most `budget` tokens (estimated) in the entries' own words: decisions, figures and open
    questions, the newest first where there is not room for all, then the first sentence of each entry. Never empty
    where there were words."""
    kept = _lines(facts, round(budget * SHARE))
    said = [
        f"{entry.agent}: {first[0]}"
        for entry in entries
        if (first := sentences(entry.text)) and first[0].lower() not in kept.lower()
    ]
    lines = [kept, _fitting("Said", said, budget - guess(kept) - 1)]
    return _joined(lines) or _cut(" ".join(entry.text for entry in entries), budget)


async def summarise(
    entries: Sequence[Entry], facts: Sequence[Fact], budget: int, model: Model, seed: int
) -> tuple[str, str]:
    """(a summary of at most `budget` tokens, who made it): the facts as `extract` has them, and the model's prose
    without those of its sentences that hold a figure which nobody said. When the model fails or says nothing of use it
    is `extract` alone."""
    if model.simulated:
        return extract(entries, facts, budget), EXTRACT
    kept = _lines(facts, round(budget * SHARE))
    source = "\n".join(f"[turn {entry.turn}, {entry.agent}] {' '.join(entry.text.split())}" for entry in entries)
    room = max(budget - guess(kept) - 1, budget // 4)
    try:
        prose = await _asked(model, source, room, seed)
    except ModelError:
        return extract(entries, facts, budget), EXTRACT
    known = set(_FIGURES.findall(source))
    true = [sentence for sentence in sentences(prose) if known.issuperset(_FIGURES.findall(sentence))]
    if not true:
        return extract(entries, facts, budget), EXTRACT
    return _cut(_joined([kept, " ".join(true)]), budget), model.name


async def _asked(model: Model, source: str, room: int, seed: int) -> str:
    told = (
        f"You keep the record of a crew's talk. Tell in at most {max(room * 3 // 4, 20)} words, in plain sentences, "
        "what was found out, what was agreed and what is still open, with the names of those who said it. Add nothing "
        "of your own."
    )
    prompt = Prompt(
        (Message("system", told), Message("user", source)), temperature=0.2, max_tokens=room + 50, seed=seed
    )
    async with aclosing(model.complete(prompt)) as answer:
        async for chunk in answer:
            if isinstance(chunk, Completion):
                return chunk.text
    raise ModelError(f"{model.name} did not finish")


def _lines(facts: Sequence[Fact], budget: int) -> str:
    """The facts, a line for each kind, the newest first where there is not room for all."""
    found = distinct(facts)
    lines: list[str] = []
    for kind, title in _TITLES.items():
        some = [_told(fact) for fact in reversed(found) if fact.kind == kind]
        line = _fitting(title, some, budget - guess(_joined(lines)) - 1)
        lines += [line] if line else []
    return _joined(lines)


def _told(fact: Fact) -> str:
    return f"{fact.text} ({fact.agent}, turn {fact.turn})"


def _fitting(title: str, pieces: Sequence[str], budget: int) -> str:
    """As many of the pieces as there is room for, first come first served; nothing when not even one fits."""
    taken: list[str] = []
    for piece in pieces:
        if guess(f"{title}: {' '.join([*taken, piece])}") + 1 > budget:
            break
        taken.append(piece)
    return f"{title}: {' '.join(taken)}" if taken else ""


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(line for line in lines if line)


def _cut(text: str, budget: int) -> str:
    """The text within the budget, ended at a sentence where there is one."""
    if guess(text) <= budget:
        return text
    short = text[: budget * 4]
    end = max(short.rfind(mark) for mark in (". ", "! ", "? ", "\n"))
    return short[: end + 1].strip() if end > 0 else short.strip()
