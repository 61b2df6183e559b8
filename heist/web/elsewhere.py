"""What other processes write to the log, told in its place among what is heard here."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from math import inf

from heist.errors import HeistError
from heist.events import Recorded
from heist.store.queries import Logged, Queries

LOOK_SECONDS = 0.5
log = logging.getLogger(__name__)


class Elsewhere:
    """The numbers of the log have no gap: one that is missing between two that are heard here belongs to another
    process, and is read and told before the second. When all is quiet here, it looks now and then; what it finds is
    told a look later, because until then it may be this process' own that is not heard yet. Nothing is read, and
    nothing costs anything, until `begin` and after `end`."""

    def __init__(self, queries: Queries, tell: Callable[[Recorded], None], tell_row: Callable[[Logged], None]) -> None:
        self._queries = queries
        self._tell = tell
        self._tell_row = tell_row
        self._told: int | None = None
        self._horizon = 0
        self._behind: list[Recorded] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """From now on nothing that is written is missed. Raises `StoreError`."""
        if self._told is not None:
            return
        last = await asyncio.to_thread(self._queries.last_seq)
        if self._told is None:
            self._told = self._horizon = last
            self._looking = asyncio.create_task(self._look())

    def end(self) -> None:
        self._told = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def hear(self, recorded: Recorded) -> None:
        if self._behind is not None:
            self._behind.append(recorded)
        elif self._told is None or recorded.seq is None or recorded.seq <= self._told + 1:
            self._pass(recorded)
        else:
            self._behind = [recorded]
            self._reading = asyncio.get_running_loop().create_task(self._weave())

    def _pass(self, recorded: Recorded) -> None:
        if self._told is not None and recorded.seq is not None:
            self._told = max(self._told, recorded.seq)
        self._tell(recorded)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._behind is None:
                self._behind = []
                self._reading = asyncio.create_task(self._weave())

    async def _weave(self) -> None:
        """Tells what is on record and was not heard, and what was heard meanwhile, by the order of the log."""
        seen: float = inf
        try:
            told = self._told
            rows = deque([] if told is None else await asyncio.to_thread(self._queries.log, told, None))
            seen = rows[-1].seq if rows else self._told or 0
        except HeistError as error:
            log.warning("the streams hear nothing of other processes: %s", error)
            rows = deque()
        behind, self._behind = self._behind or [], None
        newest = rows[-1].seq if rows else self._horizon
        for at, recorded in enumerate(behind):
            while recorded.seq is not None and rows and rows[0].seq <= recorded.seq:
                self._row(rows.popleft(), recorded.seq)
            if recorded.seq is not None and self._told is not None and max(seen, self._told + 1) < recorded.seq:
                self._behind = behind[at:]  # kept after the rows were read, and so may be what is missing before it
                self._reading = asyncio.create_task(self._weave())
                return
            self._pass(recorded)
        while rows and rows[0].seq <= self._horizon:
            self._row(rows.popleft(), None)
        self._horizon = newest

    def _row(self, row: Logged, heard: int | None) -> None:
        """Tells a row, if it is not the one that was heard."""
        if row.seq != heard and self._told is not None and row.seq > self._told:
            self._told = row.seq
            self._tell_row(row)
