"""What somebody remembers, within a budget: the newest word by word, the facts, and the rest in short."""

from typing import NamedTuple

from heist.llm.model import guess
from heist.services.memory.facts import Entry, distinct, relevant
from heist.services.memory.record import Record
from heist.services.memory.summary import extract

MOST_FACTS = 12
RECENT_SHARE = 0.6
FACTS_SHARE = 0.25


class Recollection(NamedTuple):
    """`text` has at most as many tokens (estimated) as were asked for; `left_out` entries are in it neither word by
    word nor in short."""

    text: str
    tokens: int
    recent: int
    summarised: int
    left_out: int


def recollect(record: Record, max_tokens: int, recent_count: int, question: str = "") -> Recollection:
    """The last `recent_count` entries as far as there is room, the facts that the question is about (the newest where
    there is none), the blocks, and an extract of what is in neither."""
    recent = _newest(record.entries, recent_count, round(max_tokens * RECENT_SHARE))
    before = record.entries[: len(record.entries) - len(recent)]
    said = "\n".join(_line(entry) for entry in recent)
    told = recent[0].turn if recent else None
    older = [fact for fact in distinct(record.facts) if told is None or fact.turn < told]
    chosen = relevant(older, question, MOST_FACTS) if question else older[-MOST_FACTS:]
    known = _within([f"[turn {fact.turn}] {fact.text}" for fact in chosen], round(max_tokens * FACTS_SHARE))
    room = max_tokens - guess(said) - guess(known) - 12
    blocks = _within([block.text for block in reversed(record.blocks)], room - 1)
    room -= guess(blocks)
    inside = [fact for fact in record.facts if before and before[0].turn <= fact.turn <= before[-1].turn]
    short = extract(before, inside, room) if before and room >= MOST_FACTS else ""
    sections = {"Before": "\n".join(part for part in (blocks, short) if part), "Facts": known, "Last": said}
    text = "\n".join(f"{title}:\n{section}" for title, section in sections.items() if section)
    return Recollection(
        text=text,
        tokens=guess(text),
        recent=len(recent),
        summarised=len(before) if short else 0,
        left_out=0 if short or not before else len(before),
    )


def _newest(entries: list[Entry], most: int, tokens: int) -> list[Entry]:
    taken: list[Entry] = []
    for entry in reversed(entries[-most:] if most else []):
        tokens -= guess(_line(entry)) + 1
        if tokens < 0:
            break
        taken.append(entry)
    return taken[::-1]


def _line(entry: Entry) -> str:
    return f"[turn {entry.turn}] {' '.join(entry.text.split())}"


def _within(pieces: list[str], tokens: int) -> str:
    """As many of the pieces as fit, from the first on, a line each."""
    taken: list[str] = []
    for piece in pieces:
        if guess("\n".join([*taken, piece])) + 1 > tokens:
            break
        taken.append(piece)
    return "\n".join(taken)
