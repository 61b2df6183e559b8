"""Serve the pages, run one session in the terminal, look at what is there."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvicorn
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from heist import __version__, settings
from heist.agents.sessions import Order
from heist.app import create_app
from heist.checkup import Finding, examine
from heist.cli import clients, config, detect, export, hermetic, imports, local, models, retention, scenario
from heist.cli.console import err, out
from heist.cli.hermetic import Files
from heist.cli.listening import listen
from heist.cli.transcript import Transcript
from heist.configfile import sentence
from heist.errors import ConfigError, Conflict, HeistError
from heist.events import Recorded
from heist.runtime import Runtime
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.telemetry import logs
from heist.web.guard import Gate

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
cli.add_typer(clients.cli, name="client")
models.cli.command()(local.pull)
models.cli.command()(local.run)
cli.add_typer(config.cli, name="config")
cli.add_typer(models.cli, name="model")
cli.add_typer(scenario.cli, name="scenario")
cli.add_typer(detect.cli, name="detect")
cli.command(name="export")(export.export)
cli.command(name="import")(imports.import_)
cli.command()(retention.purge)
cli.command()(retention.backup)


def main() -> None:
    """The entry point: an error that has a sentence ends with that sentence and status 1."""
    try:
        _check_text(sys.argv)
        cli()
    except HeistError as error:
        _give_up(error)
    except OSError as error:  # a file or a folder that cannot be read, wherever it is looked for
        _give_up(ConfigError(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)))


def _check_text(arguments: Sequence[str]) -> None:
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise ConfigError("what was asked for is no text in UTF-8") from None


def _give_up(error: HeistError) -> NoReturn:
    err.print(f"heist: {escape(str(error))}", soft_wrap=True)
    sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A crew of language-model agents plans a bank heist. You watch, and steer."""


@cli.command()
def serve() -> None:
    """Serve the pages; where and how is said by the HEIST_* variables."""
    chosen = settings.read()
    listening = listen(chosen.host, chosen.port, "HEIST_HOST and HEIST_PORT")
    port = listening.getsockname()[1]

    async def announce(runtime: Runtime, gate: Gate) -> None:
        _show(await examine(runtime))
        out.print(f"\nLog in: [bold]{_site(chosen, port)}/login?token={gate.token}[/]\n", soft_wrap=True)

    # Event streams end when the server does; that is no error, though uvicorn says so.
    logging.getLogger("uvicorn.error").addFilter(lambda line: "without completing response" not in line.getMessage())
    app = create_app(chosen.model_copy(update={"port": port}), announce)
    engine = connect(chosen.database_url)
    upgrade(engine)  # the app does it too, but what is wrong is said in one sentence only from here
    engine.dispose()
    logs.install(chosen.log)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", log_config=None, timeout_graceful_shutdown=1, proxy_headers=False)
    )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        out.print("heist: stopped")
    if not server.started:
        sys.exit(1)


def _site(chosen: Settings, port: int) -> str:
    """Where a browser finds the server: one that listens everywhere is on the loopback too."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is opened here
    name = everywhere.get(chosen.host, chosen.host)
    return chosen.url or f"http://{f'[{name}]' if ':' in name else name}:{port}"


@cli.command()
def run(
    crew: Annotated[str | None, typer.Option(help="A crew file of the config folder; crew if left out.")] = None,
    rounds: Annotated[int | None, typer.Option(help="How many rounds, 1 to 1000; the crew's own if left out.")] = None,
    order: Annotated[str | None, typer.Option(help="round_robin or random.")] = None,
    variant: Annotated[str | None, typer.Option(help="One of the crew's variants; else by chance.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed, the same simulated session.")] = None,
    pace: Annotated[
        float | None, typer.Option(min=0, help="Words per second; as fast as the model if left out.")
    ] = None,
    tool: Annotated[list[str] | None, typer.Option(help="The only tools to offer; say it once for each.")] = None,
    mole: Annotated[str | None, typer.Option(help="random, none, or an agent's name; else by chance.")] = None,
    arm: Annotated[str | None, typer.Option(help="any, mole, none, placebo or incompetent.")] = None,
    strategy: Annotated[str | None, typer.Option(help="How the mole works; else by chance.")] = None,
    rate: Annotated[int | None, typer.Option(help="In how many of ten turns the mole acts.")] = None,
    facts: Annotated[str | None, typer.Option(help="drawn: the bank anew; fixed: as its file gives it.")] = None,
    sealed: Annotated[bool, typer.Option("--sealed", help="Do not tell at the end who it was.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the events, one JSON object a line.")] = False,
    log: Annotated[Path | None, typer.Option(help="Write the log here; the database stays as it is.")] = None,
    record: Annotated[Path | None, typer.Option(help="Keep the model calls here; it holds prompts.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Play what was recorded; needs no model.")] = None,
) -> None:
    """Run one session in the terminal."""
    given = {
        "crew": crew,
        "rounds": rounds,
        "turn_order": order,
        "variant": variant,
        "seed": seed,
        "words_per_second": pace,
        "tools": tool,
    }
    game = {"mole": mole, "arm": arm, "strategy": strategy, "rate": rate, "facts": facts}
    try:
        wanted = Order.model_validate({field: value for field, value in {**given, **game}.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_wrong_option(error)) from None
    watcher = _print_json if json else Transcript().hear
    sys.exit(asyncio.run(_run(wanted, watcher, Files(log, record, replay), sealed)))


def _wrong_option(error: ValidationError) -> str:
    wrong = error.errors()[0]
    field = str(wrong["loc"][0])
    return f"--{hermetic.OPTIONS.get(field, field)}: {sentence([], wrong['msg'])}, found {wrong['input']!r}"


async def _run(order: Order, watcher: Callable[[Recorded], None], files: Files, sealed: bool) -> int:
    """0 when the session completed. Ctrl-C, SIGTERM, a reader that goes away, an output that is full and a call that a
    tape lacks stop it, and the audit says so."""
    task = asyncio.current_task()
    assert task is not None
    faults: list[HeistError] = []

    def give_up(error: HeistError) -> None:
        faults.append(error)
        if len(faults) == 1:
            task.cancel()

    def closed(error: BaseException) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            give_up(ConfigError(f"the output cannot be written: {error.strerror}"))
        else:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with hermetic.house(files, order, give_up) as (runtime, order):
        logs.install(runtime.settings.log)
        runtime.bus.watch(_until_nobody_reads(watcher, closed))
        try:
            async with runtime.opened(recover=False):
                status = await _play(runtime, order, files, sealed)
        except asyncio.CancelledError:  # before there was a session
            status = 130
    if faults:
        raise faults[0]
    return status


async def _play(runtime: Runtime, order: Order, files: Files, sealed: bool) -> int:
    user = Principal("terminal", USER_SCOPES)
    starting = asyncio.ensure_future(runtime.sessions.start(user, order))
    try:
        session_id = await asyncio.shield(starting)
        await runtime.sessions.finished(session_id)
        if not sealed:
            await runtime.games.reveal(user, session_id)
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()
        session_id = await starting  # so that what has begun is ended on record
        with suppress(Conflict):  # it may just have ended by itself
            await runtime.sessions.cut(user, session_id)
        return 130
    finally:
        if not starting.exception():
            hermetic.write_log(files, runtime, starting.result())
    row = runtime.queries.session(session_id)
    return 0 if row is not None and row.status == "completed" else 1


def _until_nobody_reads(
    watcher: Callable[[Recorded], None], gone: Callable[[BaseException], None]
) -> Callable[[Recorded], None]:
    """The watcher until its output is closed, as by `| head`, or full; then it is silent and says why once."""
    reading = True

    def hear(recorded: Recorded) -> None:
        nonlocal reading
        try:
            if reading:
                watcher(recorded)
        except (OSError, SystemExit) as error:  # rich makes the latter of a pipe that is closed
            reading = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            gone(error)

    return hear


def _print_json(recorded: Recorded) -> None:
    print(recorded.json, flush=True)


@cli.command()
def doctor() -> None:
    """Look at every part: what was found, what is missing, what to do. The exit status is 1 if something is missing."""
    findings = asyncio.run(_examine())
    _show(findings)
    sys.exit(0 if all(finding.well for finding in findings) else 1)


async def _examine() -> list[Finding]:
    runtime = Runtime(settings.read())
    try:
        return await examine(runtime)
    finally:
        await runtime.source.close()
        runtime.engine.dispose()


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        mark = "[green]✓[/]" if finding.well else "[red]✕[/]"
        advice = f"\n[bold]→ {escape(finding.advice)}[/]" if finding.advice else ""
        table.add_row(mark, finding.part, f"{escape(finding.found)}{advice}")
    out.print(table)
