"""Brings the database to the schema of this version, by Alembic."""

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from heist.errors import StoreError
from heist.settings import shipped
from heist.store.engine import migrating, reason, told


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")))
    return config


def upgrade(engine: Engine) -> None:
    """Runs what is missing, in one transaction; raises `StoreError` if the database cannot be opened or is newer."""
    config = _config()
    try:
        with migrating(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"the database {told(engine)} is of another version of heist: {error}") from None
    except SQLAlchemyError as error:
        raise StoreError(f"the database {told(engine)} cannot be opened: {reason(error)}") from None


def is_to_be_made(engine: Engine) -> bool:
    """Whether the database is a file that does not exist yet, in a folder where it can be made."""
    if engine.dialect.name != "sqlite":
        return False
    path = Path(engine.url.database or "")
    return not path.exists() and os.access(path.parent, os.W_OK)


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """(the revision that the database is at, the one that this version wants); makes no file that is not there."""
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    if is_to_be_made(engine):
        return None, wanted
    try:
        with engine.connect() as connection:
            at = MigrationContext.configure(connection).get_current_revision()
        if at is not None:
            ScriptDirectory.from_config(_config()).get_revision(at)
        return at, wanted
    except CommandError as error:
        raise StoreError(f"the database {told(engine)} is of another version of heist: {error}") from None
    except SQLAlchemyError as error:
        raise StoreError(f"the database {told(engine)} cannot be opened: {reason(error)}") from None
