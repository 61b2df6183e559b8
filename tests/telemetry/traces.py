"""Spans as a test sees them: a house whose spans are kept in memory, and trees of what has ended."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from heist.runtime import Runtime
from heist.telemetry.here import Text
from heist.telemetry.spans import Spans


class Tree(NamedTuple):
    """A span with those inside of it, in the order in which they began."""

    name: str
    told: dict[str, Any]
    failed: bool
    events: tuple[str, ...]
    inner: "tuple[Tree, ...]"

    def shape(self) -> Any:
        """The names alone: (name, those inside), and just the name where there are none."""
        return (self.name, [one.shape() for one in self.inner]) if self.inner else self.name

    def all(self) -> "list[Tree]":
        return [self, *(below for one in self.inner for below in one.all())]

    def named(self, begin: str) -> "list[Tree]":
        return [one for one in self.all() if one.name.startswith(begin)]


class Collector:
    """What has ended so far."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._memory))

    def watch(self, runtime: Runtime, text: Text = "none") -> Spans:
        runtime.telemetry.spans = spans = Spans(self._provider.get_tracer("test"), text)
        return spans

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._memory.get_finished_spans()

    def trees(self, kept: Callable[[str], bool] = lambda name: name != "COMMIT") -> list[Tree]:
        """The traces, in the order in which they began; commits are left out, for when they come is up to the disk."""
        below: dict[int | None, list[ReadableSpan]] = {}
        for span in sorted((one for one in self.spans if kept(one.name)), key=lambda one: one.start_time or 0):
            below.setdefault(span.parent.span_id if span.parent else None, []).append(span)
        return [_tree(span, below) for span in below.get(None, [])]


def _tree(span: ReadableSpan, below: dict[int | None, list[ReadableSpan]]) -> Tree:
    inner = tuple(_tree(one, below) for one in below.get(span.context.span_id, []))
    told = dict(span.attributes or {})
    events = tuple(event.name for event in span.events)
    return Tree(span.name, told, span.status.status_code is StatusCode.ERROR, events, inner)
