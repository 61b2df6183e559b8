"""Which processes live: each that drives sessions says so now and then, in the database that they share."""

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, Float, delete, insert, literal_column, select, update

from heist.store.engine import failing
from heist.store.tables import processes

BEAT_SECONDS = 5.0
DEAD_SECONDS = 20.0
"""Who has not been seen for so long is held for dead, on another machine or in another container."""
_FORGOTTEN_SECONDS = 86_400.0
_CLOCKS = {"sqlite": "(julianday('now') - 2440587.5) * 86400.0", "postgresql": "EXTRACT(EPOCH FROM clock_timestamp())"}


class Place(NamedTuple):
    """Where a process is. `space` is what its `pid` counts in: one start of one machine, or a container of it; `begun`
    tells it from a later process with the same pid, 0 where a system does not say."""

    host: str
    space: str
    pid: int
    begun: int


def here() -> Place:
    """This process."""
    return Place(socket.gethostname()[:200], _space(), os.getpid(), _begun(os.getpid()))


def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()[:200]


def _begun(pid: int) -> int:
    """In ticks since the start of the machine; the name before it in the line may hold brackets too."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    found = re.search(r"\) (?:\S+ ){19}(\d+) ", line[line.rfind(")") :])
    return int(found[1]) if found else 0


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Processes:
    """This process among those that share a database: `number` is its own, and stands in the rows of the sessions that
    it drives. Whether another one lives is asked of the system if that can know, else of the database, whose clock is
    the only one that counts. Each call blocks, and raises `StoreError`."""

    def __init__(self, engine: Engine, number: int, place: Place) -> None:
        self._engine = engine
        self.number = number
        self._place = place
        self._now: ColumnElement[float] = literal_column(_CLOCKS[engine.dialect.name], Float)

    def beat(self) -> None:
        """This process lives, as everybody shall know; those that have been silent for a day are forgotten."""
        own = update(processes).where(processes.c.number == self.number)
        new = insert(processes).values(number=self.number, **self._place._asdict(), seen=self._now)
        old = delete(processes).where(processes.c.seen < self._now - _FORGOTTEN_SECONDS)
        with failing("the database could not be written"), self._engine.begin() as connection:
            if not connection.execute(own.values(seen=self._now)).rowcount:
                connection.execute(old)
                connection.execute(new)

    def leave(self) -> None:
        """This process drives nothing any more."""
        with failing("the database could not be written"), self._engine.begin() as connection:
            connection.execute(delete(processes).where(processes.c.number == self.number))

    def living(self, number: int) -> str | None:
        """Where the process of this number lives, in words; None if it is gone."""
        place = [processes.c[name] for name in Place._fields]
        asked = select(*place, (self._now - processes.c.seen).label("silent")).where(processes.c.number == number)
        with failing("the database could not be read"), self._engine.connect() as connection:
            row = connection.execute(asked).first()
        if row is None:
            return None
        if row.space == self._place.space:
            lives = _exists(row.pid) and row.begun == _begun(row.pid)
        else:
            lives = row.silent < DEAD_SECONDS
        return f"process {row.pid} of {row.host}" if lives else None
