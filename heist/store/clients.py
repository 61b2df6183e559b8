"""Writes: who may ask for tokens, and which tokens are no longer good."""

from contextlib import suppress

from sqlalchemy import Engine, delete, insert, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.sql import Executable

from heist.errors import Conflict, NotFound, StoreError
from heist.store.engine import reason
from heist.store.tables import clients, revocations

GRACE = 60
"""Seconds for which a revocation is remembered longer than its token lives."""


class Registrations:
    """Each call is one transaction; it blocks, so the event loop runs it in a thread. Raises `StoreError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, client_id: str, name: str, secret_hash: str, scopes: str, at: str) -> None:
        """Raises `Conflict` when a client of this name exists already."""
        row = {"client_id": client_id, "name": name, "secret_hash": secret_hash, "scopes": scopes, "created_at": at}
        try:
            self._write(insert(clients).values(row))
        except IntegrityError:
            raise Conflict(f"there is already a client {name!r}; disable it first, or choose another name") from None

    def disable(self, name: str, at: str) -> None:
        """The client of this name or id gets no token any more, and those that it has are good no longer. Its name may
        be given again. Raises `NotFound`."""
        gone = update(clients).where(clients.c.disabled_at.is_(None)).values(disabled_at=at)
        if not (
            self._write(gone.where(clients.c.client_id == name)) or self._write(gone.where(clients.c.name == name))
        ):
            raise NotFound(f"there is no client {name[:64]!r}, or it is disabled already")

    def revoke(self, jti: str, expires: int, now: int) -> None:
        """Remembers a token's id, and forgets those that have expired by themselves."""
        self._write(delete(revocations).where(revocations.c.expires < now - GRACE))
        with suppress(IntegrityError):  # it is revoked already
            self._write(insert(revocations).values(jti=jti, expires=expires))

    def _write(self, statement: Executable) -> int:
        try:
            with self._engine.begin() as connection:
                return connection.execute(statement).rowcount
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise StoreError(f"the database could not be written: {reason(error)}") from None
