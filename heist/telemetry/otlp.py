"""The way of the spans out of the house: OTLP over HTTP, from a thread of its own, never waited for."""

import logging
import os
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from heist import __version__
from heist.telemetry.here import Text
from heist.telemetry.spans import Spans

CLOSING_SECONDS = 2.0
"""What is not sent by then, when the house closes, is lost: a collector that is down must not hold it open."""
log = logging.getLogger(__name__)


class Export:
    """Spans on their way to an address. What the queue has no room for is dropped: a session never waits for it."""

    def __init__(self, address: str, text: Text = "none", system: str = "sqlite") -> None:
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "heist"}
        resource = Resource.create({**named, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(Once(OTLPSpanExporter(endpoint=address), address)))
        self.spans = Spans(self._provider.get_tracer("heist", __version__), text, system)

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Ends what is open and sends what it can. Blocks, for `seconds` at most."""
        self.spans.close()
        closing = threading.Thread(target=self._provider.shutdown, name="otlp", daemon=True)
        closing.start()
        closing.join(seconds)


class Once(SpanExporter):
    """An exporter around an exporter: says once that the collector is gone, and once that it is back."""

    def __init__(self, exporter: SpanExporter, address: str) -> None:
        self._exporter = exporter
        self._address = address
        self._gone = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        gone = result is not SpanExportResult.SUCCESS
        if gone and not self._gone:
            log.warning("spans cannot be sent to %s; they are dropped until they can", self._address)
        elif self._gone and not gone:
            log.warning("spans can be sent to %s again", self._address)
        self._gone = gone
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
