"""The command line says what a reader wants to know, and ends with a sentence when it cannot."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heist import __version__
from heist.settings import Settings


def heist(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "heist", *arguments]
    given = {**os.environ, "HEIST_LLM": "simulated", "COLUMNS": "120", **environment}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=60, check=False)


def test_run_is_a_readable_session(tmp_path: Path) -> None:
    done = heist(tmp_path, "run", "--seed", "7")
    assert (done.returncode, done.stderr) == (0, "")
    assert "simulated crew, no language model" in done.stdout
    for part in ("round 5", "lookout (street watch) 30/30", "✓ file_reader(index)", "30 of 30 turns"):
        assert part in done.stdout


@pytest.mark.mission("S15")
def test_run_json_prints_the_events_as_the_audit_has_them(tmp_path: Path) -> None:
    done = heist(tmp_path, "run", "--json", "--rounds", "1", "--order", "random", "--pace", "1000")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    durable = [event for event in events if "seq" in event]
    with sqlite3.connect(tmp_path / "heist.db") as audit:
        stored = audit.execute("SELECT seq, at, body FROM events ORDER BY seq").fetchall()
    assert durable == [{"seq": seq, "at": at, **json.loads(body)} for seq, at, body in stored]
    assert [event["kind"] for event in events].count("message.delta") > 20
    assert done.returncode == 0


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_run_stops_the_session_and_the_audit_says_so(tmp_path: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-m", "heist", "run", "--pace", "5"]
    environment = {**os.environ, "HEIST_LLM": "simulated"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "planner" not in process.stdout.readline():
        time.sleep(0.01)
    process.send_signal(sent)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")
    with sqlite3.connect(tmp_path / "heist.db") as audit:
        assert audit.execute("SELECT status FROM sessions").fetchall() == [("stopped",)]


@pytest.mark.parametrize("arguments", [("run",), ("run", "--json")])
def test_a_reader_that_goes_away_ends_the_session_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "heist", *arguments, "--pace", "300"]
    environment = {**os.environ, "HEIST_LLM": "simulated"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(20) == 130
    process.stderr.close()
    with sqlite3.connect(tmp_path / "heist.db") as audit:
        assert audit.execute("SELECT status FROM sessions").fetchall() == [("stopped",)]


def test_the_words_stand_under_their_speaker(tmp_path: Path) -> None:
    done = heist(tmp_path, "run", "--seed", "7", "--rounds", "1", "--pace", "800")
    with sqlite3.connect(tmp_path / "heist.db") as audit:
        spoken = audit.execute("SELECT agent_name, message FROM messages ORDER BY turn_id").fetchall()
    told = " ".join(done.stdout.split())
    for agent, message in spoken:
        told = told.split(f"{agent} (", 1)[1]
        assert " ".join(message.split()) in told.split(" ms ", 1)[0]


@pytest.mark.mission("S17")
def test_doctor_says_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    well = heist(tmp_path, "doctor")
    assert well.returncode == 0
    for part in ("is new and will be set up", "The classic six: 6 agents, 5 rounds", "simulated"):
        assert part in well.stdout
    config = shutil.copytree(Settings().config, tmp_path / "config")
    (config / "broken.yaml").write_text("name: x\nscenario: y\nagents:\n  - {name: a}\n")
    ill = heist(
        tmp_path,
        "doctor",
        HEIST_CONFIG=str(config),
        HEIST_LLM="http://127.0.0.1:9/v1",
        HEIST_DATABASE_URL="sqlite:////no/such/folder/x.db",
    )
    assert ill.returncode == 1
    told = " ".join(ill.stdout.split())
    for part in (
        "broken.yaml, line",
        "agents.0.role: field required",
        "http://127.0.0.1:9/v1 cannot be reached",
        "→ start it, or mend HEIST_LLM",
        "unable to open database file",
        "→ check HEIST_DATABASE_URL",
    ):
        assert part in told, told
    assert not (tmp_path / "heist.db").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("run", "--crew", "none"), {}, "heist: there is no crew 'none' in"),
        (
            ("run",),
            {"HEIST_LLM": "http://127.0.0.1:9/v1"},
            "heist: the model server at http://127.0.0.1:9/v1 cannot be",
        ),
        (("run",), {"HEIST_PORT": "x"}, "heist: HEIST_PORT: input should be a valid integer"),
        (
            ("run", "--order", "backwards"),
            {},
            "heist: --order: input should be 'round_robin' or 'random', found 'backwards'",
        ),
        (("run", "--rounds", "5000"), {}, "heist: --rounds: input should be less than or equal to 1000, found 5000"),
        (
            ("serve",),
            {"HEIST_HOST": "a..b"},
            "heist: cannot listen on a..b:8008: that is no name of a host; HEIST_HOST",
        ),
        (("serve",), {"HEIST_HOST": "0.0.0.0"}, "heist: HEIST_HOST: '0.0.0.0' can be reached from other machines"),
        (("run",), {"HEIST_DATABASE_URL": "sqlite:////no/x.db"}, "cannot be opened: unable to open database file"),
    ],
)
def test_what_cannot_be_done_ends_with_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    done = heist(tmp_path, *arguments, **environment)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_version_is_said() -> None:
    assert heist(Path(), "--version").stdout.strip() == __version__
