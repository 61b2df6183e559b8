"""The simulated crew plays from its prompt alone, the same way each time, and slips now and then."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any, get_args

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist import seeds
from heist.agents.prompts import Cue, compose
from heist.events import CommandIssued, MemoryCompressed
from heist.llm.model import Call, Completion, Form, Message, Prompt
from heist.llm.simulated import Simulated
from heist.services.memory.facts import Fact
from heist.services.tools.calculator import calculator
from heist.services.tools.database_query import database_query
from heist.services.tools.file_reader import file_reader
from heist.services.tools.registry import AnyTool
from heist.settings import Settings
from heist.world import scenario as scenarios
from tests.strategies import conversation, message, session_started, tool_called

SCENARIO = scenarios.read(Settings().config, "first_national_bank")
FORMS: tuple[Form, ...] = get_args(Form)


def complete(prompt: Prompt) -> Completion:
    async def last() -> Completion:
        chunks = [chunk async for chunk in Simulated().complete(prompt)]
        assert isinstance(chunks[-1], Completion)
        assert "".join(chunk for chunk in chunks if isinstance(chunk, str)) == chunks[-1].text
        return chunks[-1]

    return asyncio.run(last())


def cue(turn: int = 1, **given: object) -> Cue:
    fields = vars_of(conversation(seed=turn).cue()) | {"turn": turn} | given
    return Cue(**fields)  # type: ignore[arg-type]


def vars_of(given: Cue) -> dict[str, object]:
    return {name: getattr(given, name) for name in Cue.__slots__}


def prompt(*tools: AnyTool, turn: int = 1, form: Form = "native", **given: object) -> Prompt:
    """One without a plan, as other people's programs may have it."""
    composed = compose(cue(turn, **given), tools, form)
    system, user = composed.messages
    bare = system.content.partition("\n\nTHE PLAN'S SLOTS\n")[0]
    said = re.sub(r"THE PLAN NOW\n.*?\n\n", "", user.content, flags=re.DOTALL)
    return replace(composed, messages=(Message("system", bare), Message("user", said)))


def test_the_same_prompt_gets_the_same_answer_and_another_seed_another() -> None:
    answers = {complete(prompt(turn=turn)).text for turn in range(1, 30)}
    assert complete(prompt(turn=3)) == complete(prompt(turn=3))
    assert len(answers) > 2


def test_it_uses_only_tools_that_its_prompt_offers() -> None:
    heard = [message("s1", 1, "The gap lasts 10 minutes and the lock 30 minutes.", agent="intel")]
    for turn in range(1, 40):
        for tool in (calculator, file_reader, database_query):
            called = [call.name for call in complete(prompt(tool, turn=turn, heard=heard)).calls]
            assert set(called) <= {tool.name}
        assert complete(prompt(turn=turn, heard=heard)).calls == ()


def test_it_reads_the_index_first_and_then_a_paper_that_it_names() -> None:
    asked = prompt(file_reader, turn=1)
    [index] = complete(asked).calls
    assert index.arguments == '{"filename": "index"}'
    listing = Message("tool", "camera_plan: Camera plan (2026-08-30)", call_id=index.id)
    [paper] = complete(asked.followed_by(Message("assistant", "", (index,)), listing)).calls
    assert paper.arguments == '{"filename": "camera_plan"}'


def test_it_says_what_it_read_with_its_source() -> None:
    asked = prompt(file_reader, turn=4)
    [index] = complete(asked).calls
    call = index._replace(arguments='{"filename": "camera_plan"}')
    paper = "Camera plan, dated 2026-08-30\n24 cameras cover the building. Footage is kept for 90 days."
    text = complete(asked.followed_by(Message("assistant", "", (call,)), Message("tool", paper, call_id=call.id))).text
    assert "24 cameras cover the building." in text
    assert "Camera plan, dated 2026-08-30" in text


def test_it_does_as_it_is_ordered() -> None:
    order = CommandIssued(session_id="s1", command=1, agent="planner", text="Ask about the dogs", by="user")
    assert complete(prompt(commands=[order])).text.startswith("As ordered: Ask about the dogs.")


def slips(persona: str, original: str, pattern: str) -> float:
    """The share of turns in which an agent that repeats `original` gets it wrong."""
    wrong = told = 0
    for turn in range(1, 400):
        seat = session_started().seats[0].model_copy(update={"persona": persona})
        notes = [tool_called("s1", 1, result=f"Orders, dated 2026-09-01\n{original}", tool="file_reader")]
        text = complete(prompt(turn=turn, seat=seat, looked_up=notes)).text
        for found in re.findall(pattern, text):
            told += 1
            wrong += found not in original
    assert told > 100
    return wrong / told


def test_honest_agents_slip_rarely_but_do() -> None:
    assert 0.005 < slips("You help.", "The shift begins at 22:00.", r"\d\d:\d\d") < 0.12


def test_the_text_of_a_strategy_makes_it_err_as_it_says() -> None:
    assert slips("Give wrong times.", "The shift begins at 22:00.", r"\d\d:\d\d") > 0.4
    assert slips("Spread false figures.", "There are 24 cameras.", r"There are (\d+) cameras") > 0.4
    assert slips("Spread false figures.", "The shift begins at 22:00.", r"\d\d:\d\d") < 0.12


def test_it_survives_any_prompt() -> None:
    for text in ("", "hello", "NOW\n", "YOUR NOTES\nx() gave:\n", "You are x, the y."):
        assert complete(Prompt((Message("user", text),))).text


def test_its_chance_is_named() -> None:
    assert seeds.stream(1, "a").random() != seeds.stream(2, "a").random()


@pytest.mark.parametrize("phase", ["reconnaissance", "planning", "decision"])
def test_it_answers_a_colleague_by_what_he_found(phase: str) -> None:
    round_ = {"reconnaissance": 1, "planning": 3, "decision": 5}[phase]
    heard = [message("s1", 1, "There are 24 cameras. I have it from the plan.", agent="hacker")]
    texts = [complete(prompt(turn=turn, round=round_, heard=heard)).text for turn in range(1, 40)]
    assert sum("«There are" in text for text in texts) > 10
    assert not any("«I have it" in text for text in texts)


def turn_schema_of(asked: Prompt) -> dict[str, Any]:
    assert asked.schema is not None
    return dict(asked.schema)


TOOLS: tuple[AnyTool, ...] = (calculator, file_reader, database_query)


@pytest.mark.parametrize("tools", [(), TOOLS[:1], TOOLS])
def test_it_keeps_to_a_turns_schema(tools: tuple[AnyTool, ...]) -> None:
    heard = [message("s1", 1, "The gap lasts 10 minutes and the lock 30 minutes.", agent="intel")]
    called = set()
    for turn in range(1, 40):
        asked = prompt(*tools, turn=turn, form="schema", heard=heard)
        completion = complete(asked)
        told = json.loads(completion.text)
        jsonschema.validate(told, turn_schema_of(asked))
        assert completion.calls == ()
        called.add(told.get("tool", "none"))
        assert bool(told["message"]) == (told.get("tool", "none") == "none")
    assert called >= {"none", *(tool.name for tool in tools)}


@given(st.text(min_size=1, max_size=600))
def test_it_keeps_to_a_turns_schema_whatever_it_is_ordered(text: str) -> None:
    order = CommandIssued(session_id="s1", command=1, agent="planner", text=text, by="user")
    for turn in (1, 2, 3):
        asked = prompt(*TOOLS, turn=turn, form="schema", commands=[order])
        jsonschema.validate(json.loads(complete(asked).text), turn_schema_of(asked))


def test_it_keeps_to_a_turns_schema_under_a_long_order() -> None:
    order = CommandIssued(session_id="s1", command=1, agent="planner", text="Go on. " * 250, by="user")
    asked = prompt(form="schema", commands=[order])
    jsonschema.validate(json.loads(complete(asked).text), turn_schema_of(asked))


def test_it_speaks_after_a_result_in_every_form() -> None:
    for form in FORMS:
        spoke = 0
        for turn in range(1, 20):
            asked = prompt(calculator, turn=turn, form=form)
            result = Message("user", "Result of calculator: 2 * 30 = 60\nNow speak; you may use no more tools.")
            completion = complete(asked.followed_by(Message("assistant", "[TOOL:calculator:2 * 30]"), result))
            spoke += "2 * 30 = 60" in completion.text
            assert completion.calls == ()
        assert spoke > 10


QUESTION = CommandIssued(
    session_id="s1", command=1, agent="planner", text="How many cameras are there in the vault?", by="user"
)
ANSWER = "The vault has 24 cameras."
OTHERS = "The dogs are out. Nobody knows the driver's name."


def block(text: str) -> MemoryCompressed:
    return MemoryCompressed(session_id="s1", owner="", first=1, last=6, level=1, text=text, by="extract")


@pytest.mark.parametrize(
    "given",
    [
        {"heard": [message("s1", 1, f"{OTHERS} {ANSWER}", agent="intel")]},
        {"blocks": [block(f"Figures: {ANSWER} (intel, turn 3)\nSaid: {OTHERS}")]},
        {"looked_up": [tool_called("s1", 1, result=f"Camera plan\n{OTHERS} {ANSWER}", tool="file_reader")]},
        {"noted": [block(f"{OTHERS}\n{ANSWER}")]},
        {"facts": [Fact(1, "intel", "figure", ANSWER)], "turn": 20},
    ],
    ids=["heard", "blocks", "looked_up", "noted", "facts"],
)
@pytest.mark.parametrize("form", FORMS)
def test_it_answers_a_question_from_what_its_prompt_holds(given: dict[str, Any], form: Form) -> None:
    asked = prompt(form=form, commands=[QUESTION], **given)
    assert "24 cameras" in complete(asked).text
    assert "I remember this of it" in complete(asked).text


def test_it_remembers_nothing_that_its_prompt_does_not_hold() -> None:
    heard = [message("s1", 1, OTHERS, agent="intel")]
    assert complete(prompt(commands=[QUESTION], heard=heard)).text == "I remember nothing of it."
    assert complete(prompt(commands=[QUESTION])).text == "I remember nothing of it."


def test_an_order_that_asks_nothing_is_no_question() -> None:
    told = QUESTION.model_copy(update={"text": "Count the cameras in the vault"})
    heard = [message("s1", 1, ANSWER, agent="intel")]
    assert complete(prompt(commands=[told], heard=heard)).text.startswith("As ordered: Count the cameras in the vault.")


ODD = st.one_of(
    st.text(max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ).map(json.dumps),
)


def after(call: Call, result: str, asked: Prompt) -> Completion:
    return complete(asked.followed_by(Message("assistant", "", (call,)), Message("tool", result, call_id=call.id)))


@given(ODD, st.sampled_from([*(tool.name for tool in TOOLS), "ghost", ""]), st.text(max_size=80))
def test_odd_tool_arguments_never_raise(arguments: str, name: str, result: str) -> None:
    for form in ("native", "schema"):
        asked = prompt(*TOOLS, turn=2, form=form)
        assert after(Call("a", name, arguments), result, asked).model == Simulated.name


@pytest.mark.parametrize(
    "arguments", ["[" * 200_000, "9" * 10_000, '{"a": 1e999}', '{"a": "\\ud800"}', "\x00", '{"a": []}']
)
def test_very_odd_tool_arguments_never_raise(arguments: str) -> None:
    assert after(Call("a", "calculator", arguments), "2 * 3 = 6", prompt(*TOOLS)).model == Simulated.name
