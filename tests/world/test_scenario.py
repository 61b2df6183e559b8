"""Scenario files: what is read, what is refused, and how the phases share the rounds."""

import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import ConfigError
from heist.settings import shipped
from heist.world.scenario import PLACE, Scenario, read

pytestmark = pytest.mark.mission("S16")

SMALL: dict[str, Any] = {
    "title": "A small bank",
    "brief": "One room.",
    "goal": "In and out.",
    "phases": [{"name": "talk", "purpose": "Talk."}],
    "roles": {"planner": {"tool": "plan_board", "about": "all"}},
    "facts": {
        "cameras": {"value": 2, "unit": "cameras", "decoration": True},
        "rest_from": {
            "label": "start of the rest",
            "type": "clock",
            "draw": ["02:10", "02:40"],
            "value": "02:10",
            "wrong": [-30, 20],
        },
    },
    "documents": {
        "plan": {"title": "Plan", "date": "2026-01-02", "text": "There are {cameras} cameras; {rest_from:said}."}
    },
    "database": {"rooms": {"columns": ["name", "eyes"], "rows": [["hall", "{cameras}"], ["vault", 0]]}},
    "places": {"outside": {"at": [0, 0, 1, 1], "to": ["vault"]}, "vault": {"at": [0, 1, 1, 1]}},
    "slots": {
        "entry_time": {
            "label": "when the crew goes in",
            "type": "clock",
            "role": "planner",
            "reckon": "rest_from + 1",
            "unset": "00:30",
        }
    },
    "night": {"from": "22:00", "until": "06:00"},
    "legs": [
        {"name": "go in", "at": "entry_time", "place": "vault", "takes": 5, "loot": True, "text": "In."},
        {"name": "go", "place": "outside", "takes": 1, "text": "Out."},
    ],
    "rules": [
        {"during": ["go in"], "if": "now < rest_from", "slot": "entry_time", "finding": "too early", "costs": 40},
        {"during": ["go in"], "if": "now > rest_from + 10", "slot": "entry_time", "finding": "too late", "costs": 20},
    ],
    "police": {"after": 7, "until": "go"},
    "out": "go",
}


def written(folder: Path, content: dict[str, Any] | str) -> Path:
    (folder / "scenarios").mkdir()
    file = folder / "scenarios" / "small.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return file


def refusal(folder: Path, content: dict[str, Any] | str) -> str:
    """The sentence with which the file is refused, without its beginning: the file's name."""
    file = written(folder, content)
    with pytest.raises(ConfigError) as error:
        read(folder, "small")
    assert str(error.value).startswith(str(file))
    return str(error.value).removeprefix(str(file))


def test_the_shipped_scenario_loads() -> None:
    scenario = read(shipped("config"), "first_national_bank")
    assert scenario.title == "First National Bank"
    assert [phase.name for phase in scenario.phases] == ["reconnaissance", "planning", "decision"]
    assert {"guards", "shifts", "cameras", "access_levels"} <= set(scenario.database)


def test_every_fact_of_the_shipped_scenario_is_stated_somewhere() -> None:
    scenario = read(shipped("config"), "first_national_bank")
    cells = [str(cell) for table in scenario.database.values() for row in table.rows for cell in row]
    sheets = {**scenario.documents, **scenario.observations, **scenario.routes}
    texts = [sheet.text for sheet in sheets.values()]
    stated = {fact for text in (*cells, *texts) for fact, _ in PLACE.findall(text)}
    assert set(scenario.facts) == stated


def test_a_small_scenario_loads(tmp_path: Path) -> None:
    written(tmp_path, SMALL)
    scenario = read(tmp_path, "small")
    assert scenario.facts["cameras"].value == 2
    assert scenario.documents["plan"].date == datetime.date(2026, 1, 2)
    assert scenario.database["rooms"].rows == (("hall", "{cameras}"), ("vault", 0))


def test_a_scenario_is_frozen() -> None:
    scenario = read(shipped("config"), "first_national_bank")
    with pytest.raises(ValueError, match="frozen"):
        scenario.title = "Another"  # type: ignore[misc]


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no scenario 'nowhere' in .*scenarios; there are: none"):
        read(tmp_path, "nowhere")


def test_a_paper_that_names_an_unknown_fact_is_refused(tmp_path: Path) -> None:
    documents = {"plan": SMALL["documents"]["plan"] | {"text": "There are {dogs} dogs."}}
    sentence = refusal(tmp_path, SMALL | {"documents": documents})
    assert sentence.startswith(", line ")
    assert sentence.endswith(": documents.plan.text: there is no fact 'dogs'")


def test_an_outdated_value_of_an_unknown_fact_is_refused(tmp_path: Path) -> None:
    documents = {"plan": SMALL["documents"]["plan"] | {"outdated": ["dogs"]}}
    assert "documents.plan.outdated: there is no fact 'dogs'" in refusal(tmp_path, SMALL | {"documents": documents})


def test_a_cell_that_names_an_unknown_fact_is_refused(tmp_path: Path) -> None:
    database = {"rooms": {"columns": ["name"], "rows": [["{dogs}"]]}}
    assert "database.rooms.rows.0: there is no fact 'dogs'" in refusal(tmp_path, SMALL | {"database": database})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["hall", 1], ["vault"]], "row 2 has 1 cells, expected 2"),
        ([["hall", 1, 2]], "row 1 has 3 cells, expected 2"),
        ([[]], "row 1 has 0 cells, expected 2"),
    ],
)
def test_a_table_with_ragged_rows_is_refused_where_it_stands(
    rows: list[list[object]], said: str, tmp_path: Path
) -> None:
    content = SMALL | {"database": {"rooms": {"columns": ["name", "eyes"], "rows": rows}}}
    sentence = refusal(tmp_path, content)
    line = yaml.safe_dump(content, sort_keys=False).splitlines().index("  rooms:") + 1
    assert sentence == f", line {line}: database.rooms: {said}"


def test_a_document_called_index_is_refused_where_the_documents_stand(tmp_path: Path) -> None:
    content = SMALL | {"documents": {"index": SMALL["documents"]["plan"]}}
    line = yaml.safe_dump(content, sort_keys=False).splitlines().index("documents:") + 1
    assert refusal(tmp_path, content) == (
        f", line {line}: documents: nothing in it may be called index, the list has that name"
    )


@pytest.mark.parametrize("missing", SMALL)
def test_a_part_that_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    content = {name: part for name, part in SMALL.items() if name != missing}
    assert refusal(tmp_path, content).endswith(f": {missing}: field required")


@pytest.mark.parametrize(
    ("part", "value", "place"),
    [
        ("title", "", "title"),
        ("title", ["a"], "title"),
        ("brief", "x" * 20_001, "brief"),
        ("phases", [], "phases"),
        ("phases", [{"name": "talk"}], "phases.0.purpose"),
        ("facts", {"Cameras": {"value": 1}}, "facts.Cameras"),
        ("facts", {"cameras": 2}, "facts.cameras"),
        ("facts", {"cameras": {"value": 2, "colour": "red"}}, "facts.cameras.colour"),
        ("facts", {"cameras": {"value": None, "decoration": True}}, "facts.cameras.value"),
        ("documents", {}, "documents"),
        ("documents", {"plan b": SMALL["documents"]["plan"]}, "documents.plan b"),
        ("documents", {"plan": {"title": "Plan", "date": "yesterday", "text": "x"}}, "documents.plan.date"),
        ("documents", {"../plan": SMALL["documents"]["plan"]}, "documents.../plan"),
        ("database", {}, "database"),
        ("database", {"rooms": {"columns": [], "rows": []}}, "database.rooms.columns"),
        ("database", {'x"; DROP': {"columns": ["a"], "rows": []}}, 'database.x"; DROP'),
        ("database", {"rooms": {"columns": ['a"'], "rows": []}}, "database.rooms.columns.0"),
        ("villain", "x", "villain"),
    ],
)
def test_a_part_that_is_not_what_it_must_be_is_refused_by_its_key(
    part: str, value: object, place: str, tmp_path: Path
) -> None:
    content = SMALL | {part: value}
    sentence = refusal(tmp_path, content)
    assert sentence.startswith(", line ")
    assert sentence.partition(": ")[2].startswith(place)


def test_a_refusal_names_the_line_of_the_key(tmp_path: Path) -> None:
    content = yaml.safe_dump(SMALL, sort_keys=False).replace("value: 2", "value: [2]")
    line = next(number for number, text in enumerate(content.splitlines(), 1) if "value: [2]" in text)
    assert refusal(tmp_path, content).startswith(f", line {line}: facts.cameras.value")


def test_a_key_that_stands_twice_is_refused_on_its_second_line(tmp_path: Path) -> None:
    content = yaml.safe_dump(SMALL, sort_keys=False) + "title: Again\n"
    assert refusal(tmp_path, content) == (
        f", line {len(content.splitlines())}: not valid YAML: the key 'title' stands twice"
    )


@pytest.mark.parametrize("content", ["", "a", "- a", "12"])
def test_a_file_that_is_no_mapping_is_refused(content: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, content).startswith(", line 1: expected a mapping of keys, found ")


def of_phases(number: int) -> Scenario:
    phases = [{"name": f"phase {index}", "purpose": "Talk."} for index in range(number)]
    return Scenario.model_validate(SMALL | {"phases": phases})


@given(phases=st.integers(1, 9), rounds=st.integers(1, 60))
def test_the_phases_never_go_back_and_the_last_round_is_always_of_the_last_phase(phases: int, rounds: int) -> None:
    scenario = of_phases(phases)
    order = [scenario.phases.index(scenario.phase(round_, rounds)) for round_ in range(1, rounds + 1)]
    assert all(before <= after for before, after in pairwise(order))
    assert order[-1] == phases - 1


@given(phases=st.integers(1, 9), more=st.integers(0, 50))
def test_the_phases_always_share_the_rounds_evenly(phases: int, more: int) -> None:
    scenario, rounds = of_phases(phases), phases + more
    order = [scenario.phase(round_, rounds) for round_ in range(1, rounds + 1)]
    shares = [order.count(phase) for phase in scenario.phases]
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1


def test_five_rounds_of_the_shipped_scenario_look_then_plan_then_decide() -> None:
    scenario = read(shipped("config"), "first_national_bank")
    names = [scenario.phase(round_, 5).name for round_ in range(1, 6)]
    assert names == ["reconnaissance", "reconnaissance", "planning", "planning", "decision"]


def test_a_session_of_one_round_decides() -> None:
    assert read(shipped("config"), "first_national_bank").phase(1, 1).name == "decision"


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"rooms": {"columns": ["a", "a"], "rows": []}}, "a column stands twice"),
        (
            {"sqlite_rooms": {"columns": ["a"], "rows": []}},
            "the database keeps names that begin with sqlite_ for itself",
        ),
        ({"rooms": {"columns": ["a"], "rows": [[2**70]]}}, "row 1 holds a number that is too large for the database"),
    ],
)
def test_a_table_that_the_database_would_refuse_is_refused_when_it_is_read(
    tmp_path: Path, table: dict[str, object], complaint: str
) -> None:
    assert complaint in refusal(tmp_path, SMALL | {"database": table})
