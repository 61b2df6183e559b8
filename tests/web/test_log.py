"""A session's log by pages, with and without what the detector says."""

import asyncio
import json
from contextlib import aclosing

import pytest
from starlette.testclient import TestClient

from heist import events as e
from heist.agents.sessions import Order
from heist.runtime import Runtime
from heist.web.live import Frame, Live, is_blind_to
from tests.conftest import USER
from tests.web.test_control import finished, start


def test_the_pages_of_a_log_are_the_log(browser: TestClient) -> None:
    session_id = start(browser, rounds=1, seed=3)
    finished(browser, session_id)
    whole = browser.get(f"/api/sessions/{session_id}/log").json()
    assert whole["next"] is None
    assert whole["events"][0]["kind"] == "session.started"
    paged, after = [], 0
    while after is not None:
        page = browser.get(f"/api/sessions/{session_id}/log", params={"after": after, "limit": 7}).json()
        paged += page["events"]
        after = page["next"]
    assert paged == whole["events"]


def test_the_log_of_a_session_that_is_not_there_is_refused(browser: TestClient) -> None:
    assert browser.get("/api/sessions/none/log").status_code == 404
    assert browser.get("/api/sessions/none/log?limit=0").status_code == 422


def test_a_result_is_told_in_the_list_once_its_game_is_over(browser: TestClient) -> None:
    session_id = start(browser, rounds=1, mole="hacker", seed=3)
    finished(browser, session_id)
    assert browser.get("/api/sessions").json()["results"] == {}
    browser.post(f"/api/sessions/{session_id}/guess", json={"agent": "hacker"})
    result = browser.get("/api/sessions").json()["results"][session_id]
    assert (result["result"], result["arm"], result["guess"]) == ("SUCCESS", "mole", "hacker")


@pytest.mark.parametrize("kind", ["suspicion.updated", "evidence.found", "verdict.given", "judge.failed"])
def test_what_the_detector_says_is_known_by_its_kind(kind: str) -> None:
    assert is_blind_to(kind)


def test_a_player_hears_everything_else() -> None:
    others = {"suspicion.stated", "message.completed", "plan.changed", "mole.revealed", "tool.called"}
    assert not any(is_blind_to(kind) for kind in others)


@pytest.mark.anyio
async def test_a_blind_stream_leaves_out_the_detector_from_the_log_and_as_it_happens(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kinds of a detector come from elsewhere; a command stands in for one, in the log and on the stream.
    monkeypatch.setattr("heist.web.live._TELLING", ("command.issued",))
    live = Live(runtime.queries, runtime.clock, streams=3)
    runtime.bus.watch(live.hear)
    session_id = await runtime.sessions.start(USER, Order(paused=True, rounds=1))
    await runtime.sessions.command(USER, session_id, "hacker", "before")

    async def collected(blind: bool) -> list[Frame]:
        frames = []
        async with asyncio.timeout(10), aclosing(live.follow(session_id, 0, blind)) as following:
            async for frame in following:
                frames.append(frame)
                if frame.kind == "session.completed":
                    return frames
        raise AssertionError("the stream ended")

    both = [asyncio.create_task(collected(blind)) for blind in (True, False)]
    await asyncio.sleep(0.05)
    await runtime.sessions.command(USER, session_id, "planner", "while it is followed")
    await runtime.sessions.resume(USER, session_id)
    blind, seeing = [[frame for frame in await one if frame.seq] for one in both]
    told = [frame for frame in seeing if frame.kind == "command.issued"]
    assert len(told) == 2
    assert blind == [frame for frame in seeing if frame not in told]
    assert not any(json.loads(frame.json)["kind"] == "command.issued" for frame in blind)
    assert all(isinstance(e.parse(row.body), e.Fact) for row in runtime.queries.log(0, session_id, 1000))
