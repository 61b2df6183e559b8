"""Copies: a session's log as lines of JSON, out of one audit and into another."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import Engine, Select, Table, select

from heist.errors import Conflict
from heist.events import Event, body_of, placed
from heist.store import tables
from heist.store.audit import Waiting, Writer
from heist.store.engine import failing
from heist.store.figures import Chosen

BATCH = 5_000
"""Rows that are held in memory together."""


class Kept(NamedTuple):
    """An event and when it was kept."""

    event: Event
    at: str


class Copies:
    """Every method blocks. Raises `StoreError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def session_ids(self, chosen: Chosen) -> list[str]:
        """The sessions that are meant, oldest first."""
        row = tables.sessions.c
        some = select(row.session_id).where(*chosen.conditions()).order_by(row.start_time, row.session_id)
        return [found["session_id"] for found in self._rows(some)]

    def is_revealed(self, session_id: str) -> bool:
        games = tables.games.c
        return any(True for _ in self._rows(select(games.session_id).where(games.session_id == session_id)))

    def lines(self, session_id: str, sealed: bool) -> Iterator[str]:
        """The public log of a session, an event a line; and, after it, what was sealed."""
        log = select(tables.events).where(tables.events.c.session_id == session_id).order_by(tables.events.c.seq)
        yield from (placed(row["seq"], row["at"], row["body"]) for row in self._rows(log))
        if sealed:
            hidden = tables.sealed.c
            truth = select(tables.sealed).where(hidden.session_id == session_id).order_by(hidden.number)
            yield from (placed(None, row["at"], row["body"]) for row in self._rows(truth))

    def rows(self, table: str, session_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The rows of a table of sessions, in the order of its key, session by session."""
        found = columns(table)
        keys = list(found.primary_key.columns)
        for session_id in session_ids:
            yield from self._rows(select(found).where(found.c.session_id == session_id).order_by(*keys))

    def put(self, session: Sequence[Kept]) -> int:
        """Writes a session that begins with its start, whole or not at all, with row numbers of its own; answers how
        many events that were. Raises `Conflict` when there is a session of its id."""
        session_id = session[0].event.session_id or ""
        if any(True for _ in self._rows(select(tables.sessions.c.session_id).where(_is(session_id)))):
            raise Conflict(f"the session {session_id} is here already")
        nobody_waits = cast("asyncio.Future[int]", None)
        writer = Writer(self._engine)
        try:
            writer.write_whole([Waiting(event, at, body_of(event), nobody_waits) for event, at in session])
        finally:
            writer.close()
        return len(session)

    def _rows(self, statement: Select[Any]) -> Iterator[dict[str, Any]]:
        with failing("the audit could not be read"), self._engine.connect() as connection:
            streaming = connection.execution_options(yield_per=BATCH)
            yield from (dict(row) for row in streaming.execute(statement).mappings())


def columns(table: str) -> Table:
    """The table of this name."""
    return tables.metadata.tables[table]


def _is(session_id: str) -> Any:
    return tables.sessions.c.session_id == session_id
