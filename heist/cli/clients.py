"""Clients from outside: added, listed and disabled, also while a server runs over the same database."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, NamedTuple

import typer
from rich.markup import escape

from heist import settings
from heist.agents.crew import check_name
from heist.cli.console import err, out
from heist.clock import SystemClock, stamp
from heist.errors import ConfigError
from heist.runtime import Runtime
from heist.services.auth import written
from heist.services.clients import hashed, new_credentials
from heist.store.clients import Registrations
from heist.store.migrate import upgrade
from heist.store.queries import ClientRow

cli = typer.Typer(no_args_is_help=True, help="Who may ask for tokens from outside.")


RESERVED = ("user", "terminal", "server", "model", "budget", "unknown")


class Office(NamedTuple):
    runtime: Runtime
    registrations: Registrations
    now: str


@contextmanager
def _office() -> Generator[Office]:
    runtime = Runtime(settings.read())
    try:
        upgrade(runtime.engine)
        yield Office(runtime, Registrations(runtime.engine), stamp(SystemClock().now()))
    finally:
        runtime.engine.dispose()


@cli.command()
def add(
    name: Annotated[str, typer.Argument(help="What rows in the audit will call it.")],
    scope: Annotated[list[str], typer.Option(help="A right, such as calculator:use; say it once for each.")],
) -> None:
    """Add a client. Its secret is printed once, and kept nowhere."""
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if name.lower() in RESERVED:
        raise ConfigError(f"the name {name!r} is the house's own in the audit; choose another")
    with _office() as office:
        known = office.runtime.scopes
        wanted = [one for given in scope for one in given.split()]
        for one in wanted or [""]:
            if one not in known:
                raise ConfigError(f"there is no scope {one!r}; there are: {', '.join(sorted(known))}")
        client_id, secret = new_credentials(name)
        office.registrations.add(client_id, name, hashed(secret).hex(), written(frozenset(wanted)), office.now)
        err.print("The secret is shown this once; whoever has it is this client.")
        try:
            print(f"client_id={client_id}\nclient_secret={secret}", flush=True)
        except OSError:  # nobody has seen the secret, and nobody ever will
            office.registrations.disable(client_id, office.now)
            raise


@cli.command(name="list")
def list_() -> None:
    """List the clients."""
    with _office() as office:
        rows = office.runtime.queries.all_clients()
    if not rows:
        out.print("There is no client; `heist client add NAME --scope …` makes one.")
        return
    shown = [("name", "client_id", "scopes", "since"), *map(_shown, rows)]
    widths = [max(len(cells[column]) for cells in shown) for column in range(3)]
    for *cells, since in shown:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        out.print(escape(f"{padded}  {since}"), soft_wrap=True)


def _shown(row: ClientRow) -> tuple[str, str, str, str]:
    since = f"disabled {row.disabled_at[:10]}" if row.disabled_at else row.created_at[:10]
    return row.name, row.client_id, row.scopes, since


@cli.command()
def disable(name: Annotated[str, typer.Argument(help="Its name or its client_id.")]) -> None:
    """Disable a client: it gets no token any more, and those that it has are good no longer."""
    with _office() as office:
        office.registrations.disable(name, office.now)
    out.print(f"{escape(name)} is disabled.")
