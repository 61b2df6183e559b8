"""Summaries: never longer than they may be, never a figure that nobody said, and said who made them."""

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import ModelError
from heist.llm.model import Completion, Prompt, Usage, guess
from heist.services.memory.facts import Entry, facts
from heist.services.memory.summary import EXTRACT, extract, summarise
from tests.models import Stand

pytestmark = [pytest.mark.mission("S5"), pytest.mark.anyio]

words = st.text("abcdefgh 0123456789:.!?\n", max_size=400)
entries = st.lists(
    st.builds(Entry, st.integers(1, 300), st.sampled_from(["ann", "bob"]), words), min_size=1, max_size=30
)


class Says(Stand):
    """A model that answers every prompt with the same words, or fails."""

    name = "scribe"

    def __init__(self, text: str | ModelError) -> None:
        self.text = text

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        if isinstance(self.text, ModelError):
            raise self.text
        yield self.text
        yield Completion(self.text, (), Usage(1, 1, False), self.name)


@given(entries, st.integers(20, 400))
def test_an_extract_never_exceeds_its_budget(some: list[Entry], budget: int) -> None:
    known = [fact for entry in some for fact in facts(entry)]
    assert guess(extract(some, known, budget)) <= budget


@given(entries, st.integers(20, 400), words)
async def test_a_model_never_makes_it_longer_either(some: list[Entry], budget: int, prose: str) -> None:
    known = [fact for entry in some for fact in facts(entry)]
    text, _ = await summarise(some, known, budget, Says(prose), 1)
    assert guess(text) <= budget


def test_prose_is_lost_before_a_figure() -> None:
    some = [
        Entry(turn, "ann", f"Well, as I always say, one must be patient. Guard {turn} has key {turn}.")
        for turn in (1, 2)
    ]
    text = extract(some, [fact for entry in some for fact in facts(entry)], 30)
    assert "Guard 1 has key 1." in text
    assert "Guard 2 has key 2." in text
    assert "patient" not in text


TALK = [Entry(4, "bob", "The gap is 10 minutes. I like it."), Entry(5, "ann", "Then we leave at 02:15.")]
FACTS = [fact for entry in TALK for fact in facts(entry)]


async def test_a_models_words_are_kept_with_the_facts_and_its_name() -> None:
    text, by = await summarise(TALK, FACTS, 100, Says("Bob found a gap of 10 minutes. Ann wants to leave at 02:15."), 1)
    assert by == "scribe"
    assert "The gap is 10 minutes. (bob, turn 4)" in text
    assert "Ann wants to leave at 02:15." in text


async def test_a_figure_that_nobody_said_is_struck_out() -> None:
    text, by = await summarise(TALK, FACTS, 100, Says("The gap is 45 minutes. Bob likes it."), 1)
    assert "45" not in text
    assert ("Bob likes it." in text, by) == (True, "scribe")


@pytest.mark.parametrize("useless", ["", "   ", "It is 99.", ModelError("broken")])
async def test_a_model_that_is_of_no_use_is_not_named(useless: str | ModelError) -> None:
    text, by = await summarise(TALK, FACTS, 100, Says(useless), 1)
    assert by == EXTRACT
    assert text == extract(TALK, FACTS, 100)
