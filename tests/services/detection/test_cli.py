"""`heist detect`: verdicts in words, calibrations, and scores on transcripts."""

import json
from pathlib import Path
from shutil import copytree

import pytest
from typer.testing import CliRunner

from heist.cli import console
from heist.cli.main import cli
from heist.errors import HeistError
from heist.settings import shipped
from tests.services.detection.test_imports import GAME
from tests.services.detection.test_router import LIAR


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a database, a config of its own, and a wide terminal."""
    monkeypatch.setenv("HEIST_DATABASE_URL", f"sqlite:///{tmp_path}/heist.db")
    monkeypatch.setenv("HEIST_LLM", "simulated")
    monkeypatch.setenv("HEIST_CONFIG", str(copytree(shipped("config"), tmp_path / "config")))
    monkeypatch.setattr(console.out, "_width", 160)
    return tmp_path


def run(*words: str) -> str:
    told = CliRunner().invoke(cli, ["detect", *words])
    if told.exception:
        raise told.exception
    return told.stdout


def test_a_record_is_judged_with_quotes_for_and_against(home: Path) -> None:
    (home / "liar.json").write_text(json.dumps(LIAR))
    told = run(str(home / "liar.json"))
    assert told.startswith("lookout is the mole with ")
    assert "why more" in told
    assert "“start of the night rest is 02:40”" in told
    assert "what would change it" in told
    assert json.loads(run("show", str(home / "liar.json"), "--json"))["suggested_mole"] == "lookout"


def test_a_log_of_a_run_is_judged_like_the_session(home: Path) -> None:
    ran = CliRunner().invoke(cli, ["run", "--rounds", "1", "--seed", "3", "--json"])
    (home / "log.jsonl").write_text(ran.stdout)
    session_id = json.loads(ran.stdout.splitlines()[0])["session_id"]
    assert run(str(home / "log.jsonl")) == run(session_id)


def test_what_cannot_be_judged_is_said(home: Path) -> None:
    assert "No verdict: no text model is fitted" in run(_written(home), "--detector", "bag")
    for words in (["nope"], [_written(home), "--detector", "oracle"]):
        with pytest.raises(HeistError, match=r"there is no (session|detector)"):
            run(*words)
    (home / "bad.json").write_text("{}")
    (home / "bad.jsonl").write_text("{}\n")
    for name in ("bad.json", "bad.jsonl"):
        with pytest.raises(HeistError, match="bad"):
            run(str(home / name))


def _written(home: Path) -> str:
    (home / "record.json").write_text(json.dumps(LIAR))
    return str(home / "record.json")


def test_the_detectors_are_listed(home: Path) -> None:
    assert [line.split()[0] for line in run("list").splitlines()][:3] == ["chance", "role", "length"]


def test_a_calibration_is_fitted_on_revealed_games_and_used(home: Path) -> None:
    with pytest.raises(HeistError, match="needs games without a mole"):
        run("calibrate")
    for seed, arm in ((1, "none"), (2, "mole"), (3, "mole")):
        CliRunner().invoke(cli, ["run", "--rounds", "1", "--seed", str(seed), "--arm", arm])
    told = run("calibrate", "--text")
    assert "of 2 mole, 1 none games by" in told
    assert "the alarm stays Ville's" in told
    fitted = json.loads((home / "config" / "calibration" / "own.json").read_text())
    assert fitted["games"] == {"mole": 2, "none": 1}
    assert {path.name for path in (home / "config" / "text_models").iterdir()} == {"bag.json", "text.json"}
    with pytest.raises(HeistError, match="--name: expected letters"):
        run("calibrate", "--name", "../own")


def test_transcripts_of_others_are_scored(home: Path) -> None:
    folder = home / "data"
    folder.mkdir()
    games = [{**GAME, "game_id": f"g{number}", "saboteurs": [GAME["agents"][number % 3]]} for number in range(10)]
    (folder / "avalon.jsonl").write_text("\n".join(map(json.dumps, games)))
    told = run("score", str(folder))
    assert "avalon: 10 games" in told
    assert "there is no scenario to check figures" in told
    assert " 10 " in next(line for line in told.splitlines() if "length" in line)
