"""Facts: their values by type, as files hold them and as people write them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heist.world.facts import Fact, clock, minutes, parse

pytestmark = pytest.mark.mission("B1")

REST: dict[str, Any] = {
    "label": "start of the rest",
    "type": "clock",
    "draw": ["02:10", "02:40"],
    "value": "02:10",
    "wrong": [-30, 30],
}
DOOR: dict[str, Any] = {"label": "door", "type": "number", "draw": [3, 5], "value": 3, "wrong": [-2, 2]}


@given(when=st.integers(0, 1439))
def test_a_clock_time_is_always_read_as_it_is_shown(when: int) -> None:
    assert minutes(clock(when)) == when
    assert parse("clock", clock(when)) == clock(when)


@given(
    amount=st.integers(0, 9999), text=st.sampled_from(["{}", "about {} minutes", "for {} min", " {} Minutes. ", "~{}"])
)
def test_a_number_of_minutes_is_always_read_from_what_people_write(amount: int, text: str) -> None:
    assert parse("minutes", text.format(amount)) == amount


@pytest.mark.parametrize(
    "text", ["2:11", "2.11", "02:11", "at 02:11", "about 2h11", "~02:11", "02:11 o'clock", "2:11."]
)
def test_a_clock_time_may_be_written_in_many_ways(text: str) -> None:
    assert parse("clock", text) == "02:11"


@pytest.mark.parametrize(
    "text", ["Loading Dock", "the loading dock", "loading_dock", " LOADING  DOCK. ", "'loading dock'"]
)
def test_a_choice_may_be_written_with_an_article_and_in_capitals(text: str) -> None:
    assert parse("choice", text, ("loading dock", "front door")) == "loading dock"


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("clock", "soon"),
        ("clock", "25:00"),
        ("clock", "12"),
        ("minutes", "02:10"),
        ("minutes", "12.5"),
        ("minutes", "-3"),
        ("minutes", "12345"),
        ("number", "٣"),
        ("number", ""),
        ("choice", "roof"),
    ],
)
def test_what_is_no_value_is_refused_with_what_was_expected(type_: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"expected .* found"):
        parse(type_, text, ("loading dock", "front door"))


@given(value=st.integers(1, 50), wrong=st.lists(st.integers(-9, 9).filter(bool), min_size=1))
def test_a_plausible_wrong_value_is_never_the_true_one(value: int, wrong: list[int]) -> None:
    fact = Fact.model_validate(DOOR | {"draw": [value + 9], "value": value + 9, "wrong": wrong})
    assert value + 9 not in fact.wrongs(value + 9)
    assert set(fact.wrongs(value + 9)) == {value + 9 + one for one in wrong}


def test_a_wrong_clock_time_goes_round_at_midnight() -> None:
    assert Fact.model_validate(REST).wrongs("00:10") == ("23:40", "00:40")


def test_the_family_follows_from_the_type_unless_it_is_said() -> None:
    assert Fact.model_validate(REST).family == "timing"
    assert Fact.model_validate(DOOR).family == "information"
    assert Fact.model_validate(DOOR | {"family": "timing"}).family == "timing"


def test_a_value_is_said_with_its_unit_and_one_of_them_without_its_s() -> None:
    fact = Fact.model_validate(DOOR | {"unit": "inches"})
    assert (fact.said(3), fact.shown(1)) == ("the door is 3 inches", "1 inch")


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        (REST | {"label": "Start: 2"}, "label"),
        (REST | {"label": ""}, "needs a label"),
        (REST | {"value": "02:30"}, "not among those to draw"),
        (REST | {"draw": ["02:10", 160]}, "times in quotes"),
        (REST | {"draw": ["2:10"], "value": "2:10"}, "write '2:10' as '02:10'"),
        (REST | {"wrong": []}, "nothing in wrong is wrong when the value is '02:10'"),
        (REST | {"wrong": [0, 1440]}, "nothing in wrong is wrong"),
        (REST | {"wrong": ["02:40"]}, "offsets such as -20"),
        (REST | {"type": "date"}, "clock"),
        (REST | {"wordings": ["they rest"]}, "must hold {value} once"),
        (REST | {"wordings": [" {value}. "]}, "needs words beside {value}"),
        (DOOR | {"wrong": [-3]}, "must leave 1 or more"),
        (DOOR | {"value": True, "draw": [True]}, "valid"),
        (DOOR | {"value": 10_000, "draw": [10_000]}, "from 0 to 9999"),
    ],
)
def test_a_fact_that_makes_no_sense_is_refused(fact: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Fact.model_validate(fact)
    assert said in str(error.value)
