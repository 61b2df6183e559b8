"""Models around a model, for servers as they are."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Literal

from heist.clock import Clock
from heist.errors import HeistError, ModelBroke, ModelBusy, ModelDown, ModelTimeout, ModelUnreachable
from heist.llm.model import Completion, Model, Prompt, Wrapper

PAUSES = (0.0, 0.2, 0.5)
"""Seconds before each new try to connect. The first is none: a server that has closed an idle connection is there all
the same."""
BUSY_SECONDS = 120.0
"""A server that says that it is busy, or loading, is asked again for so long."""
FIRST_BUSY = 0.5
LONGEST_BUSY = 15.0
FAILURES = 3
COOL_SECONDS = 2.0
LONGEST_COOL = 60.0
OFFER_SECONDS = 0.5
UNKNOWN_SLOTS = 8


class Retrying(Wrapper):
    """Tries again when the server could not be reached or says that it is busy, as long as it has not begun to answer:
    what was said is never said twice. Back-off doubles, with jitter, and is never shorter than the server asked for.
    What the server refuses for good is not tried again."""

    def __init__(self, model: Model, pauses: tuple[float, ...] = PAUSES, patience: float = BUSY_SECONDS) -> None:
        super().__init__(model)
        self._pauses = pauses
        self._patience = patience

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        unreached, waited, backoff = 0, 0.0, FIRST_BUSY
        while True:
            begun = False
            try:
                async with aclosing(self._model.complete(prompt)) as answer:
                    async for chunk in answer:
                        begun = True
                        yield chunk
                return
            except ModelUnreachable:
                if begun or unreached == len(self._pauses):
                    raise
                pause = self._pauses[unreached] * _jitter()
                unreached += 1
            except ModelBusy as busy:
                pause = max(busy.retry_after or 0.0, backoff * _jitter())
                if begun or waited + pause > self._patience:
                    raise
                waited += pause
                backoff = min(2 * backoff, LONGEST_BUSY)
            await asyncio.sleep(pause)


def _jitter() -> float:
    """Between a half and one and a half, so that those who failed together do not come back together."""
    return 0.5 + random.random()


class Lanes:
    """How many calls a server is given at once; the others wait here, in the order in which they came, so that one that
    is called off costs the server nothing. Where the server tells its slots, they are the limit; else it grows with
    each success while others wait, and halves when the server says that it is busy."""

    def __init__(self, slots: int | None = None) -> None:
        self.limit = slots or UNKNOWN_SLOTS
        self._grows = slots is None
        self._flying = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        if self._flying < self.limit and not self._waiting:
            self._flying += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in and called off in the same moment
                self.leave()
            raise

    def leave(self) -> None:
        self._flying -= 1
        while self._waiting and self._flying < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._flying += 1
                turn.set_result(None)

    def succeeded(self) -> None:
        if self._grows and self._waiting:
            self.limit += 1

    def was_busy(self) -> None:
        if self._grows:
            self.limit = max(1, self.limit // 2)


class Limited(Wrapper):
    """No more calls in flight than the server's lanes hold."""

    def __init__(self, model: Model, lanes: Lanes) -> None:
        super().__init__(model)
        self._lanes = lanes

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        await self._lanes.enter()
        try:
            async with aclosing(self._model.complete(prompt)) as answer:
                async for chunk in answer:
                    if isinstance(chunk, Completion):  # who asks need not listen any longer
                        self._lanes.succeeded()
                    yield chunk
        except ModelBusy:
            self._lanes.was_busy()
            raise
        finally:
            self._lanes.leave()


State = Literal["closed", "open", "half-open"]
Told = Callable[[State, str], None]


class Breaker:
    """The state of one server. It opens when the server cannot be reached, or has failed FAILURES times in a row by its
    own fault; then nobody asks it until it has cooled, and then one call tries it. A try that fails doubles the pause,
    one that succeeds closes it. `told` hears of each opening and closing."""

    def __init__(self, clock: Clock, told: Told, cool: float = COOL_SECONDS) -> None:
        self._clock = clock
        self._told = told
        self._first_cool = self._cool = cool
        self._failures = 0
        self._until: float | None = None
        self._trying = False
        self._offered = float("-inf")
        self._changed = asyncio.Event()
        self.reason = ""

    @property
    def state(self) -> State:
        if self._until is None:
            return "closed"
        return "half-open" if self._clock.monotonic() >= self._until else "open"

    async def ready(self) -> None:
        """Returns when a call would be let through. Of many who wait for a server that has cooled, one goes first."""
        while self._until is not None and not self._offers():
            left = max(self._until - self._clock.monotonic(), OFFER_SECONDS / 2)
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()

    def _offers(self) -> bool:
        now = self._clock.monotonic()
        if self.state == "open" or self._trying or now < self._offered + OFFER_SECONDS:
            return False
        self._offered = now
        return True

    def begin(self) -> None:
        """A call sets out; raises `ModelDown` when it may not."""
        if self.state == "open" or self._trying:
            raise ModelDown(self.reason)
        self._trying = self._until is not None

    def end(self) -> None:
        """It is over, however it ended."""
        self._trying = False
        self._changed.set()
        self._changed = asyncio.Event()

    def failed(self, error: HeistError) -> bool:
        """Whether the breaker is open now because of it."""
        self._failures += 1
        was_open = self._until is not None
        if not (was_open or isinstance(error, ModelUnreachable) or self._failures >= FAILURES):
            return False
        self._cool = min(2 * self._cool, LONGEST_COOL) if was_open else self._first_cool
        self._until = self._clock.monotonic() + self._cool
        self.reason = str(error)
        if not was_open:
            self._told("open", self.reason)
        return True

    def succeeded(self) -> None:
        self._failures = 0
        if self._until is not None:
            self._until = None
            self._told("closed", "")


class Breaking(Wrapper):
    """Asks the server only while its breaker lets calls through. What opens the breaker, and what meets it open, is
    `ModelDown`: the turn is not lost, it can be taken again when `ready` returns."""

    def __init__(self, model: Model, breaker: Breaker) -> None:
        super().__init__(model)
        self._breaker = breaker

    async def ready(self) -> None:
        await self._breaker.ready()

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self._breaker.begin()
        try:
            async with aclosing(self._model.complete(prompt)) as answer:
                async for chunk in answer:
                    if isinstance(chunk, Completion):
                        self._breaker.succeeded()
                    yield chunk
        except (ModelUnreachable, ModelTimeout, ModelBroke) as error:
            if self._breaker.failed(error):
                raise ModelDown(self._breaker.reason) from None
            raise
        finally:
            self._breaker.end()
