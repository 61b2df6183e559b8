"""A copy of the whole database in one file, made while servers run over it."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from heist.errors import ConfigError, StoreError
from heist.store.engine import reason, told
from heist.store.migrate import is_to_be_made


def copy(engine: Engine, file: Path) -> None:
    """Writes the database as it is at one moment to `file`, which only its owner can read: what is sealed and the
    hashes of secrets are in it. It appears when it is whole. Raises `ConfigError` or `StoreError`."""
    if file.exists():
        raise ConfigError(f"{file} is there already; a backup overwrites nothing")
    if is_to_be_made(engine):
        raise StoreError(f"there is no database {told(engine)} yet, so there is nothing to back up")
    part = file.with_name(f"{file.name}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise ConfigError(f"{part} is there already: another backup runs, or was broken off; delete it then") from None
    except OSError as error:
        raise ConfigError(f"{file}: the backup cannot be written: {error.strerror or error}") from None
    try:
        if engine.dialect.name == "sqlite":
            _copy_sqlite(engine, part)
        else:
            _dump(engine, part)
        part.rename(file)
    finally:
        for name in (part, *(part.with_name(part.name + ending) for ending in ("-wal", "-shm", "-journal"))):
            with suppress(OSError):
                name.unlink()


def _copy_sqlite(engine: Engine, part: Path) -> None:
    """In one step, which holds one reader's view: writers go on meanwhile. The copy needs no log beside it."""
    target = sqlite3.connect(part)
    try:
        source = engine.raw_connection()
        try:
            assert isinstance(source.driver_connection, sqlite3.Connection)
            source.driver_connection.backup(target)
        finally:
            source.close()
        target.execute("PRAGMA journal_mode=DELETE")
        [(found,)] = target.execute("PRAGMA quick_check(1)").fetchall()
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise StoreError(f"the database {told(engine)} could not be backed up: {reason(error)}") from None
    finally:
        target.close()
    if found != "ok":
        raise StoreError(f"the database {told(engine)} is damaged: {found}")


def _dump(engine: Engine, part: Path) -> None:
    """By PostgreSQL's own program, which is told the password where no list of processes shows it."""
    program = shutil.which("pg_dump")
    if program is None:
        raise StoreError("there is no pg_dump here; PostgreSQL's client programs bring it (Debian: postgresql-client)")
    url = engine.url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    password = engine.url.password
    secret = {"PGPASSWORD": str(password)} if password is not None else {}
    done = subprocess.run(  # noqa: S603 - the program that was found, and no shell
        [program, "--no-password", "--format=custom", f"--file={part}", f"--dbname={url}"],
        env=os.environ | {"LC_ALL": "C.UTF-8"} | secret,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = [line.removeprefix("pg_dump: ").removeprefix("error: ") for line in done.stderr.splitlines()]
        why = said[0] if said else f"pg_dump ended with {done.returncode}"
        raise StoreError(f"the database {told(engine)} could not be backed up: {why}")
