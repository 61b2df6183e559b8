"""The configuration: what holds and where it comes from, and the shape of every file for editors."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from heist import settings
from heist.agents.crew import Crew, Prices
from heist.agents.mole import Rules
from heist.cli.console import err, out
from heist.configfile import Section
from heist.errors import ConfigError, NotFound
from heist.origins import origins, strangers
from heist.services.detection.config import Detection
from heist.world.scenario import Scenario

cli = typer.Typer(no_args_is_help=True, help="What holds and where it comes from; the shape of every file.")
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def kinds() -> dict[str, type[Section]]:
    """Every kind of YAML file that there is, with what it may hold."""
    return {
        "crew": Crew,
        "detection": Detection,
        "prices": Prices,
        "scenario": Scenario,
        "settings": settings.layer(),
        "strategies": Rules,
    }


@cli.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Print each setting, its value and its source; secrets are masked."""
    found = origins(settings.read())
    if as_json:
        print(json.dumps([one._asdict() for one in found], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("variable", "value", "from"):
        table.add_column(column, overflow="fold")
    for one in found:
        table.add_row(one.variable, escape(one.value), escape(one.source))
    out.print(table)
    for stranger in strangers():
        err.print(escape(str(stranger)), soft_wrap=True)


@cli.command()
def schema(
    kind: Annotated[str | None, typer.Argument(help="A kind of file; all their names if left out.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write all of them into this folder, for an editor.")] = None,
) -> None:
    """Print the JSON Schema of a kind of file."""
    known = kinds()
    if write is not None:
        for name, section in known.items():
            _write(write, name, section)
        out.print(f"{write}: {', '.join(known)}", soft_wrap=True)
    elif kind is None:
        out.print("\n".join(known))
    elif kind not in known:
        raise NotFound(f"there is no kind of file {kind[:64]!r}; there are: {', '.join(known)}")
    else:
        print(written(kind, known[kind]), end="")


def written(name: str, section: type[Section]) -> str:
    """The schema as its file holds it."""
    shape: dict[str, Any] = {"$schema": DIALECT, **section.model_json_schema(), "title": f"heist: {name}"}
    return json.dumps(shape, indent=1, ensure_ascii=False) + "\n"


def _write(folder: Path, name: str, section: type[Section]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(written(name, section), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: the schemas cannot be written: {error.strerror or error}") from None
