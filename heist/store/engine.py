"""The database engine, with what SQLite needs to be durable and to be shared."""

import sqlite3

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError

from heist.errors import ConfigError

WRITING = {"sqlite_begin": "IMMEDIATE"}


def connect(url: str) -> Engine:
    """An engine for `url`; opens nothing yet. On SQLite: a write-ahead log, every commit on disk before it returns,
    and transactions that begin where SQLAlchemy says so (a writer takes the lock at once: `WRITING`)."""
    try:
        engine = create_engine(url)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise ConfigError(f"HEIST_DATABASE_URL: {url!r} cannot be used: {error}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
