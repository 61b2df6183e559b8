"""Telemetry: hears what is posted and what took time, and tells it to the spans and to the meters.

It reads no clock of the house: a session's log must not depend on whether somebody looks on.
"""

import asyncio
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from heist.events import (
    Event,
    MessageCompleted,
    MessageFailed,
    MessageInterrupted,
    MessageStarted,
)
from heist.telemetry import names as n
from heist.telemetry.here import SILENT, Attributes, Here, Span, Text, go, here

if TYPE_CHECKING:
    from heist.telemetry.otlp import Export
    from heist.telemetry.spans import Spans

_TURN_OVER = (MessageCompleted, MessageFailed, MessageInterrupted)


class ModelCall(NamedTuple):
    """One call of a model, with all of its tries; seconds. `error` is the code of what went wrong, `first` the time to
    the first piece, None if there was none."""

    model: str
    seconds: float
    first: float | None
    error: str


class Meter(Protocol):
    """Who counts."""

    def called(self, call: ModelCall) -> None: ...

    def posted(self) -> None:
        """An event waits for the disk."""

    def committed(self, events: int, seconds: float, well: bool) -> None:
        """So many events wait no longer: they are on disk, or could not be put there."""

    def assessed(self, detector: str, seconds: float) -> None: ...


class Keeper(Protocol):
    """The keeper of the bus."""

    def keep(self, event: Event, at: str, body: str) -> "asyncio.Future[int]": ...

    def flush(self) -> None: ...


class Telemetry:
    """Without an address and without meters it tells nobody, and what records and sends is not even imported."""

    def __init__(self, address: str | None = None, text: Text = "none", system: str = "sqlite") -> None:
        self.spans: Spans | None = None
        self.address = address
        self._text: Text = text
        self._system = system
        self._export: Export | None = None
        self._meters: list[Meter] = []

    def open(self) -> None:
        """From now on spans go to the address, if there is one."""
        if self.address is not None:
            from heist.telemetry.otlp import Export

            self._export = Export(self.address, self._text, self._system)
            self.spans = self._export.spans

    async def close(self) -> None:
        """Sends what it can within two seconds."""
        if self._export is not None:
            await asyncio.to_thread(self._export.close)
            self.spans = self._export = None

    def measure(self, meter: Meter) -> None:
        self._meters.append(meter)

    def around(self, keeper: Keeper) -> "Witness":
        return Witness(keeper, self)

    def span(self) -> Span:
        """The one that new spans belong into: that of the task, else of its session, else none."""
        place = here()
        if self.spans is None or place.span is not SILENT:
            return place.span
        return self.spans.of(place.session_id, place.turn)

    def span_of(self, session_id: str | None, turn: int | None) -> Span:
        """The span of a turn, whether it is over or not, else of the session."""
        return SILENT if self.spans is None else self.spans.of(session_id, turn)

    def posted(self, event: Event) -> None:
        """An event happens in the task that posts it. The task of a session is in a turn from its first event to its
        last; who posts from outside, say an order, stays where he is."""
        for meter in self._meters:
            meter.posted()
        if self.spans is not None:
            self.spans.see(event)
        if isinstance(event, MessageStarted):
            turn: int | None = event.turn
        elif isinstance(event, _TURN_OVER):
            turn = None
        else:
            return
        if here().session_id == event.session_id:
            go(Here(event.session_id, turn, self.span_of(event.session_id, turn)))

    def called(self, call: ModelCall) -> None:
        for meter in self._meters:
            meter.called(call)

    def committed(self, events: Sequence[Event], well: bool, began: int, ended: int) -> None:
        """One transaction of the audit, in nanoseconds of the epoch. What is sealed is not counted, and a transaction
        of nothing else is not told of."""
        public = [event for event in events if not event.sealed]
        if not public:
            return
        for meter in self._meters:
            meter.committed(len(public), (ended - began) / 1e9, well)
        if self.spans is not None:
            self.spans.committed(public, well, began, ended)

    @contextmanager
    def assessing(self, detector: str, session_id: str, turn: int | None = None) -> Generator[Span]:
        """A detector looks at a session. What it found is not told, only how long it took."""
        began = time.perf_counter()
        told: Attributes = {n.CONVERSATION: session_id, n.DETECTOR: detector}
        with self.span_of(session_id, turn).inner(f"assess {detector}", told).open() as span:
            yield span
        for meter in self._meters:
            meter.assessed(detector, time.perf_counter() - began)


class Witness:
    """A keeper around a keeper: sees what is posted before it is kept. What is sealed passes unseen."""

    def __init__(self, keeper: Keeper, telemetry: Telemetry) -> None:
        self._keeper = keeper
        self._telemetry = telemetry

    def keep(self, event: Event, at: str, body: str) -> "asyncio.Future[int]":
        if not event.sealed:
            self._telemetry.posted(event)
        return self._keeper.keep(event, at, body)

    def flush(self) -> None:
        self._keeper.flush()
