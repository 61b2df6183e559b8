"""The watch: it tells how things stand after each message, and nobody ever waits for it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from heist import events as e
from heist.agents.sessions import Order
from heist.checkup import examine
from heist.llm.model import Completion, Model, Prompt, estimate
from heist.runtime import Runtime
from heist.services.detection.case import deed_of
from heist.services.detection.config import read
from heist.settings import Settings, shipped
from tests.conftest import USER
from tests.models import Stand
from tests.services.detection.test_judge import witness

pytestmark = pytest.mark.anyio


async def play(runtime: Runtime, rounds: int = 2) -> str:
    session_id = await runtime.sessions.start(USER, Order(rounds=rounds, seed=3))
    await runtime.sessions.finished(session_id)
    return session_id


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.01)


async def test_the_last_standing_is_that_of_the_whole_log(runtime: Runtime, heard: list[e.Event]) -> None:
    session_id = await play(runtime)
    await soon(lambda: any(isinstance(event, e.SuspicionUpdated) and event.turn == 12 for event in heard))
    last = [event for event in heard if isinstance(event, e.SuspicionUpdated)][-1]
    whole = await runtime.desk.assess(USER, session_id)
    assert last.posterior == whole.posterior
    assert last.nobody == whole.nobody
    assert set(last.evidence) <= {item.id for item in whole.evidence}


async def test_turns_are_told_in_order_and_none_twice(runtime: Runtime, heard: list[e.Event]) -> None:
    await play(runtime)
    await soon(lambda: any(isinstance(event, e.SuspicionUpdated) and event.turn == 12 for event in heard))
    turns = [event.turn for event in heard if isinstance(event, e.SuspicionUpdated)]
    assert turns == sorted(set(turns))


async def test_what_is_told_is_not_in_the_log(runtime: Runtime, heard: list[e.Event]) -> None:
    session_id = await play(runtime)
    await soon(lambda: any(isinstance(event, e.SuspicionUpdated) for event in heard))
    kinds = {row.kind for row in runtime.queries.log(0, session_id, 100_000)}
    assert not kinds & {"suspicion.updated", "judge.answered"}


async def test_what_is_over_is_forgotten(runtime: Runtime) -> None:
    await play(runtime)
    await soon(lambda: not runtime.watch._sessions)


async def test_a_session_that_came_back_is_judged_from_its_first_message(
    runtime: Runtime, heard: list[e.Event]
) -> None:
    session_id = await play(runtime)
    await soon(lambda: not runtime.watch._sessions)
    heard.clear()
    before = [e.parse(row.body) for row in runtime.queries.log(0, session_id, 100_000)]
    spoken = [event for event in before if isinstance(event, e.MessageCompleted)][-1]
    for event in (e.SessionRecovered(session_id=session_id, process=1, before=2), spoken):
        runtime.watch.hear(e.Recorded(1, "", event, ""))
    await soon(lambda: any(isinstance(event, e.SuspicionUpdated) for event in heard))
    [told] = [event for event in heard if isinstance(event, e.SuspicionUpdated)]
    assert told.turn == 12
    assert told.posterior == (await runtime.desk.assess(USER, session_id)).posterior


def configured(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    folder = copytree(shipped("config"), tmp_path / "config")
    text = (folder / "detection.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "detection.yaml").write_text(text)
    return folder


async def test_switched_off_nothing_is_told(settings: Settings, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"config": configured(tmp_path, ("live: rules", 'live: "off"'))})
    heard: list[e.Event] = []
    async with Runtime(chosen).opened() as runtime:
        runtime.bus.watch(lambda recorded: heard.append(recorded.event))
        await play(runtime)
        await soon(lambda: not runtime.watch._sessions)
    assert not any(isinstance(event, e.SuspicionUpdated) for event in heard)


async def test_a_wrong_file_stops_the_watch_and_no_session(settings: Settings, tmp_path: Path) -> None:
    folder = configured(tmp_path)
    (folder / "detection.yaml").write_text("live: 3\n")
    async with Runtime(settings.model_copy(update={"config": folder})).opened() as runtime:
        session_id = await play(runtime)
        row = runtime.queries.session(session_id)
        assert row is not None
        assert row.status == "completed"
        finding = next(one for one in await examine(runtime) if one.part == "detection")
    assert not finding.well


class Slow(Stand):
    """A judge that takes its time."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self.asked += 1
        await self.go.wait()
        yield Completion("I cannot tell.", (), estimate(prompt, ""), self.name)


async def hybrid(settings: Settings, tmp_path: Path, model: Model) -> Runtime:
    runtime = Runtime(
        settings.model_copy(
            update={"config": configured(tmp_path, ("live: rules", "live: hybrid"), ('arm: "off"', "arm: blind"))}
        )
    )

    async def given(name: str | None = None, llm: str | None = None) -> Model:
        return model

    _ = runtime.desk.settings
    runtime.desk.bench._asked = lambda case: given()
    return runtime


async def test_a_judge_that_hangs_keeps_no_turn_waiting(settings: Settings, tmp_path: Path) -> None:
    model, heard = Slow(), list[e.Event]()
    async with (await hybrid(settings, tmp_path, model)).opened() as runtime:
        runtime.bus.watch(lambda recorded: heard.append(recorded.event))
        session_id = await asyncio.wait_for(play(runtime), 20)
        await soon(lambda: any(isinstance(event, e.SuspicionUpdated) and event.turn == 12 for event in heard))
        assert model.asked == 1
        model.go.set()
        await soon(lambda: any(isinstance(event, e.JudgeAnswered) for event in heard))
        [told] = [event for event in heard if isinstance(event, e.JudgeAnswered)]
        assert (told.posterior, told.nobody, told.valid) == (None, None, 0)
        assert told.error
        assert told.turn <= 12
        moments = await runtime.desk.history(USER, session_id, "judge")
        assert [moment.abstained for moment in moments] == [told.error]
        pooled = await runtime.desk.history(USER, session_id, "hybrid")
        plain = await runtime.desk.history(USER, session_id, "rules")
        assert [one.posterior for one in pooled] == [one.posterior for one in plain]


async def test_what_the_judge_said_is_kept_and_pooled(settings: Settings, tmp_path: Path) -> None:
    class Accuser(Stand):
        async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
            from tests.services.detection import test_judge

            said = next(line for line in test_judge.record(prompt) if "says" in line)
            text = witness(replace_lie(prompt, said["says"]), quote=said["says"][:20])
            yield Completion(text, (), estimate(prompt, text), self.name)

    heard: list[e.Event] = []
    async with (await hybrid(settings, tmp_path, Accuser())).opened() as runtime:
        runtime.bus.watch(lambda recorded: heard.append(recorded.event))
        session_id = await play(runtime)
        await soon(lambda: any(isinstance(one, e.SuspicionUpdated) and one.detector == "hybrid" for one in heard))
        given = [event for event in heard if isinstance(event, e.JudgeAnswered) and event.valid]
        assert given[0].posterior
        pooled = [event for event in heard if isinstance(event, e.SuspicionUpdated) and event.detector == "hybrid"]
        moments = {one.turn: one for one in await runtime.desk.history(USER, session_id, "hybrid")}
        assert moments[pooled[0].turn].posterior == pytest.approx(pooled[0].posterior)


def replace_lie(prompt: Prompt, text: str) -> Prompt:
    """The prompt as if its first message were the lie that the witness looks for."""
    from tests.services.detection.test_judge import LIE

    *head, last = prompt.messages
    import json

    content = last.content.replace(json.dumps(text, ensure_ascii=False), json.dumps(LIE), 1)
    return replace(prompt, messages=(*head, last._replace(content=content)))


def test_only_deeds_are_looked_at() -> None:
    given: dict[str, Any] = {"session_id": "s", "turn": 1, "agent": "hacker", "text": "what it thinks"}
    assert deed_of(e.ThoughtsKept(**given)) is None
    assert deed_of(e.SabotageDone(session_id="s", turn=1, agent="hacker", did="lied")) is None
    assert read(shipped("config")).live == "rules"
