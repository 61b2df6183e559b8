"""`heist scenario`: what authors are told of a scenario."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heist.cli.main import cli
from heist.settings import shipped

pytestmark = pytest.mark.mission("S16", "B1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(shipped("config"), tmp_path / "config")
    monkeypatch.setenv("HEIST_CONFIG", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    return folder / "scenarios"


def heist(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["scenario", *arguments])
    return result.exit_code, result.output


def changed(folder: Path, old: str, new: str) -> tuple[Path, int]:
    """The bank with one thing changed, and the line on which that stands."""
    file = folder / "first_national_bank.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file, text[: text.index(old)].count("\n") + 1


def test_all_shipped_scenarios_are_well(folder: Path) -> None:
    code, output = heist("lint", "--draws", "3")
    assert code == 0
    for name in ("first_national_bank", "tide_museum"):
        assert f"{name}: well. Who knows the truth reaches 100 or more;" in output


def test_a_fault_is_named_with_its_file_and_line(folder: Path) -> None:
    file, line = changed(folder, "  walk_out:\n", "  walk_out: # the driver paced it out\n")
    changed(folder, "value: 5\n    wrong: [-3, 3, 5]", "value: 5\n    wrong: [1]")
    code, output = heist("lint", "first_national_bank", "--draws", "2")
    assert code == 1
    assert output.startswith(f"{file}, line {line}: facts.walk_out: believed to be ")
    assert "it costs nothing" in output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "role: planner, reckon: rest_from",
            "role: poet, reckon: rest_from",
            "slots.entry_time.role: there is no role",
        ),
        ("reckon: rest_from + 1", "reckon: nap_from + 1", "'nap_from' is neither a fact nor a slot"),
        ("reckon: rest_from + 1", "reckon: van_time + 1", "reckoned in a ring: "),
        ("reckon: rest_from + 1", "reckon: rest_minutes", "expected a clock, found a count"),
        ("slot: drop_time, costs: 25", "slot: fall_time, costs: 25", "rules.0.slot: there is no slot 'fall_time'"),
        ("during: [set down, hide]", "during: [set down, run]", "rules.0.during: there is no leg 'run'"),
        ("if: now == patrol_at", "if: now = patrol_at", "rules.0.if: 'now = patrol_at' is no expression"),
        ("out: carry out", "out: carry on", "out: there is no leg 'carry on'"),
        ("to: [lobby]}", "to: [attic]}", "there is no place 'attic'"),
        ("to: [vault]}", "to: []}", "places.vault: no way leads from outside to here"),
        ("{rest_from:said}", "{nap_from:said}", "observations.guard_room_window.text: there is no fact 'nap_from'"),
        ("label: length of the night rest", "label: Rest!", "facts.rest_minutes.label"),
        ("    label: length of the night rest\n", "", "facts.rest_minutes: what is no decoration needs a label"),
        ("draw: [80, 90, 100]", "draw: [80, ninety]", "facts.rest_minutes: expected a number of minutes"),
    ],
)
def test_a_scenario_that_does_not_hang_together_is_refused_with_file_line_and_key(
    folder: Path, old: str, new: str, said: str
) -> None:
    file, _ = changed(folder, old, new)
    code, output = heist("lint", "first_national_bank")
    assert code == 1
    assert output.startswith(f"{file}, line ")
    assert said in output
    assert int(output.removeprefix(f"{file}, line ").partition(":")[0]) > 1


def test_one_bad_scenario_does_not_hide_another(folder: Path) -> None:
    changed(folder, "out: carry out", "out: carry on")
    code, output = heist("lint", "--draws", "1")
    assert code == 1
    assert "out: there is no leg" in output
    assert "tide_museum: well." in output


def test_a_scenario_that_does_not_exist_is_said_with_those_that_do(folder: Path) -> None:
    code, output = heist("lint", "moon_base")
    assert code == 1
    assert "there is no scenario 'moon_base'" in output
    assert "first_national_bank, tide_museum" in output


def test_show_tells_facts_sources_plan_and_night_of_the_game_of_a_seed(folder: Path) -> None:
    code, output = heist("show", "tide_museum", "--seed", "7")
    assert code == 0
    assert "The museum on the island, the game of seed 7" in output
    assert "whoever wants to play should look away" in output
    for part in ("round_from", "(outdated)", "set_out", "watch_clock", "They wait."):
        assert part in output
    assert output.rstrip().endswith("clean, 100 of 100, 100% of the loot")


def test_show_without_a_seed_is_the_fixed_game(folder: Path) -> None:
    code, output = heist("show", "first_national_bank")
    assert code == 0
    assert "the fixed game" in output
    assert "12 inches" in output
