"""The house in figures: who may read them, what they count, and that nobody can make them grow."""

import asyncio
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from heist import events as e
from heist.agents.sessions import Order
from heist.app import create_app
from heist.runtime import Runtime
from heist.services.auth import Scope
from heist.settings import Settings
from heist.telemetry.telemetry import ModelCall
from heist.web.live import Live
from heist.web.metrics import MODELS, Metrics
from tests.agents.test_sessions import log
from tests.conftest import USER, Announced, announcing
from tests.services.tools.test_router import URL, House

pytestmark = pytest.mark.mission("S24")
PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
Figures = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def house(settings: Settings) -> Generator[House]:
    announced: Announced = []
    with TestClient(create_app(settings, announcing(announced)), base_url=URL) as http:
        runtime, _ = announced[0]
        assert http.portal is not None
        yield House(http, runtime, http.portal.call(played, runtime))


async def played(runtime: Runtime) -> str:
    session_id = await runtime.sessions.start(USER, Order(rounds=2, seed=7))
    await runtime.sessions.finished(session_id)
    await runtime.bus.settled()
    await asyncio.sleep(0.05)
    return session_id


def figures(text: str) -> Figures:
    """(name, values of the labels in the order of their names) -> figure."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(house: House, name: str = "prometheus") -> Figures:
    answer = house.http.get("/metrics", headers=house.outsider("metrics:read", name=name).headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return figures(answer.text)


def test_the_figures_are_those_of_the_log(house: House) -> None:
    told, events = read(house), log(house.runtime, house.session_id)
    spoken = [event for event in events if isinstance(event, e.MessageCompleted)]
    called = [event for event in events if isinstance(event, e.ToolCalled)]
    assert told["heist_turns_total", ("completed",)] == len(spoken) == 12
    assert told["heist_sessions_started_total", ()] == 1
    assert told["heist_sessions_ended_total", ("completed",)] == 1
    assert (told["heist_sessions", ("running",)], told["heist_sessions", ("paused",)]) == (0, 0)
    model = "simulated crew"
    assert told["heist_tokens_total", ("prompt", model)] == sum(event.prompt_tokens for event in spoken)
    assert told["heist_tokens_total", ("completion", model)] == sum(event.completion_tokens for event in spoken)
    assert told["heist_model_call_seconds_count", (model, "ok")] == sum(event.model_calls for event in spoken)
    for tool in {event.tool for event in called}:
        mine = [event for event in called if event.tool == tool]
        assert told["heist_tool_call_seconds_count", (tool,)] == len(mine)
        for result in {event.fault for event in mine}:
            count = sum(event.fault == result for event in mine)
            assert told["heist_tool_calls_total", (result or "ok", tool)] == count
    assert told["heist_store_events_total", ("ok",)] == len(events)
    assert told["heist_store_waiting", ()] == 0
    assert told["heist_detection_seconds_count", ("rules",)] >= 1


def test_a_session_that_waits_is_counted_as_paused(house: House) -> None:
    assert house.http.portal is not None

    async def begun() -> str:
        return await house.runtime.sessions.start(USER, Order(paused=True))

    session_id = house.http.portal.call(begun)
    assert read(house)["heist_sessions", ("paused",)] == 1

    async def stopped() -> None:
        await house.runtime.sessions.stop(USER, session_id, now=True)

    house.http.portal.call(stopped)
    told = read(house, "another")
    assert told["heist_sessions", ("paused",)] == 0
    assert told["heist_sessions_ended_total", ("stopped",)] == 1


def test_who_has_no_right_is_refused_and_counted(house: House) -> None:
    assert house.http.get("/metrics").status_code == 401
    assert house.http.get("/metrics", headers=house.outsider("detection:read").headers).status_code == 403
    assert house.http.get("/metrics", headers=house.client(Scope.CALCULATOR).headers).status_code == 403
    told = read(house)
    assert told["heist_refusals_total", ("invalid_token",)] == 1
    assert told["heist_refusals_total", ("insufficient_scope",)] == 2


def test_who_has_logged_in_may_read_them(browser: TestClient) -> None:
    assert "heist_turns" in browser.get("/metrics").text


def test_they_may_be_open_to_all(settings: Settings) -> None:
    chosen = settings.model_copy(update={"metrics": "open"})
    with TestClient(create_app(chosen, announcing([])), base_url=URL) as http:
        assert http.get("/metrics").status_code == 200


def test_openmetrics_is_answered_to_whoever_prefers_it(browser: TestClient) -> None:
    answer = browser.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_two_houses_in_one_process_count_apart(settings: Settings, house: House, tmp_path: Path) -> None:
    other = settings.model_copy(update={"metrics": "open", "database_url": f"sqlite:///{tmp_path}/other.db"})
    with TestClient(create_app(other, announcing([])), base_url=URL) as http:
        assert figures(http.get("/metrics").text)["heist_sessions_started_total", ()] == 0
    assert read(house)["heist_sessions_started_total", ()] == 1


def test_nobody_can_make_the_page_grow(house: House) -> None:
    metrics = Metrics(house.runtime.registry.tools, house.runtime.source, _live(house))
    for number in range(500):
        metrics.called(ModelCall(f"model {number}", 1.0, None, ""))
        call = e.ToolCalled(
            session_id=None,
            turn=None,
            agent="laptop",
            tool=f"tool {number}",
            arguments={},
            result="",
            success=False,
            fault="unknown",
            form="http",
            milliseconds=0.1,
        )
        metrics.hear(e.Recorded(number, "", call, ""))
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    assert {sample.labels["tool"] for sample in samples if "tool" in sample.labels} == {"other"}
    assert len({sample.labels["model"] for sample in samples if "model" in sample.labels}) == MODELS + 1


def _live(house: House) -> Live:
    return Live(house.runtime.queries, house.runtime.clock, 1)


def test_the_state_of_a_model_server_is_told_without_its_password(house: House) -> None:
    class Source:
        def states(self) -> dict[str, str]:
            return {"the model server at http://me:word@10.0.0.1/v1": "open"}

    source: Any = Source()
    metrics = Metrics(house.runtime.registry.tools, source, _live(house))
    told = {
        (sample.labels["server"], sample.labels["state"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "heist_model_server_breaker"
    }
    server = "the model server at http://***@10.0.0.1/v1"
    assert told == {(server, "closed"): 0, (server, "open"): 1, (server, "half-open"): 0}


def test_the_page_has_every_figure_with_its_labels(house: House) -> None:
    metrics = Metrics(house.runtime.registry.tools, house.runtime.source, _live(house))
    rows = re.findall(r"^\| `(heist_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGE.read_text(), flags=re.MULTILINE)
    there = {family.name: family for family in metrics.registry.collect() if family.name.startswith("heist")}
    written = {name.removesuffix("_total").removesuffix("_info"): (kind, about) for name, kind, _, about in rows}
    assert written == {name: (family.type, family.documentation) for name, family in there.items()}
    told = read(house)
    for name, _, labels, _ in rows:
        for sample, values in told:
            if sample in (name, f"{name}_count"):
                assert len(values) == len(re.findall(r"`\w+`", labels)), name
