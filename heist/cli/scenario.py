"""Scenarios for their authors: what is wrong with one, and all that is in it. Both show the truth; that is what they
are for."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from heist import configfile, settings
from heist.cli.console import err, out
from heist.errors import ConfigError
from heist.world.documents import Bank
from heist.world.expressions import worded
from heist.world.game import Game, draw
from heist.world.lint import DRAWS, Margins, examine
from heist.world.outcome import Outcome, play, reference
from heist.world.scenario import PLACE, Scenario, names, read

cli = typer.Typer(no_args_is_help=True, help="Scenarios for their authors; what they print is the truth of the game.")


@cli.command()
def lint(
    name: Annotated[list[str] | None, typer.Argument(help="Scenarios; all if none is named.")] = None,
    draws: Annotated[int, typer.Option(min=1, max=100_000, help="How many games to play.")] = DRAWS,
) -> None:
    """Check that a scenario is a fair game. The exit status is 1 if something is wrong."""
    folder = settings.read().config
    well = [_is_well(folder, one, draws) for one in name or names(folder)]
    sys.exit(0 if all(well) else 1)


def _is_well(folder: Path, name: str, draws: int) -> bool:
    path = folder / "scenarios" / f"{name}.yaml"
    try:
        scenario = read(folder, name)
    except ConfigError as error:
        err.print(escape(str(error)), soft_wrap=True)
        return False
    faults, found = examine(scenario, draws)
    for fault in faults:
        where = ".".join(map(str, fault.place))
        line = configfile.line(path, fault.place)
        err.print(escape(f"{path}, line {line}: {where}: {fault.message}"), soft_wrap=True)
    if not faults and found:
        out.print(escape(f"{name}: {_praise(found)}"), soft_wrap=True)
    return not faults


def _praise(found: Margins) -> str:
    fact = min(found.facts, key=lambda one: found.facts[one].loss)
    slot = min(found.slots, key=lambda one: found.slots[one].loss)
    return (
        f"well. Who knows the truth reaches {found.reference:g} or more; a mistake costs {found.facts[fact].loss:g} or "
        f"more ({fact}), a slot that is not set {found.slots[slot].loss:g} or more ({slot})."
    )


@cli.command()
def show(
    name: Annotated[str, typer.Argument(help="A scenario.")],
    seed: Annotated[int | None, typer.Option(min=0, help="The game of this seed; the fixed one if left out.")] = None,
) -> None:
    """Show a game: facts, sources, plan, and the night of a crew that knows the truth."""
    scenario = read(settings.read().config, name)
    game = draw(scenario, seed)
    out.print(f"[bold]{escape(scenario.title)}[/], {'the fixed game' if seed is None else f'the game of seed {seed}'}")
    out.print("This is the truth, for authors; whoever wants to play should look away.\n")
    out.print(_facts(game))
    out.print(_sheets(game))
    out.print(_plan(game))
    _night(play(game, reference(game)))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _facts(game: Game) -> Table:
    table = _table("\nFacts", "fact", "label", "is", "may be thought", "drawn from", "stated in")
    for name, fact in game.scenario.facts.items():
        if fact.decoration:
            continue
        value = game.values[name]
        wrong = ", ".join(map(str, fact.wrongs(value)))
        drawn = ", ".join(map(str, fact.draw))
        table.add_row(name, fact.label, fact.shown(value), wrong, drawn, ", ".join(_stated_in(game.scenario, name)))
    return table


def _stated_in(scenario: Scenario, fact: str) -> list[str]:
    found = []
    for part in (scenario.documents, scenario.observations, scenario.routes):
        for name, document in part.items():
            if any(place == fact for place, _ in PLACE.findall(document.text)):
                found.append(f"{name} (outdated)" if fact in document.outdated else name)
    for name, table in scenario.database.items():
        cells = [cell for row in table.rows for cell in row if isinstance(cell, str)]
        if any(place == fact for cell in cells for place, _ in PLACE.findall(cell)):
            found.append(f"table {name}")
    return found


def _sheets(game: Game) -> Table:
    bank = Bank(game)
    table = _table("\nSources", "kind", "name", "date", "title")
    for kind, sheets in (("paper", bank.papers), ("view", bank.views), ("route", bank.routes)):
        for sheet in sheets.values():
            table.add_row(kind, sheet.name, sheet.date, escape(sheet.title))
    for name, rows in game.scenario.database.items():
        table.add_row("table", name, "", f"{len(rows.rows)} rows: {', '.join(rows.columns)}")
    return table


def _plan(game: Game) -> Table:
    labels = {name: fact.label for name, fact in game.scenario.facts.items()}
    right = reference(game)
    table = _table("\nPlan", "slot", "who", "follows from", "so it is", "if nobody sets it")
    for name, slot in game.scenario.slots.items():
        table.add_row(name, slot.role, worded(slot.reckon, labels), str(right[name]), str(slot.unset))
    return table


def _night(outcome: Outcome) -> None:
    out.print("\n[bold]The night of a crew that knows the truth[/]")
    for step in outcome.steps:
        mark = f" [red](−{step.finding.costs}%, {step.finding.slot})[/]" if step.finding else ""
        out.print(f"{step.clock}  {escape(step.place):18} {escape(step.text)}{mark}", soft_wrap=True)
    out.print(f"{outcome.kind}, {outcome.score:g} of 100, {outcome.loot}% of the loot")
