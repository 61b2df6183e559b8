"""A session as a reader likes it."""

from rich.markup import escape

from heist import events as e
from heist.cli.console import err, out
from heist.events import Recorded

_COLOURS = ("dark_orange", "sky_blue2", "green3", "cornflower_blue", "salmon1", "orchid")


class Transcript:
    """Rounds as rules, each agent in its colour, tools and errors between."""

    def __init__(self) -> None:
        self._colours: dict[str, str] = {}
        self._total = 0
        self._tools = 0
        self._refused = 0
        self._streamed = 0

    def hear(self, recorded: Recorded) -> None:
        match recorded.event:
            case e.SessionStarted() as event:
                self._begin(event)
            case e.RoundStarted(round=number):
                out.rule(f"round {number}", style="dim")
            case e.MessageStarted() as event:
                share = f"[dim]{event.turn}/{self._total}[/]"
                out.print(f"\n[bold {self._colours[event.agent]}]{event.agent}[/] [dim]({event.role})[/] {share}")
                self._streamed = 0
            case e.MessageDelta() as event:
                out.print(escape(event.text), end="", soft_wrap=True)
                self._streamed += len(event.text)
            case e.ServiceMissing() as event:
                out.print(f"[yellow]{event.part} missing: {escape(event.why)}[/]", soft_wrap=True)
            case e.ToolCalled() as event:
                self._tool(event)
            case e.CommandDelivered() as event:
                out.print(f"\n[dim]command {event.command} delivered[/]", end="")
            case e.MessageCompleted() as event:
                tokens = f"{'about ' if event.estimated else ''}{event.completion_tokens} tokens"
                out.print(f"\n[dim]{tokens}, {event.milliseconds:.0f} ms[/]")
            case e.MessageFailed() as event:
                out.print(f"[red]✕ no message: {escape(event.detail)}[/]", soft_wrap=True)
            case e.MessageInterrupted() as event:
                out.print(f"\n[red]✕ cut off: {escape(event.reason)}[/]", soft_wrap=True)
            case e.PlanChanged() as event:
                before = "" if event.before is None else f" (was {event.before})"
                out.print(f"[cyan]▪ {event.slot} = {escape(str(event.value))}{escape(before)}[/]", soft_wrap=True)
            case e.OutcomeStep() as event:
                mark = f"  [red]✕ {event.slot}: −{event.costs:g} %[/]" if event.costs else ""
                out.print(f"[dim]{event.clock} {escape(event.place)}[/]  {escape(event.text)}{mark}", soft_wrap=True)
            case e.OutcomeDecided() as event:
                out.print(f"[bold]{event.outcome}[/]: {event.score:g} points of {event.reference:g}")
                for agent, points in sorted(event.damage.items(), key=lambda one: -one[1]):
                    if points:
                        out.print(f"  {agent}: {points:g} points lost")
            case e.MoleRevealed() as event:
                self._reveal(event)
            case e.SessionCompleted() | e.SessionStopped() | e.SessionFailed() as event:
                self._end(event)

    def _reveal(self, event: e.MoleRevealed) -> None:
        out.rule("reveal", style="dim")
        told = {
            "mole": f"The mole was [bold]{event.mole}[/], by {escape(event.title)}.",
            "none": "There was no mole.",
            "placebo": f"There was no mole. {event.holder} had a secret that harmed nobody.",
            "incompetent": f"There was no mole. {event.holder} was careless, and meant well.",
        }
        out.print(f"{told[event.arm]}  seed {event.seed}", soft_wrap=True)
        for act in event.acts:
            costs = f"  [red]−{act.costs:g} by {', '.join(act.slots)}[/]" if act.costs else ""
            out.print(f"[dim]turn {act.turn}[/]  {escape(act.what or act.did)}{costs}", soft_wrap=True)

    def _begin(self, event: e.SessionStarted) -> None:
        self._total = event.rounds * len(event.seats)
        self._colours = {seat.name: _COLOURS[i % len(_COLOURS)] for i, seat in enumerate(event.seats)}
        spoken = (
            "[yellow]simulated crew, no language model[/]"
            if event.simulated
            else f"{escape(event.model)} by {event.server}"
        )
        out.print(f"[bold]{escape(event.title)}[/]  {event.session_id}\n{spoken}", soft_wrap=True)

    def _tool(self, event: e.ToolCalled) -> None:
        self._tools += 1
        self._refused += not event.success
        mark = "[green]✓[/]" if event.success else f"[red]✕ {event.fault}[/]"
        values = event.arguments.values() if isinstance(event.arguments, dict) else [event.arguments]
        first = event.result.splitlines()[0] if event.result else ""
        called = escape(f"{event.tool}({', '.join(map(str, values))})")
        out.print(f"{mark} [dim]{called} → {escape(first[:100])}[/]", soft_wrap=True)

    def _end(self, event: e.SessionCompleted | e.SessionStopped | e.SessionFailed) -> None:
        out.rule(event.kind.removeprefix("session."), style="dim")
        out.print(
            f"{event.turns} of {self._total} turns, {self._tools} tool calls, {self._refused} of them refused or failed"
        )
        if isinstance(event, e.SessionFailed):
            err.print(f"heist: nobody could say a word: {escape(event.error)}", soft_wrap=True)
