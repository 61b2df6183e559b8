"""What is remembered within a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.services.memory.facts import Entry
from heist.services.memory.recollection import recollect
from heist.services.memory.record import Record

pytestmark = pytest.mark.mission("S5")


def told(*texts: str) -> Record:
    record = Record()
    for turn, text in enumerate(texts, 1):
        record.add(Entry(turn, "ann", text))
    return record


@given(
    st.lists(st.text("abc 123.?", max_size=300), max_size=40),
    st.integers(50, 1000),
    st.integers(0, 20),
    st.text("abc 123", max_size=50),
)
def test_a_recollection_never_exceeds_its_budget(texts: list[str], budget: int, recent: int, question: str) -> None:
    found = recollect(told(*texts), budget, recent, question)
    assert found.tokens <= budget
    assert found.recent <= recent
    assert found.recent + found.summarised + found.left_out == len(texts)


def test_the_newest_are_told_word_by_word() -> None:
    found = recollect(told("one two", "three four", "five six"), 200, 2)
    assert "[turn 2] three four\n[turn 3] five six" in found.text


def test_a_question_brings_back_what_it_is_about() -> None:
    texts = [f"Door {number} is locked." for number in range(100)]
    texts[50] = "The password is 4711."
    assert "4711" in recollect(told(*texts), 120, 3, "Which password was it?").text
    assert "4711" not in recollect(told(*texts), 120, 3).text


def test_nothing_remembered_is_an_empty_text() -> None:
    assert recollect(Record(), 100, 5).text == ""
