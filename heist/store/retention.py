"""Deletes: old sessions whole, and what happened outside of every session."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, CursorResult, Engine, Select, delete, func, insert, select

from heist.events import AuditPurged, body_of
from heist.store.engine import failing, writing
from heist.store.tables import ENDED, events, metadata, sessions, tool_usage

CHUNK = 50
"""Sessions that go in one transaction, so that a server that runs meanwhile never waits for long."""
_OF_SESSIONS = [table for table in reversed(metadata.sorted_tables) if "session_id" in table.columns]
_STAY = ("tool.added", "tool.removed", "audit.purged")
"""Kinds outside of every session that stay: they say how the house is now, and what it has lost."""


class Old(NamedTuple):
    """What is older than a moment: sessions that ended before it, those that began before it and have not ended, and
    events outside of every session."""

    sessions: Sequence[str]
    unfinished: int
    outside: int


class Retention:
    """Each call blocks, and raises `StoreError`. What is deleted, a server that runs may show until it is asked again;
    what has not ended is never touched."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def old(self, before: str, keep: int) -> Old:
        """`before` is a time as the audit writes it; the `keep` sessions that began last are not old."""
        newest = select(sessions.c.session_id).order_by(sessions.c.start_time.desc(), sessions.c.session_id.desc())
        ended = (
            select(sessions.c.session_id)
            .where(sessions.c.status.in_(ENDED), sessions.c.end_time < before)
            .where(sessions.c.session_id.not_in(newest.limit(keep)))
            .order_by(sessions.c.start_time)
        )
        unfinished = select(func.count()).where(sessions.c.status.not_in(ENDED), sessions.c.start_time < before)
        outside = select(func.count()).select_from(_outside(before).subquery())
        with failing("the audit could not be read"), self._engine.connect() as connection:
            ids = connection.scalars(ended).all()
            return Old(ids, connection.scalar(unfinished) or 0, connection.scalar(outside) or 0)

    def purge(self, old: Old, before: str, outside: bool, by: str, at: str) -> Mapping[str, int]:
        """Deletes the sessions from every table, and with `outside` what happened outside of all; the log says so
        first. Answers how many rows went from which table."""
        gone: dict[str, int] = {}
        told = AuditPurged(session_id=None, by=by, before=before, sessions=len(old.sessions), outside=outside)
        with failing("the audit could not be purged"):
            with writing(self._engine) as connection:
                _tell(connection, told, at)
            for start in range(0, len(old.sessions), CHUNK):
                with writing(self._engine) as connection:
                    _delete(connection, old.sessions[start : start + CHUNK], gone)
            if outside:
                with writing(self._engine) as connection:
                    _delete_outside(connection, before, gone)
        return gone

    def free(self) -> None:
        """Gives the space that the deleted rows took back: to the disk on SQLite, on PostgreSQL to rows to come."""
        with failing("the rows are gone, and their space is not given back"):
            if self._engine.dialect.name == "sqlite":
                self._shrink()
            else:
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    for table in _OF_SESSIONS:
                        connection.exec_driver_sql(f"VACUUM (ANALYZE) {table.name}")

    def _shrink(self) -> None:
        """Outside of any transaction, as SQLite wants it."""
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()


def _outside(before: str) -> Select[tuple[int]]:
    return select(events.c.seq).where(events.c.session_id.is_(None), events.c.at < before, events.c.kind.not_in(_STAY))


def _tell(connection: Connection, told: AuditPurged, at: str) -> None:
    """Its row is the newest one, so that no number of a row that goes is ever given again."""
    last = connection.scalar(select(func.max(events.c.seq))) or 0
    row = {"seq": last + 1, "session_id": None, "kind": told.kind, "at": at, "body": body_of(told)}
    connection.execute(insert(events).values(row))


def _delete(connection: Connection, session_ids: Sequence[str], gone: dict[str, int]) -> None:
    for table in _OF_SESSIONS:
        _count(gone, table.name, connection.execute(delete(table).where(table.c.session_id.in_(session_ids))))


def _delete_outside(connection: Connection, before: str, gone: dict[str, int]) -> None:
    calls = delete(tool_usage).where(tool_usage.c.seq.in_(_outside(before)))
    _count(gone, "tool_usage", connection.execute(calls))
    _count(gone, "events", connection.execute(delete(events).where(events.c.seq.in_(_outside(before)))))


def _count(gone: dict[str, int], table: str, result: CursorResult[object]) -> None:
    gone[table] = gone.get(table, 0) + result.rowcount
