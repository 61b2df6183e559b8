"""The one door to the tools: who gets in, what comes out, and whose fault a failure is."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from heist import errors
from heist.errors import ConfigError, HeistError, InsufficientScope, NotFound, ToolError, ToolFailure
from heist.events import Event, Recorded, ToolAdded, ToolCalled, ToolRemoved, body_of, parse
from heist.services.auth import AGENT_SCOPES, Principal, Scope
from heist.services.tools import registry as registries
from heist.services.tools.calculator import calculator
from heist.services.tools.database_query import database_query
from heist.services.tools.file_reader import file_reader
from heist.services.tools.registry import (
    LARGEST,
    LONGEST,
    AnyTool,
    Arguments,
    Caller,
    Outcome,
    Registry,
    Result,
    Tool,
    understood,
)
from heist.settings import shipped
from heist.world import scenario
from heist.world.documents import Bank
from heist.world.game import Game, draw
from tests.strategies import no_lobby
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S1")]
TOOLS: tuple[AnyTool, ...] = (calculator, database_query, file_reader)
ALL = Principal("planner", AGENT_SCOPES, "heist_1")
NOBODY = Principal("lookout", frozenset(), "heist_1")


class Letter(Arguments):
    text: str = Field(description="what to say", max_length=10_000)
    times: int = 1


CLOCK = HandClock()


class Shout(Result):
    shout: str

    def text(self) -> str:
        return self.shout


async def _shout(arguments: Letter, _: Caller) -> Shout:
    CLOCK.advance(0.25)
    if arguments.text == "break":
        raise ToolFailure("the megaphone is broken")
    return Shout(shout=arguments.text * arguments.times)


megaphone = Tool("megaphone", "Says it aloud.", Scope.CALCULATOR, Letter, Shout, _shout)


def new_bank(cameras: int = 24) -> Bank:
    shipped_one = scenario.read(shipped("config"), "first_national_bank")
    fixed = draw(shipped_one, None)
    return Bank(Game(shipped_one, {**fixed.values, "cameras": cameras}))


@pytest.fixture
def registry() -> Generator[Registry]:
    registry = Registry((*TOOLS, megaphone), CLOCK, new_bank)
    registry.furnish("heist_1", new_bank())
    yield registry
    registry.close()


@pytest.mark.parametrize(
    ("tool", "arguments", "part"),
    [
        ("calculator", {"expression": "6 * 7"}, "6 * 7 = 42"),
        ("file_reader", {"filename": "camera_plan"}, "24 cameras cover the building"),
        ("database_query", {"query": "SELECT count(*) FROM guards"}, "13"),
    ],
)
async def test_a_tool_answers_whoever_holds_its_scope(
    tool: str, arguments: dict[str, str], part: str, registry: Registry
) -> None:
    outcome = await registry.call(ALL, tool, arguments)
    assert (outcome.tool, outcome.arguments, outcome.success, outcome.fault) == (tool, arguments, True, None)
    assert part in outcome.text


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: str(tool.name))
async def test_each_tool_is_closed_to_all_scopes_but_its_own(tool: AnyTool, registry: Registry) -> None:
    principal = Principal("mole", frozenset(Scope) - {tool.scope}, "heist_1")
    outcome = await registry.call(principal, tool.name, {tool.main_argument: "1"})
    assert outcome.fault == "scope"
    assert isinstance(outcome.error, InsufficientScope)
    assert outcome.error.scope == tool.scope


@pytest.mark.parametrize("arguments", [None, {}, {"x": 1}, "{", 12, {"expression": 1}])
async def test_the_scope_is_asked_before_the_arguments_are_looked_at(arguments: object, registry: Registry) -> None:
    outcome = await registry.call(NOBODY, "calculator", arguments)
    assert (outcome.fault, outcome.text) == ("scope", "lookout lacks the scope 'calculator:use'")
    assert outcome.arguments == arguments


async def test_the_scope_is_asked_before_the_bank(registry: Registry) -> None:
    stranger = Principal("mole", frozenset(), "heist_2")
    assert (await registry.call(stranger, "calculator", "1")).fault == "scope"


@given(scopes=st.frozensets(st.sampled_from(Scope)), tool=st.sampled_from(TOOLS))
async def test_a_tool_is_never_visible_to_one_who_may_not_call_it(scopes: frozenset[Scope], tool: AnyTool) -> None:
    registry = Registry(TOOLS, CLOCK, no_lobby)
    registry.furnish("heist_1", new_bank())
    principal = Principal("mole", scopes, "heist_1")
    outcome = await registry.call(principal, tool.name, {tool.main_argument: "index"})
    registry.clear("heist_1")
    assert (tool in registry.visible(principal)) == (outcome.fault != "scope") == (tool.scope in scopes)


def test_tools_are_visible_in_the_order_of_their_names() -> None:
    registry = Registry((file_reader, database_query, calculator), CLOCK, no_lobby)
    assert [tool.name for tool in registry.visible(ALL)] == ["calculator", "database_query", "file_reader"]


async def test_an_unknown_tool_answers_with_the_names_of_ones_own(registry: Registry) -> None:
    hacker = Principal("hacker", frozenset({Scope.FILES}), "heist_1")
    outcome = await registry.call(hacker, "dynamite", "boom")
    assert (outcome.fault, outcome.text) == ("unknown", "there is no tool 'dynamite'; yours are: file_reader")
    assert isinstance(outcome.error, NotFound)


async def test_an_unknown_tool_tells_one_without_scopes_that_there_are_none(registry: Registry) -> None:
    assert (await registry.call(NOBODY, "dynamite", "boom")).text == "there is no tool 'dynamite'; yours are: none"


async def test_the_name_of_an_unknown_tool_is_not_repeated_at_length(registry: Registry) -> None:
    assert len((await registry.call(ALL, "x" * 100_000, "boom")).text) < 200


@pytest.mark.parametrize("name", ["", "Calculator", "calculator ", "__init__", "registry", "calculator\0", "../x"])
async def test_a_name_that_is_only_nearly_a_tools_is_unknown(name: str, registry: Registry) -> None:
    assert (await registry.call(ALL, name, "1")).fault == "unknown"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "calculator: expression: field required"),
        ({"expression": 5}, "calculator: expression: input should be a valid string"),
        ({"expression": None}, "calculator: expression: input should be a valid string"),
        ({"expression": "1", "precision": 2}, "calculator: precision: there is no such key"),
        ({"query": "1", "expression": "1"}, "calculator: query: there is no such key"),
        ({"expression": "1" * 501}, "calculator: expression: string should have at most 500 characters"),
        (None, "calculator: expected an object with 'expression', found NoneType"),
        (12, "calculator: expected an object with 'expression', found int"),
        (["1"], "calculator: expected an object with 'expression', found list"),
        ('{"precision": 2}', "calculator: precision: there is no such key"),
        ('{"expression": 5}', "calculator: expression: input should be a valid string"),
    ],
)
async def test_wrong_arguments_are_the_callers_fault_and_the_sentence_names_the_field(
    arguments: object, sentence: str, registry: Registry
) -> None:
    outcome = await registry.call(ALL, "calculator", arguments)
    assert (outcome.fault, outcome.text, outcome.success) == ("arguments", sentence, False)
    assert isinstance(outcome.error, ToolError)


async def test_what_a_tool_itself_refuses_is_the_callers_fault_too(registry: Registry) -> None:
    assert (await registry.call(ALL, "calculator", "1 / 0")).fault == "arguments"
    assert (await registry.call(ALL, "file_reader", "diary")).fault == "arguments"
    assert (await registry.call(ALL, "database_query", "DROP TABLE guards")).fault == "arguments"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("1 + 1", {"expression": "1 + 1"}),
        ('{"expression": "1 + 1"}', {"expression": "1 + 1"}),
        (' {"expression":\n"1 + 1"} ', {"expression": "1 + 1"}),
        ("", {"expression": ""}),
        ("12", {"expression": "12"}),
        ("[1]", {"expression": "[1]"}),
        ('"1 + 1"', {"expression": '"1 + 1"'}),
        ("null", {"expression": "null"}),
        ("{1 + 1}", {"expression": "{1 + 1}"}),
        ('{"expression": "1 + 1"', {"expression": '{"expression": "1 + 1"'}),
        ("9" * 5_000, {"expression": "9" * 5_000}),
        ("[" * 100_000, {"expression": "[" * 100_000}),
    ],
)
def test_text_is_json_of_an_object_or_else_the_first_argument(text: str, arguments: object) -> None:
    assert understood(calculator, text) == arguments


@given(arguments=st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=4))
def test_an_object_written_as_text_is_always_understood_as_itself(arguments: dict[str, object]) -> None:
    assert understood(calculator, json.dumps(arguments)) == arguments


async def test_both_text_forms_reach_the_tool(registry: Registry) -> None:
    plain = await registry.call(ALL, "megaphone", "go")
    written = await registry.call(ALL, "megaphone", '{"text": "go", "times": 2}')
    assert (plain.text, plain.arguments) == ("go", {"text": "go"})
    assert (written.text, written.arguments) == ("gogo", {"text": "go", "times": 2})


async def test_a_long_result_is_cut_and_says_by_how_much(registry: Registry) -> None:
    outcome = await registry.call(ALL, "megaphone", {"text": "a", "times": LONGEST + 5})
    assert outcome.text == "a" * LONGEST + "\n… cut: 5 more characters"
    assert outcome.success


async def test_a_result_of_the_longest_length_is_whole(registry: Registry) -> None:
    assert (await registry.call(ALL, "megaphone", {"text": "a", "times": LONGEST})).text == "a" * LONGEST


async def test_a_tool_that_breaks_is_the_services_fault(registry: Registry) -> None:
    outcome = await registry.call(ALL, "megaphone", "break")
    assert (outcome.fault, outcome.text) == ("service", "the megaphone is broken")
    assert isinstance(outcome.error, ToolFailure)


async def without_a_bank(principal: Principal, registry: Registry) -> Outcome:
    outcome = await registry.call(principal, "file_reader", "index")
    assert "no bank to look into" in outcome.text
    assert isinstance(outcome.error, ToolFailure)
    return outcome


async def test_a_session_that_does_not_run_here_is_the_services_fault(registry: Registry) -> None:
    assert (await without_a_bank(ALL._replace(session_id="heist_2"), registry)).fault == "service"


async def test_a_client_without_a_session_looks_into_the_lobbys_bank_alone(registry: Registry) -> None:
    registry = Registry(TOOLS, CLOCK, lambda: new_bank(77))
    registry.furnish("heist_1", new_bank(33))
    outsider = ALL._replace(session_id=None)
    assert "77 cameras cover" in (await registry.call(outsider, "file_reader", "camera_plan")).text
    assert "33 cameras cover" in (await registry.call(ALL, "file_reader", "camera_plan")).text
    registry.close()


async def test_the_lobbys_bank_is_made_once_and_closed_at_the_end() -> None:
    made: list[Bank] = []

    def lobby() -> Bank:
        made.append(new_bank())
        return made[-1]

    registry = Registry(TOOLS, CLOCK, lobby)
    outsider = ALL._replace(session_id=None)
    assert (await registry.call(outsider, "calculator", "1")).success
    assert made == []
    for _ in range(3):
        assert (await registry.call(outsider, "database_query", "SELECT 1")).success
    assert len(made) == 1
    registry.close()
    assert (await registry.call(outsider, "database_query", "SELECT 1")).fault == "service"


@pytest.mark.parametrize("error", [ConfigError("crew.yaml is wrong"), NotFound("there is no crew 'crew'")])
async def test_a_lobby_that_cannot_be_opened_is_the_services_fault_and_the_rest_goes_on(error: HeistError) -> None:
    def broken() -> Bank:
        raise error

    registry = Registry(TOOLS, CLOCK, broken)
    outsider = ALL._replace(session_id=None)
    outcome = await without_a_bank(outsider, registry)
    assert (outcome.fault, str(error) in outcome.text) == ("service", True)
    assert (await registry.call(outsider, "calculator", "1")).success


async def test_a_bank_is_gone_with_its_session(registry: Registry) -> None:
    assert (await registry.call(ALL, "file_reader", "index")).success
    registry.clear("heist_1")
    registry.clear("heist_1")
    assert (await without_a_bank(ALL, registry)).fault == "service"


async def test_wrong_arguments_are_told_even_when_there_is_no_bank(registry: Registry) -> None:
    assert (await registry.call(ALL._replace(session_id="heist_2"), "file_reader", {})).fault == "arguments"


async def test_a_call_knows_how_long_it_took(registry: Registry) -> None:
    assert (await registry.call(ALL, "megaphone", "go")).milliseconds == 250.0


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: str(tool.name))
def test_a_tools_schema_describes_each_field_and_closes_the_object(tool: AnyTool) -> None:
    schema = tool.schema
    assert schema["additionalProperties"] is False
    assert schema["required"] == [tool.main_argument]
    assert all(field["description"] for field in schema["properties"].values())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(tool=st.sampled_from(["calculator", "file_reader"]) | st.text(max_size=12), arguments=json_values)
async def test_nothing_that_a_caller_sends_ever_raises(tool: str, arguments: object) -> None:
    registry = Registry(TOOLS, CLOCK, no_lobby)
    registry.furnish("heist_1", new_bank())
    outcome = await registry.call(ALL, tool, arguments)
    assert outcome.success == (outcome.fault is None)
    assert outcome.text


@pytest.mark.parametrize("arguments", ['{"expression": "\\ud800"}', '{"a": ' + "[" * 300 + "]" * 300 + "}"])
async def test_whatever_was_sent_can_be_audited(arguments: str, registry: Registry) -> None:
    outcome = await registry.call(ALL, "calculator", arguments)
    event = ToolCalled(
        session_id="s",
        turn=1,
        agent="m",
        tool="calculator",
        arguments=outcome.arguments,
        result=outcome.text,
        success=outcome.success,
        fault=outcome.fault,
        form="text",
        milliseconds=0.0,
    )
    assert parse(body_of(event)) == event
    assert (outcome.success, outcome.fault) == (False, "arguments")


class Question(Arguments):
    question: str = Field(description="anything")


class Said(Result):
    said: str


class Other(Result):
    said: str


Work = Callable[[Question, Caller], Awaitable[Said]]


def oracle(work: Work, result: type[Result] = Said) -> Registry:
    return Registry((calculator, Tool("oracle", "Answers.", "oracle:ask", Question, result, work)), CLOCK, no_lobby)


SEER = Principal("seer", frozenset({"oracle:ask", Scope.CALCULATOR}), "heist_1")


async def answered(registry: Registry) -> Outcome:
    """What the oracle says; whatever that is, it can be audited, is one sentence, and the calculator still works."""
    outcome = await registry.call(SEER, "oracle", {"question": "?"})
    event = ToolCalled(
        session_id="s",
        turn=1,
        agent="seer",
        tool="oracle",
        arguments=outcome.arguments,
        result=outcome.text,
        success=outcome.success,
        fault=outcome.fault,
        form="native",
        milliseconds=outcome.milliseconds,
    )
    assert parse(body_of(event)) == event
    assert (await registry.call(SEER, "calculator", "1 + 1")).text == "1 + 1 = 2"
    return outcome


async def test_a_tool_may_have_a_scope_of_its_own_and_a_result_without_a_text() -> None:
    async def work(question: Question, caller: Caller) -> Said:
        return Said(said=f"{question.question} {caller.principal.name}")

    outcome = await answered(oracle(work))
    assert (outcome.text, outcome.result) == ('{"said":"? seer"}', {"said": "? seer"})
    blind = Principal("blind", frozenset(Scope), "heist_1")
    assert (await oracle(work).call(blind, "oracle", {"question": "?"})).fault == "scope"


class Odd(Exception):
    pass


RAISED = [
    ValueError("x" * 10_000),
    KeyError("\ud800"),
    ZeroDivisionError(),
    OSError(13, "denied", "/etc/shadow"),
    RuntimeError("line\nline"),
    StopIteration(),
    StopAsyncIteration(),
    MemoryError(),
    RecursionError(),
    TimeoutError(),
    AssertionError(),
    ExceptionGroup("many", [ValueError("one")]),
    Odd("odd"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_whatever_a_tool_raises_is_the_services_fault_in_one_sentence(error: Exception) -> None:
    async def work(_: Question, __: Caller) -> Said:
        raise error

    outcome = await answered(oracle(work))
    assert (outcome.success, outcome.fault, outcome.result) == (False, "service", None)
    assert "\n" not in outcome.text
    assert len(outcome.text) < 200
    assert outcome.text.startswith("the tool oracle ")


OWN = [
    ConfigError("c"),
    errors.NotFound("n"),
    errors.Conflict("c"),
    errors.Invalid("i"),
    errors.Unavailable("u"),
    errors.TooMany("t", 1),
    errors.InvalidToken("t"),
    errors.GrantError("invalid_scope", "s"),
    errors.ModelError("m"),
    errors.StoreError("s"),
    errors.HeistError("h"),
]


@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
async def test_an_error_of_the_house_out_of_a_tool_is_the_tools_fault_too(error: HeistError) -> None:
    async def work(_: Question, __: Caller) -> Said:
        raise error

    assert (await answered(oracle(work))).fault == "service"


async def test_a_tool_whose_own_task_was_cancelled_does_not_cancel_its_caller() -> None:
    async def work(_: Question, __: Caller) -> Said:
        never = asyncio.get_running_loop().create_future()
        never.cancel()
        await never
        raise AssertionError

    assert (await answered(oracle(work))).fault == "service"


async def test_a_caller_that_is_cancelled_takes_its_tool_along() -> None:
    ended = asyncio.Event()

    async def work(_: Question, __: Caller) -> Said:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        raise AssertionError

    calling = asyncio.create_task(oracle(work).call(SEER, "oracle", {"question": "?"}))
    await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ended.is_set()


@pytest.mark.parametrize(
    ("error", "fault"), [(ToolError("ask better"), "arguments"), (ToolFailure("no oracle today"), "service")]
)
async def test_a_tool_says_itself_whose_fault_it_is(error: HeistError, fault: str) -> None:
    async def work(_: Question, __: Caller) -> Said:
        raise error

    outcome = await answered(oracle(work))
    assert (outcome.fault, outcome.text) == (fault, str(error))


@pytest.mark.parametrize("text", ["\ud800", "half \udfff"])
async def test_a_sentence_of_a_tool_that_is_no_text_can_be_audited_all_the_same(text: str) -> None:
    async def work(_: Question, __: Caller) -> Said:
        raise ToolError(text)

    assert not (await answered(oracle(work))).success


@pytest.mark.parametrize("given", [None, "text", 7, {"said": "x"}, Other(said="x"), Exception("x"), Said])
async def test_a_result_of_the_wrong_type_is_the_services_fault(given: object) -> None:
    async def work(_: Question, __: Caller) -> Said:
        return given  # type: ignore[return-value]

    outcome = await answered(oracle(work))
    assert (outcome.fault, outcome.result) == ("service", None)
    assert outcome.text == f"the tool oracle gave {type(given).__name__}, not Said"


async def test_a_tool_that_is_no_coroutine_is_the_services_fault() -> None:
    def work(_: Question, __: Caller) -> Said:
        return Said(said="x")

    assert (await answered(oracle(work))).fault == "service"  # type: ignore[arg-type]


async def test_a_tool_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "SECONDS", 0.05)

    async def work(_: Question, __: Caller) -> Said:
        await asyncio.sleep(60)
        raise AssertionError

    async with asyncio.timeout(1):
        outcome = await answered(oracle(work))
    assert (outcome.fault, outcome.text) == ("service", "the tool oracle has not answered within 0.05 s")


async def test_a_result_that_is_too_large_is_the_services_fault() -> None:
    async def work(_: Question, __: Caller) -> Said:
        return Said(said="x" * LARGEST)

    outcome = await answered(oracle(work))
    assert (outcome.fault, outcome.result) == ("service", None)
    assert outcome.text == f"the result of oracle is larger than {LARGEST} bytes"


async def test_a_result_of_the_largest_size_is_whole_for_programs_and_cut_for_readers() -> None:
    async def work(_: Question, __: Caller) -> Said:
        return Said(said="x" * (LARGEST - len('{"said":""}')))

    outcome = await answered(oracle(work))
    assert outcome.result == {"said": "x" * (LARGEST - 11)}
    assert len(outcome.text) < LONGEST + 60


async def test_the_size_of_a_result_is_counted_in_bytes_as_its_bound_says() -> None:
    async def work(_: Question, __: Caller) -> Said:
        return Said(said="é" * (LARGEST - 100))

    assert (await answered(oracle(work))).fault == "service"


class Mute(Result):
    said: str

    def text(self) -> str:
        raise ValueError("mute")


class Number(Result):
    said: str

    def text(self) -> str:
        return 5  # type: ignore[return-value]


class Half(Result):
    said: str

    def text(self) -> str:
        return "\ud800"


@pytest.mark.parametrize("result", [Mute, Number, Half])
async def test_a_result_that_cannot_say_its_text_is_the_services_fault(result: type[Result]) -> None:
    async def work(_: Question, __: Caller) -> Said:
        return result(said="x")  # type: ignore[call-arg, return-value]

    assert (await answered(oracle(work, result))).fault == "service"


class Anything(Result):
    said: object

    def text(self) -> str:
        return "anything"


@pytest.mark.parametrize(
    "said", [object(), lambda: 1, {1: {2, 3}}, b"\xff"], ids=["object", "function", "set", "bytes"]
)
async def test_a_result_that_json_cannot_hold_is_never_the_callers_fault(said: object) -> None:
    async def work(_: Question, __: Caller) -> Said:
        return Anything(said=said)  # type: ignore[return-value]

    assert (await answered(oracle(work, Anything))).fault in (None, "service")


def switched(registry: Registry, event: Event) -> None:
    registry.hear(Recorded(1, "2026-01-01T00:00:00.000000Z", event, body_of(event)))


@pytest.mark.mission("S8")
async def test_a_tool_is_off_once_that_is_on_record_and_on_again_likewise(registry: Registry) -> None:
    switched(registry, ToolRemoved(session_id=None, tool="calculator", by="user"))
    assert "calculator" not in [tool.name for tool in registry.visible(ALL)]
    outcome = await registry.call(ALL, "calculator", "1 + 1")
    assert (outcome.fault, outcome.text) == ("service", "the tool calculator is switched off at the moment")
    assert (await registry.call(NOBODY, "calculator", "1 + 1")).fault == "scope"
    assert (await registry.call(ALL, "file_reader", "index")).success
    switched(registry, ToolAdded(session_id=None, tool="calculator", by="user"))
    assert (await registry.call(ALL, "calculator", "1 + 1")).success


@pytest.mark.mission("S8")
async def test_what_a_sessions_own_log_says_of_a_tool_switches_nothing(registry: Registry) -> None:
    switched(registry, ToolRemoved(session_id="heist_1", tool="calculator", by="user"))
    assert (await registry.call(ALL, "calculator", "1 + 1")).success


@pytest.mark.mission("S8")
async def test_a_session_with_tools_of_its_own_reaches_these_alone_and_another_all(registry: Registry) -> None:
    registry.furnish("heist_2", new_bank(), ["calculator"])
    registry.furnish("heist_3", new_bank(), [])
    seen = {
        number: [tool.name for tool in registry.visible(ALL._replace(session_id=f"heist_{number}"))]
        for number in (1, 2, 3)
    }
    assert seen == {1: ["calculator", "database_query", "file_reader", "megaphone"], 2: ["calculator"], 3: []}
    second = ALL._replace(session_id="heist_2")
    assert (await registry.call(second, "calculator", "1")).success
    outcome = await registry.call(second, "file_reader", "index")
    assert (outcome.fault, outcome.text) == ("unknown", "there is no tool 'file_reader'; yours are: calculator")
    assert (await registry.call(ALL, "file_reader", "index")).success


scope_sets = st.frozensets(st.sampled_from(sorted([*Scope, "oracle:ask"])))


@given(
    scopes=scope_sets, off=st.frozensets(st.sampled_from(TOOLS)), own=st.none() | st.frozensets(st.sampled_from(TOOLS))
)
async def test_what_is_visible_is_always_exactly_what_can_be_called(
    scopes: frozenset[str], off: frozenset[AnyTool], own: frozenset[AnyTool] | None
) -> None:
    registry = Registry(TOOLS, CLOCK, no_lobby)
    registry.furnish("heist_1", new_bank(), None if own is None else [tool.name for tool in own])
    for tool in off:
        registry.switch(tool.name, False)
    principal = Principal("mole", scopes, "heist_1")
    good = {"calculator": "1", "database_query": "SELECT 1", "file_reader": "index"}
    callable_ = [tool.name for tool in TOOLS if (await registry.call(principal, tool.name, good[tool.name])).success]
    visible = [tool.name for tool in registry.visible(principal)]
    registry.close()
    assert callable_ == visible


def test_a_tool_that_does_not_exist_is_not_found_with_the_names_that_do(registry: Registry) -> None:
    assert registry.named("calculator") is calculator
    with pytest.raises(NotFound, match=r"there is no tool 'dynamite'; there are: calculator, database_query"):
        registry.named("dynamite")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: str(tool.name))
def test_a_tools_result_schema_closes_the_object_and_requires_each_field(tool: AnyTool) -> None:
    schema = tool.result_schema
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == sorted(schema["properties"])


class Own(BaseException):
    pass


@pytest.mark.parametrize("exit_", [SystemExit(7), KeyboardInterrupt(), Own("out"), asyncio.CancelledError()])
async def test_an_exit_of_somebody_elses_code_is_its_own_failure_and_nobodys_end(exit_: BaseException) -> None:
    async def work(_: Question, __: Caller) -> Said:
        raise exit_

    outcome = await oracle(work).call(SEER, "oracle", "why?")
    assert (outcome.fault, outcome.success) == ("service", False)


async def test_a_tool_that_does_not_let_itself_be_ended_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heist.services.tools.registry.SECONDS", 0.05)
    go_on = asyncio.Event()

    async def work(_: Question, __: Caller) -> Said:
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()
        return Said(said="late")

    async with asyncio.timeout(2):
        outcome = await oracle(work).call(SEER, "oracle", "why?")
    assert outcome.fault == "service"
    assert "has not answered within" in outcome.text
    go_on.set()
    await asyncio.sleep(0)
