"""A model server of our own: any model behind OpenAI's API, with the faults of real servers on request."""

import asyncio
import logging
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, get_args

import httpx2
import typer
import uvicorn
from rich.markup import escape
from rich.table import Table
from starlette.applications import Starlette

from heist import settings
from heist.cli.console import out
from heist.cli.listening import listen
from heist.errors import ConfigError
from heist.llm import discovery, endpoint, faults, server
from heist.llm.cassette import Cassette, Recording
from heist.llm.endpoint import Endpoint
from heist.llm.faults import FAULTS, HABITS, Chosen, Kind
from heist.llm.model import Model
from heist.llm.simulated import Simulated

cli = typer.Typer(no_args_is_help=True, help="A model server of our own, to try clients on.")


@cli.command()
def serve(
    model: Annotated[str, typer.Option(help="simulated, cassette:FILE, or the base URL of a server.")] = "simulated",
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    kind: Annotated[str | None, typer.Option("--as", help="lmstudio, ollama, llamacpp or vllm.")] = None,
    habits: Annotated[bool, typer.Option(help="With --as: do also what that server does on a good day.")] = True,
    fault: Annotated[list[str] | None, typer.Option(help="NAME or NAME=NUMBER; say it once for each.")] = None,
    first: Annotated[int | None, typer.Option(min=1, help="The faults strike the first so many calls only.")] = None,
    every: Annotated[int | None, typer.Option(min=1, help="The faults strike every so manyeth call only.")] = None,
    record: Annotated[Path | None, typer.Option(help="Keep each call on this cassette; it holds prompts.")] = None,
) -> None:
    """Serve a model over OpenAI's API. Prints the base URL, and nothing else."""
    known = _kind(kind)
    chosen = [faults.choose(text, first, every) for text in fault or ()]
    chosen += [faults.choose(name) for name in HABITS[known]] if known and habits else []
    with listen(host, port, "--host and --port") as listening:
        try:
            asyncio.run(_serve(model, known, chosen, record, host, listening))
        except KeyboardInterrupt:
            sys.exit(130)


@cli.command(name="faults")
def list_faults(
    kind: Annotated[str | None, typer.Option("--as", help="Only what this kind of server is known for.")] = None,
) -> None:
    """List the faults that `serve --fault` knows."""
    known = _kind(kind)
    table = Table(box=None, pad_edge=False)
    table.add_column("fault", no_wrap=True)
    table.add_column("what happens")
    for fault in FAULTS.values():
        if known is None or known in fault.servers:
            number = f" [dim]{escape(f'={fault.number:g}: {fault.counts}')}[/]" if fault.counts else ""
            table.add_row(escape(fault.name), f"{escape(fault.sentence)}{number}")
    out.print(table)


def _kind(text: str | None) -> Kind | None:
    kinds: tuple[Kind, ...] = get_args(Kind)
    found = next((kind for kind in kinds if kind == text), None)
    if text is not None and found is None:
        raise ConfigError(f"--as: expected {', '.join(kinds[:-1])} or {kinds[-1]}, found {text!r}")
    return found


async def _serve(
    model: str, kind: Kind | None, chosen: list[Chosen], record: Path | None, host: str, listening: socket.socket
) -> None:
    async with AsyncExitStack() as stack:
        speaker = await _model(model, stack)
        app = server.create(Recording(speaker, record) if record else speaker, kind, chosen)
        name = f"[{host}]" if ":" in host else host
        print(f"http://{name}:{listening.getsockname()[1]}/v1", flush=True)
        await _run(app, listening)


async def _model(text: str, stack: AsyncExitStack) -> Model:
    """The model that is meant; what has to be closed afterwards goes on the stack."""
    if text == "simulated":
        return Simulated()
    if text.startswith("cassette:"):
        return Cassette(Path(text.removeprefix("cassette:")))
    if not text.startswith(("http://", "https://")):
        raise ConfigError(f"--model: expected simulated, cassette:FILE or a base URL, found {text!r}")
    chosen = settings.read()
    key = chosen.llm_key.get_secret_value() if chosen.llm_key else None
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"} if key else None) as http:
        found = await discovery.ask(http, text)
    name = found.choose(chosen.model)
    client = endpoint.client(found.base_url, key)
    stack.push_async_callback(client.close)
    return Endpoint(client, name, str(found), found.ability(name))


async def _run(app: Starlette, listening: socket.socket) -> None:
    # An answer that a fault cuts off is meant to be cut off, though uvicorn says that something is wrong.
    logging.getLogger("uvicorn.error").addFilter(lambda line: "without completing response" not in line.getMessage())
    await uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)).serve([listening])
