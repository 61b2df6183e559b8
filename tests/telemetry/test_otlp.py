"""Spans leave the house by OTLP over HTTP; whether anybody takes them is no matter to a session."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from heist import settings as heist_settings
from heist.agents.sessions import Order
from heist.errors import ConfigError
from heist.runtime import Runtime
from heist.settings import Settings
from heist.telemetry import destination as destinations
from heist.telemetry.destination import destination
from tests.conftest import USER

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S24")]


class Taken:
    """A collector: where it is, and what it was sent."""

    def __init__(self, answers: int = 200) -> None:
        self.requests: list[tuple[str, str, ExportTraceServiceRequest]] = []
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                told = ExportTraceServiceRequest.FromString(body)
                taken.requests.append((self.path, self.headers["content-type"], told))
                self.send_response(answers)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def collecting(answers: int = 200) -> Generator[Taken]:
    taken = Taken(answers)
    thread = threading.Thread(target=taken.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        taken.server.shutdown()
        taken.server.server_close()
        thread.join(5)


async def play(settings: Settings) -> float:
    """Seconds that a session of one round takes, without the closing of the house."""
    async with Runtime(settings).opened() as runtime:
        began = time.perf_counter()
        session_id = await runtime.sessions.start(USER, Order(rounds=1, seed=7))
        await runtime.sessions.finished(session_id)
        spent = time.perf_counter() - began
        row = runtime.queries.session(session_id)
        assert row is not None
        assert row.status == "completed"
        return spent


async def test_a_session_arrives_at_a_collector(settings: Settings) -> None:
    with collecting() as taken:
        await play(settings.model_copy(update={"otlp": taken.url}))
    assert {(path, kind) for path, kind, _ in taken.requests} == {("/v1/traces", "application/x-protobuf")}
    resources = [resource for _, _, told in taken.requests for resource in told.resource_spans]
    named = {one.key: one.value.string_value for resource in resources for one in resource.resource.attributes}
    assert named["service.name"] == "heist"
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert len({span.trace_id for span in spans}) == 1
    (root,) = [span for span in spans if not span.parent_span_id]
    assert root.name == "invoke_workflow crew"
    assert len([span for span in spans if span.parent_span_id == root.span_id and "invoke_agent" in span.name]) == 6
    assert {span.parent_span_id for span in spans if span.parent_span_id} <= {span.span_id for span in spans}


@contextmanager
def refusing() -> Generator[str]:
    """An address where nobody is."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def hanging() -> Generator[str]:
    """One that lets everybody in and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield f"http://127.0.0.1:{one.getsockname()[1]}"


@contextmanager
def failing() -> Generator[str]:
    with collecting(400) as taken:
        yield taken.url


@pytest.mark.parametrize("collector", [refusing, hanging, failing])
async def test_a_collector_that_is_down_neither_slows_nor_ends_a_session(
    settings: Settings, collector: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    with collector() as url:  # type: ignore[operator]
        began = time.perf_counter()
        assert await play(settings.model_copy(update={"otlp": url})) < 8  # a collector is given ten seconds
        assert time.perf_counter() - began < 9
    assert len([line for line in caplog.messages if "spans cannot be sent" in line]) <= 1


async def test_without_an_address_nothing_that_records_or_sends_is_imported() -> None:
    script = (
        "import sys, heist.app, heist.cli.main, heist.runtime\n"
        "from heist.settings import Settings\n"
        "runtime = heist.runtime.Runtime(Settings())\n"
        "runtime.telemetry.open()\n"
        "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter', 'google.protobuf')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "HEIST_"))}
    told = subprocess.run([sys.executable, "-c", script], env=bare, capture_output=True, text=True, check=True)  # noqa: ASYNC221
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("otlp", "environment", "expected"),
    [
        (None, {}, None),
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("https://c/otlp/", {}, "https://c/otlp/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d:4318"}, "http://d:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/t"}, "http://d/t"),
        ("http://c:4318", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/t"}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d", "OTEL_SDK_DISABLED": "true"}, None),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d", "OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_where_spans_go_is_said_by_either_name(
    otlp: str | None, environment: dict[str, str], expected: str | None
) -> None:
    assert destination(otlp, environment) == expected


def test_a_way_that_there_is_not_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://d", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf, found 'grpc'"):
        destination(None, given)
    monkeypatch.setattr(destinations, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"install heist\[otel\]"):
        destination("http://c:4318", {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("localhost:4318", "expected a base URL such as"), ("http://me:word@c", "OTEL_EXPORTER_OTLP_HEADERS")],
)
def test_a_wrong_address_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, value: str, expected: str) -> None:
    monkeypatch.setenv("HEIST_OTLP", value)
    with pytest.raises(ConfigError, match=f"HEIST_OTLP: .*{expected}") as refused:
        heist_settings.read()
    assert "me:" not in str(refused.value)


async def test_the_doctor_says_where_spans_go(settings: Settings) -> None:
    runtime = Runtime(settings.model_copy(update={"otlp": "http://c:4318"}))
    told = {finding.part: finding.found for finding in await runtime.examine()}
    assert told["tracing"] == "spans go to http://c:4318/v1/traces, words: none"
    runtime.engine.dispose()
