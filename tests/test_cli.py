"""The command line says what a reader wants to know, and ends with a sentence when it cannot."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from heist import __version__
from heist.cli.main import main
from heist.services.clients import hashed
from heist.settings import Settings
from tests.conftest import House


def heist(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "heist", *arguments]
    given = {**os.environ, "HEIST_LLM": "simulated", "COLUMNS": "120", **environment}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=60, check=False)


class Shell:
    """The command line in this process, over one database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str) -> None:
        monkeypatch.setenv("HEIST_DATABASE_URL", url)
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """(exit status, output, errors)."""
        self._monkeypatch.setattr(sys, "argv", ["heist", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *self._capsys.readouterr()

    def add(self, name: str, *scopes: str) -> dict[str, str]:
        status, out, _ = self("client", "add", name, *(f"--scope={scope}" for scope in scopes))
        assert status == 0
        return dict(line.split("=", 1) for line in out.splitlines())


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Settings) -> Shell:
    return Shell(monkeypatch, capsys, settings.database_url)


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


@pytest.mark.parametrize("wait", [0.0, 0.02, 0.3])
def test_a_run_that_is_ended_before_its_session_begins_is_quiet(tmp_path: Path, wait: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "heist", "run", "--pace", "5"],
        cwd=tmp_path,
        env={**os.environ, "HEIST_LLM": "simulated"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    status = Path(f"/proc/{process.pid}/status")
    while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1:
        time.sleep(0.005)
    time.sleep(wait)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")


def test_who_changes_his_mind_while_the_program_is_read_gets_no_traceback(tmp_path: Path) -> None:
    code = """
import builtins

read = builtins.__import__

def stop(name, *rest):
    if name == "heist.cli.main":
        raise KeyboardInterrupt
    return read(name, *rest)

builtins.__import__ = stop
from heist.__main__ import main
main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("arguments", [("run",), ("run", "--json")])
def test_an_output_that_is_full_ends_the_session_with_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "heist", *arguments],
            cwd=tmp_path,
            env={**os.environ, "HEIST_LLM": "simulated"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "heist: the output cannot be written: No space left on device\n")
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
        (("run",), {"HEIST_DATABASE_URL": "sqlite:////no/x.db"}, "cannot be opened: unable to open database file"),
    ],
)
def test_what_cannot_be_done_ends_with_one_sentence(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    sentence: str,
) -> None:
    for name, value in ({"HEIST_LLM": "simulated"} | environment).items():
        monkeypatch.setenv(name, value)
    status, _, err = shell(*arguments)
    assert status == 1
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (
            ("serve",),
            {"HEIST_HOST": "a..b"},
            "heist: cannot listen on a..b:8008: that is no name of a host; HEIST_HOST",
        ),
        (
            ("serve",),
            {"HEIST_HOST": "0.0.0.0", "HEIST_PORT": "0"},
            "heist: HEIST_HOST: '0.0.0.0' can be reached from other machines",
        ),
    ],
)
def test_a_server_that_cannot_be_ends_with_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    done = heist(tmp_path, *arguments, **environment)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_version_is_said() -> None:
    assert heist(Path(), "--version").stdout.strip() == __version__


# Clients from outside.


def stored(folder: Path) -> bytes:
    """Every byte on the disk, the database's write-ahead log among them."""
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


@pytest.mark.mission("S1")
def test_the_secret_of_a_client_is_shown_once_and_kept_nowhere(shell: Shell, tmp_path: Path) -> None:
    status, out, err = shell("client", "add", "clerk", "--scope", "files:read", "--scope", "calculator:use")
    assert (status, err) == (0, "The secret is shown this once; whoever has it is this client.\n")
    first, second = out.splitlines()
    client_id, secret = first.removeprefix("client_id="), second.removeprefix("client_secret=")
    assert re.fullmatch(r"clerk-[0-9a-f]{16}", client_id)
    assert len(secret) == 43
    assert secret.encode() not in stored(tmp_path)
    assert hashed(secret).hex().encode() in stored(tmp_path)
    _, listed, _ = shell("client", "list")
    assert client_id in listed
    assert "calculator:use" in listed
    assert secret not in listed
    assert hashed(secret).hex() not in listed


def test_a_client_whose_secret_could_not_be_shown_is_disabled_again(shell: Shell, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "heist", "client", "add", "clerk", "--scope", "files:read"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "heist: No space left on device"
    assert "disabled" in shell("client", "list")[1]
    assert shell("client", "add", "clerk", "--scope", "files:read")[0] == 0


@pytest.mark.mission("S1")
def test_a_client_that_is_added_while_the_server_runs_is_let_in_until_it_is_disabled(
    shell: Shell, served: House
) -> None:
    form = {"grant_type": "client_credentials", **shell.add("clerk", "calculator:use")}
    with httpx2.Client(base_url=served.url) as http:
        answer = http.post("/oauth/token", data=form).json()
        assert answer["scope"] == "calculator:use"
        own = {"Authorization": f"Bearer {answer['access_token']}"}
        assert http.post("/tools/calculator", json={"expression": "6 * 7"}, headers=own).json()["text"] == "6 * 7 = 42"
        assert shell("client", "disable", "clerk") == (0, "clerk is disabled.\n", "")
        refused = http.post("/tools/calculator", json={"expression": "6 * 7"}, headers=own)
        assert (refused.status_code, refused.json()["detail"]) == (
            401,
            "the token's client no longer exists, or is disabled",
        )
        assert http.post("/mcp", json={}, headers=own).status_code == 401
        assert http.post("/oauth/token", data=form).json()["error"] == "invalid_client"
        again = {"grant_type": "client_credentials", **shell.add("clerk", "files:read")}
        assert http.post("/oauth/token", data=again).json()["scope"] == "files:read"
        assert http.post("/oauth/token", data=form).json()["error"] == "invalid_client"


@pytest.mark.mission("S1")
def test_a_name_is_given_again_only_after_its_client_is_disabled(shell: Shell) -> None:
    first = shell.add("clerk", "files:read")
    sentence = "heist: there is already a client 'clerk'; disable it first, or choose another name\n"
    assert shell("client", "add", "clerk", "--scope=files:read") == (1, "", sentence)
    assert shell("client", "disable", first["client_id"])[0] == 0
    second = shell.add("clerk", "files:read")
    assert second["client_id"] != first["client_id"]
    assert second["client_secret"] != first["client_secret"]


@pytest.mark.mission("S1")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("clerk", "--scope=vault:open"), "there is no scope 'vault:open'; there are: analytics:read, calculator:use,"),
        (("clerk", "--scope=files:read", "--scope=vault:open"), "there is no scope 'vault:open'"),
        (("clerk", "--scope=files:read vault:open"), "there is no scope 'vault:open'"),
        (("user", "--scope=files:read"), "the name 'user' is the house's own in the audit"),
        (("clerk", "--scope="), "there is no scope ''"),
        (("two words", "--scope=files:read"), "a name is a letter and up to 31 more letters, digits, - and _"),
        (("x" * 33, "--scope=files:read"), "a name is a letter"),
        (("[bold]", "--scope=files:read"), "a name is a letter"),
        (("", "--scope=files:read"), "a name is a letter"),
    ],
)
def test_a_client_that_makes_no_sense_is_refused_in_one_sentence(
    shell: Shell, arguments: tuple[str, ...], sentence: str
) -> None:
    status, out, err = shell("client", "add", *arguments)
    assert (status, out) == (1, "")
    assert err.startswith(f"heist: {sentence}")
    assert err.count("\n") == 1
    assert "There is no client" in shell("client", "list")[1]


@pytest.mark.mission("S1")
def test_a_client_needs_a_scope(shell: Shell) -> None:
    status, _, err = shell("client", "add", "clerk")
    assert status == 2
    assert "--scope" in err


@pytest.mark.mission("S1")
def test_the_list_says_who_was_added_and_who_is_disabled(shell: Shell) -> None:
    assert shell("client", "list")[1].startswith("There is no client; `heist client add NAME --scope …` makes one.")
    added = [shell.add(name, "files:read") for name in ("clerk", "guard")]
    shell("client", "disable", "clerk")
    _, clerk, guard = shell("client", "list")[1].splitlines()
    assert clerk.split()[:3] == ["clerk", added[0]["client_id"], "files:read"]
    assert guard.split()[:3] == ["guard", added[1]["client_id"], "files:read"]
    assert ("disabled" in clerk, "disabled" in guard) == (True, False)


@pytest.mark.mission("S1")
def test_a_list_that_is_piped_is_cut_nowhere(shell: Shell, tmp_path: Path, settings: Settings) -> None:
    name = "a-clerk-of-the-second-floor"
    added = shell.add(name, "files:read", "session:control")
    shell("client", "disable", name)
    listed = heist(tmp_path, "client", "list", COLUMNS="", HEIST_DATABASE_URL=settings.database_url).stdout
    for told in (name, added["client_id"], "files:read", "session:control", "disabled"):
        assert told in listed


@pytest.mark.mission("S1")
def test_who_is_not_there_cannot_be_disabled(shell: Shell) -> None:
    sentence = "heist: there is no client 'nobody', or it is disabled already\n"
    assert shell("client", "disable", "nobody") == (1, "", sentence)


@pytest.mark.mission("S1")
def test_clients_of_a_database_that_cannot_be_opened_are_one_sentence(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIST_DATABASE_URL", "sqlite:////no/x.db")
    sentence = "heist: the database sqlite:////no/x.db cannot be opened: unable to open database file\n"
    assert shell("client", "list") == (1, "", sentence)


@pytest.mark.mission("S1")
def test_a_secret_never_stands_among_the_arguments_of_a_process(shell: Shell) -> None:
    assert "secret" not in shell("client", "add", "--help")[1].replace("Its secret is printed once", "")
