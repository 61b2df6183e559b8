"""The database engine, with what SQLite needs to be durable and to be shared."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import ArgumentError

from heist.errors import ConfigError

BUSY_SECONDS = 10.0
IMMEDIATE = "heist_immediate"


def connect(url: str) -> Engine:
    """An engine for `url`; opens nothing yet. On SQLite: a write-ahead log, every commit on disk before it returns,
    and transactions that begin where SQLAlchemy says so, not where the driver thinks that they might."""
    try:
        engine = create_engine(url)
    except (ArgumentError, ModuleNotFoundError, ValueError, TypeError) as error:
        raise ConfigError(f"HEIST_DATABASE_URL: it cannot be used: {error}") from None
    if engine.dialect.name == "sqlite" and engine.url.database in (None, "", ":memory:"):
        raise ConfigError("HEIST_DATABASE_URL: an audit in memory would be gone at the end; name a file")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        _patiently(connection, f"PRAGMA {pragma}")


def _patiently(connection: sqlite3.Connection, pragma: str) -> None:
    """The switch to the write-ahead log does not wait for another process that is making the same new file."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(IMMEDIATE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def migrating(engine: Engine) -> Generator[Connection]:
    """One transaction in which tables can be made anew, and which no other process begins meanwhile: SQLite cannot drop
    a table that another refers to while it watches over references, and it can be told so outside of a transaction
    only."""
    with engine.connect().execution_options(**{IMMEDIATE: True}) as connection:
        lite = engine.dialect.name == "sqlite"
        raw = connection.connection.cursor()
        if lite:
            raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            if lite:
                raw.execute("PRAGMA foreign_keys=ON")


def begin_writing(cursor: DBAPICursor, engine: Engine) -> None:
    """Begins a transaction that will write. SQLite takes its write lock at once, so that what is read in it still
    holds when it is written; other databases have begun by themselves."""
    if engine.dialect.name == "sqlite":
        cursor.execute("BEGIN IMMEDIATE")
