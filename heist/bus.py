"""Hands each event to the keeper, who is awaited, and then to the watchers, who are not."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from heist.clock import Clock, stamp
from heist.events import Event, Recorded, body_of

Watcher = Callable[[Recorded], None]


class Keeper(Protocol):
    def keep(self, event: Event, at: str, body: str) -> asyncio.Future[int]:
        """Stores the event; the future gives its row number once it is on disk, or raises `StoreError`."""

    def flush(self) -> None:
        """What was given to `keep` is stored without delay."""


class Bus:
    """Watchers hear of events in the order in which they were posted, of durable ones once they are kept: what is never
    kept waits its turn behind what is not kept yet. A watcher must return at once and not raise."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._watchers: list[Watcher] = []
        self._last: asyncio.Future[int] | None = None
        self._at = ""

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def post(self, event: Event, taken: bool = False) -> asyncio.Future[int] | None:
        """Hands the event on and returns at once; events are kept in the order in which they are posted, soon. The
        future is done when the event is kept and told; None for what is never kept. What is sealed is told to nobody,
        and has the time of what was posted before it, so that no clock is read for it."""
        body = body_of(event)
        if event.sealed:
            return self._keeper.keep(event, self._at, body)
        at = self._at = stamp(self._clock.now())
        if not event.durable:
            passing = Recorded(None, at, event, body)
            if self._last is None or self._last.done():
                self._tell(passing)
            else:
                self._last.add_done_callback(lambda _: self._tell(passing))
            return None
        self._last = self._keeper.keep(event, at, body)
        self._last.add_done_callback(partial(self._kept, at, event, body, taken))
        return self._last

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

    def _kept(self, at: str, event: Event, body: str, taken: bool, kept: asyncio.Future[int]) -> None:
        if kept.exception() is None:
            self._tell(Recorded(kept.result(), at, event, body, taken))

    def _tell(self, recorded: Recorded) -> None:
        for watcher in self._watchers:
            watcher(recorded)
