"""Before the reveal neither the spans nor the figures differ when another agent is the mole."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from heist.app import create_app
from heist.llm.simulated import Simulated
from heist.runtime import World, around
from heist.settings import Settings
from tests.agents.test_secrecy import Replayed, Still, wait
from tests.conftest import SECRET, Announced, announcing
from tests.telemetry.traces import Collector, Tree

TIMED = re.compile(r"_seconds_(bucket|sum)|_created|^process_|^heist_store_commit|_seconds\b", re.MULTILINE)


def told(folder: Path, order: dict[str, object]) -> tuple[Tree, int, list[str]]:
    """(the trace of a session, how many of its events were stored, the figures that are no times)."""
    folder.mkdir()
    settings = Settings(llm="simulated", database_url=f"sqlite:///{folder}/heist.db", secret=SecretStr(SECRET))
    announced: Announced = []
    world = World(Still(), lambda *_: "x", 1, around(settings).network, watched=False)
    collector = Collector()
    headers = {"Sec-Fetch-Site": "same-origin"}
    app = create_app(settings, announcing(announced), world)
    with TestClient(app, "http://127.0.0.1:8008", headers=headers) as browser:
        runtime, gate = announced[0]
        collector.watch(runtime, "speech")
        runtime.source._simulated = Replayed(Simulated())
        browser.get("/login", params={"token": gate.token})
        wait(browser, browser.post("/api/sessions", json=order).json()["session_id"])
        figures = [line for line in browser.get("/metrics").text.splitlines() if not TIMED.search(line)]
    stored = sum(
        int(str((span.attributes or {})["db.operation.batch.size"]))
        for span in collector.spans
        if span.name == "COMMIT"
    )
    (tree,) = collector.trees()
    return _timeless(tree), stored, figures


def _timeless(tree: Tree) -> Tree:
    said = {name: value for name, value in tree.told.items() if not name.endswith("time_to_first_chunk")}
    return tree._replace(told=said, inner=tuple(map(_timeless, tree.inner)))


@pytest.mark.mission("S10", "S24")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"mole": "hacker"}, {"mole": "intel"}),
        ({"mole": "hacker", "strategy": "wrong_tools"}, {"mole": "none"}),
        ({"mole": "planner", "rate": 10}, {"arm": "placebo", "mole": "lookout"}),
    ],
)
def test_another_mole_changes_no_span_and_no_figure(
    tmp_path: Path, one: dict[str, object], other: dict[str, object]
) -> None:
    order = {"rounds": 2, "seed": 7}
    first, second = told(tmp_path / "one", {**order, **one}), told(tmp_path / "other", {**order, **other})
    assert first == second
    assert len(first[0].named("invoke_agent")) == 12
    assert any(line.startswith("heist_tool_calls_total") for line in first[2])
