"""The record: everything that was said, the oldest in blocks, as a fold over events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from heist.events import MemoryCompressed
from heist.llm.model import guess
from heist.services.memory.facts import Entry, Fact
from heist.services.memory.facts import facts as facts_of

BLOCKS = 3
"""No more blocks than these; when there is one more, the oldest two become one."""


class Due(NamedTuple):
    """What is to be folded into one block now: the turns `first` to `last`, as they are told at present, and the facts
    that were stated in them."""

    first: int
    last: int
    level: int
    entries: Sequence[Entry]
    facts: Sequence[Fact]


@dataclass
class Record:
    """Blocks of older turns, then the turns since, word by word, then the facts of all of them. Old turns are folded in
    whole blocks, not by a sliding window: what stands before the newest turn stays as it is for many turns, so that a
    server that keeps the beginning of a prompt need not read it again."""

    blocks: list[MemoryCompressed] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.facts += facts_of(entry)

    def fold(self, block: MemoryCompressed) -> None:
        """The block stands for its turns from now on."""
        earlier = [one for one in self.blocks if one.last < block.first]
        later = [one for one in self.blocks if one.first > block.last]
        self.blocks = [*earlier, block, *later]
        self.entries = [entry for entry in self.entries if entry.turn > block.last]

    def due(self, threshold: int, keep: int) -> Due | None:
        """What should be folded: the older half of the turns when they hold more than `threshold` tokens, but never the
        last `keep` of them; else the two oldest blocks when there are more than BLOCKS."""
        sizes = [guess(entry.text) for entry in self.entries]
        if sum(sizes) > threshold and len(self.entries) > keep:
            some = self._older_half(sizes)[: len(self.entries) - keep]
            return self._due(some[0].turn, some[-1].turn, 1, some)
        if len(self.blocks) > BLOCKS:
            old, newer = self.blocks[:2]
            entries = [Entry(block.last, "record", block.text) for block in (old, newer)]
            return self._due(old.first, newer.last, max(old.level, newer.level) + 1, entries)
        return None

    def _due(self, first: int, last: int, level: int, entries: Sequence[Entry]) -> Due:
        return Due(first, last, level, entries, [fact for fact in self.facts if first <= fact.turn <= last])

    def _older_half(self, sizes: Sequence[int]) -> list[Entry]:
        half, taken = sum(sizes) / 2, 0
        for number, size in enumerate(sizes, 1):
            taken += size
            if taken >= half:
                return self.entries[:number]
        return self.entries
