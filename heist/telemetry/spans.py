"""The spans of the sessions, made from what is posted: a session is a trace, and its turns are spans in it."""

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from opentelemetry import context
from opentelemetry.trace import Span as Recording
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from heist import events as e
from heist.errors import HeistError
from heist.telemetry import names as n
from heist.telemetry.here import NOTHING, Attributes, Span, Text, here, tool, within

TURNS = 64
"""So many turns of a session are remembered, for what is told of them when they are over."""
SESSIONS = 1000
"""So many sessions that are over are remembered, likewise."""
_CHANGES = (
    e.SessionPaused,
    e.SessionResumed,
    e.SessionStepped,
    e.SessionStopping,
    e.BudgetReached,
    e.CommandIssued,
    e.AgentQuarantined,
    e.AgentReleased,
)
_ALLOWED: dict[Text, tuple[Text, ...]] = {"none": (), "speech": ("speech",), "prompts": ("speech", "prompts")}


class Traced:
    """A span that is recorded."""

    def __init__(self, recording: Recording, tracer: Tracer, text: Text) -> None:
        self._recording = recording
        self._tracer = tracer
        self._text: Text = text

    @property
    def ids(self) -> tuple[str, str]:
        told = self._recording.get_span_context()
        return format_trace_id(told.trace_id), format_span_id(told.span_id)

    def inner(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        kind: SpanKind | None = None,
        began: int | None = None,
    ) -> "Traced":
        around = set_span_in_context(self._recording, context.Context())
        return _begun(self._tracer, self._text, name, attributes, around, kind, began)

    def tell(self, attributes: Attributes) -> None:
        self._recording.set_attributes(attributes)

    def quote(self, text: Text, attributes: Callable[[], Attributes]) -> None:
        if text in _ALLOWED[self._text]:
            self._recording.set_attributes(attributes())

    def fail(self, code: str) -> None:
        self._recording.set_attribute(n.ERROR, code)
        self._recording.set_status(Status(StatusCode.ERROR))

    def end(self, ended: int | None = None) -> None:
        self._recording.end(ended)

    def happened(self, name: str) -> None:
        """A moment in it."""
        self._recording.add_event(name)

    def open(self) -> AbstractContextManager[Span]:
        return self._open()

    @contextmanager
    def _open(self) -> Generator[Span]:
        """Spans of others, say of a plug-in's, belong into it too."""
        token = context.attach(set_span_in_context(self._recording))
        try:
            with within(here()._replace(span=self)):
                yield self
        except BaseException as error:
            self.fail(error.code if isinstance(error, HeistError) else type(error).__name__)
            raise
        finally:
            context.detach(token)
            self.end()


class Nowhere:
    """Where no span is open: what begins here is a trace of its own."""

    ids = None

    def __init__(self, tracer: Tracer, text: Text) -> None:
        self._tracer = tracer
        self._text: Text = text

    def inner(
        self, name: str, attributes: Attributes = NOTHING, kind: SpanKind | None = None, began: int | None = None
    ) -> Traced:
        return _begun(self._tracer, self._text, name, attributes, context.Context(), kind, began)

    def tell(self, attributes: Attributes) -> None: ...

    def quote(self, text: Text, attributes: Callable[[], Attributes]) -> None: ...

    def fail(self, code: str) -> None: ...

    def end(self) -> None: ...

    def open(self) -> AbstractContextManager[Span]:
        return nullcontext(self)


def _begun(
    tracer: Tracer,
    text: Text,
    name: str,
    attributes: Attributes,
    around: context.Context,
    kind: SpanKind | None,
    began: int | None,
) -> Traced:
    kind = kind or (SpanKind.CLIENT if n.REQUEST_MODEL in attributes else SpanKind.INTERNAL)
    return Traced(tracer.start_span(name, around, kind, attributes, start_time=began), tracer, text)


@dataclass(slots=True)
class _Session:
    span: Traced
    turns: dict[int, Traced] = field(default_factory=dict)


class Spans:
    """`see` hears each event that is not sealed, when it is posted. `system` is the database's name."""

    def __init__(self, tracer: Tracer, text: Text = "none", system: str = "sqlite") -> None:
        self._tracer = tracer
        self._text: Text = text
        self._system = system
        self._nowhere = Nowhere(tracer, text)
        self._open: dict[str, _Session] = {}
        self._over: dict[str, _Session] = {}

    def of(self, session_id: str | None, turn: int | None) -> Traced | Nowhere:
        """The span of a turn, else of its session, whether it is over or not; else nowhere."""
        known = self._open.get(session_id or "") or self._over.get(session_id or "")
        if known is None:
            return self._nowhere
        return known.span if turn is None else known.turns.get(turn, known.span)

    def see(self, event: e.Event) -> None:
        match event:
            case e.SessionStarted():
                self._begin(event.session_id, event.crew, _start(event))
            case e.SessionRecovered():
                self._begin(event.session_id, "", {n.STATUS: "recovered"})
            case e.MessageStarted():
                self._begin_turn(event)
            case e.MessageCompleted() | e.MessageFailed() | e.MessageInterrupted():
                self._end_turn(event)
            case e.ToolCalled(turn=None):
                self._outside(event)
            case e.SessionCompleted() | e.SessionStopped() | e.SessionFailed():
                self._end(event)
            case _ if isinstance(event, _CHANGES):
                self._happened(event)

    def _happened(self, event: e.Event) -> None:
        if session := self._open.get(event.session_id or ""):
            session.span.happened(event.kind)

    def _begin(self, session_id: str, crew: str, attributes: Attributes) -> None:
        named = {n.OPERATION: "invoke_workflow", n.CONVERSATION: session_id, **attributes}
        self._open[session_id] = _Session(
            self._nowhere.inner(f"invoke_workflow {crew}".rstrip(), named, SpanKind.INTERNAL)
        )

    def _begin_turn(self, event: e.MessageStarted) -> None:
        if (session := self._open.get(event.session_id)) is None:
            return
        session.turns[event.turn] = session.span.inner(
            f"invoke_agent {event.agent}",
            {
                n.OPERATION: "invoke_agent",
                n.CONVERSATION: event.session_id,
                n.AGENT: event.agent,
                n.TURN: event.turn,
                n.ROUND: event.round,
                n.FORM: event.form,
            },
        )
        if len(session.turns) > TURNS:
            del session.turns[next(iter(session.turns))]

    def _end_turn(self, event: e.MessageCompleted | e.MessageFailed | e.MessageInterrupted) -> None:
        session = self._open.get(event.session_id)
        span = session and session.turns.get(event.turn)
        if not span:
            return
        span.tell({n.STATUS: event.kind.removeprefix("message.")})
        if isinstance(event, e.MessageCompleted):
            span.tell(_spent(event))
            span.quote("speech", lambda: {n.OUTPUT_MESSAGES: _said(event.text)})
        elif event.error:
            span.fail(event.error)
        span.end()

    def _outside(self, event: e.ToolCalled) -> None:
        """A call over HTTP or MCP, or one that was refused before there was anything to call: known when it is over."""
        ended = time.time_ns()
        name, told = tool(event.tool)
        around = self.of(event.session_id, None)
        span = around.inner(name, {**told, n.FORM: event.form}, began=ended - round(event.milliseconds * 1e6))
        if event.fault is not None:
            span.fail(event.fault)
        span.quote("speech", lambda: {n.TOOL_ARGUMENTS: json.dumps(event.arguments), n.TOOL_RESULT: event.result})
        span.end(ended)

    def _end(self, event: e.SessionCompleted | e.SessionStopped | e.SessionFailed) -> None:
        if (session := self._open.pop(event.session_id, None)) is None:
            return
        session.span.tell({n.STATUS: event.kind.removeprefix("session."), n.TURNS: event.turns})
        if isinstance(event, e.SessionFailed):
            session.span.fail("session_failed")
        session.span.end()
        self._over[event.session_id] = session
        if len(self._over) > SESSIONS:
            del self._over[next(iter(self._over))]

    def committed(self, events: Sequence[e.Event], well: bool, began: int, ended: int) -> None:
        """A transaction serves many turns; each has a span of it, with as many events as were its own."""
        served: dict[tuple[str, int | None], int] = {}
        for event in events:
            if event.session_id is not None:
                place = event.session_id, getattr(event, "turn", None)
                served[place] = served.get(place, 0) + 1
        for (session_id, turn), count in served.items():
            told: Attributes = {n.DB_SYSTEM: self._system, n.DB_OPERATION: "COMMIT", n.DB_BATCH: count}
            if isinstance(around := self.of(session_id, turn), Traced):
                span = around.inner("COMMIT", told, SpanKind.CLIENT, began)
                if not well:
                    span.fail("store_failed")
                span.end(ended)

    def close(self) -> None:
        """Ends what is open: those sessions go on in another process, or in none."""
        while self._open:
            _, session = self._open.popitem()
            session.span.tell({n.STATUS: "left"})
            session.span.end()


def _start(event: e.SessionStarted) -> Attributes:
    return {
        n.WORKFLOW: event.crew,
        n.SCENARIO: event.scenario,
        n.ROUNDS: event.rounds,
        n.AGENTS: len(event.seats),
        n.REQUEST_MODEL: event.model,
    }


def _spent(event: e.MessageCompleted) -> Attributes:
    """Tokens as the log has them, without those of the private brief, the number of which would be a trace of it."""
    cached = {} if event.cached_tokens is None else {n.CACHED_TOKENS: event.cached_tokens}
    return {
        n.RESPONSE_MODEL: event.model,
        n.MODEL_CALLS: event.model_calls,
        n.INPUT_TOKENS: event.prompt_tokens,
        n.OUTPUT_TOKENS: event.completion_tokens,
        **cached,
    }


def _said(text: str) -> str:
    return json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": "stop"}])
