"""The house in figures, for Prometheus: what its events and its meters tell, and nothing that is sealed.

No label tells of one session or one agent. What others may name as they like (a tool that does not exist, a model that
a server claims to be) is told as `other`, so that nobody can make the page grow.
"""

from collections.abc import Container, Iterator
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.requests import HTTPConnection
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from heist import __version__
from heist import events as e
from heist.events import Recorded
from heist.llm.source import Source
from heist.services.auth import DOCUMENTED, Scope
from heist.services.documented import refusals
from heist.settings import masked
from heist.telemetry.telemetry import ModelCall
from heist.web.guard import Gate
from heist.web.live import Live

MODELS = 50
"""So many models have figures of their own."""
_MODEL_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_TOOL_SECONDS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_STORE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
_BREAKER = ("closed", "open", "half-open")


class Metrics:
    """A watcher of the bus and a meter of the telemetry, over a registry of its own."""

    def __init__(self, tools: Container[str], source: Source, live: Live) -> None:
        self.registry = registry = CollectorRegistry()
        self._tools = tools
        self._models: set[str] = set()
        self._sessions: dict[str, str] = {}
        Info("heist", "The program.", registry=registry).info({"version": __version__})
        self._started = Counter("heist_sessions_started", "Sessions begun.", registry=registry)
        self._ended = Counter(
            "heist_sessions_ended", "Sessions over, by how they ended.", ["outcome"], registry=registry
        )
        self._turns = Counter("heist_turns", "Turns, by how they ended.", ["outcome"], registry=registry)
        self._turn_seconds = Histogram(
            "heist_turn_seconds", "How long turns took.", buckets=_MODEL_SECONDS, registry=registry
        )
        self._calls = Histogram(
            "heist_model_call_seconds",
            "How long model calls took, with all of their tries, by what came of them: ok, or the code of the error.",
            ["model", "outcome"],
            buckets=_MODEL_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "heist_model_first_chunk_seconds",
            "How long a model took to begin to answer.",
            ["model"],
            buckets=_MODEL_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "heist_tokens",
            "Tokens of the turns, without those of the private briefs: prompt, cached (of the prompt) or completion.",
            ["model", "kind"],
            registry=registry,
        )
        self._tool_calls = Counter(
            "heist_tool_calls", "Tool calls: ok, or whose fault it was.", ["tool", "result"], registry=registry
        )
        self._tool_seconds = Histogram(
            "heist_tool_call_seconds", "How long tool calls took.", ["tool"], buckets=_TOOL_SECONDS, registry=registry
        )
        self._refusals = Counter(
            "heist_refusals", "Requests refused for want of a right, by the error.", ["error"], registry=registry
        )
        self._blocks = Counter("heist_memory_blocks", "Turns told in short.", registry=registry)
        self._waiting = Gauge("heist_store_waiting", "Events that wait for the disk.", registry=registry)
        self._commits = Histogram(
            "heist_store_commit_seconds", "How long transactions took.", buckets=_STORE_SECONDS, registry=registry
        )
        self._stored = Counter(
            "heist_store_events", "Events by whether their transaction was well.", ["result"], registry=registry
        )
        self._assessed = Histogram(
            "heist_detection_seconds",
            "How long a detector looked.",
            ["detector"],
            buckets=_MODEL_SECONDS,
            registry=registry,
        )
        registry.register(Standing(self._sessions, source, live))
        ProcessCollector(registry=registry)

    def hear(self, recorded: Recorded) -> None:
        if recorded.taken:
            return
        match recorded.event:
            case e.SessionStarted() | e.SessionResumed() | e.SessionRecovered() | e.SessionPaused() as event:
                self._sessions[event.session_id] = _status(event)
                if isinstance(event, e.SessionStarted):
                    self._started.inc()
            case e.SessionCompleted() | e.SessionStopped() | e.SessionFailed() as event:
                self._sessions.pop(event.session_id, None)
                self._ended.labels(event.kind.removeprefix("session.")).inc()
            case e.MessageCompleted() as event:
                self._count_turn(event)
            case e.MessageFailed(milliseconds=spent):
                self._turns.labels("failed").inc()
                self._turn_seconds.observe(spent / 1000)
            case e.MessageInterrupted():
                self._turns.labels("interrupted").inc()
            case e.ToolCalled() as event:
                tool = event.tool if event.tool in self._tools else "other"
                self._tool_calls.labels(tool, event.fault or "ok").inc()
                self._tool_seconds.labels(tool).observe(event.milliseconds / 1000)
            case e.AccessRefused(error=error):
                self._refusals.labels(error).inc()
            case e.MemoryCompressed():
                self._blocks.inc()

    def _count_turn(self, event: e.MessageCompleted) -> None:
        self._turns.labels("completed").inc()
        self._turn_seconds.observe(event.milliseconds / 1000)
        model = self._model(event.model)
        self._tokens.labels(model, "prompt").inc(event.prompt_tokens)
        self._tokens.labels(model, "cached").inc(event.cached_tokens or 0)
        self._tokens.labels(model, "completion").inc(event.completion_tokens)

    def called(self, call: ModelCall) -> None:
        model = self._model(call.model)
        self._calls.labels(model, call.error or "ok").observe(call.seconds)
        if call.first is not None:
            self._first.labels(model).observe(call.first)

    def posted(self) -> None:
        self._waiting.inc()

    def committed(self, events: int, seconds: float, well: bool) -> None:
        self._waiting.dec(events)
        self._commits.observe(seconds)
        self._stored.labels("ok" if well else "failed").inc(events)

    def assessed(self, detector: str, seconds: float) -> None:
        self._assessed.labels(detector).observe(seconds)

    def _model(self, name: str) -> str:
        if name in self._models or len(self._models) < MODELS:
            self._models.add(name)
            return name
        return "other"


class Standing(Collector):
    """What is looked up when somebody asks: the sessions that run, the streams, the model servers."""

    def __init__(self, sessions: dict[str, str], source: Source, live: Live) -> None:
        self._sessions = sessions
        self._source = source
        self._live = live

    def collect(self) -> Iterator[Metric]:
        sessions = GaugeMetricFamily("heist_sessions", "Sessions that are not over.", labels=["status"])
        for status in ("running", "paused"):
            sessions.add_metric([status], sum(one == status for one in self._sessions.values()))
        yield sessions
        yield GaugeMetricFamily("heist_streams", "Event streams that are open.", value=self._live.clients)
        breakers = GaugeMetricFamily(
            "heist_model_server_breaker", "1 for the state of a model server's breaker.", labels=["server", "state"]
        )
        for server, state in self._source.states().items():
            for one in _BREAKER:
                breakers.add_metric([masked(server), one], one == state)
        yield breakers


def _status(event: e.SessionStarted | e.SessionResumed | e.SessionRecovered | e.SessionPaused) -> str:
    return "paused" if isinstance(event, e.SessionPaused | e.SessionRecovered) else "running"


def router(metrics: Metrics, gate: Gate, open_to_all: bool) -> APIRouter:
    routes = APIRouter(tags=["health"], dependencies=[] if open_to_all else [Depends(DOCUMENTED)])

    async def reader(connection: HTTPConnection) -> None:
        if not open_to_all:
            (await gate.user(connection)).require(Scope.METRICS)

    @routes.get(
        "/metrics",
        summary="The house in figures, as Prometheus reads them; needs metrics:read",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals(401)},
    )
    async def figures(connection: HTTPConnection, _: Annotated[None, Depends(reader)]) -> Response:
        encode, kind = choose_encoder(connection.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=kind)

    return routes
