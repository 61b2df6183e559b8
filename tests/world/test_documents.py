"""The papers and the database: what they say is what is true, or what was."""

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.settings import shipped
from heist.world.documents import Bank
from heist.world.scenario import PLACE, Scenario, read
from tests.world.test_scenario import SMALL

pytestmark = pytest.mark.mission("S3")

SHIPPED = read(shipped("config"), "first_national_bank")
CURRENT = [name for name, document in SHIPPED.documents.items() if not document.outdated]


@pytest.fixture
def bank() -> Generator[Bank]:
    bank = Bank(SHIPPED)
    yield bank
    bank.close()


def rows(bank: Bank, statement: str) -> list[tuple[Any, ...]]:
    with bank.lock:
        return bank.database().execute(statement).fetchall()


@pytest.mark.parametrize("name", CURRENT)
def test_a_current_paper_states_the_facts_in_the_places_of_their_names(name: str, bank: Bank) -> None:
    words = PLACE.split(SHIPPED.documents[name].text)
    words[1::2] = [str(SHIPPED.facts[fact].value) for fact in words[1::2]]
    assert bank.papers[name].text == "".join(words)


@pytest.mark.parametrize("name", SHIPPED.documents)
def test_a_paper_has_its_title_and_date_and_no_open_place(name: str, bank: Bank) -> None:
    paper, document = bank.papers[name], SHIPPED.documents[name]
    assert (paper.name, paper.title, paper.date) == (name, document.title, document.date.isoformat())
    assert "{" not in paper.text


def test_the_outdated_paper_states_the_old_numbers_under_its_old_date(bank: Bank) -> None:
    paper = bank.papers["security_overview_2019"]
    assert paper.date == "2019-03-11"
    assert paper.text.splitlines() == [
        "16 cameras cover the building. Footage is kept for 72 hours.",
        "Shifts change at 08:00, 16:00 and 00:00; 2 guards are on duty in each.",
        "The vault is a TimeGuard Pro X500 with a lock that stays shut for 3 hours after a wrong code.",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("camera_plan", "24 cameras cover the building. Footage is kept for 90 days."),
        ("vault_specification", "The vault is a TitanSafe Pro 5000. Its door is 12 inches thick and weighs 3 tons."),
        ("alarm_manual", "An alarm reaches the police at once; a patrol car needs 3 to 5 minutes."),
        ("guard_orders", "At each change of shift the rounds rest for 10 minutes while the books are handed over."),
    ],
)
def test_a_current_paper_contradicts_the_outdated_one(name: str, line: str, bank: Bank) -> None:
    assert line in bank.papers[name].text.splitlines()


def test_the_outdated_paper_is_the_oldest(bank: Bank) -> None:
    assert min(bank.papers.values(), key=lambda paper: paper.date).name == "security_overview_2019"


def test_the_outdated_values_differ_from_the_facts() -> None:
    outdated = SHIPPED.documents["security_overview_2019"].outdated
    assert all(SHIPPED.facts[fact].value != value for fact, value in outdated.items())


values = st.integers() | st.text(max_size=12) | st.floats(allow_nan=False)


@given(cameras=values, dogs=values, old=values)
def test_a_paper_always_states_its_outdated_values_and_otherwise_the_facts(
    cameras: int | str | float, dogs: int | str | float, old: int | str | float
) -> None:
    plan = {"title": "Plan", "date": "2026-01-02", "text": "{cameras}|{dogs}|{cameras}"}
    content = SMALL | {
        "facts": {"cameras": {"value": cameras}, "dogs": {"value": dogs}},
        "documents": {"new": plan, "old": plan | {"outdated": {"cameras": old}}},
    }
    papers = Bank(Scenario.model_validate(content)).papers
    assert papers["new"].text == f"{cameras}|{dogs}|{cameras}"
    assert papers["old"].text == f"{old}|{dogs}|{old}"


def test_the_database_states_the_facts(bank: Bank) -> None:
    facts = {name: str(fact.value) for name, fact in SHIPPED.facts.items()}
    assert rows(bank, "SELECT shift, begins, guards, gap_minutes FROM shifts") == [
        (shift, facts[f"{shift}_from"], facts[f"{shift}_guards"], facts["gap_minutes"])
        for shift in ("early", "late", "night")
    ]


def test_the_guards_by_name_are_as_many_as_the_facts_say(bank: Bank) -> None:
    counted = dict(rows(bank, "SELECT shift, count(*) FROM guards GROUP BY shift"))
    assert counted == {shift: SHIPPED.facts[f"{shift}_guards"].value for shift in ("early", "late", "night")}


def test_the_cameras_by_place_are_as_many_as_the_facts_say(bank: Bank) -> None:
    assert rows(bank, "SELECT sum(count) FROM cameras") == [(SHIPPED.facts["cameras"].value,)]


def test_the_places_without_a_camera_are_the_blind_spots(bank: Bank) -> None:
    blind = {place for (place,) in rows(bank, "SELECT place FROM cameras WHERE count = 0")}
    assert blind == {SHIPPED.facts[f"blind_spot_{number}"].value for number in (1, 2, 3)}


def test_numbers_stay_numbers_and_nothing_stays_nothing() -> None:
    database = {"rooms": {"columns": ["name", "eyes"], "rows": [["hall", 2], ["{cameras}", None], ["attic", 1.5]]}}
    bank = Bank(Scenario.model_validate(SMALL | {"database": database}))
    assert rows(bank, "SELECT name, eyes FROM rooms") == [("hall", 2), ("2", None), ("attic", 1.5)]
    bank.close()


def test_a_closed_bank_closes_its_database_and_may_be_closed_again() -> None:
    bank = Bank(SHIPPED)
    with bank.lock:
        connection = bank.database()
    bank.close()
    bank.close()
    with pytest.raises(Exception, match="closed"):
        connection.execute("SELECT 1")
