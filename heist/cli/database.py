"""The audit that the settings name, for commands that work on it without a house around."""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Engine

from heist import settings
from heist.errors import StoreError
from heist.store.engine import connect, told
from heist.store.migrate import is_to_be_made, upgrade


@contextmanager
def as_it_is() -> Generator[Engine]:
    """The database, of whichever version it is."""
    engine = connect(settings.read().database_url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def opened(verb: str = "") -> Generator[Engine]:
    """The database at the schema of this version; one that is not there yet is made, unless there has to be something
    to `verb`. Raises `StoreError`."""
    with as_it_is() as engine:
        if verb and is_to_be_made(engine):
            raise StoreError(f"there is no database {told(engine)} yet, so there is nothing to {verb}")
        upgrade(engine)
        yield engine
