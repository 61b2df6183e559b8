"""The scene: what an agent finds in its prompt, and nothing that does not stand there."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from heist.llm.model import Message, Prompt

_HEADING = re.compile(r"^([A-Z][A-Z ']+)$", re.MULTILINE)
_SELF = re.compile(r"^You are (\S+), the ([^.\n]+)\.", re.MULTILINE)
_SAID = re.compile(r"^\[turn (\d{1,6}), (\S+)\] (.*)$", re.MULTILINE)
_NOTE = re.compile(r"^(\w+)\((.*)\) gave:$", re.MULTILINE)
_PHASE = re.compile(r"Phase: (\w+)")
_TURN = re.compile(r"This is turn (\d{1,6}) of \d{1,6}, in round (\d{1,6}) of (\d{1,6})")
_CALLS = re.compile(r"You may use up to (\d{1,3})")
_TOOL = re.compile(r"^(\w+)\((\w*)\): ", re.MULTILINE)
_RESULT = re.compile(r"^Result of (\w+): ", re.MULTILINE)
_CLOSING = re.compile(r"\n?Now speak(, or use one more tool\.|; you may use no more tools\.)\s*\Z")
_WRITTEN = re.compile(r"\[TOOL:(\w+):(.*?)\]")
_BY = re.compile(r"\[turns? [^\]]*\]|\(\w+, turn \d+\)|^(Decided|Figures|Open|Said): ", re.MULTILINE)
_RECORDED = re.compile(
    r"(?:^|(?<=\) ))(?:(?:Decided|Figures|Open): )?([^\n]*?) \((\w+), turn (\d{1,6})\)", re.MULTILINE
)
_SLOT = re.compile(r"^(\w+) \(([^\n]+); ([^;()\n]+)\): ([^\n]+)$", re.MULTILINE)
_MEMBER = re.compile(r"^([^\s,]+), the (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+) = (.+?) \((\S+), turn \d+\)$", re.MULTILINE)
_MEANS = re.compile(r"^Means: (.*?)\.?$", re.MULTILINE)
_RATE = re.compile(r"^Rate: +(\d{1,2}) in 10", re.MULTILINE)
_OPERATOR = re.compile(r"[-+*()]")
SENTENCE = re.compile(r"(?<=[.!?])\s+")
CLOCK = r"\d{1,2}[:.]\d\d"


class Note(NamedTuple):
    """What a tool answered; `argument` is the first that it was given."""

    tool: str
    argument: str
    text: str


class Said(NamedTuple):
    turn: int
    agent: str
    text: str


class Slot(NamedTuple):
    """A slot of the plan as the prompt tells of it; `reckon` is how it follows, in labels, slots and numbers."""

    name: str
    kind: str
    among: tuple[str, ...]
    owner: str
    reckon: str


class Entry(NamedTuple):
    value: str
    agent: str


@dataclass(frozen=True, eq=False)
class Job:
    """What all agents of a session are told: the crew, the slots, and the labels of the facts that these need."""

    crew: Mapping[str, str]
    slots: Mapping[str, Slot]
    kinds: Mapping[str, str]
    """What a label stands for: `choice`, or `figure` for clock times, minutes and numbers."""
    labels: re.Pattern[str] | None
    options: re.Pattern[str]
    value: str

    def of(self, slot: Slot) -> tuple[str, ...]:
        """The labels that a slot follows from, without those of the slots that it follows from."""
        return tuple(term for term in terms(slot.reckon) if term in self.kinds)


@dataclass(frozen=True, slots=True)
class Scene:
    """What one agent finds in its prompt. `calls` is how many tool calls this turn has room for, and `given` says what
    the agent was told besides its tools, so that the form in which they are offered changes nothing."""

    job: Job
    name: str
    role: str
    secret: str
    means: frozenset[str]
    rate: float
    said: Sequence[Said]
    recorded: Sequence[Said]
    plan: Mapping[str, Entry]
    notes: Sequence[Note]
    noted: str
    fresh: Sequence[Note]
    order: str
    phase: str
    turn: int
    round: int
    rounds: int
    tools: Mapping[str, str]
    calls: int
    known: Sequence[str]
    given: str

    @property
    def last_round(self) -> bool:
        return self.round >= self.rounds

    def owns(self, slot: Slot) -> bool:
        """Whether this agent answers for the slot. One that nobody in the crew answers for is everybody's."""
        return slot.owner == self.name or (slot.owner not in self.job.crew)


def read(prompt: Prompt) -> Scene:
    system = "\n".join(message.content for message in prompt.messages if message.role == "system")
    text = "\n".join(message.content for message in prompt.messages if message.role == "user")
    sections = _sections(f"{system}\n{text}")
    who = _SELF.search(text) or _SELF.search(system)
    now = sections.get("NOW", "")
    brief = sections.get("YOUR BRIEF", "")
    means = _MEANS.search(brief)
    rate = _RATE.search(brief)
    phase = _PHASE.search(now)
    counted = _TURN.search(now)
    turn, round_, rounds = (int(one) for one in counted.groups()) if counted else (1, 1, 1)
    fresh = _fresh(prompt)
    allowed = _CALLS.search(sections.get("YOUR TOOLS", ""))
    notes, noted = _notes(sections.get("YOUR NOTES", ""))
    told = {name: part for name, part in sections.items() if name != "YOUR TOOLS"}
    return Scene(
        job=job(system),
        name=who[1] if who else "someone",
        role=who[2] if who else "member of the crew",
        secret=sections.get("YOU", "") + brief,
        means=frozenset(one.strip() for one in means[1].split(";")) if means else frozenset(),
        rate=min(int(rate[1]), 10) / 10 if rate else 0.0,
        said=_said(sections.get("WHAT WAS SAID LAST", "")),
        recorded=[*_recorded(sections.get("THE RECORD SO FAR", "")), *_said(sections.get("WHAT IS KNOWN OF IT", ""))],
        plan={name: Entry(value, by) for name, value, by in _ENTRY.findall(sections.get("THE PLAN NOW", ""))},
        notes=notes,
        noted=noted,
        fresh=fresh,
        order=sections.get("ORDER", "").strip(),
        phase=phase[1] if phase else "",
        turn=turn,
        round=round_,
        rounds=rounds,
        tools=_offered(prompt, sections.get("YOUR TOOLS", "")),
        calls=(int(allowed[1]) if allowed else 1) - len(fresh),
        known=_known_sentences(sections),
        given="\n".join([*map(str, told.items()), *(f"{note.tool} {note.text}" for note in fresh)]),
    )


def _sections(text: str) -> dict[str, str]:
    parts = _HEADING.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@lru_cache(maxsize=64)
def job(system: str) -> Job:
    sections = _sections(system)
    crew = dict(_MEMBER.findall(sections.get("THE CREW", "")))
    found = _SLOT.findall(sections.get("THE PLAN'S SLOTS", ""))
    slots = {name: _slot(name, kind, owner, reckon) for name, kind, owner, reckon in found}
    kinds: dict[str, str] = {}
    for slot in slots.values():
        for term in terms(slot.reckon):
            if term not in slots and not term.isdecimal():
                kinds[term] = "choice" if slot.among else "figure"
    options = sorted({one for slot in slots.values() for one in slot.among}, key=len, reverse=True)
    chosen = "|".join(rf"\b{re.escape(one)}\b" for one in options)
    value = rf"\b{CLOCK}(?!\d)|(?<![\d:.-])\d{{1,5}}(?![\d:]|[.-]\d)" + (f"|{chosen}" if chosen else "")
    longest = sorted(kinds, key=len, reverse=True)
    labels = re.compile(rf"\b({'|'.join(map(re.escape, longest))})\b", re.IGNORECASE) if longest else None
    return Job(crew, slots, kinds, labels, re.compile(chosen or r"(?!)", re.IGNORECASE), value)


def _slot(name: str, kind: str, owner: str, reckon: str) -> Slot:
    among = tuple(one.strip() for one in kind.removeprefix("one of:").split("|")) if kind.startswith("one of:") else ()
    return Slot(name, "choice" if among else kind, among, owner.strip(), reckon.strip())


@lru_cache(maxsize=4096)
def terms(reckon: str) -> tuple[str, ...]:
    """The labels, slots and numbers of a reckoning, each once, in their order."""
    return tuple(dict.fromkeys(term for part in _OPERATOR.split(reckon) if (term := part.strip())))


def _said(section: str) -> list[Said]:
    return [Said(int(turn), agent, text) for turn, agent, text in _SAID.findall(section)]


def _recorded(section: str) -> list[Said]:
    return [Said(int(turn), agent, text) for text, agent, turn in _RECORDED.findall(section)]


def _notes(section: str) -> tuple[list[Note], str]:
    """(results as they came, what is left of older ones)."""
    parts = _NOTE.split(section)
    notes = [Note(*note) for note in zip(parts[1::3], parts[2::3], map(str.strip, parts[3::3]), strict=True)]
    return notes, parts[0]


def _fresh(prompt: Prompt) -> list[Note]:
    """What the tools answered in this turn."""
    calls = {call.id: call for message in prompt.messages for call in message.calls}
    found = []
    for before, message in zip(("", *prompt.messages), prompt.messages, strict=False):
        if message.role == "tool" and message.call_id in calls:
            call = calls[message.call_id]
            found.append(Note(call.name, first_value(call.arguments), message.content))
        elif message.role == "user" and isinstance(before, Message) and before.role == "assistant":
            found += _results(before.content, _CLOSING.sub("", message.content))
    return found


def _results(asked: str, answered: str) -> list[Note]:
    """Results that stand in a text, with the arguments that were written."""
    parts = _RESULT.split(answered)
    arguments = [argument for _, argument in _asked(asked)] + [""] * len(parts)
    results = zip(parts[1::2], parts[2::2], strict=True)
    return [Note(tool, argument, text.strip()) for (tool, text), argument in zip(results, arguments, strict=False)]


def _asked(text: str) -> list[tuple[str, str]]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return _WRITTEN.findall(text)
    return [(str(told.get("tool")), str(told.get("argument", "")))] if isinstance(told, dict) else []


def first_value(arguments: str) -> str:
    try:
        told = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return str(next(iter(told.values()), "")) if isinstance(told, dict) else arguments


def _offered(prompt: Prompt, section: str) -> dict[str, str]:
    """The tools that may be called now, with the name of their first argument."""
    if prompt.schema is not None:
        named = (prompt.schema.get("properties") or {}).get("tool") or {}
        return {str(name): "" for name in named.get("enum") or () if name != "none"}
    if prompt.tools:
        return {tool.name: next(iter(tool.parameters.get("properties") or {}), "") for tool in prompt.tools}
    if "[TOOL:" not in section or prompt.messages[-1].content.endswith("you may use no more tools."):
        return {}
    return dict(_TOOL.findall(section))


def _known_sentences(sections: Mapping[str, str]) -> list[str]:
    """Everything that an agent could remember, a sentence each, without who said it when."""
    places = ("THE RECORD SO FAR", "WHAT WAS SAID LAST", "YOUR NOTES", "WHAT IS KNOWN OF IT")
    text = "\n".join(_BY.sub("", sections.get(place, "")) for place in places)
    return [sentence.strip() for line in text.splitlines() for sentence in SENTENCE.split(line) if sentence.strip()]
