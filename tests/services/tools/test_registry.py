"""The one door to the tools: who gets in, what comes out, and whose fault a failure is."""

import json
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from heist.errors import InsufficientScope, NotFound, ToolError, ToolFailure
from heist.events import ToolCalled, body_of, parse
from heist.services.auth import AGENT_SCOPES, Principal, Scope
from heist.services.tools.calculator import calculator
from heist.services.tools.database_query import database_query
from heist.services.tools.file_reader import file_reader
from heist.services.tools.registry import LONGEST, AnyTool, Arguments, Outcome, Registry, Tool, understood
from heist.settings import shipped
from heist.world import scenario
from heist.world.documents import Bank
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S1")]
TOOLS: tuple[AnyTool, ...] = (calculator, database_query, file_reader)
ALL = Principal("planner", AGENT_SCOPES, "heist_1")
NOBODY = Principal("lookout", frozenset(), "heist_1")


class Letter(Arguments):
    text: str = Field(description="what to say", max_length=10_000)
    times: int = 1


CLOCK = HandClock()


async def _shout(arguments: Letter, _: Bank) -> str:
    CLOCK.advance(0.25)
    if arguments.text == "break":
        raise ToolFailure("the megaphone is broken")
    return arguments.text * arguments.times


megaphone = Tool("megaphone", "Says it aloud.", Scope.CALCULATOR, Letter, _shout)


@pytest.fixture
def registry() -> Generator[Registry]:
    registry = Registry((*TOOLS, megaphone), CLOCK)
    registry.furnish("heist_1", Bank(scenario.read(shipped("config"), "first_national_bank")))
    yield registry
    registry.clear("heist_1")


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
    registry = Registry(TOOLS, CLOCK)
    registry.furnish("heist_1", Bank(scenario.read(shipped("config"), "first_national_bank")))
    principal = Principal("mole", scopes, "heist_1")
    outcome = await registry.call(principal, tool.name, {tool.main_argument: "index"})
    registry.clear("heist_1")
    assert (tool in registry.visible(principal)) == (outcome.fault != "scope") == (tool.scope in scopes)


def test_tools_are_visible_in_the_order_of_their_names() -> None:
    registry = Registry((file_reader, database_query, calculator), CLOCK)
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
    assert "there is no bank" in outcome.text
    assert isinstance(outcome.error, ToolFailure)
    return outcome


async def test_a_session_that_does_not_run_here_is_the_services_fault(registry: Registry) -> None:
    assert (await without_a_bank(ALL._replace(session_id="heist_2"), registry)).fault == "service"


async def test_a_client_without_a_session_has_no_bank(registry: Registry) -> None:
    assert (await without_a_bank(ALL._replace(session_id=None), registry)).fault == "service"


async def test_a_bank_is_gone_with_its_session(registry: Registry) -> None:
    assert (await registry.call(ALL, "file_reader", "index")).success
    registry.clear("heist_1")
    registry.clear("heist_1")
    assert (await without_a_bank(ALL, registry)).fault == "service"


async def test_wrong_arguments_are_told_even_when_there_is_no_bank(registry: Registry) -> None:
    assert (await registry.call(ALL._replace(session_id=None), "file_reader", {})).fault == "arguments"


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
    registry = Registry(TOOLS, CLOCK)
    registry.furnish("heist_1", Bank(scenario.read(shipped("config"), "first_national_bank")))
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
