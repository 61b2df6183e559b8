"""Export: sessions out of the audit, as logs or as tables."""

import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer
from rich.markup import escape
from sqlalchemy import Boolean, Float, Integer
from sqlalchemy.sql.type_api import TypeEngine

from heist.cli.console import check_new, err
from heist.cli.database import opened
from heist.clock import stamp
from heist.errors import ConfigError, Conflict, NotFound
from heist.services.analytics import table as tables
from heist.store.copies import BATCH, Copies, columns
from heist.store.figures import Chosen

Form = Literal["jsonl", "csv", "parquet"]
Table = Literal["messages", "tool_usage", "mentions", "sessions", "games", "events"]
"""Tables that hold nothing secret."""


def export(
    sessions: Annotated[list[str] | None, typer.Argument(help="Ids of sessions; all that fit if left out.")] = None,
    form: Annotated[
        Form, typer.Option("--format", help="jsonl: whole logs, for heist import; csv and parquet: a table.")
    ] = "jsonl",
    table: Annotated[Table, typer.Option(help="Which table, as csv or parquet.")] = "messages",
    to: Annotated[Path | None, typer.Option(help="A file; printed if left out.")] = None,
    sealed: Annotated[bool, typer.Option("--sealed", help="With what was sealed, of games that are revealed.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Began then or later, in UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Began before then, in UTC.")] = None,
    crew: Annotated[str | None, typer.Option(help="Of this crew.")] = None,
    model: Annotated[str | None, typer.Option(help="By this model.")] = None,
    variant: Annotated[str | None, typer.Option(help="Of this variant.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Revealed games with this strategy.")] = None,
) -> None:
    """Write sessions from the audit to a file: their logs, or a table of them."""
    if sealed and form != "jsonl":
        raise ConfigError("--sealed: what was sealed is told in logs alone, by --format jsonl")
    if to is not None:
        check_new("--to", to)
    if form == "parquet" and to is None:
        raise ConfigError("--to: Parquet is no text; name a file")
    if since is not None and until is not None and until <= since:
        raise ConfigError("--until: it has to be later than --since")
    named = None if not sessions else tuple(sessions)
    with opened("export") as engine:
        copies = Copies(engine)
        ids = copies.session_ids(Chosen(_moment(since), _moment(until), crew, model, variant, strategy, named))
        if missing := [one for one in named or () if one not in ids]:
            raise NotFound(f"there is no session {missing[0][:64]!r}, or it is not among those that are meant")
        if sealed and (secret := [one for one in ids if not copies.is_revealed(one)]):
            raise Conflict(f"--sealed: the game of {secret[0]} is not revealed; what is sealed stays so until then")
        match form:
            case "jsonl":
                _print(to, (f"{line}\n" for one in ids for line in copies.lines(one, sealed)))
            case "csv":
                with _written(to) as out:
                    tables.write(out, [column.name for column in columns(table).columns], copies.rows(table, ids))
            case "parquet":
                assert to is not None
                _parquet(to, table, copies.rows(table, ids))
    if to is not None:
        err.print(f"{escape(str(to))}: {len(ids)} sessions", soft_wrap=True)


def _moment(given: datetime | None) -> str | None:
    return None if given is None else stamp(given.replace(tzinfo=UTC))


def _print(to: Path | None, lines: Iterable[str]) -> None:
    with _written(to) as out:
        out.writelines(lines)


@contextmanager
def _written(to: Path | None) -> Generator[TextIO]:
    """The file, which is there only once it is whole; or the output, which may be closed any time, as by `| head`."""
    if to is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    with _whole(to) as part, part.open("w", encoding="utf-8", newline="") as out:
        yield out


@contextmanager
def _whole(to: Path) -> Generator[Path]:
    """A file beside the one that is wanted, and put in its place at the end; a pipe or a device itself. Raises
    `ConfigError`."""
    part = to.with_name(f".{to.name}.part")
    try:
        if to.exists() and not to.is_dir():
            yield to
            return
        yield part
        part.replace(to)
    except OSError as error:
        raise ConfigError(f"{to}: the file cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _parquet(to: Path, table: str, rows: Iterator[dict[str, Any]]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ConfigError("--format parquet needs the extra lab: pip install 'heist[lab]'") from None
    schema = pyarrow.schema([(column.name, _type(pyarrow, column.type)) for column in columns(table).columns])
    with _whole(to) as part, parquet.ParquetWriter(part, schema) as out:
        while some := list(islice(rows, BATCH)):
            out.write_table(pyarrow.Table.from_pylist(some, schema))


def _type(pyarrow: Any, kind: TypeEngine[Any]) -> Any:
    match kind:
        case Boolean():
            return pyarrow.bool_()
        case Integer():
            return pyarrow.int64()
        case Float():
            return pyarrow.float64()
        case _:
            return pyarrow.string()
