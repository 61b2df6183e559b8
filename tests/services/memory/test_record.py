"""The record: old turns in blocks, newer ones word by word, no turn lost and none twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.events import MemoryCompressed
from heist.services.memory.facts import Entry
from heist.services.memory.record import BLOCKS, Record
from heist.services.memory.summary import extract

pytestmark = pytest.mark.mission("S5")


def settle(record: Record, threshold: int, keep: int) -> None:
    """Folds whatever is due, as the archivist does without a model."""
    while due := record.due(threshold, keep):
        text = extract(due.entries, due.facts, 60)
        record.fold(
            MemoryCompressed(
                session_id="s", owner="", first=due.first, last=due.last, level=due.level, text=text, by="extract"
            )
        )


@given(st.lists(st.integers(0, 600), max_size=80), st.integers(100, 800), st.integers(1, 8))
def test_every_turn_is_told_once_by_a_block_or_word_by_word(lengths: list[int], threshold: int, keep: int) -> None:
    record = Record()
    for turn, length in enumerate(lengths, 1):
        record.add(Entry(turn, "ann", "x" * length))
        settle(record, threshold, keep)
    told = [turn for block in record.blocks for turn in range(block.first, block.last + 1)]
    told += [entry.turn for entry in record.entries]
    assert told == list(range(1, len(lengths) + 1))
    assert len(record.blocks) <= BLOCKS
    assert len(record.entries) >= min(keep, len(lengths))


def test_the_beginning_stays_as_it_is_from_fold_to_fold() -> None:
    record = Record()
    begins = set()
    for turn in range(1, 101):
        record.add(Entry(turn, "ann", "word " * 20))
        settle(record, 500, 2)
        begins.add(record.entries[0].turn)
    assert len(begins) < 15


def test_facts_outlive_every_block() -> None:
    record = Record()
    record.add(Entry(1, "ann", "The code is 4711."))
    for turn in range(2, 200):
        record.add(Entry(turn, "bob", f"I looked at door {turn} and waited for a while."))
        settle(record, 200, 2)
    assert record.facts[0].text == "The code is 4711."


def test_little_talk_is_never_folded() -> None:
    record = Record()
    record.add(Entry(1, "ann", "x" * 10_000))
    assert record.due(100, 1) is None
