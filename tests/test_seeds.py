"""Randomness by name."""

from hypothesis import given
from hypothesis import strategies as st

from heist.seeds import number, stream

NAMES = st.lists(st.one_of(st.text(max_size=8), st.integers()), max_size=3)


@given(st.integers(0, 2**31), NAMES)
def test_the_same_seed_and_name_give_the_same_stream(seed: int, name: list[object]) -> None:
    assert stream(seed, *name).random() == stream(seed, *name).random()
    assert 0 <= number(seed, *name) < 2**31


def test_other_names_and_other_seeds_give_other_streams() -> None:
    numbers = {number(seed, name) for seed in range(50) for name in ("order", "turn")}
    assert len(numbers) == 100


def test_a_stream_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert number(7, "order", 2) == 875287032
