"""The papers and the database: what they say is what is true, or what was."""

from collections.abc import Generator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.settings import shipped
from heist.world.documents import Bank, Paper, fill_in
from heist.world.game import draw
from heist.world.scenario import PLACE, Scenario, read
from tests.world.test_scenario import SMALL

pytestmark = pytest.mark.mission("S3")

SHIPPED = read(shipped("config"), "first_national_bank")
FIXED = draw(SHIPPED, None)
SHELVES = ("documents", "observations", "routes")
SHEETS = [(shelf, name) for shelf in SHELVES for name in getattr(SHIPPED, shelf)]
games = st.none() | st.integers(0, 2**31)


@pytest.fixture
def bank() -> Generator[Bank]:
    bank = Bank(FIXED)
    yield bank
    bank.close()


def rows(bank: Bank, statement: str) -> list[tuple[Any, ...]]:
    with bank.lock:
        return bank.database().execute(statement).fetchall()


def shelf(bank: Bank, name: str) -> Mapping[str, Paper]:
    return {"documents": bank.papers, "observations": bank.views, "routes": bank.routes}[name]


@pytest.mark.parametrize(("part", "name"), SHEETS)
def test_a_sheet_has_its_title_and_date_and_no_open_place(part: str, name: str, bank: Bank) -> None:
    sheet, document = shelf(bank, part)[name], getattr(SHIPPED, part)[name]
    assert (sheet.name, sheet.title, sheet.date) == (name, document.title, document.date.isoformat())
    assert "{" not in sheet.text


@given(seed=games)
def test_a_sheet_always_says_each_fact_as_it_is_and_an_outdated_one_never_does(seed: int | None) -> None:
    game = draw(SHIPPED, seed)
    bank = Bank(game)
    for part, name in SHEETS:
        document, text = getattr(SHIPPED, part)[name], shelf(bank, part)[name].text.lower()
        for fact, form in PLACE.findall(document.text):
            if not form or SHIPPED.facts[fact].decoration:
                continue
            true = SHIPPED.facts[fact].said(game.values[fact])
            assert (f"{true}." in text or f"{true};" in text or f"{true}," in text) != (fact in document.outdated)


@given(seed=games)
def test_what_is_outdated_is_never_true_and_always_plausible(seed: int | None) -> None:
    game = draw(SHIPPED, seed)
    for name, fact in SHIPPED.facts.items():
        if not fact.decoration:
            assert game.outdated(name) != game.values[name]
            assert game.outdated(name) in fact.wrongs(game.values[name])


def test_every_outdated_sheet_is_older_than_those_that_are_right() -> None:
    for part in SHELVES:
        old = [sheet.date for sheet in getattr(SHIPPED, part).values() if sheet.outdated]
        new = [sheet.date for sheet in getattr(SHIPPED, part).values() if not sheet.outdated]
        assert max(old) < min(new)


def test_two_games_differ_and_the_same_seed_is_the_same_game() -> None:
    assert draw(SHIPPED, 1) == draw(SHIPPED, 1)
    assert len({tuple(draw(SHIPPED, seed).values.values()) for seed in range(20)}) == 20


def test_the_fixed_game_has_the_values_of_the_file() -> None:
    assert FIXED.values == {name: fact.value for name, fact in SHIPPED.facts.items()}


@given(seed=games)
def test_the_database_states_the_facts_of_its_game_beside_older_rows(seed: int | None) -> None:
    game = draw(SHIPPED, seed)
    bank = Bank(game)
    noted = rows(
        bank, "SELECT item, value FROM (SELECT * FROM night_log UNION SELECT * FROM deposit_boxes) ORDER BY noted"
    )
    bank.close()
    latest = dict(noted)
    for fact in ("unwatched_way", "rest_minutes", "call_delay", "box_count"):
        label = SHIPPED.facts[fact].label
        assert latest[label] == game.values[fact]
        assert noted.count((label, game.outdated(fact))) == 1


def test_a_clause_may_stand_at_the_beginning_of_a_sentence() -> None:
    assert fill_in("{door_inches:Said}; {door_inches:said}; {door_inches}.", FIXED) == (
        "The thickness of the vault door is 12 inches; the thickness of the vault door is 12 inches; 12."
    )


def test_the_shifts_state_how_many_guards_there_are(bank: Bank) -> None:
    facts = SHIPPED.facts
    assert rows(bank, "SELECT shift, guards FROM shifts") == [
        (shift, facts[f"{shift}_guards"].value) for shift in ("early", "late", "night")
    ]


def test_the_guards_by_name_are_as_many_as_the_facts_say(bank: Bank) -> None:
    counted = dict(rows(bank, "SELECT shift, count(*) FROM guards GROUP BY shift"))
    assert counted == {shift: SHIPPED.facts[f"{shift}_guards"].value for shift in ("early", "late", "night")}


def test_the_cameras_by_place_are_as_many_as_the_facts_say(bank: Bank) -> None:
    assert rows(bank, "SELECT sum(count) FROM cameras") == [(SHIPPED.facts["cameras"].value,)]


def test_numbers_stay_numbers_and_nothing_stays_nothing() -> None:
    database = {"rooms": {"columns": ["name", "eyes"], "rows": [["hall", 2], ["{cameras}", None], ["attic", 1.5]]}}
    bank = Bank(draw(Scenario.model_validate(SMALL | {"database": database}), None))
    assert rows(bank, "SELECT name, eyes FROM rooms") == [("hall", 2), (2, None), ("attic", 1.5)]
    bank.close()


def test_a_closed_bank_closes_its_database_and_may_be_closed_again() -> None:
    bank = Bank(FIXED)
    with bank.lock:
        connection = bank.database()
    bank.close()
    bank.close()
    with pytest.raises(Exception, match="closed"):
        connection.execute("SELECT 1")
