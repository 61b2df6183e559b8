"""Each fault of real model servers through a whole session: it comes to its end, what went wrong is on record, and the
transcript holds what the model said and nothing else."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
from sqlalchemy import select

from heist import events as e
from heist.agents.sessions import Order
from heist.llm.faults import FAULTS, THOUGHT, choose
from heist.llm.model import Call, Completion, Prompt, Usage
from heist.runtime import Runtime
from heist.settings import Settings
from heist.store import tables
from tests.agents.test_sessions import endpoint, log, opened
from tests.conftest import USER
from tests.llm.test_server import serving
from tests.models import Stand

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S18", "S19")]
SENTENCE = re.compile(r"This is sentence (\d+) of the clerk\.")
NUMBERS = {
    "loading": "loading=0.4",
    "busy": "busy=0.1",
    "cold": "cold=0.05",
    "usage-late": "usage-late=0.05",
    "truncate": "truncate=300",
}
"""For faults that pass, numbers that a test has the time for."""
IMPATIENT = {"llm_first_seconds": 0.3, "llm_chunk_seconds": 0.3}
HARMLESS = {
    "other-model", "no-json-object", "no-schema", "no-tools-vllm", "no-tools-llamacpp", "no-tools-ollama", "loading",
    "busy", "cold", "truncate", "no-usage", "usage-late", "thinks", "thinks-reasoning", "think-tags", "tool-index",
    "tool-pieces", "tool-object", "text-tools-tag", "text-tools-fenced", "text-tools-request", "text-tools-bracket",
}  # fmt: skip
"""Faults with which every turn is spoken, however often they strike."""
SAID = {
    "queue-full": "server busy, please try again",
    "hang": "sent nothing for 0.3 s",
    "stall": "stopped in the middle for 0.3 s",
    "cut": "broke off in the middle",
    "empty": "answered with nothing",
    "length": "raise max_tokens",
    "overflow-llamacpp": "exceeds the available context size",
    "overflow-lmstudio": "when context the overflows",
    "overflow-vllm": "maximum context length is 1 tokens",
    "overflow-stream": "greater than the context length",
    "think-end": "thought aloud; from now on its answers begin where its thoughts end",
    "error-nested": "answered 404: model 'llama3' not found",
    "error-text": "answered 400: The model has crashed",
    "error-object": "answered 404: The model `llama3` does not exist.",
    "error-html": "answered 502: ",
    "rubbish": "sent what cannot be read",
    "flood": "says more than max_tokens allows and does not stop",
    "server-error": "answered 500: llama runner process has terminated",
}
"""What the log says where a fault is one."""


class Clerk(Stand):
    """Uses the first tool of a turn, then says a sentence that it never says again, in pieces."""

    name = "clerk-1"

    def __init__(self) -> None:
        self.sentences = 0

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        last = prompt.messages[-1]
        looked = last.role == "tool" or "Result of" in last.content
        if prompt.tools and not looked:
            yield Completion("", (Call("c", prompt.tools[0].name, '{"expression": "6 * 7"}'),), Usage(9, 5, False), "")
            return
        self.sentences += 1
        text = f"This is sentence {self.sentences} of the clerk."
        if prompt.schema is not None:
            fields = {"message": text, "tool": "none", "argument": ""}
            if "tool" in prompt.schema["properties"] and not looked:
                fields = {"message": "", "tool": "calculator", "argument": "6 * 7"}
            text = json.dumps({field: fields[field] for field in prompt.schema["properties"]})
        for piece in re.findall(".{1,11}", text):
            yield piece
        yield Completion(text, (), Usage(9, 5, False), self.name)


@pytest.fixture
def pair(settings: Settings, tmp_path: Path) -> Settings:
    """A crew of two, who both may reckon."""
    (tmp_path / "scenarios").symlink_to(settings.config / "scenarios")
    member = "{name: %s, role: %s, scopes: ['calculator:use'], persona: You help.}"
    agents = "".join(f"\n  - {member % who}" for who in (("ada", "planner"), ("bob", "driver")))
    (tmp_path / "crew.yaml").write_text(f"name: Two\nscenario: first_national_bank\nrounds: 2\nagents:{agents}\n")
    return settings.model_copy(update={"config": tmp_path})


class Evidence:
    """What is on record of a session that is over."""

    def __init__(self, runtime: Runtime, session_id: str) -> None:
        self.events = log(runtime, session_id)
        self.spoken = [event for event in self.events if isinstance(event, e.MessageCompleted)]
        self.failed = [event for event in self.events if isinstance(event, e.MessageFailed)]
        with runtime.engine.connect() as connection:
            self.rows = [*connection.execute(select(tables.messages.c.turn_id, tables.messages.c.message))]

    def complaints(self) -> list[str]:
        """Every sentence about what went wrong."""
        told = [event.detail for event in self.failed]
        for event in self.events:
            match event:
                case e.MessageInterrupted(reason=reason) | e.SessionPaused(reason=reason) if reason:
                    told.append(reason)
                case e.ModelWarmed(error=error) if error:
                    told.append(error)
                case e.SessionFailed(error=error):
                    told.append(error)
        return told

    def check(self) -> None:
        """What holds of every session, whatever its server did."""
        texts = [event.text for event in self.spoken]
        assert [SENTENCE.sub("", text).strip() for text in texts] == [""] * len(texts)
        said = [number for text in texts for number in SENTENCE.findall(text)]
        assert len(said) == len(set(said)) >= len(texts)
        assert self.rows == [(event.turn, event.text) for event in self.spoken]
        assert not [text for text in texts if any(word in text for word in THOUGHT.split()[-2:])]
        over = sorted(event.turn for event in [*self.spoken, *self.failed])
        assert over == list(range(1, len(over) + 1))
        assert all(event.error and event.detail for event in self.failed)


async def session(runtime: Runtime, for_ever: bool) -> Evidence:
    """A session to its end; one that waits for a model that never comes back is stopped."""
    await endpoint(runtime)
    paused = asyncio.Event()
    runtime.bus.watch(lambda told: paused.set() if isinstance(told.event, e.SessionPaused) else None)
    session_id = await runtime.sessions.start(USER, Order(seed=7))
    ends = asyncio.create_task(runtime.sessions.finished(session_id))
    waits = asyncio.create_task(paused.wait())
    async with asyncio.timeout(20):
        if for_ever:
            await asyncio.wait([ends, waits], return_when=asyncio.FIRST_COMPLETED)
            if not ends.done():
                await runtime.sessions.stop(USER, session_id)
        await ends
    waits.cancel()
    return Evidence(runtime, session_id)


def given(url: str, name: str) -> dict[str, object]:
    return {"llm": url, **(IMPATIENT if name in ("hang", "stall") else {})}


@pytest.mark.parametrize("name", [*SAID, "loading", "busy"])
async def test_a_fault_that_passes_costs_turns_at_the_most(pair: Settings, name: str) -> None:
    waits = name in ("loading", "busy", "queue-full")
    fault = choose(NUMBERS.get(name, name), first=2 if waits else 4)
    async with serving(Clerk(), None, fault) as url, opened(pair, **given(url, name)) as runtime:
        found = await session(runtime, for_ever=False)
    found.check()
    ended = found.events[-1]
    assert isinstance(ended, e.SessionCompleted | e.SessionFailed)
    assert len(found.spoken) + len(found.failed) == ended.turns == 4
    if waits:
        assert (found.complaints(), len(found.spoken)) == ([], 4)
        return
    assert any(SAID[name] in sentence for sentence in found.complaints())
    assert len(found.spoken) >= 1


def test_every_fault_has_its_place() -> None:
    assert sorted([*HARMLESS, *SAID]) == sorted(FAULTS)


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("loading", "queue-full")])
async def test_a_fault_that_stays_is_on_record_and_nobody_speaks_it(pair: Settings, name: str) -> None:
    fault = choose("busy=200" if name == "busy" else NUMBERS.get(name, name))
    async with serving(Clerk(), None, fault) as url, opened(pair, **given(url, name)) as runtime:
        found = await session(runtime, for_ever=True)
    found.check()
    ended = found.events[-1]
    if name in HARMLESS - {"busy"}:
        assert ended == e.SessionCompleted(session_id=ended.session_id or "", turns=4, failed=0)
        assert (found.complaints(), len(found.spoken)) == ([], 4)
        return
    if name == "think-end":
        assert isinstance(ended, e.SessionCompleted)
        assert len(found.spoken) >= 3
        return
    said = "Too many requests" if name == "busy" else SAID[name]
    assert any(said in sentence for sentence in found.complaints())
    assert found.spoken == []
    if isinstance(ended, e.SessionFailed):
        assert (said in ended.error, len(found.failed)) == (True, 4)
    else:
        [paused] = [event for event in found.events if isinstance(event, e.SessionPaused)]
        assert (paused.by, said in paused.reason) == ("model", True)
        assert isinstance(ended, e.SessionStopped)


@asynccontextmanager
async def process(*arguments: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """A model server in a process of its own, and its address."""
    command = [sys.executable, "-m", "heist", "model", "serve", *arguments]
    running = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert running.stdout is not None
    try:
        yield running, (await running.stdout.readline()).decode().strip()
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def test_a_model_server_that_is_killed_in_the_middle_of_a_word_is_waited_for(pair: Settings) -> None:
    heard: list[e.Event] = []
    async with process("--fault", "stall", "--every", "4") as (server, url), opened(pair, llm=url) as runtime:
        runtime.bus.watch(lambda recorded: heard.append(recorded.event))
        await endpoint(runtime)
        session_id = await runtime.sessions.start(USER, Order(seed=7))
        cut = await delta_of_a_stalled_turn(heard)
        server.kill()
        await server.wait()
        async with asyncio.timeout(20):
            while not any(isinstance(event, e.SessionPaused) for event in heard):  # noqa: ASYNC110 - a watcher asks
                await asyncio.sleep(0.01)
        [state] = runtime.source.states().values()
        assert state != "closed"
        async with process("--port", url.rsplit(":", 1)[1].removesuffix("/v1")) as (_, again):
            assert again == url
            async with asyncio.timeout(20):
                await runtime.sessions.finished(session_id)
        found = Evidence(runtime, session_id)
    [broken] = found.failed
    assert (broken.turn, "broke off in the middle" in broken.detail) == (cut.turn, True)
    pauses = [event for event in found.events if isinstance(event, e.SessionPaused)]
    assert {(event.by, "cannot be reached" in event.reason) for event in pauses} == {("model", True)}
    assert found.events[-1] == e.SessionCompleted(session_id=session_id, turns=4, failed=1)
    assert len(found.spoken) == 3
    assert not [event for event in found.spoken if event.text.strip() in ("", cut.text.strip())]
    assert set(kinds_of_the_house(heard)) == {"model.degraded", "model.restored"}


async def delta_of_a_stalled_turn(heard: Sequence[e.Event]) -> e.MessageDelta:
    """The first piece of a message after which nothing came for a while."""
    async with asyncio.timeout(20):
        while True:
            before = len(heard)
            await asyncio.sleep(0.3)
            if len(heard) == before and heard and isinstance(heard[-1], e.MessageDelta):
                return heard[-1]


def kinds_of_the_house(heard: Sequence[e.Event]) -> list[str]:
    return [event.kind for event in heard if event.session_id is None]
