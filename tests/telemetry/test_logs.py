"""The program's log: each line says in which session and turn it was written."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from heist.agents.sessions import Order
from heist.llm.model import Prompt
from heist.runtime import Runtime
from heist.telemetry import logs
from heist.telemetry.here import Here, here, within
from tests.conftest import USER
from tests.strategies import Talker
from tests.telemetry.traces import Collector

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S24")]
log = logging.getLogger("heist.test")


@pytest.fixture(autouse=True)
def _restored() -> Generator[None]:
    yield
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, logs.StandardError)]:
        root.removeHandler(handler)


def test_a_line_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    logs.install("text")
    log.warning("it %s", "rains")
    with within(Here("heist_1", 3)):
        log.error("the dog barks")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("Z WARNING heist.test it rains")
    assert second.endswith("Z ERROR heist.test [heist_1, turn 3] the dog barks")


def test_a_line_is_json_when_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.install("text")
    logs.install("json")  # the last word counts
    log.info("not this")
    try:
        raise ValueError("a\nb")
    except ValueError:
        log.exception("it broke")
    with within(Here("heist_1", 3)):
        log.warning("über")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert {name: first[name] for name in ("level", "logger", "message")} == {
        "level": "error",
        "logger": "heist.test",
        "message": "it broke",
    }
    assert first["error"].endswith("ValueError: a\nb")
    assert "session" not in first
    assert (second["session"], second["turn"], second["message"]) == ("heist_1", 3, "über")


async def test_what_is_logged_in_a_turn_says_so_and_names_its_span(
    runtime: Runtime, collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(prompt: Prompt) -> str:
        log.warning("asked")
        return "Fine."

    logs.install("json")
    runtime.source._simulated = Talker(answer)
    session_id = await runtime.sessions.start(USER, Order(rounds=1))
    await runtime.sessions.finished(session_id)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in lines if line["message"] == "asked"]
    assert [(line["session"], line["turn"]) for line in told] == [(session_id, turn) for turn in range(1, 7)]
    turns = [one.context for one in collector.spans if one.name.startswith("invoke_agent")]
    assert [line["span_id"] for line in told] == [f"{one.span_id:016x}" for one in turns]
    assert {line["trace_id"] for line in told} == {f"{one.trace_id:032x}" for one in turns}


async def test_sessions_at_once_keep_their_lines_apart(runtime: Runtime) -> None:
    heard: set[tuple[str | None, str]] = set()

    def answer(prompt: Prompt) -> str:
        heard.add((here().session_id, "turn" if here().turn else "none"))
        return "Fine."

    runtime.source._simulated = Talker(answer)
    ids = [await runtime.sessions.start(USER, Order(rounds=1)) for _ in range(3)]
    for session_id in ids:
        await runtime.sessions.finished(session_id)
    assert heard == {(session_id, "turn") for session_id in ids}
    assert here() == Here()


def test_the_command_line_logs_as_it_is_told(tmp_path: Path) -> None:
    script = (
        "import logging, sys\n"
        "from heist.agents.orchestrator import Orchestrator\n"
        "async def broken(self): raise RuntimeError('out of luck')\n"
        "Orchestrator._turn = broken\n"
        "sys.argv = ['heist', 'run', '--rounds', '1']\n"
        "from heist.cli.main import main\n"
        "main()"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "HEIST_"))}
    given = {**bare, "HEIST_LLM": "simulated", "HEIST_LOG": "json"}
    ended = subprocess.run([sys.executable, "-c", script], env=given, cwd=tmp_path, capture_output=True, text=True)
    told = json.loads(ended.stderr.splitlines()[0])
    assert told["message"].endswith("broke off")
    assert told["session"] in told["message"]
    assert "out of luck" in told["error"]
