"""The database engine, with what SQLite and PostgreSQL need to be durable and to be shared."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from heist.errors import ConfigError, StoreError

BUSY_SECONDS = 10.0
IMMEDIATE = "heist_immediate"
KINDS = ("sqlite+pysqlite", "postgresql+psycopg")
_CONNECT_SECONDS = 10
_LOCK = 4732601
"""One number for every heist: who writes to a database waits for who writes to it."""
_LINE = {  # a server whose machine is gone is missed after half a minute, and not after the system's two hours
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def connect(url: str) -> Engine:
    """An engine for `url`; opens nothing yet. On SQLite: a write-ahead log, every commit on disk before it returns,
    and transactions that begin where SQLAlchemy says so, not where the driver thinks that they might. On PostgreSQL a
    connection that broke while nobody used it is made anew."""
    made = _read(url)
    try:
        engine = create_engine(made, **_options(made))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"HEIST_DATABASE_URL: the driver {error.name!r} is not installed; `pip install 'heist[postgres]'` brings it"
        ) from None
    except (ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"HEIST_DATABASE_URL: it cannot be used: {error}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _read(url: str) -> URL:
    """What cannot be read is not shown: a part of it may be a password."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "HEIST_DATABASE_URL: it cannot be used: expected an URL such as sqlite:///heist.db or "
            "postgresql+psycopg://user:password@host:5432/heist, and signs such as @ : / in a password as %40 %3A %2F"
        ) from None
    if "@" in (made.host or ""):
        raise ConfigError("HEIST_DATABASE_URL: it cannot be used: an @ in a password is written %40")
    try:
        kind = f"{made.get_backend_name()}+{made.get_driver_name()}"
    except ArgumentError:
        kind = made.drivername
    if kind not in KINDS:
        raise ConfigError(f"HEIST_DATABASE_URL: the audit is kept by {' or '.join(KINDS)}, and not by {kind[:64]!r}")
    if made.get_backend_name() == "sqlite" and _in_memory(made):
        raise ConfigError("HEIST_DATABASE_URL: an audit in memory would be gone at the end; name a file")
    return made


def _in_memory(url: URL) -> bool:
    return url.database in (None, "") or ":memory:" in str(url.database) or url.query.get("mode") == "memory"


def _options(url: URL) -> dict[str, object]:
    if url.get_backend_name() != "postgresql":
        return {}
    given = {name: value for name, value in _LINE.items() if name not in url.query}
    return {"connect_args": given, "pool_pre_ping": True}


def told(engine: Engine) -> str:
    """The database's name for people: its URL without any secret."""
    return repr(engine.url.set(query={}))


def reason(error: Exception) -> str:
    """Why the database refused, in one line: what it shows besides may be a row."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    if lines[0].startswith("Multiple connection attempts") and len(lines) > 1:
        return lines[1].removeprefix("- ")
    return lines[0].strip()


@contextmanager
def failing(what: str) -> Generator[None]:
    """Whatever the database refuses in this block is a `StoreError` that begins so: "the audit could not be read"."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(f"{what}: {reason(error)}") from None


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
                if not lite:
                    begin_writing(raw, engine)
                yield connection
        finally:
            if lite:
                raw.execute("PRAGMA foreign_keys=ON")


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """One transaction that no other writer begins meanwhile."""
    with engine.connect().execution_options(**{IMMEDIATE: True}) as connection, connection.begin():
        if engine.dialect.name != "sqlite":
            begin_writing(connection.connection.cursor(), engine)
        yield connection


def begin_writing(cursor: DBAPICursor, engine: Engine) -> None:
    """Begins a transaction that will write. The one write lock is taken at once, so that what is read in it still
    holds when it is written; row numbers follow each other in the order in which they can be seen. Who waits for longer
    than BUSY_SECONDS is refused."""
    if engine.dialect.name == "sqlite":
        cursor.execute("BEGIN IMMEDIATE")
    else:
        patience = f"SET LOCAL lock_timeout = '{BUSY_SECONDS * 1000:.0f}ms'"
        cursor.execute(f"{patience}; SELECT pg_advisory_xact_lock({_LOCK})")
