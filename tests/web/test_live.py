"""The live log: everything in order and nothing twice, whoever is slow or comes back."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from heist import events as e
from heist.agents.sessions import Order
from heist.errors import Unavailable
from heist.runtime import Runtime
from heist.web import live as lives
from heist.web.live import Frame, Live
from tests.conftest import USER
from tests.strategies import message, session_started, tool_called

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S22")]


@pytest.fixture
def live(runtime: Runtime) -> Live:
    live = Live(runtime.queries, runtime.clock, streams=3)
    runtime.bus.watch(live.hear)
    return live


async def collect(frames: AsyncGenerator[Frame], last: str, limit: int = 10_000) -> list[Frame]:
    """Frames up to one of kind `last`, or `limit` of them."""
    collected: list[Frame] = []
    async with asyncio.timeout(10), aclosing(frames):
        async for frame in frames:
            collected.append(frame)
            if json.loads(frame.json)["kind"] == last or len(collected) == limit:
                break
    return collected


def durable(frames: list[Frame]) -> list[int]:
    return [frame.seq for frame in frames if frame.seq is not None]


def logged(runtime: Runtime, session_id: str) -> list[int]:
    return [entry.seq for entry in runtime.queries.log(0, session_id, 100_000)]


async def test_a_client_that_comes_late_and_one_that_was_there_get_the_same(runtime: Runtime, live: Live) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    early = asyncio.create_task(collect(live.follow(session_id, 0), "session.completed"))
    await asyncio.sleep(0.05)
    await runtime.sessions.resume(USER, session_id)
    late = await collect(live.follow(session_id, 0), "session.completed")
    assert durable(await early) == durable(late) == logged(runtime, session_id)


async def test_a_client_that_is_cut_off_again_and_again_misses_nothing(runtime: Runtime, live: Live) -> None:
    session_id = await runtime.sessions.start(USER, Order(words_per_second=1000))
    seen: list[int] = []
    while not seen or runtime.queries.log(seen[-1] - 1, session_id, 1)[0].kind != "session.completed":
        seen += durable(await collect(live.follow(session_id, seen[-1] if seen else 0), "session.completed", 7))
    assert seen == logged(runtime, session_id)


async def test_a_client_that_lags_reads_the_log_again(
    runtime: Runtime, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lives, "CHANNEL_BYTES", 2000)
    monkeypatch.setattr(lives, "PAGE", 7)
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    frames = live.follow(session_id, 0)
    first = await anext(frames)
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    rest = await collect(frames, "session.completed")
    assert durable([first, *rest]) == logged(runtime, session_id)


async def test_words_are_joined_and_whoever_comes_in_the_middle_hears_the_beginning(
    runtime: Runtime, live: Live
) -> None:
    await runtime.bus.publish(session_started("s1"))
    turn = e.MessageStarted(session_id="s1", turn=1, round=1, agent="planner", role="r")
    await runtime.bus.publish(turn)
    for offset, word in ((0, "We "), (3, "go "), (6, "at ")):
        await runtime.bus.publish(e.MessageDelta(session_id="s1", turn=1, agent="planner", offset=offset, text=word))
    frames = live.follow("s1", 0)
    deltas = []
    async with asyncio.timeout(5), aclosing(frames):
        async for frame in frames:
            told = json.loads(frame.json)
            if told["kind"] == "message.delta":
                deltas.append((told["offset"], told["text"]))
            if len(deltas) == 1 and deltas[0][1] == "We go at ":
                for offset, word in ((9, "ten"), (12, ".")):
                    delta = e.MessageDelta(session_id="s1", turn=1, agent="planner", offset=offset, text=word)
                    await runtime.bus.publish(delta)
                deltas.append((0, "published"))
            if len(deltas) == 3:
                break
    assert deltas == [(0, "We go at "), (0, "published"), (9, "ten.")]


async def test_what_is_said_is_forgotten_when_it_is_complete(runtime: Runtime, live: Live) -> None:
    await runtime.bus.publish(session_started("s1"))
    await runtime.bus.publish(e.MessageDelta(session_id="s1", turn=1, agent="planner", offset=0, text="We"))
    await runtime.bus.publish(message("s1", 1, "We go."))
    frames = await collect(live.follow("s1", 0), "message.completed")
    assert [json.loads(frame.json)["kind"] for frame in frames] == ["session.started", "message.completed"]
    assert live._spoken == {}


async def test_the_list_hears_of_sessions_and_nothing_else(runtime: Runtime, live: Live) -> None:
    following = asyncio.create_task(collect(live.follow(None, 0), "session.completed"))
    await asyncio.sleep(0.05)
    await runtime.sessions.start(USER, Order(rounds=1))
    kinds = [json.loads(frame.json)["kind"] for frame in await following]
    assert kinds == ["session.started", "session.completed"]


async def test_streams_are_counted_given_back_and_refused(runtime: Runtime, live: Live) -> None:
    await runtime.bus.publish(session_started("s1"))
    streams = [live.follow("s1", 0) for _ in range(3)]
    for stream in streams:
        await anext(stream)
    with pytest.raises(Unavailable, match="all 3 event streams are taken"):
        live.check_room()
    await streams[0].aclose()
    live.check_room()
    for stream in streams[1:]:
        await stream.aclose()
    assert live._channels == {}


async def test_a_frame_is_a_server_sent_event(runtime: Runtime) -> None:
    assert Frame(7, '{"a":1}').sse() == b'id: 7\ndata: {"a":1}\n\n'
    assert Frame(None, "{}").sse() == b"data: {}\n\n"


@pytest.mark.mission("S8")
async def test_what_belongs_to_no_session_reaches_a_session_by_its_own_log_alone(runtime: Runtime, live: Live) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    listed = asyncio.create_task(collect(live.follow(None, 0), "session.stopped"))
    following = asyncio.create_task(collect(live.follow(session_id, 0), "session.stopped"))
    await asyncio.sleep(0.05)
    await runtime.bus.publish(tool_called(None, None, agent="laptop"))
    await runtime.inventory.switch(USER, "calculator", False)
    await runtime.sessions.quarantine(USER, session_id, "intel", "why")
    await runtime.sessions.stop(USER, session_id, now=True)
    frames = await following
    told = [json.loads(frame.json) for frame in frames]
    assert [event["kind"] for event in told] == [
        "session.started",
        "session.paused",
        "tool.removed",
        "agent.quarantined",
        "session.stopping",
        "session.stopped",
    ]
    assert {event["session_id"] for event in told} == {session_id}
    assert durable(frames) == logged(runtime, session_id)
    assert {json.loads(frame.json)["kind"].partition(".")[0] for frame in await listed} == {"session"}
