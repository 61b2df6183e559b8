"""Sessions as they run: whole, steered, many at once, and brought back."""

import asyncio
import json
import os
import shutil
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from heist import events as e
from heist.agents.orchestrator import Orchestrator
from heist.agents.sessions import LONGEST_COMMAND, LONGEST_REASON, Order
from heist.errors import Conflict, HeistError, InsufficientScope, Invalid, ModelError, NotFound, StoreError
from heist.llm.endpoint import Endpoint
from heist.llm.model import Call, Completion, Prompt, guess
from heist.llm.resilience import FAILURES
from heist.runtime import Runtime
from heist.services.auth import Principal, Scope
from heist.settings import Settings
from heist.store import tables
from heist.store.tables import ENDED
from tests.conftest import USER, FakeModel, kinds
from tests.strategies import CREW, Talker, calling

pytestmark = pytest.mark.anyio


def log(runtime: Runtime, session_id: str) -> list[e.Event]:
    return [e.parse(entry.body) for entry in runtime.queries.log(0, session_id, 100_000)]


async def until(runtime: Runtime, session_id: str, kind: str, count: int = 1) -> None:
    """Waits until the log of a session holds `count` events of a kind."""
    async with asyncio.timeout(10):
        while kinds(log(runtime, session_id)).count(kind) < count:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.005)


async def endpoint(runtime: Runtime) -> Endpoint:
    """What is inside of the model, to be broken."""
    inner: Any = await runtime.source.model()
    while not isinstance(inner, Endpoint):
        inner = inner._model
    for server in runtime.source._servers.values():
        server.breaker._first_cool = 0.05  # nobody wants to wait for seconds here
    return inner


async def run(runtime: Runtime, order: Order | None = None) -> list[e.Event]:
    session_id = await runtime.sessions.start(USER, order or Order(seed=7))
    await runtime.sessions.finished(session_id)
    return log(runtime, session_id)


def begun(events: list[e.Event]) -> e.SessionStarted:
    """How the session of these events began."""
    started = events[0]
    assert isinstance(started, e.SessionStarted)
    return started


def turns(events: list[e.Event]) -> list[tuple[int, int, str]]:
    return [(event.turn, event.round, event.agent) for event in events if isinstance(event, e.MessageCompleted)]


WHOLE = [(turn, (turn - 1) // 6 + 1, CREW[(turn - 1) % 6]) for turn in range(1, 31)]


@pytest.mark.mission("S6", "S15")
async def test_a_session_is_six_agents_by_five_rounds_with_tool_calls(runtime: Runtime) -> None:
    events = await run(runtime)
    assert turns(events) == WHOLE
    assert kinds(events).count("round.started") == kinds(events).count("round.completed") == 5
    assert (kinds(events)[0], kinds(events)[-1]) == ("session.started", "session.completed")
    assert kinds(events).count("tool.called") >= 5
    row = runtime.queries.session(begun(events).session_id)
    assert row is not None
    assert (row.status, row.num_turns, row.simulated, row.model) == ("completed", 30, True, "simulated crew")


async def test_the_rows_say_what_the_events_say(runtime: Runtime) -> None:
    events = await run(runtime)
    with runtime.engine.connect() as connection:
        messages = connection.execute(select(tables.messages).order_by(tables.messages.c.turn_id)).mappings().all()
        used = connection.execute(select(tables.tool_usage).order_by(tables.tool_usage.c.seq)).mappings().all()
    completed = [event for event in events if isinstance(event, e.MessageCompleted)]
    assert [(row["turn_id"], row["message"]) for row in messages] == [(event.turn, event.text) for event in completed]
    called = [event for event in events if isinstance(event, e.ToolCalled)]
    assert [
        (row["agent_name"], row["tool_name"], json.loads(row["tool_params"]), row["tool_result"]) for row in used
    ] == [(event.agent, event.tool, event.arguments, event.result) for event in called]
    assert all(row["success"] == event.success for row, event in zip(used, called, strict=True))


async def test_the_same_seed_is_the_same_conversation(runtime: Runtime) -> None:
    first, second, other = await run(runtime), await run(runtime), await run(runtime, Order(seed=8))
    said = [
        [event.text for event in events if isinstance(event, e.MessageCompleted)] for events in (first, second, other)
    ]
    assert said[0] == said[1] != said[2]


@pytest.mark.mission("S15")
async def test_fifty_sessions_at_once_are_each_complete_ordered_and_unmixed(runtime: Runtime) -> None:
    ids = await asyncio.gather(*(runtime.sessions.start(USER, Order(seed=seed)) for seed in range(50)))
    assert len(set(ids)) == 50
    await asyncio.gather(*(runtime.sessions.finished(session_id) for session_id in ids))
    for seed, session_id in enumerate(ids):
        events = log(runtime, session_id)
        assert turns(events) == WHOLE
        assert {event.session_id for event in events} == {session_id}
        assert (await runtime.sessions.past(session_id)).truth.seed == seed
        for before, after in pairwise(kinds(events)):
            assert (before == "message.started") <= (after in ("tool.called", "message.completed"))
    assert len({entry.seq for entry in runtime.queries.log(0, None, 100_000)}) == runtime.queries.last_seq()


async def test_every_token_of_a_session_dies_with_it(runtime: Runtime) -> None:
    await run(runtime)
    assert runtime.clients._agents == {}
    assert runtime.registry._rooms == {}


@pytest.mark.mission("S12")
async def test_pause_holds_between_turns_and_loses_none(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(words_per_second=1000))
    for count in (1, 3, 6):
        await until(runtime, session_id, "message.completed", count)
        await runtime.sessions.pause(USER, session_id)
        await asyncio.sleep(0.05)  # by now a turn that was about to begin has begun
        await runtime.bus.settled()
        held = kinds(log(runtime, session_id)).count("message.started")
        await until(runtime, session_id, "message.completed", held)
        await asyncio.sleep(0.2)
        assert kinds(log(runtime, session_id)).count("message.started") == held
        await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    assert turns(log(runtime, session_id)) == WHOLE


@pytest.mark.mission("S12")
async def test_a_step_lets_one_turn_through(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True, seed=1))
    for count in (1, 2):
        await runtime.sessions.step(USER, session_id)
        await until(runtime, session_id, "message.completed", count)
        await asyncio.sleep(0.05)
        assert len(turns(log(runtime, session_id))) == count
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    assert turns(log(runtime, session_id)) == WHOLE


@pytest.mark.mission("S12")
async def test_stop_lets_the_turn_in_hand_finish(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(words_per_second=200))
    await until(runtime, session_id, "message.started", 2)
    await runtime.sessions.stop(USER, session_id)
    with pytest.raises(Conflict, match="is stopping; stop it now to cut its turn off"):
        await runtime.sessions.stop(USER, session_id)
    for refused in (
        runtime.sessions.pause(USER, session_id),
        runtime.sessions.command(USER, session_id, "lookout", "go"),
    ):
        with pytest.raises(Conflict, match="is stopping"):
            await refused
    await runtime.sessions.finished(session_id)
    events = log(runtime, session_id)
    assert kinds(events).count("session.stopping") == 1
    assert kinds(events).count("message.started") == kinds(events).count("message.completed")
    assert events[-1] == e.SessionStopped(session_id=session_id, by="user", turns=len(turns(events)))


@pytest.mark.mission("S12")
async def test_stop_now_cuts_the_turn_off_and_says_so(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(words_per_second=2))
    await until(runtime, session_id, "message.started")
    await runtime.sessions.stop(USER, session_id, now=True)
    assert kinds(log(runtime, session_id))[-2:] == ["message.interrupted", "session.stopped"]
    with pytest.raises(Conflict, match=r"is over \(stopped\)"):
        await runtime.sessions.resume(USER, session_id)


async def test_a_paused_session_can_be_stopped(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    await runtime.sessions.stop(USER, session_id)
    await runtime.sessions.finished(session_id)
    assert kinds(log(runtime, session_id))[-1] == "session.stopped"


async def test_of_two_orders_at_once_one_is_refused(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    resumed = await asyncio.gather(
        runtime.sessions.resume(USER, session_id), runtime.sessions.resume(USER, session_id), return_exceptions=True
    )
    assert Counter(type(result) for result in resumed) == {type(None): 1, Conflict: 1}
    await runtime.sessions.finished(session_id)
    assert kinds(log(runtime, session_id)).count("session.resumed") == 1


@pytest.mark.mission("S12")
async def test_a_command_is_delivered_once_in_the_next_turn_of_its_agent(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True, rounds=2))
    assert await runtime.sessions.command(USER, session_id, "intel", "Check the dogs") == 1
    assert await runtime.sessions.command(USER, session_id, "driver", " Warm up ") == 2
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    events = log(runtime, session_id)
    delivered = [(event.command, event.turn) for event in events if isinstance(event, e.CommandDelivered)]
    assert delivered == [(1, 4), (2, 5)]
    spoken = {event.turn: event.text for event in events if isinstance(event, e.MessageCompleted)}
    assert [turn for turn, text in spoken.items() if "As ordered: Check the dogs." in text] == [4]
    assert [turn for turn, text in spoken.items() if "As ordered: Warm up." in text] == [5]


async def test_orders_that_make_no_sense_are_refused_and_nothing_is_lost(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    before = len(log(runtime, session_id))
    for agent, text, error in (
        ("nobody", "go", NotFound),
        ("intel", "  ", Invalid),
        ("intel", "x" * (LONGEST_COMMAND + 1), Invalid),
    ):
        with pytest.raises(error):
            await runtime.sessions.command(USER, session_id, agent, text)
    for verb in (runtime.sessions.pause, runtime.sessions.resume, runtime.sessions.step, runtime.sessions.stop):
        with pytest.raises(NotFound, match="there is no session 'heist_x'"):
            await verb(USER, "heist_x")
    with pytest.raises(Conflict, match="is paused; there is nothing to pause"):
        await runtime.sessions.pause(USER, session_id)
    with pytest.raises(NotFound, match="there is no crew 'none'"):
        await runtime.sessions.start(USER, Order(crew="none"))
    assert len(log(runtime, session_id)) == before


async def test_a_session_that_is_over_takes_no_orders(runtime: Runtime) -> None:
    session_id = begun(await run(runtime, Order(rounds=1))).session_id
    for refused in (
        runtime.sessions.command(USER, session_id, "intel", "go"),
        runtime.sessions.pause(USER, session_id),
        runtime.sessions.stop(USER, session_id, now=True),
    ):
        with pytest.raises(Conflict, match=rf"{session_id} is over \(completed\)"):
            await refused


async def test_who_may_not_steer_is_refused_before_anything_is_looked_at(runtime: Runtime) -> None:
    reader = Principal("reader", frozenset({Scope.SESSION_READ}))
    for refused in (
        runtime.sessions.start(reader, Order(crew="none")),
        runtime.sessions.pause(reader, "nothing"),
        runtime.sessions.command(reader, "nothing", "x", ""),
    ):
        with pytest.raises(InsufficientScope, match="reader lacks the scope 'session:control'"):
            await refused
    with pytest.raises(InsufficientScope, match="session:read"):
        await runtime.sessions.one(Principal("nobody", frozenset()), "nothing")


@asynccontextmanager
async def opened(settings: Settings, **changed: object) -> AsyncGenerator[Runtime]:
    async with Runtime(settings.model_copy(update=changed)).opened() as runtime:
        yield runtime


@pytest.mark.mission("S18")
@pytest.mark.parametrize("fault", ["fault-500", "fault-hang", "fault-rubbish", "fault-cut"])
async def test_a_broken_model_server_never_kills_a_session_nor_speaks(
    settings: Settings, fake_model: FakeModel, fault: str
) -> None:
    async with opened(settings, llm=fake_model.url, llm_first_seconds=0.25) as runtime:
        inner = await endpoint(runtime)
        inner.warm, inner.name = True, fault
        session_id = await runtime.sessions.start(USER, Order(rounds=1))
        await until(runtime, session_id, "session.paused")
        paused = next(event for event in log(runtime, session_id) if isinstance(event, e.SessionPaused))
        assert paused.by == "model"
        assert paused.reason
        inner.name = "fake-1"
        await runtime.sessions.finished(session_id)
        events = log(runtime, session_id)
        assert kinds(events).count("message.failed") == FAILURES - 1
        assert "message.interrupted" in kinds(events)
        assert [turn for turn, _, _ in turns(events)] == list(range(FAILURES, 7))
        said = " ".join(event.text for event in events if isinstance(event, e.MessageCompleted))
        assert paused.reason not in said
        house = [e.parse(row.body).kind for row in runtime.queries.log(0, None, 100_000)]
        assert house.count("model.degraded") == house.count("model.restored") == 1


@pytest.mark.parametrize("fault", ["fault-empty", "fault-late"])
async def test_a_model_that_says_nothing_of_use_costs_its_turns_and_never_speaks(
    settings: Settings, fake_model: FakeModel, fault: str
) -> None:
    async with opened(settings, llm=fake_model.url) as runtime:
        (await endpoint(runtime)).name = fault
        events = await run(runtime, Order(rounds=1))
        assert kinds(events).count("message.failed") == 6
        assert "message.completed" not in kinds(events)
        assert isinstance(events[-1], e.SessionFailed)
        with runtime.engine.connect() as connection:
            assert connection.execute(select(tables.messages)).all() == []


async def test_a_model_server_that_dies_in_between_costs_no_turn(settings: Settings, fake_model: FakeModel) -> None:
    async with opened(settings, llm=fake_model.url) as runtime:
        session_id = await runtime.sessions.start(USER, Order(paused=True, rounds=1))
        await runtime.sessions.step(USER, session_id)
        await until(runtime, session_id, "message.completed")
        inner = await endpoint(runtime)
        there, inner._url = inner._url, "http://127.0.0.1:9/v1/chat/completions"  # nobody is there
        await runtime.sessions.resume(USER, session_id)
        await until(runtime, session_id, "session.paused", 2)
        assert runtime.source.states() != {}
        assert set(runtime.source.states().values()) <= {"open", "half-open"}
        inner._url = there
        await runtime.sessions.finished(session_id)
        events = log(runtime, session_id)
        assert [turn for turn, _, _ in turns(events)] == list(range(1, 7))
        assert "message.failed" not in kinds(events)
        assert events[-1] == e.SessionCompleted(session_id=session_id, turns=6, failed=0)
        assert set(runtime.source.states().values()) == {"closed"}


@pytest.mark.parametrize("order", ["pause", "stop"])
async def test_a_session_that_waits_for_its_model_obeys_the_user(
    settings: Settings, fake_model: FakeModel, order: str
) -> None:
    async with opened(settings, llm=fake_model.url) as runtime:
        inner = await endpoint(runtime)
        there, inner._url = inner._url, "http://127.0.0.1:9/v1/chat/completions"
        session_id = await runtime.sessions.start(USER, Order(rounds=1))
        await until(runtime, session_id, "session.paused")
        if order == "stop":
            await runtime.sessions.stop(USER, session_id)
            await runtime.sessions.finished(session_id)
            assert isinstance(log(runtime, session_id)[-1], e.SessionStopped)
            return
        await runtime.sessions.pause(USER, session_id)
        inner._url = there
        await asyncio.sleep(0.3)
        assert "message.completed" not in kinds(log(runtime, session_id))
        await runtime.sessions.resume(USER, session_id)
        await runtime.sessions.finished(session_id)
        assert len(turns(log(runtime, session_id))) == 6


async def test_a_model_server_that_is_down_is_said_before_a_session_is_begun(settings: Settings) -> None:
    async with opened(settings, llm="http://127.0.0.1:9/v1") as runtime:
        with pytest.raises(ModelError, match=r"the model server at http://127\.0\.0\.1:9/v1 cannot be reached"):
            await runtime.sessions.start(USER, Order())
        assert runtime.queries.newest_sessions(10) == []


@pytest.mark.mission("S16")
async def test_a_wrong_crew_or_scenario_is_said_before_a_session_is_begun(settings: Settings, tmp_path: Path) -> None:
    config = shutil.copytree(settings.config, tmp_path / "config")
    crew = (config / "crew.yaml").read_text()
    (config / "typo.yaml").write_text(crew.replace("persona: >", "personality: >", 1))
    (config / "lost.yaml").write_text(crew.replace("first_national_bank", "moon_base"))
    async with opened(settings, config=config) as runtime:
        with pytest.raises(HeistError, match=r"typo\.yaml, line \d+: agents\.0\.personality: there is no such key"):
            await runtime.sessions.start(USER, Order(crew="typo"))
        with pytest.raises(HeistError, match=r"there is no scenario 'moon_base' in .* there are: first_national_bank"):
            await runtime.sessions.start(USER, Order(crew="lost"))
        assert runtime.queries.newest_sessions(10) == []


async def test_a_session_against_a_server_says_who_spoke_and_what_it_cost(
    settings: Settings, fake_model: FakeModel
) -> None:
    async with opened(settings, llm=fake_model.url) as runtime:
        events = await run(runtime)
        started = begun(events)
        assert (started.model, started.simulated) == ("fake-1", False)
        assert fake_model.url in started.server
        completed = [event for event in events if isinstance(event, e.MessageCompleted)]
        assert {(event.model, event.estimated) for event in completed} == {("fake-1", True)}
        past = await runtime.sessions.past(started.session_id)
        private = guess(past.truth.briefs["planner"])
        alone = [event for event in completed if event.model_calls == 1]
        assert alone
        for event in alone:  # not what the server counted: that would tell how long its brief is
            seen = await runtime.sessions.seen(USER, started.session_id, event.turn)
            assert event.prompt_tokens == seen.tokens - private


@pytest.mark.mission("B8")
async def test_a_session_whose_process_was_killed_comes_back_with_no_turn_lost_or_doubled(settings: Settings) -> None:
    first = Runtime(settings)
    async with first.opened():
        session_id = await first.sessions.start(USER, Order(words_per_second=300))
        await first.sessions.command(USER, session_id, "lookout", "Count the dogs")
        await until(first, session_id, "message.started", 3)
        first.sessions._tasks[session_id].cancel()  # as a kill would: nothing more is said
        first.sessions._running.clear()
        first.sessions._ended = lambda *_: None  # type: ignore[method-assign]
    async with opened(settings) as runtime:
        row = runtime.queries.session(session_id)
        assert row is not None
        assert row.status == "paused"
        assert kinds(log(runtime, session_id))[-2:] == ["session.recovered", "message.interrupted"]
        await runtime.sessions.resume(USER, session_id)
        await runtime.sessions.finished(session_id)
        events = log(runtime, session_id)
        assert turns(events) == WHOLE
        assert [event.turn for event in events if isinstance(event, e.CommandDelivered)] == [6]
        assert kinds(events)[-1] == "session.completed"


@pytest.mark.mission("B8")
async def test_a_server_that_is_shut_down_leaves_its_sessions_paused_for_the_next(settings: Settings) -> None:
    async with opened(settings) as first:
        session_id = await first.sessions.start(USER, Order(words_per_second=300))
        await until(first, session_id, "message.started", 2)
    async with opened(settings) as second:
        assert kinds(log(second, session_id)).count("session.paused") == 1
        await second.sessions.resume(USER, session_id)
        await second.sessions.finished(session_id)
        assert turns(log(second, session_id)) == WHOLE


async def test_a_session_does_not_go_on_with_another_model(settings: Settings, fake_model: FakeModel) -> None:
    async with opened(settings) as first:
        session_id = await first.sessions.start(USER, Order(paused=True))
    async with opened(settings, llm=fake_model.url) as second:
        with pytest.raises(Conflict, match="began with the model 'simulated crew', and now there is 'fake-1'"):
            await second.sessions.resume(USER, session_id)
    async with opened(settings) as third:
        await third.sessions.resume(USER, session_id)
        await third.sessions.finished(session_id)
        assert turns(log(third, session_id)) == WHOLE


async def test_a_session_of_a_living_process_is_left_alone(settings: Settings) -> None:
    async with opened(settings) as first:
        session_id = await first.sessions.start(USER, Order(paused=True))
        async with opened(settings) as second:
            with pytest.raises(
                Conflict, match=rf"runs in another process \(process {os.getpid()} of .+\); steer it there"
            ):
                await second.sessions.resume(USER, session_id)
        assert kinds(log(first, session_id)) == ["session.started", "session.paused"]
        await first.sessions.resume(USER, session_id)


async def test_a_session_of_which_nothing_could_be_written_is_brought_back_when_it_can(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE messages RENAME TO gone")
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    await runtime.sessions.close()
    assert "broke off" in caplog.text
    assert "the audit could not be written: no such table" in caplog.text
    assert not set(kinds(log(runtime, session_id))) & set(e.ENDS)
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO messages")
    assert await runtime.sessions.recover() == [session_id]
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    assert turns(log(runtime, session_id)) == WHOLE


@pytest.mark.parametrize("paused", [False, True])
async def test_a_session_that_is_just_begun_is_not_held_for_abandoned(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    """It is on record before it runs; in between the patrol may look, and who heard of it may steer it."""
    sessions, steered = runtime.sessions, []

    def hear(recorded: e.Recorded) -> None:
        if isinstance(recorded.event, e.SessionStarted):
            steering = sessions.quarantine(USER, recorded.event.session_id, "hacker", "")
            steered.extend([asyncio.create_task(steering), asyncio.create_task(sessions.recover())])

    runtime.bus.watch(hear)
    record = sessions._record

    async def slowly(*record_of: Any) -> None:
        await record(*record_of)
        assert await sessions.recover() == []
        await asyncio.sleep(0.05)

    monkeypatch.setattr(sessions, "_record", slowly)
    session_id = await sessions.start(USER, Order(paused=paused, words_per_second=1000))
    assert await asyncio.gather(*steered) == [None, []]
    if paused:
        await sessions.resume(USER, session_id)
    await sessions.finished(session_id)
    events = log(runtime, session_id)
    assert turns(events) == WHOLE
    told = kinds(events)
    assert told.count("agent.quarantined") == told.count("session.completed") == 1
    assert "session.recovered" not in told


async def test_a_session_that_broke_off_is_not_brought_back_while_its_end_is_written(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = runtime.sessions

    def broken(_: Orchestrator) -> None:
        raise ValueError("a fault of ours")

    fail = Orchestrator.fail

    async def slowly(self: Orchestrator, error: str) -> None:
        await asyncio.sleep(0.05)
        await fail(self, error)

    monkeypatch.setattr(Orchestrator, "_check_budget", broken)
    monkeypatch.setattr(Orchestrator, "fail", slowly)
    session_id = await sessions.start(USER, Order())
    await sessions.finished(session_id)
    while (await sessions.row(session_id)).status not in ENDED:
        assert await sessions.recover() == []
    assert kinds(log(runtime, session_id))[-1] == "session.failed"
    assert kinds(log(runtime, session_id)).count("session.failed") == 1
    with pytest.raises(Conflict, match="is over"):
        await sessions.pause(USER, session_id)


async def test_a_start_that_cannot_be_written_is_refused_and_leaves_nothing_behind(runtime: Runtime) -> None:
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE sessions RENAME TO gone")
    with pytest.raises(StoreError, match="the audit could not be written"):
        await runtime.sessions.start(USER, Order())
    assert runtime.clients._agents == {}
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO sessions")


async def step(runtime: Runtime, session_id: str) -> None:
    """One turn of a paused session, to its end."""
    taken = len(over(log(runtime, session_id)))
    await runtime.sessions.step(USER, session_id)
    async with asyncio.timeout(10):
        while len(over(log(runtime, session_id))) == taken:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.005)


def over(events: list[e.Event]) -> list[e.Event]:
    return [event for event in events if isinstance(event, e.MessageCompleted | e.MessageFailed)]


def calls(events: list[e.Event]) -> list[tuple[str, str, str | None]]:
    return [(event.agent, event.tool, event.fault) for event in events if isinstance(event, e.ToolCalled)]


def offered(model: Talker, agent: str) -> list[str]:
    return beside_the_plan([tool.name for tool in model.last(agent).tools])


def beside_the_plan(tools: list[str]) -> list[str]:
    """What is offered besides the plan's two tools."""
    return [tool for tool in tools if tool not in ("plan", "plan_board")]


def told(model: Talker, agent: str) -> str:
    return model.last(agent).messages[-1].content


def speaks(runtime: Runtime, model: Talker) -> Talker:
    runtime.source._simulated = model
    return model


@pytest.mark.mission("S8")
async def test_a_session_with_tools_of_its_own_offers_and_runs_these_alone(runtime: Runtime) -> None:
    model = speaks(runtime, Talker(calling("file_reader", "index")))
    events = await run(runtime, Order(rounds=1, tools=("calculator",)))
    assert begun(events).tools == ("calculator",)
    assert {agent: offered(model, agent) for agent in CREW} == {
        "planner": ["calculator"],
        "hacker": [],
        "safecracker": ["calculator"],
        "intel": [],
        "driver": [],
        "lookout": [],
    }
    assert {fault for _, _, fault in calls(events)} == {"unknown"}
    assert "there is no tool 'file_reader'; yours are: none" in [
        event.result for event in events if isinstance(event, e.ToolCalled)
    ]


@pytest.mark.mission("S8")
async def test_a_session_may_have_no_tools_at_all(runtime: Runtime) -> None:
    model = speaks(runtime, Talker())
    await run(runtime, Order(rounds=1, tools=()))
    assert [offered(model, agent) for agent in CREW] == [[]] * 6
    assert "YOUR TOOLS\nYou have none." in told(model, "planner")


@pytest.mark.mission("S8")
async def test_two_sessions_at_once_with_and_without_a_tool_do_not_mix(runtime: Runtime) -> None:
    def answer(prompt: Prompt) -> str | Call:
        return "I heard." if prompt.messages[-1].role == "tool" else Call("id", "calculator", "1 + 1")

    speaks(runtime, Talker(answer))
    orders = [Order(seed=7, rounds=2), Order(seed=7, rounds=2, tools=("file_reader",))]
    ids = await asyncio.gather(*(runtime.sessions.start(USER, order) for order in orders * 5))
    await asyncio.gather(*(runtime.sessions.finished(session_id) for session_id in ids))
    for number, session_id in enumerate(ids):
        found = Counter(calls(log(runtime, session_id)))
        if number % 2:
            assert found == {(agent, "calculator", "unknown"): 2 for agent in CREW}
        else:
            able = {"planner", "safecracker"}
            assert found == {(agent, "calculator", None if agent in able else "scope"): 2 for agent in CREW}


@pytest.mark.mission("S8")
async def test_a_session_with_a_tool_that_does_not_exist_is_refused_at_the_start(runtime: Runtime) -> None:
    for tools in (("dynamite",), ("calculator", "Calculator"), ("",), ("x" * 10_000,)):
        with pytest.raises(NotFound, match=r"there is no tool .* there are: calculator, database_query, file_reader"):
            await runtime.sessions.start(USER, Order(tools=tools))
    assert runtime.queries.newest_sessions(10) == []


@pytest.mark.mission("S8", "B8")
async def test_a_session_that_comes_back_has_the_tools_that_it_had(settings: Settings) -> None:
    async with opened(settings) as first:
        speaks(first, Talker())
        session_id = await first.sessions.start(USER, Order(paused=True, tools=("file_reader",)))
    async with opened(settings) as second:
        model = speaks(second, Talker(calling("calculator", "1 + 1")))
        await step(second, session_id)
        assert offered(model, "planner") == []
        assert calls(log(second, session_id)) == [("planner", "calculator", "unknown")]


@pytest.mark.mission("S8")
async def test_an_agent_is_offered_what_was_switched_in_its_next_turn(runtime: Runtime) -> None:
    model = speaks(runtime, Talker(calling("calculator", "1 + 1")))
    session_id = await runtime.sessions.start(USER, Order(paused=True, rounds=3))
    await step(runtime, session_id)
    assert offered(model, "planner") == ["calculator"]
    await runtime.inventory.switch(USER, "calculator", False)
    for _ in range(6):
        await step(runtime, session_id)
    assert offered(model, "safecracker") == offered(model, "planner") == []
    assert offered(model, "hacker") == ["file_reader"]
    assert "calculator(expression)" not in told(model, "planner")
    await runtime.inventory.switch(USER, "calculator", True)
    for _ in range(2):
        await step(runtime, session_id)
    assert offered(model, "safecracker") == ["calculator"]
    assert "calculator(expression): Works out an arithmetic expression." in told(model, "safecracker")
    events = log(runtime, session_id)
    assert [fault for agent, _, fault in calls(events) if agent == "safecracker"] == ["service", None]
    switches = [event for event in events if isinstance(event, e.ToolAdded | e.ToolRemoved)]
    assert [(event.kind, event.tool, event.by) for event in switches] == [
        ("tool.removed", "calculator", "user"),
        ("tool.added", "calculator", "user"),
    ]


@pytest.mark.mission("S8")
async def test_a_session_is_not_told_of_tools_that_are_none_of_its_own(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True, tools=("file_reader",)))
    await runtime.inventory.switch(USER, "calculator", False)
    await runtime.inventory.switch(USER, "file_reader", False)
    await until(runtime, session_id, "tool.removed")
    switches = [event for event in log(runtime, session_id) if isinstance(event, e.ToolRemoved)]
    assert [event.tool for event in switches] == ["file_reader"]


@pytest.mark.mission("S8")
async def test_tools_that_are_switched_all_the_time_cost_no_session_a_turn(runtime: Runtime) -> None:
    ids = [await runtime.sessions.start(USER, Order(seed=seed)) for seed in range(8)]
    running = [asyncio.ensure_future(runtime.sessions.finished(session_id)) for session_id in ids]
    on = False
    while not all(one.done() for one in running):
        for tool in ("calculator", "file_reader", "database_query"):
            await runtime.inventory.switch(USER, tool, on)
        on = not on
    for session_id in ids:
        events = log(runtime, session_id)
        assert turns(events) == WHOLE
        assert {event.session_id for event in events} == {session_id}
        assert kinds(events)[-1] == "session.completed"


@pytest.mark.mission("S12")
async def test_an_agent_in_quarantine_is_told_why_offered_nothing_and_refused(runtime: Runtime) -> None:
    model = speaks(runtime, Talker(calling("calculator", "1 + 1")))
    session_id = await runtime.sessions.start(USER, Order(paused=True, rounds=3))
    await step(runtime, session_id)
    await runtime.sessions.quarantine(USER, session_id, "planner", " It asks\nfor codes. ")
    for _ in range(6):
        await step(runtime, session_id)
    assert offered(model, "planner") == []
    prompt = told(model, "planner")
    assert "You are in quarantine: user has withdrawn your tokens" in prompt
    assert "The reason given: It asks for codes.\n" in prompt
    assert "calculator(expression)" not in prompt
    assert "You are in quarantine" not in told(model, "safecracker")
    events = log(runtime, session_id)
    assert [fault for agent, _, fault in calls(events) if agent == "planner"] == [None, "token"]
    assert [fault for agent, _, fault in calls(events) if agent == "safecracker"] == [None]
    assert e.AgentQuarantined(session_id=session_id, agent="planner", reason="It asks\nfor codes.", by="user") in events
    await runtime.sessions.release(USER, session_id, "planner")
    for _ in range(6):
        await step(runtime, session_id)
    assert offered(model, "planner") == ["calculator"]
    assert "You are in quarantine" not in told(model, "planner")
    events = log(runtime, session_id)
    assert [fault for agent, _, fault in calls(events) if agent == "planner"] == [None, "token", None]
    assert kinds(events).count("agent.quarantined") == kinds(events).count("agent.released") == 1


@pytest.mark.mission("S12")
async def test_quarantine_without_a_reason_gives_none(runtime: Runtime) -> None:
    model = speaks(runtime, Talker())
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    await runtime.sessions.quarantine(USER, session_id, "planner", "")
    await step(runtime, session_id)
    assert "no tool answers you.\n" in told(model, "planner")
    assert "The reason given" not in told(model, "planner")


@pytest.mark.mission("S12")
async def test_a_call_in_the_middle_of_a_turn_is_refused_once_its_agent_is_in_quarantine(runtime: Runtime) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Waiting(Talker):
        async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
            if prompt.messages[-1].role == "user":
                asked.set()
                await go_on.wait()
            async for piece in super().complete(prompt):
                yield piece

    speaks(runtime, Waiting(calling("calculator", "1 + 1")))
    session_id = await runtime.sessions.start(USER, Order(rounds=1))
    await asyncio.wait_for(asked.wait(), 5)
    await runtime.sessions.quarantine(USER, session_id, "planner", "now")
    go_on.set()
    await runtime.sessions.finished(session_id)
    events = log(runtime, session_id)
    assert calls(events)[0] == ("planner", "calculator", "token")
    assert kinds(events).index("agent.quarantined") < kinds(events).index("tool.called")
    assert kinds(events)[-1] == "session.completed"


@pytest.mark.mission("S12")
async def test_quarantine_that_makes_no_sense_is_refused_and_nothing_happens(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    sessions = runtime.sessions
    await sessions.quarantine(USER, session_id, "planner", "x" * LONGEST_REASON)
    before = len(log(runtime, session_id))
    reader = Principal("reader", frozenset({Scope.SESSION_READ, Scope.TOOLS_ADMIN}))
    for refused, error, sentence in (
        (sessions.quarantine(USER, session_id, "planner", ""), Conflict, "planner is in quarantine already"),
        (sessions.release(USER, session_id, "intel"), Conflict, "intel is not in quarantine"),
        (sessions.quarantine(USER, session_id, "mole", ""), NotFound, "there is no agent 'mole' in this session"),
        (sessions.release(USER, session_id, "mole"), NotFound, "there is no agent 'mole' in this session"),
        (sessions.quarantine(USER, "heist_x", "planner", ""), NotFound, "there is no session 'heist_x'"),
        (sessions.quarantine(USER, session_id, "intel", "x" * 301), Invalid, "a reason has 0 to 300 characters"),
        (sessions.quarantine(USER, session_id, "intel", "\ud800"), Invalid, "a reason is text"),
        (sessions.quarantine(reader, session_id, "intel", ""), InsufficientScope, "session:control"),
        (sessions.release(reader, session_id, "planner"), InsufficientScope, "session:control"),
    ):
        with pytest.raises(error, match=sentence):
            await refused
    assert len(log(runtime, session_id)) == before
    await sessions.stop(USER, session_id, now=True)
    for over_ in (sessions.quarantine(USER, session_id, "intel", ""), sessions.release(USER, session_id, "planner")):
        with pytest.raises(Conflict, match=r"is over \(stopped\)"):
            await over_


@pytest.mark.mission("S12")
async def test_of_two_who_put_an_agent_into_quarantine_one_is_refused(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    results = await asyncio.gather(
        *(runtime.sessions.quarantine(USER, session_id, "intel", str(number)) for number in range(5)),
        return_exceptions=True,
    )
    assert Counter(type(result) for result in results) == {type(None): 1, Conflict: 4}
    assert kinds(log(runtime, session_id)).count("agent.quarantined") == 1


@pytest.mark.mission("S12")
async def test_a_quarantine_that_cannot_be_written_has_not_happened(runtime: Runtime) -> None:
    model = speaks(runtime, Talker(calling("calculator", "1 + 1")))
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO gone")
    with pytest.raises(StoreError):
        await runtime.sessions.quarantine(USER, session_id, "planner", "")
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO events")
    orchestrator = runtime.sessions._running[session_id]
    assert beside_the_plan([tool.name for tool in orchestrator._agents["planner"].tools()]) == ["calculator"]
    assert orchestrator.conversation.quarantined == {}
    assert model.prompts == []


@pytest.mark.mission("S12", "B8")
async def test_an_agent_is_still_in_quarantine_after_its_process_was_killed(settings: Settings) -> None:
    first = Runtime(settings)
    async with first.opened():
        speaks(first, Talker())
        session_id = await first.sessions.start(USER, Order(paused=True))
        await first.sessions.quarantine(USER, session_id, "planner", "It lies.")
        await first.sessions.quarantine(USER, session_id, "intel", "It lies too.")
        await first.sessions.release(USER, session_id, "intel")
        first.sessions._tasks[session_id].cancel()  # as a kill would: nothing more is said
        first.sessions._running.clear()
        first.sessions._ended = lambda *_: None  # type: ignore[method-assign]
    async with opened(settings) as second:
        model = speaks(second, Talker(calling("database_query", "SELECT 1")))
        with pytest.raises(Conflict, match="planner is in quarantine already"):
            await second.sessions.quarantine(USER, session_id, "planner", "")
        for _ in range(4):
            await step(second, session_id)
        assert (offered(model, "planner"), offered(model, "intel")) == ([], ["database_query"])
        assert "The reason given: It lies.\n" in told(model, "planner")
        faults = {agent: fault for agent, _, fault in calls(log(second, session_id))}
        assert (faults["planner"], faults["intel"]) == ("token", None)
        await second.sessions.release(USER, session_id, "planner")
        await second.sessions.resume(USER, session_id)
        await second.sessions.finished(session_id)
        assert [fault for agent, _, fault in calls(log(second, session_id)) if agent == "planner"][1:] == ["scope"] * 4


@pytest.mark.mission("S12")
async def test_a_whole_session_with_an_agent_in_quarantine_loses_no_turn(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True, seed=7))
    await runtime.sessions.quarantine(USER, session_id, "hacker", "It reads too much.")
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    events = log(runtime, session_id)
    assert turns(events) == WHOLE
    assert {fault for agent, _, fault in calls(events) if agent == "hacker"} <= {"token"}
    assert runtime.clients._agents == {}


@pytest.mark.mission("S16")
async def test_a_session_records_its_variant_and_plays_it(tmp_path: Path, settings: Settings) -> None:
    text = (
        settings.config / "crew.yaml"
    ).read_text() + "variants:\n  short: {rounds: 1, share: 0}\n  usual: {rounds: 2}\n"
    (tmp_path / "crew.yaml").write_text(text)
    shutil.copytree(settings.config / "scenarios", tmp_path / "scenarios")
    async with Runtime(settings.model_copy(update={"config": tmp_path})).opened() as runtime:
        dealt, named = begun(await run(runtime)), begun(await run(runtime, Order(variant="short")))
        assert (dealt.variant, dealt.rounds, named.variant, named.rounds) == ("usual", 2, "short", 1)
        with pytest.raises(NotFound, match="there is no variant 'none' of this crew"):
            await runtime.sessions.start(USER, Order(variant="none"))


@pytest.mark.mission("S12")
@pytest.mark.parametrize("apart", [0.0, 0.001, 0.003])
async def test_a_session_that_many_stop_at_once_ends_once(apart: float, runtime: Runtime) -> None:
    sessions = runtime.sessions

    async def later(number: int, session_id: str) -> None:
        await asyncio.sleep(number * apart)
        with suppress(Conflict):
            await sessions.stop(USER, session_id, now=True)

    for seed in range(6):
        session_id = await sessions.start(USER, Order(seed=seed, words_per_second=1000))
        await until(runtime, session_id, "message.started")
        await asyncio.gather(*(later(number, session_id) for number in range(4)))
        await sessions.finished(session_id)
        told = kinds(log(runtime, session_id))
        assert [kind for kind in told if kind in e.ENDS] == ["session.stopped"]
        assert told[-1] == "session.stopped"
        assert "session.recovered" not in told


@pytest.mark.mission("S12")
async def test_nothing_is_steered_after_the_end(runtime: Runtime) -> None:
    for seed in range(8):
        session_id = await runtime.sessions.start(USER, Order(seed=seed, rounds=1))
        while not runtime.sessions._running[session_id]._ended:  # noqa: ASYNC110 - the end is being written
            await asyncio.sleep(0)
        with pytest.raises(Conflict, match="is over"):
            await runtime.sessions.pause(USER, session_id)
        await runtime.sessions.finished(session_id)
        assert kinds(log(runtime, session_id))[-1] == "session.completed"
