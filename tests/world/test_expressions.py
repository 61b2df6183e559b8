"""Expressions: what they give, and all that they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.world.expressions import expression, gives, worded
from heist.world.facts import Type

pytestmark = pytest.mark.mission("B1")

TYPES: dict[str, Type] = {"at": "clock", "until": "clock", "wait": "minutes", "doors": "number", "way": "choice"}
sums = st.recursive(
    st.integers(0, 99).map(str) | st.sampled_from(["wait", "doors"]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
        lambda three: f"({three[0]} {three[1]} {three[2]})"
    ),
    max_leaves=8,
)


@given(text=sums, wait=st.integers(0, 99), doors=st.integers(0, 99))
def test_a_sum_always_gives_what_arithmetic_gives_and_says_the_same_with_other_names(
    text: str, wait: int, doors: int
) -> None:
    value = eval(text, {}, {"wait": wait, "doors": doors})
    assert expression(text).of({"wait": wait, "doors": doors}) == value
    assert expression(worded(text, {"wait": "w", "doors": "d"})).of({"w": wait, "d": doors}) == value


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("at + wait", "clock"),
        ("wait + at", "clock"),
        ("at - doors * wait", "clock"),
        ("at - until", "count"),
        ("way", "choice"),
        ("at <= until + 3", "condition"),
        ("way == 'roof' or wait > 3 and doors != 2", "condition"),
    ],
)
def test_an_expression_tells_what_it_gives(text: str, of: str) -> None:
    assert gives(text, TYPES) == of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("at + until", "joins a clock and a clock"),
        ("at * 2", "joins a clock and a count"),
        ("3 - at", "joins a count and a clock"),
        ("way + 1", "joins a choice and a count"),
        ("at == wait", "cannot be compared"),
        ("way < 'roof'", "cannot be compared"),
        ("wait and doors", "is no comparison"),
        ("nobody + 1", "'nobody' is neither a fact nor a slot"),
        ("wait / 2", "more than sums"),
        ("wait ** 2", "more than sums"),
        ("-wait", "more than sums"),
        ("1.5", "more than sums"),
        ("True", "more than sums"),
        ("1 < wait < 3", "more than sums"),
        ("not wait", "more than sums"),
        ("print(1)", "more than sums"),
        ("wait.real", "more than sums"),
        ("[1][0]", "more than sums"),
        ("__import__('os')", "more than sums"),
        ("", "is no expression"),
        ("wait +", "is no expression"),
        ("wait = 3", "is no expression"),
        ("(" * 390, "is no expression"),
        ("1+" * 300 + "1", "at most 400 characters"),
    ],
)
def test_what_is_more_than_sums_and_comparisons_is_refused_and_never_run(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        expression(text) and gives(text, TYPES)


def test_the_names_stand_in_the_order_of_the_text() -> None:
    assert expression("wait + doors * wait - at").names == ("wait", "doors", "at")


def test_the_words_of_a_reckoning_keep_its_brackets() -> None:
    names = {"wait": "length of the wait", "doors": "number of doors"}
    assert worded("doors * (wait + 1) - (doors - 2)", names) == (
        "number of doors * (length of the wait + 1) - (number of doors - 2)"
    )
