"""A session is a trace: its turns nest in it, and in them model calls, tool calls, memory, commits, assessments."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes import db_attributes, error_attributes, gen_ai_attributes
from opentelemetry.semconv._incubating.attributes import server_attributes as server
from pydantic import SecretStr

from heist import events as e
from heist.agents.sessions import Order
from heist.llm.model import Call, Prompt
from heist.runtime import Runtime
from heist.services.auth import AGENT_SCOPES, Principal
from heist.services.tools.calculator import Expression, Value, calculator
from heist.services.tools.registry import Caller
from heist.settings import Settings
from heist.telemetry import names as n
from heist.telemetry.here import Here, here
from tests import fake_server
from tests.agents.test_remembering import crew
from tests.agents.test_sessions import endpoint, log, until
from tests.conftest import SECRET, USER
from tests.strategies import Talker, calling
from tests.telemetry.traces import Collector, Tree

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S24")]


async def played(runtime: Runtime, order: Order) -> str:
    session_id = await runtime.sessions.start(USER, order)
    await runtime.sessions.finished(session_id)
    await runtime.bus.settled()
    await runtime.watch.close()
    return session_id


def only(collector: Collector) -> Tree:
    (tree,) = collector.trees()
    return tree


def noting(prompt: Prompt) -> str | Call:
    """Whoever may remember notes something, recalls it, and speaks."""
    results = sum(message.role == "tool" for message in prompt.messages)
    if not any(tool.name == "store_memory" for tool in prompt.tools) or results > 1:
        return "Fine."
    return Call("2", "get_compressed_memory", "{}") if results else Call("1", "store_memory", "the dog is Rex")


async def test_a_turn_holds_its_model_calls_its_tool_calls_and_what_those_remember(
    runtime: Runtime, collector: Collector
) -> None:
    runtime.source._simulated = Talker(noting)
    await played(runtime, Order(rounds=1))
    turn = next(one for one in only(collector).named("invoke_agent") if one.named("execute_tool"))
    assert turn.shape() == (
        turn.name,
        [
            "chat talker",
            "execute_tool store_memory",
            "chat talker",
            ("execute_tool get_compressed_memory", ["search_memory"]),
            "chat talker",
            "assess rules",
        ],
    )
    assert not any(one.failed for one in turn.all())


async def test_a_session_is_one_trace_of_its_turns(runtime: Runtime, collector: Collector) -> None:
    session_id = await played(runtime, Order(rounds=2, seed=7))
    session = only(collector)
    assert session.name == "invoke_workflow crew"
    assert session.told[n.CONVERSATION] == session_id
    assert (session.told[n.STATUS], session.told[n.TURNS], session.failed) == ("completed", 12, False)
    turns = session.named("invoke_agent")
    completed = [event for event in log(runtime, session_id) if isinstance(event, e.MessageCompleted)]
    assert [(one.told[n.TURN], one.told[n.ROUND], one.told[n.AGENT]) for one in turns] == [
        (event.turn, event.round, event.agent) for event in completed
    ]
    for one, event in zip(turns, completed, strict=True):
        assert len([inner for inner in one.inner if inner.name.startswith("chat ")]) == event.model_calls
        assert (one.told[n.INPUT_TOKENS], one.told[n.OUTPUT_TOKENS]) == (event.prompt_tokens, event.completion_tokens)
    assert not [one for one in session.named("chat ") if n.INPUT_TOKENS in one.told]  # the brief's are among them
    calls = [event.tool for event in log(runtime, session_id) if isinstance(event, e.ToolCalled)]
    assert [one.told[n.TOOL] for one in session.named("execute_tool")] == calls
    assert len({span.context.trace_id for span in collector.spans}) == 1


async def test_what_is_stored_is_told_with_the_turn_that_it_is_of(runtime: Runtime, collector: Collector) -> None:
    session_id = await played(runtime, Order(rounds=1, seed=7))
    stored = len(log(runtime, session_id))
    await asyncio.sleep(0.05)  # a commit is told after what it holds
    assert sum(count for _, count in commits(collector)) == stored
    turns = {span.context.span_id for span in collector.spans if span.name.startswith("invoke_agent")}
    assert turns < {around for around, _ in commits(collector)}


def commits(collector: Collector) -> list[tuple[int, int]]:
    """(the span that it serves, how many events) of each."""
    found = [span for span in collector.spans if span.name == "COMMIT"]
    return [(span.parent.span_id, int(str((span.attributes or {})[n.DB_BATCH]))) for span in found if span.parent]


async def test_two_sessions_at_once_are_two_traces(runtime: Runtime, collector: Collector) -> None:
    await asyncio.gather(*(played(runtime, Order(rounds=1, seed=seed)) for seed in (1, 2, 3)))
    trees = collector.trees()
    assert [len(tree.named("invoke_agent")) for tree in trees] == [6, 6, 6]
    for tree in trees:
        assert {one.told[n.CONVERSATION] for one in tree.named("invoke_agent")} == {tree.told[n.CONVERSATION]}
    assert here().session_id is None  # whoever starts a session is not in it


async def test_a_refused_tool_is_an_error_with_its_fault(runtime: Runtime, collector: Collector) -> None:
    runtime.source._simulated = Talker(calling("database_query", "SELECT 1"))
    await played(runtime, Order(rounds=1))
    faults = {
        turn.told[n.AGENT]: (one.failed, one.told.get(n.ERROR))
        for turn in only(collector).named("invoke_agent")
        for one in turn.named("execute_tool")
    }
    assert faults["driver"] == (True, "scope")
    assert (False, None) in faults.values()


async def test_a_tool_that_a_model_made_up_is_not_quoted(runtime: Runtime, collector: Collector) -> None:
    runtime.source._simulated = Talker(calling("I am the mole, you know", "{}"))
    await played(runtime, Order(rounds=1))
    (name, told) = next((one.name, one.told) for one in only(collector).named("execute_tool"))
    assert (name, told[n.TOOL], told[n.ERROR]) == ("execute_tool unknown", "unknown", "unknown")


async def test_a_model_that_fails_marks_its_call_and_its_turn(settings: Settings) -> None:
    server, url = await fake_server.listen()
    async with server:
        collector = Collector()
        async with Runtime(settings.model_copy(update={"llm": url})).opened() as runtime:
            collector.watch(runtime)
            (await endpoint(runtime)).name = "fault-rubbish"
            session_id = await runtime.sessions.start(USER, Order(rounds=1))
            await until(runtime, session_id, "message.interrupted")
            await runtime.sessions.stop(USER, session_id, now=True)
        server.close()
    session = only(collector)
    assert session.told[n.STATUS] == "stopped"
    assert "session.paused" in session.events
    failing = [one for one in session.named("chat ") if one.failed]
    assert "model_broke" in {one.told[n.ERROR] for one in failing}
    turns = session.named("invoke_agent")
    assert any(one.failed and one.told[n.STATUS] in ("failed", "interrupted") for one in turns)
    parts = url.removeprefix("http://").partition("/")[0].split(":")
    assert {(one.told[n.SERVER_ADDRESS], str(one.told[n.SERVER_PORT])) for one in failing} == {tuple(parts)}


async def test_a_session_that_is_cut_off_leaves_no_span_open(runtime: Runtime, collector: Collector) -> None:
    session_id = await runtime.sessions.start(USER, Order(rounds=5, words_per_second=50))
    await until(runtime, session_id, "message.started")
    await runtime.sessions.stop(USER, session_id, now=True)
    assert here() == Here()  # who gives the order is in no session
    session = only(collector)
    assert (session.told[n.STATUS], session.failed) == ("stopped", False)
    (turn,) = session.named("invoke_agent")
    assert (turn.told[n.STATUS], turn.failed) == ("interrupted", False)
    assert [one.told.get(n.ERROR) for one in turn.named("chat ")][-1] == "cancelled"


async def test_a_session_that_comes_back_begins_a_new_trace(settings: Settings) -> None:
    before, after = Collector(), Collector()
    async with Runtime(settings).opened() as runtime:
        spans = before.watch(runtime)
        session_id = await runtime.sessions.start(USER, Order(rounds=1, paused=True))
        await runtime.sessions.close()
        spans.close()
    assert only(before).told[n.STATUS] == "left"
    runtime = Runtime(settings)
    after.watch(runtime)
    async with runtime.opened():
        await runtime.sessions.resume(USER, session_id)
        await runtime.sessions.finished(session_id)
        await runtime.watch.close()
    session = only(after)
    assert session.told[n.CONVERSATION] == session_id
    assert len(session.named("invoke_agent")) == 6


async def test_blocks_of_memory_are_told_with_the_call_that_wrote_them(settings: Settings, tmp_path: Path) -> None:
    server, url = await fake_server.listen()
    async with server:
        chosen = crew(
            settings, tmp_path, **{"threshold: 1000": "threshold: 150", "context: 5": "context: 2"}
        ).model_copy(update={"llm": url})
        collector = Collector()
        async with Runtime(chosen).opened() as runtime:
            collector.watch(runtime)
            await played(runtime, Order(rounds=3))
        server.close()
    written = only(collector).named("create_memory")
    assert written
    assert all(one.shape() == ("create_memory", ["chat fake-1"]) for one in written)


async def test_a_call_from_outside_of_every_session_is_a_trace_of_its_own(
    runtime: Runtime, collector: Collector
) -> None:
    outcome = await runtime.registry.call(Principal("laptop", AGENT_SCOPES), "calculator", "6*7")
    await runtime.bus.publish(outcome.told(None, "laptop", "http"))
    assert only(collector).shape() == "execute_tool calculator"


async def test_the_span_of_a_tool_is_where_others_find_it(runtime: Runtime, collector: Collector) -> None:
    """A plug-in's own spans belong into the tool's."""
    found: list[int] = []

    async def run(arguments: Expression, caller: Caller) -> Value:
        found.append(trace.get_current_span().get_span_context().span_id)
        return await calculator.run(arguments, caller)

    runtime.registry.tools = {**runtime.registry.tools, "calculator": replace(calculator, run=run)}
    runtime.source._simulated = Talker(calling("calculator", "6*7"))
    await played(runtime, Order(rounds=1))
    assert found
    assert set(found) <= {span.context.span_id for span in collector.spans if span.name == "execute_tool calculator"}


@pytest.mark.parametrize("text", ["none", "speech", "prompts"])
async def test_words_stand_in_spans_only_as_far_as_they_may(runtime: Runtime, text: str) -> None:
    collector = Collector()
    collector.watch(runtime, text)  # type: ignore[arg-type]
    runtime.source._simulated = Talker(calling("calculator", "6*7"))
    session_id = await played(runtime, Order(rounds=1, mole="hacker"))
    whole = json.dumps([dict(span.attributes or {}) for span in collector.spans])
    assert ("Fine." in whole or "6*7" in whole) is (text != "none")
    assert ("You are the mole" in whole) is (text == "prompts")
    (brief,) = [body for body in runtime.queries.sealed(session_id) if "mole.assigned" in body]
    seed = str(json.loads(brief)["seed"])
    assert seed not in whole


async def test_no_secret_stands_in_a_span(settings: Settings) -> None:
    server, url = await fake_server.listen()
    async with server:
        chosen = settings.model_copy(
            update={"llm": url.replace("http://", "http://user:word@"), "llm_key": SecretStr("a-key-of-mine")}
        )
        collector = Collector()
        async with Runtime(chosen).opened() as runtime:
            collector.watch(runtime, "speech")
            await played(runtime, Order(rounds=1))
        server.close()
    whole = json.dumps([[span.name, dict(span.attributes or {})] for span in collector.spans])
    assert "chat fake-1" in whole
    assert not [secret for secret in ("user:word", "a-key-of-mine", SECRET) if secret in whole]


def test_names_are_those_of_the_conventions() -> None:
    known = {
        value
        for module in (gen_ai_attributes, db_attributes, error_attributes, server)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = {value for name, value in vars(n).items() if name.isupper()}
    assert {name for name in ours if not name.startswith("heist.")} <= known


async def test_a_verdict_that_somebody_asks_for_is_looked_at_in_the_trace_of_its_session(
    runtime: Runtime, collector: Collector
) -> None:
    session_id = await played(runtime, Order(rounds=1, seed=7))
    assert not only(collector).named("assess keywords")
    await runtime.desk.assess(USER, session_id, "keywords")
    assert [one.told[n.CONVERSATION] for one in only(collector).named("assess keywords")] == [session_id]
