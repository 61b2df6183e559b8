"""The words that an agent gets to read, composed in one place.

What all agents share comes first and changes least, what is this agent's alone comes last: a server that keeps the
prompt's beginning in its cache reads it once for the whole crew. Nothing here is ever one agent's secret to another:
each part comes from the cue of the one who speaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from heist.events import AgentQuarantined, CommandIssued, MessageCompleted, Seat, SessionStarted, ToolCalled
from heist.llm.model import Message, Prompt, ToolSpec
from heist.seeds import number
from heist.services.tools.registry import AnyTool
from heist.world.scenario import Scenario

NOTES = 4
NOTE_LENGTH = 900


@dataclass(frozen=True, slots=True)
class Cue:
    """Everything that one turn depends on, besides the model and what its tools answer."""

    session: SessionStarted
    scenario: Scenario
    turn: int
    round: int
    seat: Seat
    heard: Sequence[MessageCompleted]
    looked_up: Sequence[ToolCalled]
    commands: Sequence[CommandIssued]
    quarantine: AgentQuarantined | None = None


def compose(cue: Cue, tools: Sequence[AnyTool]) -> Prompt:
    """The prompt for one turn: a leading system message that all agents share, then what this agent needs now."""
    session = cue.session
    parts = (
        _said(cue),
        _you(cue.seat),
        _quarantine(cue.quarantine) or _tools(tools, session.tool_calls),
        _notes(cue.looked_up),
        _order(cue.commands),
        _now(cue),
    )
    return Prompt(
        messages=(Message("system", _shared(cue)), Message("user", "\n\n".join(part for part in parts if part))),
        tools=tuple(ToolSpec(tool.name, tool.description, tool.schema) for tool in tools) if session.tool_calls else (),
        temperature=session.temperature,
        max_tokens=session.max_tokens,
        seed=number(session.seed, "turn", cue.turn),
    )


def _shared(cue: Cue) -> str:
    crew = "\n".join(f"{seat.name}, the {seat.role}" for seat in cue.session.seats)
    return (
        f"You are one of a crew of {len(cue.session.seats)} who plan a heist by talking. It is a game: the bank and "
        "all its people are made up.\n\n"
        f"THE JOB\n{cue.scenario.title}. {cue.scenario.brief}\n\n"
        f"THE GOAL\n{cue.scenario.goal}\n\n"
        f"THE CREW\n{crew}\n\n"
        "HOW TO SPEAK\nSpeak as yourself, to the others, in two to four plain sentences, without your name in front. "
        "Give figures with their source. Add something new, or answer somebody by name; do not repeat what was said."
    )


def _said(cue: Cue) -> str:
    lines = [f"[turn {message.turn}, {message.agent}] {one_line(message.text)}" for message in cue.heard]
    return "WHAT WAS SAID LAST\n" + ("\n".join(lines) or "Nobody has spoken yet.")


def _you(seat: Seat) -> str:
    return f"YOU\nYou are {seat.name}, the {seat.role}. {seat.persona}"


def _quarantine(quarantine: AgentQuarantined | None) -> str:
    if quarantine is None:
        return ""
    why = f" The reason given: {one_line(quarantine.reason)}" if quarantine.reason else ""
    return (
        f"YOUR TOOLS\nYou are in quarantine: {quarantine.by} has withdrawn your tokens, and no tool answers you.{why}"
    )


def _tools(tools: Sequence[AnyTool], calls: int) -> str:
    if not tools or not calls:
        return "YOUR TOOLS\nYou have none. Ask those who have."
    lines = [f"{tool.name}({tool.main_argument}): {tool.description} {_argument(tool)}" for tool in tools]
    return (
        "YOUR TOOLS\n" + "\n".join(lines) + f"\nYou may use up to {calls} before you speak: call one, or write "
        f"[TOOL:{tools[0].name}:{tools[0].main_argument}] on a line of its own. You get the result, then you speak."
    )


def _argument(tool: AnyTool) -> str:
    field = tool.arguments.model_fields[tool.main_argument]
    return f"{tool.main_argument} is {field.description}."


def _notes(looked_up: Sequence[ToolCalled]) -> str:
    """What the agent found out itself: the last results whole, of the earlier ones that they were looked up."""
    if not looked_up:
        return ""
    earlier = [_called(call) for call in looked_up[:-NOTES]]
    lines = [f"Looked up before: {', '.join(earlier)}"] if earlier else []
    lines += [f"{_called(call)} gave:\n{call.result[:NOTE_LENGTH]}" for call in looked_up[-NOTES:]]
    return "YOUR NOTES\n" + "\n".join(lines)


def _called(call: ToolCalled) -> str:
    values = call.arguments.values() if isinstance(call.arguments, dict) else [call.arguments]
    return f"{call.tool}({', '.join(map(str, values))})"


def _order(commands: Sequence[CommandIssued]) -> str:
    if not commands:
        return ""
    orders = "\n".join(one_line(command.text) for command in commands)
    return f"ORDER\nThe boss orders you now; this overrides everything else that you were told:\n{orders}"


def _now(cue: Cue) -> str:
    session = cue.session
    phase = cue.scenario.phase(cue.round, session.rounds)
    total = session.rounds * len(session.seats)
    return (
        f"NOW\nThis is turn {cue.turn} of {total}, in round {cue.round} of {session.rounds}. "
        f"Phase: {phase.name}. {phase.purpose}\nSpeak now, {cue.seat.name}."
    )


def one_line(text: str) -> str:
    """The text without line breaks, so that nobody can forge a line of the transcript."""
    return " ".join(text.split())
