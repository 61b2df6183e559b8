"""Counting never reads a whole table: one session is found by its index, and all of them are counted in an index."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from heist.errors import StoreError
from heist.store.engine import connect
from heist.store.figures import Chosen, Figures, Reading
from heist.store.migrate import upgrade

pytestmark = pytest.mark.mission("S14")
ONE = Chosen(session_ids=("s1",))
SOME = (Chosen(variant="a"), Chosen(since="2026", until="2027"), Chosen(strategy="x"), Chosen(crew="c", model="m"))
COUNTS: dict[str, Callable[[Reading, Chosen], object]] = {
    "talk": Reading.talk,
    "calls": Reading.calls,
    "failed": Reading.failed,
    "follows": Reading.follows,
    "names": Reading.names,
}
LARGE = ("messages", "mentions", "tool_usage", "events")


@pytest.fixture
def engine(tmp_path: Path) -> Generator[Engine]:
    engine = connect(f"sqlite:///{tmp_path}/figures.db")
    upgrade(engine)
    yield engine
    engine.dispose()


def plan(engine: Engine, question: Callable[[Reading], object]) -> list[str]:
    """What the database does to answer it, a step a line."""
    steps: list[str] = []
    asked: list[tuple[str, object]] = []

    def hear(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", hear)
    with Figures(engine).reading() as reading:
        question(reading)
    event.remove(engine, "before_cursor_execute", hear)
    with engine.connect() as connection:
        for statement, parameters in asked:
            if statement.startswith("SELECT"):
                explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
                steps += [row.detail for row in explained]
    assert steps
    return steps


def scanned(steps: list[str]) -> list[str]:
    """Large tables that are read from end to end."""
    return [step for step in steps if step.startswith("SCAN") and step.split()[1] in LARGE]


@pytest.mark.parametrize("name", COUNTS)
def test_one_session_is_found_by_its_index(engine: Engine, name: str) -> None:
    steps = plan(engine, lambda reading: COUNTS[name](reading, ONE))
    assert [step for step in steps if step.startswith("SEARCH")]
    assert not [step for step in steps if step.startswith("SCAN")]
    assert all("COVERING INDEX" in step for step in steps if step.startswith("SEARCH") and "events" not in step)


def test_totals_are_summed_in_an_index_as_they_are_found(engine: Engine) -> None:
    for chosen in (Chosen(), ONE):
        steps = plan(engine, lambda reading: reading.totals(chosen))  # noqa: B023 - asked at once
        assert len(steps) == 2, steps
        assert all(" INDEX " in step for step in steps)
    for chosen in SOME:
        steps = plan(engine, lambda reading: reading.totals(chosen))  # noqa: B023 - asked at once
        assert scanned(steps) == [], steps
        assert not [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("name", COUNTS)
def test_some_sessions_are_found_one_by_one(engine: Engine, name: str) -> None:
    for chosen in SOME:
        steps = plan(engine, lambda reading: COUNTS[name](reading, chosen))  # noqa: B023 - asked at once
        assert scanned(steps) == [], steps


@pytest.mark.parametrize("name", COUNTS)
def test_all_sessions_are_counted_in_an_index_that_is_in_order(engine: Engine, name: str) -> None:
    steps = plan(engine, lambda reading: COUNTS[name](reading, Chosen()))
    indices = ("messages_by_agent", "tool_usage_by_tool", "mentions_by_agent", "events_of_failure")
    [step] = steps  # and nothing is sorted
    assert step.endswith(indices), step


def test_a_page_of_sessions_comes_out_of_its_index(engine: Engine) -> None:
    for chosen in (Chosen(), *SOME):
        steps = plan(engine, lambda reading: reading.sessions(chosen, 50, "s1"))  # noqa: B023 - asked at once
        assert not [step for step in steps if step == "SCAN sessions"], steps
    for by_session in (Reading.talk_by_session, Reading.calls_by_session):
        [step] = plan(engine, lambda reading: by_session(reading, ["a", "b"]))  # noqa: B023 - asked at once
        assert step.startswith("SEARCH")
        assert "COVERING INDEX" in step


def test_a_planted_scan_is_seen(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX messages_of_session")
        connection.exec_driver_sql("DROP INDEX messages_by_agent")
    with pytest.raises(AssertionError):
        test_one_session_is_found_by_its_index(engine, "talk")
    assert scanned(plan(engine, lambda reading: reading.talk(Chosen())))


def test_a_database_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="the audit could not be read: no such table"),
        Figures(connect(f"sqlite:///{tmp_path}/empty.db")).reading() as reading,
    ):
        reading.talk(Chosen())
