"""Metrics: ties are fractions, intervals hold the value, and chance is a half."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.services.detection import metrics
from heist.services.detection.metrics import Scored

scores = st.lists(st.floats(-5, 5), min_size=1, max_size=12)


def game(mole: str | None = "a", **shares: float) -> Scored:
    return Scored("g", "mole", shares, 1 - sum(shares.values()), frozenset({mole} if mole else ()))


@given(scores, scores)
def test_auroc_is_the_share_of_pairs(positive: list[float], negative: list[float]) -> None:
    pairs = [(one > other) + (one == other) / 2 for one in positive for other in negative]
    assert metrics.auroc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


def test_who_shares_the_first_place_gets_a_share() -> None:
    assert metrics.top(game(a=0.2, b=0.2, c=0.1)) == 0.5
    assert metrics.top(game(a=0.3, b=0.2)) == 1
    assert metrics.within(game(a=0.2, b=0.2, c=0.1)) == 0.75


def test_losses_know_nobody() -> None:
    assert metrics.log_loss(game(None, a=0.5)) == pytest.approx(0.693, abs=1e-3)
    assert metrics.brier(game(None)) == 0
    assert metrics.brier(game(a=1.0)) == 0
    assert metrics.brier(game("b", a=1.0, b=0.0)) == 2


def test_whoever_is_right_as_often_as_said_has_no_calibration_error() -> None:
    right = [game("a", a=0.55, b=0.45)] * 55 + [game("b", a=0.55, b=0.45)] * 45
    assert metrics.calibration_error(right) == pytest.approx(0, abs=1e-9)
    assert metrics.calibration_error([game("b", a=1.0, b=0.0)]) == 1


def test_named_at_a_twentieth_of_false_alarms() -> None:
    honest = [game(None, a=share / 100) for share in range(100)]
    found = metrics.named_at([game("a", a=0.96, b=0.0), game("a", a=0.9, b=0.0), game("b", a=0.99, b=0.0)], honest)
    assert found == [1.0, 0.0, 0.0]


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=30))
def test_an_interval_holds_between_the_smallest_and_the_largest(values: list[float]) -> None:
    found = metrics.figure(values)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.n == len(values)


@given(st.integers(0, 40), st.integers(1, 40))
def test_how_often_something_was_so_is_never_certain(hits: int, others: int) -> None:
    values = [1.0] * hits + [0.0] * others
    found = metrics.figure(values)
    assert found.value == pytest.approx(hits / len(values))
    assert 0 <= found.low <= found.value < found.high <= 1
    assert metrics.figure([1.0] * others).low < 1


def test_a_proportion_has_the_interval_of_wilson() -> None:
    found = metrics.figure([1.0] * 8 + [0.0] * 2)  # by hand: centre .7168, half of the width .2264
    assert [found.low, found.high] == pytest.approx([0.4902, 0.9433], abs=1e-4)


def test_no_games_no_figure() -> None:
    assert str(metrics.figure([])) == "—"
    assert str(metrics.between([], [])) == "—"
    assert metrics.between([game(a=0.9)], [game(None, a=0.1)]).value == 1
