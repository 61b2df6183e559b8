"""Who is it: a verdict on a session or a file, with its reasons; calibrations, and scores on transcripts of others."""

import asyncio
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from heist import events as e
from heist import settings
from heist.cli.console import err, out
from heist.configfile import first_error, sentence
from heist.errors import ConfigError
from heist.runtime import Runtime
from heist.services.auth import USER_SCOPES, Principal
from heist.services.detection import calibration, case, fitting, metrics
from heist.services.detection.desk import Desk, Record, suggestion
from heist.services.detection.imports import datasets
from heist.services.detection.ladder import text
from heist.services.detection.ladder.text import Labelled
from heist.services.detection.metrics import Scored
from heist.services.detection.verdict import Cited, Verdict
from heist.store.migrate import upgrade

USER = Principal("terminal", USER_SCOPES)
FOLDS = 5
QUOTE = 110
LEAST = 0.05
"""Nats; what weighs less is not printed."""
NAMED = 4
"""Reasons that are printed for and against an agent."""


class Group(TyperGroup):
    """`heist detect SESSION` is short for `heist detect show SESSION`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


cli = typer.Typer(
    no_args_is_help=True,
    cls=Group,
    help="Who the mole is, why, and how sure: heist detect SESSION|FILE. Its options: heist detect show --help.",
)


@contextmanager
def _house() -> Generator[Runtime]:
    runtime = Runtime(settings.read())
    runtime.switches.require("detection")
    try:
        upgrade(runtime.engine)
        yield runtime
    finally:
        runtime.engine.dispose()


@cli.command()
def show(
    what: Annotated[
        str, typer.Argument(help="A session's id; a record (.json), or a log (.jsonl) of heist run --json.")
    ],
    detector: Annotated[str, typer.Option(help="One of heist detect list.")] = "rules",
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Judge a session, and say why."""
    with _house() as runtime:
        told = asyncio.run(_assessed(runtime, _given(runtime.desk, what), detector))
    if as_json:
        print(told.model_dump_json(indent=2))
        return
    _print(told)


def _given(desk: Desk, what: str) -> str | Record | case.Case:
    """A session's id, or what a file holds."""
    path = Path(what)
    if not path.is_file():
        return what
    return _logged(desk, path) if path.suffix == ".jsonl" else _record(path)


async def _assessed(runtime: Runtime, what: str | Record | case.Case, detector: str) -> Verdict:
    try:
        if isinstance(what, case.Case):
            return await runtime.desk.named(detector).assess(what)
        if isinstance(what, Record):
            return await runtime.desk.assess_record(USER, what, detector)
        return await runtime.desk.assess(USER, what, detector)
    finally:
        await runtime.source.close()


def _record(path: Path) -> Record:
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError(f"{path}: {sentence(first['loc'], first['msg'])}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the file cannot be read: {error}") from None


def _logged(desk: Desk, path: Path) -> case.Case:
    """The case of a log of one session, an event a line."""
    events: list[e.Event] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            told = json.loads(line)
            events.append(e.parse(json.dumps({key: told[key] for key in told if key not in ("seq", "at")})))
        except (ValueError, TypeError):
            raise ConfigError(f"{path}, line {number}: expected an event as heist run --json prints it") from None
    if not events or not isinstance(events[0], e.SessionStarted):
        raise ConfigError(f"{path}: a log begins with session.started")
    return case.of(events, desk.schema(events[0].scenario))


@cli.command(name="list")
def list_() -> None:
    """List the detectors."""
    with _house() as runtime:
        found = runtime.desk.found
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, one in found.parts.items():
        table.add_row(name, escape(one.about))
    out.print(table)
    for name, why in found.refused:
        err.print(f"left out: {escape(name)}: {escape(why)}", soft_wrap=True)


@cli.command()
def calibrate(
    name: Annotated[str, typer.Option(help="The file to write in the config folder's calibration.")] = "own",
    with_text: Annotated[bool, typer.Option("--text", help="Fit the text models too.")] = False,
) -> None:
    """Measure on the stored games that are over and revealed how honest agents and moles behave."""
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"--name: expected letters, digits, - and _, found {name!r}")
    with _house() as runtime:
        games = runtime.desk.over()
        source = f"{len(games)} games of {runtime.engine.url!r}"
        fitted = fitting.fit(games, runtime.desk.settings, source)
        folder = runtime.settings.config
    path = folder / calibration.FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(fitted.model_dump_json(indent=1) + "\n", encoding="utf-8")
    counted = ", ".join(f"{count} {arm}" for arm, count in fitted.games.items())
    out.print(f"{path}: {fitted.id}, of {counted} games by {fitted.model or 'several models'}", soft_wrap=True)
    if fitted.alarm is None:
        out.print("Too few honest games for a threshold of its own: the alarm stays Ville's.")
    if with_text:
        labelled = [Labelled(game.case, frozenset({game.mole} if game.mole else ())) for game in games]
        for kind in ("bag", "text"):
            out.print(str(text.save(text.fit(kind, labelled, source, fitted.model), folder)), soft_wrap=True)


@cli.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Transcripts of others: a folder of .jsonl, or one file.")],
) -> None:
    """Score the detectors that need no scenario on public transcripts; text models game-wise, never on their own
    games."""
    with _house() as runtime:
        detectors = runtime.desk.found.parts
    for dataset in datasets(folder):
        silent: list[str] = []
        table = Table(title=f"{dataset.name}: {len(dataset.games)} games", title_justify="left")
        for column in ("detector", "games", "within-game AUROC", "top-1"):
            table.add_column(column, no_wrap=True)
        for name, detector in detectors.items():
            if name in ("bag", "text"):
                scored, why = _folded(name, dataset.games), ""
            else:
                scored, why = asyncio.run(_scored(detector, dataset.games))
            inside = metrics.figure([metrics.within(one) for one in scored])
            first = metrics.figure([metrics.top(one) for one in scored])
            if scored:
                table.add_row(name, str(len(scored)), str(inside), str(first))
            else:
                silent.append(f"{name} abstains: {escape(why)}")
        out.print(table)
        for line in silent:
            out.print(line, soft_wrap=True)


async def _scored(detector: Any, games: Sequence[Labelled]) -> tuple[list[Scored], str]:
    """(what it made of the games that it could judge, why it could not judge the last of the others)."""
    scored, why = [], ""
    for game in games:
        told = await detector.assess(game.case)
        if told.abstained:
            why = told.abstained
            continue
        scored.append(Scored(game.case.session_id, "", told.posterior, told.nobody or 0.0, game.moles))
    return scored, why


def _folded(kind: Any, games: Sequence[Labelled]) -> list[Scored]:
    """Each game by a model that was fitted on the games of the other folds."""
    scored = []
    for fold in range(min(FOLDS, len(games))):
        fitted = text.fit(
            kind, [game for number, game in enumerate(games) if number % FOLDS != fold], "cross-validation"
        )
        scored += [
            Scored(game.case.session_id, "", text.logits(fitted, game.case), 0.0, game.moles)
            for game in games[fold::FOLDS]
        ]
    return scored


def _print(told: Verdict) -> None:
    out.print(f"[bold]{escape(suggestion(told).sentence)}[/]", soft_wrap=True)
    if told.abstained:
        return
    out.print(_basis(told), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("", "suspicion", "", *[family.replace("_", " ") for family in told.analysis_weights]):
        table.add_column(column, justify="right" if column else "left")
    ranked: list[tuple[str, float]] = sorted(told.posterior.items(), key=lambda one: -one[1])
    for name, share in [*ranked, ("nobody", told.nobody or 0.0)]:
        added = told.score_breakdown.get(name, {})
        parts = [f"{added[family]:+.1f}" if family in added else "" for family in told.analysis_weights]
        table.add_row(escape(name), f"{share:.0%}", "█" * round(share * 20), *parts)
    out.print(table)
    by_id = {item.id: item for item in told.evidence}
    for account in told.explanation:
        more, less = (
            [item for one in some if abs((item := by_id[one]).weight) >= LEAST][:NAMED]
            for some in (account.more, account.less)
        )
        if not more and told.posterior[account.agent] < 0.1:
            continue
        out.print(f"\n[bold]{escape(account.agent)}[/]")
        for title, items in (("why more", more), ("why less", less)):
            for item in items:
                out.print(_reason(title, item), soft_wrap=True)
        out.print(f"  what would change it: {escape(account.change)}", soft_wrap=True)
    for reason in told.judge.reasons:
        quote = escape(reason.quote[:QUOTE])
        out.print(f"judge, turn {reason.turn}, {escape(reason.agent)}: {escape(reason.why)} “{quote}”", soft_wrap=True)


def _basis(told: Verdict) -> str:
    """On what the verdict rests, in one line."""
    alarm = told.alarm
    raised = f"alarm {'raised' if alarm.raised else 'not raised'} ({alarm.by})" if alarm else "no alarm"
    weights = ", ".join(f"{name} {share:.0%}" for name, share in told.weights.effective.items())
    judge = "" if told.judge.status == "off" else f"; judge {told.judge.status} {escape(told.judge.error)}"
    suspects = ", ".join(one or "nobody" for one in told.suspects)
    sure = f"{told.coverage:.0%}" if told.coverage is not None else "?"
    return (
        f"{told.detector}, after turn {told.turn}, of {escape(told.model) or 'unknown speakers'}; {weights}{judge}; "
        f"{raised}; suspects with {sure}: {escape(suspects)}; calibration {told.calibration or 'none'}"
    )


def _reason(title: str, item: Cited) -> str:
    turns = ", ".join(map(str, dict.fromkeys(item.turns)))
    quote = f" “{escape(' '.join(item.quote.split())[:QUOTE])}”" if item.quote else ""
    return f"  {title} ({item.weight:+.2f}) turn {turns}: {escape(item.reason)}{quote}"
