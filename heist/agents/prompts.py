"""The words that an agent gets to read, composed in one place.

What all agents share comes first and changes least, what is this agent's alone comes last: a server that keeps the
prompt's beginning in its cache reads it once for the whole crew. Nothing here is ever one agent's secret to another:
each part comes from the cue of the one who speaks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from heist.events import AgentQuarantined, CommandIssued, MemoryCompressed, Seat, SessionStarted, ToolCalled
from heist.llm.model import Form, Message, Prompt, ToolSpec
from heist.seeds import number
from heist.services.memory.facts import Entry, Fact, distinct, relevant
from heist.services.memory.memory import NOTE_LENGTH, called
from heist.services.tools.registry import AnyTool
from heist.world.expressions import worded
from heist.world.plan import Edit, Slot
from heist.world.scenario import Scenario

NOTES = 4
EARLIER = 16
KNOWN = 12
"""Facts of turns that are told in short, picked for the turn by what it is about."""
SPARABLE = ("known", "notes", "record")
"""Parts that a prompt can do without, the first to go first, when not even one message leaves room for them."""
SAYABLE = 900
ASKABLE = 400
"""Characters that the schema of a turn has room for."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Everything that one turn depends on, besides the model and what its tools answer."""

    session: SessionStarted
    scenario: Scenario
    seed: int
    brief: str
    duties: Mapping[str, str]
    plan: Mapping[str, Edit]
    turn: int
    round: int
    seat: Seat
    blocks: Sequence[MemoryCompressed]
    heard: Sequence[Entry]
    facts: Sequence[Fact]
    noted: Sequence[MemoryCompressed]
    looked_up: Sequence[ToolCalled]
    commands: Sequence[CommandIssued]
    quarantine: AgentQuarantined | None = None
    without: tuple[str, ...] = ()

    def shortened(self, count: int, without: tuple[str, ...] = ()) -> "Cue":
        """The same with the `count` oldest of the messages that would be heard word by word left out, and whole parts
        of the prompt, by name."""
        return replace(self, heard=self.heard[count:], without=without)


def compose(cue: Cue, tools: Sequence[AnyTool], form: Form = "native") -> Prompt:
    """The prompt for one turn: a leading system message that all agents share, then what all have heard, which only
    grows, then what is this agent's alone."""
    session = cue.session
    voice = cue.seat.voice
    offered = tools if session.tool_calls and cue.quarantine is None else ()
    return Prompt(
        messages=(Message("system", _shared(cue)), Message("user", "\n\n".join(parts(cue, offered, form).values()))),
        tools=tuple(ToolSpec(tool.name, tool.description, tool.schema) for tool in offered) if form == "native" else (),
        temperature=voice.temperature if voice else session.temperature,
        max_tokens=voice.max_tokens if voice else session.max_tokens,
        seed=number(cue.seed, "turn", cue.turn),
        schema=turn_schema(offered) if form == "schema" else None,
        stop=("\n[turn ",),
    )


def parts(cue: Cue, tools: Sequence[AnyTool], form: Form) -> dict[str, str]:
    """The parts of the prompt after its shared head, by name, in their order; those with nothing in them are left
    out."""
    named = {
        "record": _record(cue.blocks),
        "said": _said(cue),
        "plan": _plan(cue),
        "you": _you(cue.seat),
        "brief": _brief(cue.brief),
        "tools": _quarantine(cue.quarantine) or _tools(tools, cue.session.tool_calls, form),
        "notes": _notes(cue),
        "known": _known(cue),
        "order": _order(cue.commands),
        "now": _now(cue),
    }
    return {name: part for name, part in named.items() if part and name not in cue.without}


def turn_schema(tools: Sequence[AnyTool]) -> dict[str, Any]:
    """A turn as one flat object, for models that have no native calls; without tools it is the message alone."""
    message = {"type": "string", "maxLength": SAYABLE}
    if not tools:
        properties: dict[str, Any] = {"message": message}
    else:
        names = {"type": "string", "enum": ["none", *(tool.name for tool in tools)]}
        properties = {"message": message, "tool": names, "argument": {"type": "string", "maxLength": ASKABLE}}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


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
        f"{_slots(cue.scenario, cue.duties)}"
    )


def _slots(scenario: Scenario, duties: Mapping[str, str]) -> str:
    """What the plan is to hold, and how it is reckoned, for everybody alike."""
    lines = [
        f"{name} ({_asked(slot)}; {duties[name]}): {_reckoned(slot, scenario)}" for name, slot in scenario.slots.items()
    ]
    return (
        "\n\nTHE PLAN'S SLOTS\nWhen all have spoken, the plan is played out as it stands; what is not set is left to "
        "chance. Each slot: its type, who answers for it, and how it follows from the facts.\n" + "\n".join(lines)
    )


def _asked(slot: Slot) -> str:
    return f"one of: {' | '.join(slot.among)}" if slot.among else slot.type


def _reckoned(slot: Slot, scenario: Scenario) -> str:
    """How a slot follows from the facts, in the words in which everybody speaks of them."""
    return worded(slot.reckon, {name: fact.label for name, fact in scenario.facts.items()})


def _plan(cue: Cue) -> str:
    return "THE PLAN NOW\n" + "\n".join(_set(name, cue.plan.get(name)) for name in cue.scenario.slots)


def _set(name: str, edit: Edit | None) -> str:
    return f"{name}: not set" if edit is None else f"{name} = {edit.value} ({edit.agent}, turn {edit.turn})"


def _brief(brief: str) -> str:
    if not brief:
        return ""
    return f"YOUR BRIEF\nFor you alone; nobody else in the crew knows it, or has the same.\n{brief}"


def _record(blocks: Sequence[MemoryCompressed]) -> str:
    lines = [f"[turns {block.first} to {block.last}]\n{block.text}" for block in blocks]
    return "THE RECORD SO FAR\n" + "\n".join(lines) if lines else ""


def _said(cue: Cue) -> str:
    lines = [f"[turn {entry.turn}, {entry.agent}] {one_line(entry.text)}" for entry in cue.heard]
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


def _tools(tools: Sequence[AnyTool], calls: int, form: Form) -> str:
    if not tools or not calls:
        return "YOUR TOOLS\nYou have none. Ask those who have." + (_ANSWER if form == "schema" else "")
    lines = [f"{tool.name}({tool.main_argument}): {tool.description} {_argument(tool)}" for tool in tools]
    how = {
        "native": f"call one, or write [TOOL:{tools[0].name}:{tools[0].main_argument}] on a line of its own",
        "text": f"write [TOOL:{tools[0].name}:{tools[0].main_argument}] on a line of its own",
        "schema": 'name one as "tool" with its "argument" in your JSON answer, or "none"',
    }[form]
    return (
        "YOUR TOOLS\n" + "\n".join(lines) + f"\nYou may use up to {calls} before you speak: {how}. You get the result, "
        "then you speak." + (_ANSWER if form == "schema" else "")
    )


_ANSWER = ' Answer with one JSON object; what you say to the others stands in "message".'


def _argument(tool: AnyTool) -> str:
    field = tool.arguments.model_fields[tool.main_argument]
    return f"{tool.main_argument} is {field.description}."


def _notes(cue: Cue) -> str:
    """What the agent found out itself: what is told in short, the last results whole, and of those between that they
    were looked up."""
    if not cue.looked_up and not cue.noted:
        return ""
    earlier = [called(call) for call in cue.looked_up[-EARLIER:-NOTES]]
    lines = [block.text for block in cue.noted]
    lines += [f"Looked up before: {', '.join(earlier)}"] if earlier else []
    lines += [f"{called(call)} gave:\n{call.result[:NOTE_LENGTH]}" for call in cue.looked_up[-NOTES:]]
    return "YOUR NOTES\n" + "\n".join(lines)


def _known(cue: Cue) -> str:
    """Facts from turns that are no longer told word by word, those that this turn is about: what it is ordered, what
    was said last, and what the agent's slots of the plan follow from."""
    told = cue.heard[0].turn if cue.heard else cue.turn
    older = distinct(fact for fact in cue.facts if fact.turn < told and fact.kind != "question")
    slots = cue.scenario.slots.items()
    own = [_reckoned(slot, cue.scenario) for name, slot in slots if cue.duties[name] == cue.seat.name]
    question = " ".join([*(one.text for one in cue.commands), *(entry.text for entry in cue.heard[-1:]), *own])
    lines = [f"[turn {fact.turn}, {fact.agent}] {fact.text}" for fact in relevant(older, question, KNOWN)]
    return "WHAT IS KNOWN OF IT\n" + "\n".join(lines) if lines else ""


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
