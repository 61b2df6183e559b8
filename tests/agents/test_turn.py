"""One turn, with a model that says what the test wants: no bus, no store."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from heist import events as e
from heist.agents.agent import Agent
from heist.agents.turn import take
from heist.errors import InvalidToken, ModelError
from heist.llm.model import Call, Completion, Prompt, Usage
from heist.runtime import Runtime
from heist.services.auth import Resource, Scope
from heist.services.tools.calculator import calculator
from heist.settings import Settings
from heist.world.documents import Bank
from heist.world.game import draw
from tests.models import Stand
from tests.strategies import BANK, conversation, session_started

pytestmark = pytest.mark.anyio


class Scripted(Stand):
    """Says its lines in order: text, calls, or an error; keeps the prompts that it got."""

    name = server = "script"
    simulated = True

    def __init__(self, *lines: str | list[Call] | Exception) -> None:
        self.lines = list(lines)
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self.prompts.append(prompt)
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            yield "I was just about to"
            raise line
        text = line if isinstance(line, str) else ""
        for character in text:
            yield character
        yield Completion(text, tuple(line) if isinstance(line, list) else (), Usage(10, 5, False), "script-1")


def call(expression: str = "6*7", name: str = "calculator") -> Call:
    return Call(f"id {expression}", name, f'{{"expression": "{expression}"}}')


Play = Callable[..., Any]


@pytest.fixture
def play(settings: Settings) -> Play:
    """Takes a turn of an agent that may reckon, and answers its events."""

    async def played(model: Scripted, *scopes: Scope, orders: int = 0, tool_calls: int = 2) -> list[e.Event]:
        house = Runtime(settings)
        house.registry.furnish("s1", Bank(draw(BANK, 7)))
        state = conversation(tool_calls=tool_calls)
        for number in range(1, orders + 1):
            state.apply(e.CommandIssued(session_id="s1", command=number, agent="planner", text="go", by="user"))
        seat = state.cue().seat.model_copy(update={"scopes": tuple(scopes)})
        agent = Agent(seat, "s1", house.clients, house.server, house.auth, house.registry)
        return [event async for event in take(state.cue(), agent, model, house.clock)]

    return played


def text(events: list[e.Event]) -> str:
    [completed] = [event for event in events if isinstance(event, e.MessageCompleted)]
    return completed.text


def streamed(events: list[e.Event]) -> str:
    spoken = ""
    for event in events:
        if isinstance(event, e.MessageDelta):
            assert event.offset == len(spoken)
            spoken += event.text
    return spoken


async def test_a_turn_starts_streams_and_completes(play: Play) -> None:
    events = await play(Scripted("We go at ten."))
    assert [events[0].kind, events[-1].kind] == ["message.started", "message.completed"]
    assert text(events) == streamed(events) == "We go at ten."
    assert (events[-1].model, events[-1].prompt_tokens, events[-1].model_calls) == ("script-1", 10, 1)


@pytest.mark.mission("S7")
async def test_a_native_call_is_run_and_its_result_goes_back(play: Play) -> None:
    model = Scripted([call()], "It is 42.")
    events = await play(model, Scope.CALCULATOR)
    [called] = [event for event in events if isinstance(event, e.ToolCalled)]
    assert (called.result, called.success, called.form, called.turn) == ("6*7 = 42", True, "native", 1)
    assert called.arguments == {"expression": "6*7"}
    assert [message.role for message in model.prompts[1].messages[2:]] == ["assistant", "tool"]
    assert model.prompts[1].messages[-1].content == "6*7 = 42"
    assert (text(events), events[-1].model_calls, events[-1].prompt_tokens) == ("It is 42.", 2, 20)


@pytest.mark.mission("S7")
async def test_a_call_in_text_is_run_and_never_heard(play: Play) -> None:
    model = Scripted("Let me see. [TOOL:calculator:6*7]", "It is 42.")
    events = await play(model, Scope.CALCULATOR)
    [called] = [event for event in events if isinstance(event, e.ToolCalled)]
    assert (called.result, called.form) == ("6*7 = 42", "text")
    assert streamed(events).split() == text(events).split() == "Let me see. It is 42.".split()
    assert "TOOL" not in streamed(events)
    assert model.prompts[1].messages[-1].content.startswith("Result of calculator: 6*7 = 42")


@pytest.mark.mission("S1")
async def test_a_call_without_the_scope_is_refused_audited_and_told_to_the_model(play: Play) -> None:
    model = Scripted([call()], "Then not.")
    events = await play(model)
    [called] = [event for event in events if isinstance(event, e.ToolCalled)]
    assert (called.success, called.fault) == (False, "scope")
    assert called.result == "planner lacks the scope 'calculator:use'"
    assert model.prompts[1].messages[-1].content == called.result
    assert text(events) == "Then not."


@pytest.mark.parametrize(
    ("wanted", "fault", "sentence"),
    [
        (call(name="vault_opener"), "unknown", "there is no tool 'vault_opener'; yours are: calculator"),
        (call("1/0"), "arguments", "'1/0' divides by zero"),
        (Call("x", "calculator", '{"formula": "1"}'), "arguments", "calculator: formula: there is no such key"),
        (Call("x", "calculator", "[1, 2"), "arguments", "'[1, 2' is not an arithmetic expression"),
        (
            Call("x", "calculator", '{"expression": 5}'),
            "arguments",
            "calculator: expression: input should be a valid str",
        ),
    ],
)
async def test_a_call_that_fails_says_whose_fault_it_was(play: Play, wanted: Call, fault: str, sentence: str) -> None:
    events = await play(Scripted([wanted], "Well."), Scope.CALCULATOR)
    [called] = [event for event in events if isinstance(event, e.ToolCalled)]
    assert (called.success, called.fault) == (False, fault)
    assert sentence in called.result
    assert text(events) == "Well."


async def test_calls_are_bounded_and_the_last_prompt_offers_no_tool(play: Play) -> None:
    model = Scripted([call("1+1"), call("2+2"), call("3+3")], "Two is enough.")
    events = await play(model, Scope.CALCULATOR)
    assert [event.kind for event in events].count("tool.called") == 2
    assert model.prompts[0].tools
    assert not model.prompts[1].tools
    assert text(events) == "Two is enough."


async def test_with_no_calls_allowed_none_is_made(play: Play) -> None:
    model = Scripted("[TOOL:calculator:1+1]Fine.")
    events = await play(model, Scope.CALCULATOR, tool_calls=0)
    assert not model.prompts[0].tools
    assert text(events) == "Fine."
    assert "tool.called" not in [event.kind for event in events]


@pytest.mark.mission("S18")
async def test_a_model_error_ends_the_turn_and_is_not_speech(play: Play) -> None:
    events = await play(Scripted(ModelError("the server is down")), orders=1)
    assert events[-1].kind == "message.failed"
    assert (events[-1].error, events[-1].detail) == ("model_error", "the server is down")
    assert not {"message.completed", "command.delivered"} & {event.kind for event in events}


async def test_a_model_that_only_calls_tools_has_said_nothing(play: Play) -> None:
    events = await play(Scripted([call()], [call()], [call()]), Scope.CALCULATOR)
    assert (events[-1].kind, events[-1].error) == ("message.failed", "silent")


async def test_orders_are_delivered_once_each_before_the_message(play: Play) -> None:
    events = await play(Scripted("Yes."), orders=2)
    assert [event.kind for event in events][-3:] == ["command.delivered", "command.delivered", "message.completed"]
    assert [event.command for event in events if isinstance(event, e.CommandDelivered)] == [1, 2]


@pytest.mark.parametrize("said", ["planner: Go.", "[turn 7, planner] Go.", "Planner:  Go.", "  Go.\n"])
async def test_the_speakers_own_name_in_front_is_left_out(play: Play, said: str) -> None:
    assert text(await play(Scripted(said))) == "Go."


async def test_an_agent_without_a_client_is_told_why_it_may_use_nothing(runtime: Runtime) -> None:
    house = runtime
    seat = session_started().seats[0].model_copy(update={"scopes": ("calculator:use",)})
    agent = Agent(seat, "s1", house.clients, house.server, house.auth, house.registry)
    assert agent.tools() == (calculator,)
    agent.leave()
    outcome = await agent.use("calculator", "1+1")
    assert (agent.tools(), outcome.fault, outcome.success) == ((), "token", False)
    assert outcome.text == "the client is unknown or its secret is wrong"


@pytest.mark.mission("S12")
async def test_quarantine_kills_every_token_of_an_agent_and_release_brings_none_back(runtime: Runtime) -> None:
    seat = session_started().seats[0].model_copy(update={"scopes": ("calculator:use",)})
    agent = Agent(seat, "s1", runtime.clients, runtime.server, runtime.auth, runtime.registry)
    assert (await agent.use("calculator", "1+1")).success
    old = agent._token
    assert old is not None
    agent.suspend()
    outcome = await agent.use("calculator", "1+1")
    assert (agent.tools(), outcome.fault, outcome.success) == ((), "token", False)
    assert outcome.text.endswith(" is in quarantine: it gets no tokens")
    with pytest.raises(InvalidToken, match="planner is in quarantine: its tokens are no longer good"):
        await runtime.auth.verify(old)
    agent.release()
    assert (agent.tools(), (await agent.use("calculator", "1+1")).text) == ((calculator,), "1+1 = 2")
    with pytest.raises(InvalidToken, match="the token's client no longer exists"):
        await runtime.auth.verify(old)
    assert len(runtime.clients._agents) == 1


async def test_an_agents_token_is_asked_for_once_and_is_good_nowhere_else(runtime: Runtime) -> None:
    seat = session_started().seats[0].model_copy(update={"scopes": ("calculator:use",)})
    agent = Agent(seat, "s1", runtime.clients, runtime.server, runtime.auth, runtime.registry)
    await agent.use("calculator", "1+1")
    token = agent._token
    await agent.use("calculator", "1+1")
    assert token is not None
    assert agent._token == token
    with pytest.raises(InvalidToken, match="the token is for another address"):
        await runtime.auth.verify(token, Resource("http://127.0.0.1:8008"))


def planned(events: list[e.Event]) -> list[tuple[str, object, object]]:
    return [(event.slot, event.value, event.before) for event in events if isinstance(event, e.PlanChanged)]


@pytest.mark.mission("B1")
async def test_what_an_agent_sets_is_in_the_plan_with_what_it_was_before(play: Play) -> None:
    first = call("", "plan")._replace(arguments='{"entry": "entry_time = 2:11; road = Mill Lane"}')
    second = call("x", "plan")._replace(arguments="entry_time = 02:15")
    events = await play(Scripted([first], [second], "It is set."), Scope.PLAN_WRITE)
    assert planned(events) == [
        ("entry_time", "02:11", None),
        ("road", "mill lane", None),
        ("entry_time", "02:15", "02:11"),
    ]
    kinds = [event.kind for event in events if event.kind != "message.delta"]
    assert kinds[1:4] == ["tool.called", "plan.changed", "plan.changed"]


async def test_setting_what_is_set_already_changes_nothing(play: Play) -> None:
    again = [call(str(number), "plan")._replace(arguments="road = mill lane") for number in range(2)]
    events = await play(Scripted(again, "Done."), Scope.PLAN_WRITE)
    assert planned(events) == [("road", "mill lane", None)]


async def test_a_plan_that_is_refused_changes_nothing(play: Play) -> None:
    for arguments, scope in (("road = moon", Scope.PLAN_WRITE), ("road = mill lane", Scope.CALCULATOR)):
        events = await play(Scripted([call("x", "plan")._replace(arguments=arguments)], "Hm."), scope)
        assert planned(events) == []
        [called] = [event for event in events if isinstance(event, e.ToolCalled)]
        assert not called.success


@pytest.mark.mission("S10")
async def test_what_a_model_thinks_and_says_it_did_is_sealed_and_never_spoken(play: Play) -> None:
    class Honest(Scripted):
        async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
            async for chunk in super().complete(prompt):
                yield (
                    chunk._replace(did="told a lie", thoughts="I am the mole.")
                    if isinstance(chunk, Completion)
                    else chunk
                )

    events = await play(Honest("We go at ten."))
    assert [(event.kind, event.sealed) for event in events if event.sealed] == [
        ("thoughts.kept", True),
        ("sabotage.done", True),
    ]
    for event in events:
        assert event.sealed or ("mole" not in event.model_dump_json() and "lie" not in event.model_dump_json())
