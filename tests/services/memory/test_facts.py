"""Facts: what counts as one, and which of them a question is about."""

import os
import random
import subprocess
import sys

import pytest

from heist.services.memory.facts import Entry, Fact, distinct, facts, relevant, sentences

pytestmark = pytest.mark.mission("S5")


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("The vault has 4 digits.", "figure"),
        ("We go in at ten.", "decision"),
        ("Agreed, the van waits.", "decision"),
        ("Settled: we leave at 02:15.", "decision"),
        ("Who has the papers?", "question"),
        ("Is 22:00 still up to date?", "question"),
        ("I am listening.", None),
        ("hacker said «24 cameras», and I note it.", None),
    ],
)
def test_a_sentence_is_a_fact_of_one_kind_or_of_none(sentence: str, kind: str | None) -> None:
    assert [fact.kind for fact in facts(Entry(3, "ann", sentence))] == ([kind] if kind else [])


def test_a_fact_says_who_stated_it_when() -> None:
    found = facts(Entry(7, "ann", "Good evening. The door weighs 3 tons.\nIt is 12 inches thick."))
    assert found == [
        Fact(7, "ann", "figure", "The door weighs 3 tons."),
        Fact(7, "ann", "figure", "It is 12 inches thick."),
    ]


def test_what_is_repeated_is_kept_once_as_it_was_said_last() -> None:
    twice = [
        Fact(1, "ann", "figure", "It is 12."),
        Fact(2, "bob", "figure", "Ten."),
        Fact(9, "bob", "figure", "it is 12."),
    ]
    assert [fact.turn for fact in distinct(twice)] == [2, 9]


def test_a_question_finds_what_it_is_about_among_many() -> None:
    noise = [Fact(turn, "ann", "figure", f"Camera {turn} watches corridor {turn}.") for turn in range(1, 200)]
    planted = Fact(3, "bob", "figure", "The password of the service lift is 4711.")
    assert planted in relevant([*noise, planted], "What is the password of the lift?", 3)


def test_a_question_about_nothing_finds_nothing() -> None:
    assert relevant([Fact(1, "ann", "figure", "It is 12 inches.")], "How are you?", 5) == []


def test_sentences_are_never_empty_and_hold_no_line_break() -> None:
    assert sentences("One.\n\n  Two!  Three?\n") == ["One.", "Two!", "Three?"]


def chosen() -> list[list[int]]:
    """The turns of the facts that are picked from many sets of facts that nearly tie."""
    known = "vault guard lobby van clock alarm cable tower badge radio sewer truck".split()
    picked = []
    for seed in range(100):
        chance = random.Random(seed)
        some = [Fact(turn, "a", "figure", " ".join(chance.sample(known, chance.randint(2, 7)))) for turn in range(24)]
        picked.append([fact.turn for fact in relevant(some, " ".join(known), 6)])
    return picked


@pytest.mark.mission("B6")
def test_every_process_picks_the_same_facts() -> None:
    command = [sys.executable, "-c", "from tests.services.memory.test_facts import chosen; print(chosen())"]
    for number in "12":
        environment = {**os.environ, "PYTHONHASHSEED": number}
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        assert told.stdout == f"{chosen()}\n"
