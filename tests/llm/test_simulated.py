"""The simulated crew plays from its prompt alone, the same way each time, and slips now and then."""

import asyncio
import re

import pytest

from heist import seeds
from heist.agents.conversation import Conversation
from heist.agents.prompts import Cue, compose
from heist.events import CommandIssued
from heist.llm.model import Completion, Message, Prompt
from heist.llm.simulated import Simulated
from heist.services.tools.calculator import calculator
from heist.services.tools.database_query import database_query
from heist.services.tools.file_reader import file_reader
from heist.services.tools.registry import AnyTool
from heist.settings import Settings
from heist.world import scenario as scenarios
from tests.strategies import message, session_started, tool_called

SCENARIO = scenarios.read(Settings().config, "first_national_bank")


def complete(prompt: Prompt) -> Completion:
    async def last() -> Completion:
        chunks = [chunk async for chunk in Simulated().complete(prompt)]
        assert isinstance(chunks[-1], Completion)
        assert "".join(chunk for chunk in chunks if isinstance(chunk, str)) == chunks[-1].text
        return chunks[-1]

    return asyncio.run(last())


def cue(turn: int = 1, **given: object) -> Cue:
    fields = vars_of(Conversation(session_started(seed=turn), SCENARIO).cue()) | {"turn": turn} | given
    return Cue(**fields)  # type: ignore[arg-type]


def vars_of(given: Cue) -> dict[str, object]:
    return {name: getattr(given, name) for name in Cue.__slots__}


def prompt(*tools: AnyTool, turn: int = 1, **given: object) -> Prompt:
    return compose(cue(turn, **given), tools)


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
