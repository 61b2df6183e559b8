"""Before the reveal nothing that anybody can read differs by one byte when another agent is the mole."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from starlette.testclient import TestClient

from heist.app import create_app
from heist.llm.model import Completion, Message, Prompt, Wrapper
from heist.llm.simulated import Simulated
from heist.runtime import Runtime, World, around
from heist.settings import Settings
from heist.web.live import Live
from tests.conftest import SECRET, Announced, announcing

BRIEF = re.compile(r"YOUR BRIEF\n.*?\n\n(?=YOUR TOOLS)", re.DOTALL)
TABLES = ("sessions", "events", "messages", "tool_usage", "games")
TURNS = 12


class Still:
    """A clock that stands, so that it does not matter who looks at it how often."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


class Replayed(Wrapper):
    """Speaks as if it had no brief, so that a session is the same whoever is the mole; only what it says in private
    differs."""

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        mole = any("You are the mole" in message.content for message in prompt.messages)
        bare = tuple(Message(one.role, BRIEF.sub("", one.content), one.calls, one.call_id) for one in prompt.messages)
        async with aclosing(self._model.complete(replace(prompt, messages=bare))) as answer:
            async for chunk in answer:
                if mole and isinstance(chunk, Completion):
                    yield chunk._replace(did="told a lie", thoughts="They do not suspect me.")
                else:
                    yield chunk


def told(folder: Path, order: dict[str, object]) -> dict[str, str]:
    """All that anybody could read of a session that is over, before its reveal, by where it stands."""
    folder.mkdir()
    settings = Settings(llm="simulated", database_url=f"sqlite:///{folder}/heist.db", secret=SecretStr(SECRET))
    announced: Announced = []
    world = World(Still(), lambda *_: "x", 1, around(settings).network, watched=False)
    with TestClient(
        create_app(settings, announcing(announced), world),
        "http://127.0.0.1:8008",
        headers={"Sec-Fetch-Site": "same-origin"},
    ) as browser:
        runtime, gate = announced[0]
        runtime.source._simulated = Replayed(Simulated())
        browser.get("/login", params={"token": gate.token})
        session_id = browser.post("/api/sessions", json=order).json()["session_id"]
        wait(browser, session_id)
        paths = [
            *("/api/sessions", f"/api/sessions/{session_id}", "/api/games", "/api/strategies", "/api/house", "/health"),
            *(f"/api/sessions/{session_id}/turns/{turn}/prompt" for turn in range(1, TURNS + 1)),
            *(f"/s/{session_id}", "/", "/openapi.json", f"/detection/sessions/{session_id}/verdicts"),
        ]
        found = {path: browser.get(path).text for path in paths}
        found["refused"] = browser.get(f"/api/sessions/{session_id}/turns/99/prompt").text
        found["stream"] = asyncio.run(streamed(runtime, session_id))
    with runtime.engine.connect() as connection:
        for table in TABLES:
            found[table] = str([tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))])
        found["sealed"] = str([tuple(row) for row in connection.execute(text("SELECT * FROM sealed"))])
    return found


def wait(browser: TestClient, session_id: str) -> None:
    for _ in range(2000):
        if browser.get(f"/api/sessions/{session_id}").json()["status"] == "completed":
            return
    raise AssertionError("the session has not ended")


async def streamed(runtime: Runtime, session_id: str) -> str:
    """The server-sent events of a session from its first to its last."""
    last = runtime.queries.log(0, session_id, 10_000)[-1].seq
    frames = []
    async with aclosing(Live(runtime.queries, runtime.clock, 1).follow(session_id, 0)) as following:
        async for frame in following:
            frames.append(frame.sse())
            if frame.seq == last:
                break
    return b"".join(frames).decode()


@pytest.mark.mission("S10")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"mole": "hacker"}, {"mole": "intel"}),
        ({"mole": "hacker", "strategy": "wrong_tools"}, {"mole": "none"}),
        ({"mole": "planner", "rate": 10}, {"arm": "placebo", "mole": "lookout"}),
        ({"mole": "none"}, {"arm": "incompetent", "mole": "driver"}),
    ],
)
def test_another_mole_changes_no_byte_of_what_can_be_read(
    tmp_path: Path, one: dict[str, object], other: dict[str, object]
) -> None:
    order = {"rounds": TURNS // 6, "seed": 7}
    first, second = told(tmp_path / "one", {**order, **one}), told(tmp_path / "other", {**order, **other})
    assert first.pop("sealed") != second.pop("sealed")
    for place, content in first.items():
        assert content == second[place], place
    assert len(json.loads(first["/api/sessions"])["sessions"]) == 1
