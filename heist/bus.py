"""Hands each event to the keeper, who is awaited, and then to the watchers, who are not."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from heist.clock import Clock, stamp
from heist.events import Event, Recorded, body_of

Watcher = Callable[[Recorded], None]


class Keeper(Protocol):
    def keep(self, event: Event, at: str, body: str) -> asyncio.Future[int]:
        """Stores the event; the future gives its row number once it is on disk, or raises `StoreError`."""

    def flush(self) -> None:
        """What was given to `keep` is stored without delay."""


class _Posted(NamedTuple):
    """What was posted and not told yet; `kept` is None for what is never kept."""

    at: str
    event: Event
    body: str
    taken: bool
    kept: asyncio.Future[int] | None


class Bus:
    """Watchers hear of events in the order in which they were posted, of durable ones once they are kept: what is never
    kept waits its turn behind what is not kept yet. A watcher must return at once and not raise."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._watchers: list[Watcher] = []
        self._last: asyncio.Future[int] | None = None
        self._at = ""
        self._untold: deque[_Posted] = deque()
        self._telling = False

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def post(self, event: Event, taken: bool = False) -> asyncio.Future[int] | None:
        """Hands the event on and returns at once; events are kept in the order in which they are posted, soon. The
        future is done when the event is kept and told; None for what is never kept. What is sealed is told to nobody,
        and has the time of what was posted before it, so that no clock is read for it."""
        body = body_of(event)
        if event.sealed:
            sealed = self._keeper.keep(event, self._at, body)
            sealed.add_done_callback(_heed)
            return sealed
        at = self._at = stamp(self._clock.now())
        kept = self._keeper.keep(event, at, body) if event.durable else None
        self._untold.append(_Posted(at, event, body, taken, kept))
        if kept is None:
            self._tell()
        else:
            self._last = kept
            kept.add_done_callback(self._tell)
        return kept

    def flush(self) -> None:
        """What was posted is kept without delay."""
        self._keeper.flush()

    async def settled(self) -> None:
        """Returns once everything that was posted so far is kept, or could not be."""
        if self._last is not None and not self._last.done():
            self.flush()
            await asyncio.wait([self._last])

    async def publish(self, event: Event) -> None:
        """Returns once the event is kept and told; raises `StoreError` when it could not be kept."""
        if (kept := self.post(event)) is not None:
            self.flush()
            await asyncio.wait([kept])  # not the future itself: who is cancelled here must not take the event along
            kept.result()

    def _tell(self, _: object = None) -> None:
        """Tells what waits, up to the first that is not kept yet. What a watcher posts meanwhile waits too."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold and ((kept := self._untold[0].kept) is None or kept.done()):
                at, event, body, taken, _ = self._untold.popleft()
                if kept is None or kept.exception() is None:
                    recorded = Recorded(None if kept is None else kept.result(), at, event, body, taken)
                    for watcher in self._watchers:
                        watcher(recorded)
        finally:
            self._telling = False


def _heed(kept: asyncio.Future[int]) -> None:
    """Nobody need ask what came of it: whoever posted it may have broken off."""
    if not kept.cancelled():
        kept.exception()
