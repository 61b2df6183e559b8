"""A long session: prompts level off, facts stay, and what an agent saw can be worked out again."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from heist import events as e
from heist.agents.hindsight import moment
from heist.agents.sessions import Order
from heist.errors import NotFound
from heist.llm.model import Completion, Prompt, Usage
from heist.runtime import Runtime
from heist.settings import Settings
from tests.agents.test_sessions import log, run, turns, until
from tests.conftest import USER
from tests.models import Stand
from tests.strategies import Talker

pytestmark = pytest.mark.anyio


def crew(settings: Settings, folder: Path, **changed: str) -> Settings:
    """The shipped crew with some lines changed, in a folder of its own."""
    (folder / "scenarios").symlink_to(settings.config / "scenarios")
    text = (settings.config / "crew.yaml").read_text()
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "crew.yaml").write_text(text)
    return settings.model_copy(update={"config": folder})


@pytest.mark.mission("S5")
async def test_prompts_level_off_in_a_session_of_two_hundred_turns(runtime: Runtime) -> None:
    events = await run(runtime, Order(seed=7, rounds=35))
    spoken = [event for event in events if isinstance(event, e.MessageCompleted)]
    sizes = [event.prompt_tokens / event.model_calls for event in spoken]
    assert len(sizes) == 210
    assert max(sizes) <= 3500
    middle, end = sizes[70:140], sizes[140:]
    assert sum(end) / len(end) < 1.25 * sum(middle) / len(middle)


@pytest.mark.mission("S5")
async def test_a_fact_of_turn_three_is_still_known_after_turn_190(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(seed=3, rounds=70, paused=True))

    async def step(turn: int) -> None:
        await runtime.sessions.step(USER, session_id)
        await until(runtime, session_id, "message.completed", turn)

    for turn in (1, 2):
        await step(turn)
    order = "Tell everybody that the password of the service lift is 4711 tonight"
    await runtime.sessions.command(USER, session_id, "safecracker", order)
    await step(3)
    await runtime.sessions.command(USER, session_id, "driver", "What is the password of the service lift?")
    state = runtime.sessions._running[session_id].conversation
    state.commands.clear()  # asked too early; asked again when the time has come
    await runtime.sessions.resume(USER, session_id)
    async with asyncio.timeout(60):
        while runtime.sessions._running[session_id].conversation.turns < 190:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await runtime.sessions.pause(USER, session_id)
    await asyncio.sleep(0.1)
    await runtime.sessions.command(USER, session_id, "driver", "What is the password of the service lift?")
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    events = log(runtime, session_id)
    delivered = [event for event in events if isinstance(event, e.CommandDelivered)][-1]
    assert delivered.turn > 190
    [answer] = [one for one in events if isinstance(one, e.MessageCompleted) and one.turn == delivered.turn]
    assert "4711" in answer.text
    seen = await runtime.sessions.seen(USER, session_id, delivered.turn)
    assert min(last for _, last in seen.in_short) > 3


@pytest.mark.mission("S5", "S20")
async def test_what_an_agent_saw_is_what_its_model_was_given(runtime: Runtime) -> None:
    model = Talker(lambda prompt: "Guard 7 has a key to door 12 until 22:00. " * 6)
    runtime.source._simulated = model
    events = await run(runtime, Order(seed=5, rounds=10))
    assert any(isinstance(event, e.MemoryCompressed) for event in events)
    past = await runtime.sessions.past(events[0].session_id or "")
    for turn in range(1, 61):
        again = moment(events, past.truth, past.game, turn, runtime.registry.tools).prompt()
        assert again == model.prompts[turn - 1]


async def test_a_turn_that_has_not_begun_was_seen_by_nobody(runtime: Runtime) -> None:
    events = await run(runtime, Order(rounds=1))
    with pytest.raises(NotFound, match="turn 7 of the session"):
        await runtime.sessions.seen(USER, events[0].session_id or "", 7)


class Narrow(Stand):
    """A model with a small context, that refuses what is longer."""

    name = server = "narrow"
    simulated = True

    def __init__(self, context: int) -> None:
        self.ability = Stand.ability._replace(context=context)
        self.longest = 0

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        tokens = sum((await self.count([message.content for message in prompt.messages]))[0])
        self.longest = max(self.longest, tokens + prompt.max_tokens)
        text = f"Camera {tokens} watches the corridor, and I say so at some length to fill the record. " * 3
        yield text
        yield Completion(text, (), Usage(tokens, 60, False), self.name)


@pytest.mark.mission("S19")
async def test_a_prompt_never_outgrows_the_context_of_its_model(runtime: Runtime) -> None:
    model = Narrow(1600)
    runtime.source._simulated = model
    events = await run(runtime, Order(seed=5, rounds=8))
    assert len(turns(events)) == 48
    assert model.longest <= 1600
    assert any(isinstance(event, e.MessageStarted) and event.left_out for event in events)


@pytest.mark.mission("S18")
@pytest.mark.parametrize(
    ("budget", "of"), [("tokens: 9000", "tokens"), ("calls: 10", "calls"), ("money: 0.005", "money")]
)
async def test_a_session_that_has_spent_its_budget_ends_and_says_so(
    settings: Settings, tmp_path: Path, budget: str, of: str
) -> None:
    given = crew(settings, tmp_path, **{"agents:\n": f"budget: {{{budget}}}\nagents:\n"})
    (tmp_path / "prices.yaml").write_text("models: {simulated crew: {prompt: 1.0, completion: 2.0}}\n")
    async with Runtime(given).opened() as runtime:
        events = await run(runtime)
        [reached] = [event for event in events if isinstance(event, e.BudgetReached)]
        assert (reached.of, reached.spent >= reached.limit) == (of, True)
        assert isinstance(events[-1], e.SessionStopped)
        assert events[-1].by == "budget"
        assert 0 < len(turns(events)) < 30


@pytest.mark.mission("S16", "S19")
async def test_a_member_may_speak_by_a_model_of_its_own(settings: Settings, tmp_path: Path) -> None:
    given = crew(
        settings,
        tmp_path,
        **{"    role: getaway driver\n": "    role: getaway driver\n    model: {llm: simulated, max_tokens: 77}\n"},
    )
    async with Runtime(given).opened() as runtime:
        events = await run(runtime, Order(rounds=1))
        first = events[0]
        assert isinstance(first, e.SessionStarted)
        voices = {seat.name: seat.voice for seat in first.seats}
        assert [name for name, voice in voices.items() if voice] == ["driver"]
        assert voices["driver"] is not None
        assert (voices["driver"].max_tokens, voices["driver"].model) == (77, "simulated crew")
        assert len(turns(events)) == 6
