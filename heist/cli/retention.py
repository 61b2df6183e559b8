"""What is kept, and for how long: old sessions deleted, the whole database copied."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from heist.cli.console import err, out
from heist.cli.database import as_it_is, opened
from heist.clock import SystemClock, stamp
from heist.errors import ConfigError, StoreError
from heist.store import backup as backups
from heist.store.retention import Old, Retention


def purge(
    before: Annotated[str, typer.Option(help="A day such as 2026-01-31, a moment, or an age such as 90d; UTC.")],
    keep: Annotated[int, typer.Option(min=0, help="So many of the newest sessions stay, however old.")] = 0,
    outside: Annotated[
        bool, typer.Option("--outside", help="Also what clients did outside of every session, before then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")] = False,
) -> None:
    """Delete the sessions that ended before a day, whole: log, messages, tool calls, game, what is sealed. A session
    that has not ended is never touched, nor are clients. Works while a server runs."""
    now = SystemClock().now()
    moment = stamp(_moment(before, now))
    with opened("purge") as engine:
        retention = Retention(engine)
        old = retention.old(moment, keep)
        out.print(_told(old, moment, outside, "would go" if dry_run else "go"))
        if dry_run or not (old.sessions or (outside and old.outside)):
            return
        rows = retention.purge(old, moment, outside, "terminal", stamp(now))
        out.print("Deleted: " + ", ".join(f"{count} of {name}" for name, count in sorted(rows.items())) + ".")
        try:
            retention.free()
        except StoreError as error:
            err.print(f"heist: {escape(str(error))}", soft_wrap=True)


def _told(old: Old, moment: str, outside: bool, verb: str) -> str:
    some = [f"{len(old.sessions)} sessions that ended before {moment} {verb}"]
    if outside:
        some.append(f"{old.outside} events outside of every session {verb}")
    if old.unfinished:
        some.append(f"{old.unfinished} that began before it and have not ended stay")
    return "; ".join(some) + "."


def _moment(text: str, now: datetime) -> datetime:
    """Raises `ConfigError`."""
    if age := re.fullmatch(r"([0-9]{1,5})d", text):
        return now - timedelta(days=int(age[1]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--before: expected a day such as 2026-01-31 or an age such as 90d, found {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def backup(file: Annotated[Path, typer.Argument(help="Where to; a file that is there is not overwritten.")]) -> None:
    """Copy the whole database into one file, as it is at this moment, also while a server runs. It holds what is
    sealed."""
    with as_it_is() as engine:
        backups.copy(engine, file)
    out.print(f"{escape(str(file))} holds the database, {_size(file.stat().st_size)}.", soft_wrap=True)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
