"""A session is had again to the last byte of its log: from its seed, or from its tape without any model server."""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from heist.cli.main import main
from heist.errors import ConfigError
from heist.llm.cassette import Cassette, Recording
from heist.llm.faults import choose
from heist.llm.model import Completion, Prompt, Wrapper
from heist.llm.simulated import Simulated
from heist.settings import shipped
from tests.llm.test_server import Parrot, serving

pytestmark = [pytest.mark.anyio, pytest.mark.mission("B6", "S19")]


async def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """(exit status, errors) of `heist run` in a process of its own."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("HEIST_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "heist", "run", *arguments),
        cwd=folder,
        env={**given, "COLUMNS": "120", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


SIMULATED = {"HEIST_LLM": "simulated"}


@pytest.mark.parametrize(("order", "rounds"), [("round_robin", 5), ("random", 25)])
async def test_the_same_seed_is_the_same_log_in_another_process(tmp_path: Path, order: str, rounds: int) -> None:
    logs = []
    for number in "12":
        where = tmp_path / number
        where.mkdir()
        given = ("--seed", "7", "--order", order, "--rounds", str(rounds), "--log", "log.jsonl")
        assert await run(where, *given, **SIMULATED, PYTHONHASHSEED=number) == (0, "")
        assert [file.name for file in where.iterdir()] == ["log.jsonl"]
        logs.append((where / "log.jsonl").read_bytes())
    assert logs[0] == logs[1]
    events = [json.loads(line) for line in logs[0].splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    ended = [event for event in events if event["kind"] == "session.completed"]
    assert [event["turns"] for event in ended] == [6 * rounds]
    assert (events[-1]["kind"], events[-1]["seed"]) == ("mole.revealed", 7)
    assert len({event["at"] for event in events}) == len(events)
    assert {"database_query", "calculator"} <= {event.get("tool") for event in events}


async def test_another_seed_or_another_order_is_another_session(tmp_path: Path) -> None:
    asked = {"a": ("--seed", "7"), "b": ("--seed", "8"), "c": ("--seed", "7", "--order", "random")}
    names = set()
    for name, given in asked.items():
        assert (await run(tmp_path, "--rounds", "1", *given, "--log", name, **SIMULATED))[0] == 0
        names.add(json.loads((tmp_path / name).read_text().splitlines()[0])["session_id"])
    assert len(names) == 3


class Halting(Wrapper):
    """Speaks as it never does twice: in pieces and with pauses that chance makes."""

    def __init__(self, name: str) -> None:
        super().__init__(Simulated())
        self.name, self.simulated = name, False
        self._chance = random.Random()

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        async with aclosing(self._model.complete(prompt)) as answer:
            async for chunk in answer:
                if isinstance(chunk, Completion):
                    yield chunk._replace(model=self.name)
                    continue
                for piece in re.findall(f".{{1,{self._chance.randint(2, 40)}}}", chunk, re.DOTALL):
                    await asyncio.sleep(self._chance.random() / 500)
                    yield piece


def crew(folder: Path, other: str) -> str:
    """A folder with the shipped crew, of whom one and the record's keeper speak by the model at `other`, and who
    remember little word by word."""
    folder.mkdir()
    (folder / "scenarios").symlink_to(shipped("config") / "scenarios")
    text = (shipped("config") / "crew.yaml").read_text()
    for old, new in {
        "role: getaway driver\n": f"role: getaway driver\n    model: {{llm: '{other}', temperature: 0.3}}\n",
        "context: 5 ": "context: 2 ",
        "threshold: 1000 ": f"summariser: {{llm: '{other}', max_tokens: 90}}\n  threshold: 150 ",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "crew.yaml").write_text(text)
    return str(folder)


@pytest.mark.parametrize("form", ["native", "schema"])
async def test_a_tape_is_the_same_session_without_its_servers(tmp_path: Path, form: str) -> None:
    busy = choose("queue-full", every=9)
    async with serving(Halting("one"), "llamacpp", busy) as one, serving(Halting("two")) as two:
        given = {"HEIST_LLM": one, "HEIST_LLM_TOOLS": form, "HEIST_CONFIG": crew(tmp_path / "crew", two)}
        asked = ("--rounds", "3", "--order", "random", "--record", "tape", "--log", "a")
        assert await run(tmp_path, *asked, **given) == (0, "")
    for name, again in (("b", given), ("c", {"HEIST_CONFIG": given["HEIST_CONFIG"]})):
        assert await run(tmp_path, "--replay", "tape", "--log", name, **again) == (0, "")
        assert (tmp_path / "a").read_bytes() == (tmp_path / name).read_bytes()
    events = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    completed = [event for event in events if event["kind"] == "message.completed"]
    assert [event["turn"] for event in completed] == list(range(1, 19))
    assert {event["form"] for event in completed} == {form}
    assert {event["model"] for event in completed} == {"one", "two"}
    assert "two" in {event["by"] for event in events if event["kind"] == "memory.compressed"}
    assert "tool.called" in {event["kind"] for event in events}
    assert (tmp_path / "tape").stat().st_mode & 0o777 == 0o600


async def test_a_model_that_was_down_for_a_while_is_so_again(tmp_path: Path) -> None:
    async with serving(Halting("one"), None, choose("server-error", first=4)) as url:
        given = ("--rounds", "1", "--seed", "7", "--record", "tape", "--log", "a")
        assert await run(tmp_path, *given, HEIST_LLM=url) == (0, "")
    assert await run(tmp_path, "--replay", "tape", "--log", "b") == (0, "")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "a").read_text().splitlines()]
    assert {"session.paused", "session.resumed", "message.interrupted"} <= set(kinds)


async def test_a_record_that_misses_its_summary_is_as_loud(tmp_path: Path) -> None:
    async with serving(Halting("one")) as one, serving(Halting("two")) as two:
        given = {"HEIST_CONFIG": crew(tmp_path / "crew", two)}
        assert await run(tmp_path, "--rounds", "3", "--record", "tape", HEIST_LLM=one, **given) == (0, "")
    lines = (tmp_path / "tape").read_text().splitlines(keepends=True)
    (tmp_path / "tape").write_text("".join(line for line in lines if "You keep the record" not in line))
    status, errors = await run(tmp_path, "--replay", "tape", **given)
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("heist: the cassette has no answer")


class Shell:
    """`heist run` in this process, in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("HEIST_")]:
            monkeypatch.delenv(name)

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, str]:
        with self._monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["heist", "run", *arguments])
            for name, value in environment.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, self._capsys.readouterr().err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.fixture
def tape(shell: Shell) -> Path:
    """That of a session of one round with the simulated crew."""
    assert shell("--rounds", "1", "--seed", "7", "--record", "tape", **SIMULATED) == (0, "")
    return shell.folder / "tape"


def test_the_simulated_crew_is_recorded_too(shell: Shell, tape: Path) -> None:
    lines = [json.loads(line) for line in tape.read_text().splitlines()]
    assert sum("prompt" in line for line in lines) >= 6
    assert shell("--replay", "tape", "--log", "b") == (0, "")
    assert shell("--rounds", "1", "--seed", "7", "--log", "a", **SIMULATED) == (0, "")
    assert (shell.folder / "a").read_bytes() == (shell.folder / "b").read_bytes()


def test_an_answer_that_is_not_on_the_tape_ends_the_session_with_a_sentence(shell: Shell, tape: Path) -> None:
    lines = tape.read_text().splitlines(keepends=True)
    lines.remove([line for line in lines if line.startswith('{"prompt"')][2])
    tape.write_text("".join(lines))
    status, errors = shell("--replay", "tape", "--log", "log")
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("heist: the cassette has no answer to this request: ")
    assert json.loads((shell.folder / "log").read_text().splitlines()[-1])["kind"] == "session.stopped"


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("--record", "new", "--replay", "tape"), {}, "--record or --replay, not both"),
        (("--replay", "none"), {}, "none: cannot be read: No such file or directory"),
        (("--replay", "."), {}, ".: cannot be read: Is a directory"),
        (("--replay", "noise"), {}, "noise, line 1: expected a line of JSON"),
        (("--replay", "cassette"), {}, "cassette is a recording of one model and not of a session; `heist model serve"),
        (("--replay", "tape", "--log", "tape"), {}, "--log and --replay are the same file, tape"),
        (("--replay", "tape", "--seed", "8"), {}, "--seed: tape was recorded with 7, found 8"),
        (("--replay", "tape", "--order", "random"), {}, "--order: tape was recorded with the crew's own, found"),
        (("--replay", "tape"), {"HEIST_LLM": "http://x/v1"}, "tape was recorded with HEIST_LLM=simulated, and now"),
        (("--replay", "tape"), {"HEIST_MODEL": "big"}, "tape was recorded with HEIST_MODEL=, and now it is big"),
        (("--record", "tape"), SIMULATED, "tape is there already; record to a new file"),
        (("--record", "none/tape"), SIMULATED, "none/tape: cannot be recorded to: there is no folder none"),
        (("--record", "new"), {"HEIST_LLM": "http://127.0.0.1:9/v1"}, "the model server at http://127.0.0.1:9/v1"),
        (("--log", "."), SIMULATED, ".: the log cannot be written: Is a directory"),
        (("--log", "noise"), SIMULATED, "--log: noise is there already; name a new file"),
        (("--log", "none/log"), SIMULATED, "none/log: the log cannot be written: No such file or directory"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(
    shell: Shell, tape: Path, arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    (shell.folder / "noise").write_text("noise\n")
    Recording(Parrot(), shell.folder / "cassette")
    before = {file.name: file.read_bytes() for file in shell.folder.iterdir()}
    status, errors = shell(*arguments, **environment)
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"heist: {sentence}")
    assert {file.name: file.read_bytes() for file in shell.folder.iterdir()} == before
    assert tape.exists()


def test_a_tape_is_no_cassette(tape: Path) -> None:
    with pytest.raises(ConfigError, match="tape is the tape of a session; `heist run --replay"):
        Cassette(tape)


def test_a_crew_that_has_another_model_by_now_is_not_replayed(shell: Shell, tape: Path) -> None:
    given = {"HEIST_CONFIG": crew(shell.folder / "crew", "http://127.0.0.1:9/v1")}
    sentence = "heist: tape is of a session that asked no server at 'http://127.0.0.1:9/v1'\n"
    assert (shell("--replay", tape.name, **given)) == (1, sentence)
