"""The log as it grows, pushed to browsers and programs: what is stored first, then what happens."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from heist import events as e
from heist.clock import Clock, stamp
from heist.errors import Unavailable
from heist.events import Recorded
from heist.store.queries import Logged, Queries
from heist.web.elsewhere import Elsewhere

PAGE = 500
CHANNEL_BYTES = 1_000_000
"""What a channel remembers for clients that lag; one that lags by more reads the log again."""
DELTA_SECONDS = 0.1
"""Words are sent at most this often for one speaker."""
_OVER = (e.MessageCompleted, e.MessageFailed, e.MessageInterrupted)


_TELLING = ("suspicion.updated", "evidence.", "verdict.", "judge.")
"""What the detector says, by the beginnings of its kinds; a player's own `suspicion.stated` is not of them."""


def is_blind_to(kind: str) -> bool:
    """Whether somebody who plays against the detector must not hear of this kind."""
    return kind.startswith(_TELLING)


class Frame(NamedTuple):
    """One event for a client; `seq` is None for what is never stored."""

    seq: int | None
    json: str
    kind: str = ""

    def sse(self) -> bytes:
        """The frame as a server-sent event; the row number is its id, so that a client resumes after it."""
        place = "" if self.seq is None else f"id: {self.seq}\n"
        return f"{place}data: {self.json}\n\n".encode()


class Channel:
    """What happens in one session, or in the list of sessions, while somebody listens."""

    def __init__(self) -> None:
        self.clients = 0
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._first = 0
        self._news = asyncio.Event()

    @property
    def end(self) -> int:
        return self._first + len(self._frames)

    def add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame.json)
        while self._bytes > CHANNEL_BYTES:
            self._bytes -= len(self._frames.popleft().json)
            self._first += 1
        self._news.set()
        self._news = asyncio.Event()

    async def since(self, position: int) -> list[Frame] | None:
        """The frames from `position` on, once there are any; None when some of them are forgotten."""
        while position == self.end:
            await self._news.wait()
        if position < self._first:
            return None
        return [self._frames[index - self._first] for index in range(position, self.end)]


class Live:
    """A watcher of the bus. Costs next to nothing while nobody listens; one stalled client costs nobody anything."""

    def __init__(self, queries: Queries, clock: Clock, streams: int) -> None:
        self._queries = queries
        self._clock = clock
        self._streams = streams
        self._open = 0
        self._channels: dict[str | None, Channel] = {}
        self._spoken: dict[str, e.MessageDelta] = {}
        self._waiting: dict[str, e.MessageDelta] = {}
        self._elsewhere = Elsewhere(queries, self._hear, self._hear_row)

    def hear(self, recorded: Recorded) -> None:
        self._elsewhere.hear(recorded)

    def _hear(self, recorded: Recorded) -> None:
        event = recorded.event
        session_id = event.session_id
        if session_id is None:
            return
        if isinstance(event, e.MessageDelta):
            self._hear_delta(event)
            return
        if isinstance(event, _OVER):
            self._spoken.pop(session_id, None)
            self._waiting.pop(session_id, None)
        self._add(session_id, Frame(recorded.seq, recorded.json, event.kind))

    def _hear_row(self, row: Logged) -> None:
        """What another process has written."""
        if row.session_id is not None:
            self._add(row.session_id, Frame(row.seq, row.json, row.kind))

    def _add(self, session_id: str, frame: Frame) -> None:
        """For those who follow the session, and for the list of sessions what that shows."""
        for channel in (session_id, None) if frame.kind.startswith("session.") else (session_id,):
            if listeners := self._channels.get(channel):
                listeners.add(frame)

    def _hear_delta(self, delta: e.MessageDelta) -> None:
        """Joins the words of a speaker until it is time to send them."""
        session_id = delta.session_id
        self._spoken[session_id] = _joined(self._spoken.get(session_id), delta)
        if session_id not in self._channels:
            return
        if session_id not in self._waiting:
            asyncio.get_running_loop().call_later(DELTA_SECONDS, self._send_delta, session_id)
        self._waiting[session_id] = _joined(self._waiting.get(session_id), delta)

    def _send_delta(self, session_id: str) -> None:
        if (delta := self._waiting.pop(session_id, None)) and (channel := self._channels.get(session_id)):
            channel.add(self._frame(delta))

    def _frame(self, delta: e.MessageDelta) -> Frame:
        return Frame(None, e.placed(None, stamp(self._clock.now()), e.body_of(delta)))

    @property
    def clients(self) -> int:
        """How many streams are open."""
        return self._open

    def check_room(self) -> None:
        """Raises `Unavailable` when no more streams may be opened."""
        if self._open >= self._streams:
            raise Unavailable(f"all {self._streams} event streams are taken; close one, or try again later")

    async def follow(self, session_id: str | None, after: int, blind: bool = False) -> AsyncGenerator[Frame]:
        """Every event after row `after`, of one session or of the list of sessions, in order and none twice: from the
        log, then what is being said this moment, then as it happens. Never ends by itself. Who is `blind` hears nothing
        that the detector says."""
        async with aclosing(self._follow(session_id, after)) as frames:
            async for frame in frames:
                if not (blind and is_blind_to(frame.kind)):
                    yield frame

    async def _follow(self, session_id: str | None, after: int) -> AsyncGenerator[Frame]:
        channel = self._channels.setdefault(session_id, Channel())
        channel.clients += 1
        self._open += 1
        try:
            await self._elsewhere.begin()
            while True:
                position = channel.end
                async for frame in self._logged(session_id, after):
                    after = frame.seq or after
                    yield frame
                if session_id is not None and (delta := self._spoken.get(session_id)):
                    yield self._frame(delta)
                while (frames := await channel.since(position)) is not None:
                    position += len(frames)
                    for frame in frames:
                        if frame.seq is None or frame.seq > after:
                            after = frame.seq or after
                            yield frame
        finally:
            self._open -= 1
            if not self._open:
                self._elsewhere.end()
            channel.clients -= 1
            if not channel.clients:
                self._channels.pop(session_id, None)

    async def _logged(self, session_id: str | None, after: int) -> AsyncGenerator[Frame]:
        kinds = "%" if session_id is not None else "session.%"
        while True:
            page = await asyncio.to_thread(self._queries.log, after, session_id, PAGE, kinds)
            for logged in page:
                yield Frame(logged.seq, logged.json, logged.kind)
            if len(page) < PAGE:
                return
            after = page[-1].seq


def _joined(before: e.MessageDelta | None, delta: e.MessageDelta) -> e.MessageDelta:
    if before is None or before.turn != delta.turn:
        return delta
    return before.model_copy(update={"text": before.text + delta.text})
