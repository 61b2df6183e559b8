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


class Bus:
    """What a watcher hears of durable events is already kept, in the order of their row numbers. A watcher must return
    at once and not raise."""

    def __init__(self, keeper: Keeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    async def publish(self, event: Event, then: Callable[[Event], None] | None = None) -> None:
        """Returns once the event is kept and told, `then` first; raises `StoreError` when it could not be kept. A
        publisher that is cancelled while it waits is held until the event is kept, so that nobody is left in doubt."""
        at, body = stamp(self._clock.now()), body_of(event)
        if not event.durable:
            self._tell(Recorded(None, at, event, body))
            return
        kept = self._keeper.keep(event, at, body)
        kept.add_done_callback(partial(self._kept, at, event, body, then))
        try:
            await asyncio.shield(kept)
        except asyncio.CancelledError:
            await asyncio.wait([kept])
            raise

    def _kept(
        self, at: str, event: Event, body: str, then: Callable[[Event], None] | None, kept: asyncio.Future[int]
    ) -> None:
        if kept.exception() is None:
            if then is not None:
                then(event)
            self._tell(Recorded(kept.result(), at, event, body))

    def _tell(self, recorded: Recorded) -> None:
        for watcher in self._watchers:
            watcher(recorded)
