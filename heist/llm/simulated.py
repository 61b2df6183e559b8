"""The simulated crew: plays any agent from its prompt alone, without a language model.

It reads the same prompt that a language model would get: who it is, which tools it has, what it noted, what was said
last, what it is ordered. It looks things up, repeats what it read with its source, reckons with what it heard, answers
the others, and now and then slips with a number, as people do. The same prompt and seed give the same answer. It tests
that the house works and shows what a session looks like; it proves nothing about language models.
"""

import json
import random
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from heist import seeds
from heist.llm.model import Ability, Call, Completion, Form, Prompt, estimate, guess

SLIP_RATE = 0.04
"""The share of statements in which an honest agent gets a number wrong."""
SABOTAGE_RATE = 0.6
"""The same for one whose prompt tells it to mislead."""

_HEADING = re.compile(r"^([A-Z][A-Z ']+)$", re.MULTILINE)
_SELF = re.compile(r"^You are (\S+), the ([^.\n]+)\.", re.MULTILINE)
_SAID = re.compile(r"^\[turn \d+, (\S+)\] (.*)$", re.MULTILINE)
_NOTE = re.compile(r"^(\w+)\((.*)\) gave:$", re.MULTILINE)
_PHASE = re.compile(r"Phase: (\w+)")
_PAPER = re.compile(r"^(\w+): .+ \(\d{4}-\d\d-\d\d\)$", re.MULTILINE)
_TABLE = re.compile(r"^(\w+) \| CREATE TABLE", re.MULTILINE)
_RESULT = re.compile(r"^Result of (\w+): ", re.MULTILINE)
_BY = re.compile(r"\[turns? [^\]]*\]|\(\w+, turn \d+\)|^(Decided|Figures|Open|Said): ", re.MULTILINE)
_ASKED = re.compile(r"[a-z]{3,}|\d+")
_COMMON = frozenset(
    "the and for that this with you your are was were will have has had not but from they them what when who how why "
    "can could there here our out all any many much does did".split()
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_CLOCK = re.compile(r"\b(\d\d):(\d\d)\b")
_NUMBER = re.compile(r"(?<![\d:.-])\d{1,4}(?![\d:]|[.-]\d)")
_FIGURE = re.compile(r"\d")
_MINUTES = re.compile(r"(\d{1,4}) minutes")


class Note(NamedTuple):
    tool: str
    argument: str
    text: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What an agent finds in its prompt."""

    name: str
    role: str
    secret: str
    said: Sequence[tuple[str, str]]
    notes: Sequence[Note]
    fresh: Sequence[Note]
    order: str
    phase: str
    tools: frozenset[str]
    known: Sequence[str]


class Simulated:
    """A model that is none; whatever it says is labelled as simulated by whoever shows it."""

    name = "simulated crew"
    server = "this program"
    simulated = True
    ability = Ability("simulated", slots=None, tools=True, schemas=True)
    form: Form = "native"
    warm = True

    async def ready(self) -> None:
        """Always."""

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        return [guess(text) for text in texts], True

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        scene = _read(prompt)
        chance = seeds.stream(prompt.seed, *prompt.messages)
        call = _wish(scene, chance)
        text = "" if call else _speech(scene, chance)
        calls = (call,) if call else ()
        if prompt.schema is not None:
            text, calls = _held_to(prompt.schema, text, call), ()
        if text:
            yield text
        yield Completion(text, calls, estimate(prompt, text or call.arguments if call else text), self.name)


def _held_to(schema: Mapping[str, Any], text: str, call: Call | None) -> str:
    """The answer as the JSON object that a turn's schema asks for."""
    longest = ((schema.get("properties") or {}).get("message") or {}).get("maxLength", len(text))
    wanted = {"message": text[:longest], "tool": "none", "argument": ""}
    if call:
        wanted |= {"tool": call.name, "argument": _first_value(call.arguments)}
    properties = schema.get("properties") or {}
    return json.dumps({name: value for name, value in wanted.items() if name in properties}, ensure_ascii=False)


def _offered(prompt: Prompt) -> frozenset[str]:
    names = {tool.name for tool in prompt.tools}
    if prompt.schema is not None:
        named = (prompt.schema.get("properties") or {}).get("tool") or {}
        names |= set(named.get("enum") or ()) - {"none"}
    return frozenset(names)


def _read(prompt: Prompt) -> Scene:
    text = "\n".join(message.content for message in prompt.messages if message.role in ("system", "user"))
    parts = _HEADING.split(text)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    who = _SELF.search(text)
    phase = _PHASE.search(sections.get("NOW", ""))
    return Scene(
        name=who[1] if who else "someone",
        role=who[2] if who else "member of the crew",
        secret=sections.get("YOU", ""),
        said=_SAID.findall(sections.get("WHAT WAS SAID LAST", "")),
        notes=_notes(sections.get("YOUR NOTES", "")),
        fresh=_fresh(prompt),
        order=sections.get("ORDER", "").strip(),
        phase=phase[1] if phase else "",
        tools=_offered(prompt),
        known=_known_sentences(sections),
    )


def _notes(section: str) -> list[Note]:
    parts = _NOTE.split(section)
    return [Note(*note) for note in zip(parts[1::3], parts[2::3], map(str.strip, parts[3::3]), strict=True)]


def _fresh(prompt: Prompt) -> list[Note]:
    """What the tools answered in this turn."""
    calls = {call.id: call for message in prompt.messages for call in message.calls}
    results = [message for message in prompt.messages if message.role == "tool"]
    native = [
        Note(calls[result.call_id].name, _first_value(calls[result.call_id].arguments), result.content)
        for result in results
        if result.call_id in calls
    ]
    written = [_RESULT.split(message.content) for message in prompt.messages[2:] if message.role == "user"]
    return native + [Note(tool, "", text.strip()) for parts in written for tool, text in _pairs(parts[1:])]


def _pairs(parts: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def _known_sentences(sections: Mapping[str, str]) -> list[str]:
    """Everything that an agent could remember, a sentence each, without who said it when."""
    places = ("THE RECORD SO FAR", "WHAT WAS SAID LAST", "YOUR NOTES", "WHAT IS KNOWN OF IT")
    text = "\n".join(_BY.sub("", sections.get(place, "")) for place in places)
    return [sentence.strip() for line in text.splitlines() for sentence in _SENTENCE.split(line) if sentence.strip()]


def _first_value(arguments: str) -> str:
    try:
        read = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return str(next(iter(read.values()), "")) if isinstance(read, dict) else arguments


def _wish(scene: Scene, chance: random.Random) -> Call | None:
    """The tool call that the agent wants now, if any: in the beginning it looks up, later it talks."""
    only_index = len(scene.fresh) == 1 and scene.fresh[0].argument in ("index", _LIST_TABLES)
    eagerness = {"reconnaissance": 0.95, "planning": 0.6, "decision": 0.25}.get(scene.phase, 0.6)
    if scene.fresh and not only_index:
        return None
    if not only_index and chance.random() > eagerness:
        return None
    wishes = [wish for wish in (_paper(scene, chance), _query(scene, chance), _sum(scene, chance)) if wish]
    if not wishes:
        return None
    tool, name, value = chance.choice(wishes)
    return Call(f"call_{len(scene.fresh)}", tool, json.dumps({name: value}))


Wish = tuple[str, str, str]
_LIST_TABLES = "SELECT name, sql FROM sqlite_master"


def _known(scene: Scene, tool: str) -> tuple[set[str], str]:
    """(the arguments that were tried, all that came back) with one tool."""
    mine = [note for note in (*scene.notes, *scene.fresh) if note.tool == tool]
    return {note.argument for note in mine}, "\n".join(note.text for note in mine)


def _paper(scene: Scene, chance: random.Random) -> Wish | None:
    if "file_reader" not in scene.tools:
        return None
    tried, text = _known(scene, "file_reader")
    unread = [paper for paper in _PAPER.findall(text) if paper not in tried]
    return ("file_reader", "filename", chance.choice(unread) if unread else "index")


def _query(scene: Scene, chance: random.Random) -> Wish | None:
    if "database_query" not in scene.tools:
        return None
    tried, text = _known(scene, "database_query")
    unread = [f"SELECT * FROM {table}" for table in _TABLE.findall(text)]  # noqa: S608 - for a tool that only reads
    unread = [statement for statement in unread if statement not in tried]
    return ("database_query", "query", chance.choice(unread) if unread else _LIST_TABLES)


def _sum(scene: Scene, chance: random.Random) -> Wish | None:
    """Something to reckon with what was said: minutes that add up, or the time between two clock times."""
    if "calculator" not in scene.tools:
        return None
    heard = " ".join(text for _, text in scene.said)
    minutes = sorted({int(number) for number in _MINUTES.findall(heard) if int(number) <= 90})
    hours = sorted({int(hour) for hour, _ in _CLOCK.findall(heard)})
    sums = [f"2 * {one}" for one in minutes] + [f"{large} - {small}" for small, large in pairwise(minutes)]
    sums += [f"({later} - {earlier}) * 60" for earlier, later in pairwise(hours)]
    tried, _ = _known(scene, "calculator")
    sums = [expression for expression in sums if expression not in tried]
    return ("calculator", "expression", chance.choice(sums)) if sums else None


def _speech(scene: Scene, chance: random.Random) -> str:
    if scene.order.rstrip('"').endswith("?"):
        return _remembered(scene)
    parts = [f"As ordered: {_order(scene.order)}"] if scene.order else []
    findings = _findings(scene, chance)
    parts += [_slipped(finding, scene.secret, chance) for finding in findings]
    if not findings or chance.random() < 0.4:
        parts.append(_slipped(_answer(scene, chance), scene.secret, chance))
    return " ".join(parts)


def _remembered(scene: Scene) -> str:
    """The answer to a question: of all that the agent can remember, what has most to do with it."""
    asked = _telling(_order(scene.order))
    scored = [(len(asked & _telling(sentence)), place, sentence) for place, sentence in enumerate(scene.known)]
    score, _, best = max(scored, default=(0, 0, ""))  # of two that say as much, the later one
    return f"I remember this of it: {best}" if score > 1 else "I remember nothing of it."


def _telling(text: str) -> set[str]:
    """The words of a text that tell it from others."""
    return set(_ASKED.findall(text.lower())) - _COMMON


def _order(section: str) -> str:
    order = section.rsplit("\n", 1)[-1].strip().strip('"')
    return order if order.endswith((".", "!", "?")) else order + "."


def _findings(scene: Scene, chance: random.Random) -> list[str]:
    """One or two things from the tools, the freshest first, with their source, and not what was just said."""
    said = " ".join(text for _, text in scene.said)
    for note in (*reversed(scene.fresh), *reversed(scene.notes)):
        facts = [fact for fact in _facts(note) if fact.strip(".") not in said]
        if facts:
            chosen = sorted(chance.sample(facts, min(len(facts), 2)), key=facts.index)
            return [*chosen, _source(note, chance)]
    return []


def _facts(note: Note) -> list[str]:
    lines = note.text.splitlines()
    match note.tool:
        case "calculator":
            return [f"I reckon {note.text} minutes."] if " = " in note.text else []
        case "database_query" if len(lines) > 1 and " | " in lines[0] and "CREATE TABLE" not in note.text:
            columns = lines[0].split(" | ")
            return [_row(columns, line.split(" | ")) for line in lines[1:] if " | " in line]
        case "file_reader" if note.argument != "index":
            return [sentence for line in lines[1:] for sentence in _SENTENCE.split(line) if _FIGURE.search(sentence)]
    return []


def _row(columns: Sequence[str], cells: Sequence[str]) -> str:
    named = [f"{column.replace('_', ' ')} {cell}" for column, cell in zip(columns, cells, strict=False)]
    first = cells[0] if columns[0] in ("name", "place") else named[0]
    return f"{first[:1].upper()}{first[1:]}: {', '.join(named[1:])}."


def _source(note: Note, chance: random.Random) -> str:
    match note.tool:
        case "calculator":
            return chance.choice(["That is tight.", "We can live with that.", "Keep a margin on top of it."])
        case "database_query":
            table = note.argument.rsplit(" ", 1)[-1].replace("_", " ")
            return chance.choice(["That is from the security database, {}.", "My source is the table of {}."]).format(
                table
            )
    title = note.text.splitlines()[0]
    return chance.choice(["I have it from the {}.", "My source: {}.", "It stands in the {}."]).format(title)


_ASIDE = re.compile(r"^(I have it|I reckon|My source|It stands|That is|We can|Keep|As ordered|[A-Za-z]+, you)")


def _heard(scene: Scene, chance: random.Random) -> tuple[str, str] | None:
    """Something with a number in it that a colleague found out, and who."""
    quotes = [
        (name, sentence.rstrip("."))
        for name, text in scene.said
        if name != scene.name
        for sentence in _SENTENCE.split(text)
        if _FIGURE.search(sentence) and not _ASIDE.match(sentence) and "«" not in sentence
    ]
    return chance.choice(quotes) if quotes else None


_OPENERS = (
    "Before anything else I need figures: who has the papers on the vault, and who knows the shifts?",
    "Let us begin with what we can check. Bring me figures and dates, and I do my part as {role}.",
    "Nothing is settled yet. Tell me your sources and how old they are.",
)
_FILLERS = {
    "reconnaissance": (
        "What do we still not know? I would begin with the way out.",
        "Has anybody seen an older paper that says something else? Then tell us the dates.",
        "I am listening. Give me times, and I tell you what does not fit.",
    ),
    "planning": (
        "Let us put the steps in order now, with the clock beside each.",
        "Who is where when the shift changes? I want names for every post.",
        "My part as {role} is clear to me; what is missing is the hour.",
    ),
    "decision": (
        "I have nothing to add. My part as {role} stands.",
        "If nobody objects now, this is the plan.",
        "I am ready when you are.",
    ),
}
_REPLIES = {
    "reconnaissance": (
        "{name}, you said «{quote}». Can somebody confirm that from another source?",
        "What {name} found matters for me: «{quote}».",
        "I note «{quote}» from {name}. What is still missing is the way out.",
        "Good, {name}. With «{quote}» I can begin to plan my part.",
        "«{quote}», says {name}. Is that still up to date?",
    ),
    "planning": (
        "I build on {name}: «{quote}». My part as {role} follows from that.",
        "If «{quote}» holds, as {name} says, we have the window that we need.",
        "{name}, I would rather keep a margin around «{quote}».",
        "Agreed with {name} on «{quote}». Who disagrees should say so now.",
        "Then the order of the steps hangs on «{quote}». Are you sure of it, {name}?",
    ),
    "decision": (
        "For me it is settled: «{quote}», as {name} said. I am ready.",
        "My part stands on what {name} found: «{quote}». No more changes from me.",
        "Last check, {name}: «{quote}». If nobody objects, it goes into the plan.",
        "I go by «{quote}» and do my part as {role}.",
    ),
}


def _answer(scene: Scene, chance: random.Random) -> str:
    """A word to the others: about something that one of them found out, or what is missing."""
    if not scene.said:
        return chance.choice(_OPENERS).format(role=scene.role)
    phase = scene.phase if scene.phase in _REPLIES else "planning"
    heard = _heard(scene, chance)
    if heard is None or chance.random() < 0.2:
        return chance.choice(_FILLERS[phase]).format(role=scene.role)
    return chance.choice(_REPLIES[phase]).format(name=heard[0], quote=heard[1], role=scene.role)


def _slipped(text: str, secret: str, chance: random.Random) -> str:
    """The text, with one number wrong if the agent slips, or if its private brief tells it to mislead."""
    brief = secret.lower()
    wrong_times = (
        re.search(r"\b(wrong|shift\w*|delay\w*|false) (clock )?times?\b|\btiming errors?\b", brief) is not None
    )
    wrong_facts = re.search(r"\b(false|wrong|mislead\w*) (facts?|figures?|information|numbers?)\b", brief) is not None
    if chance.random() < (SABOTAGE_RATE if wrong_times else SLIP_RATE):
        text = _CLOCK.sub(lambda clock: _later(clock, chance), text, count=1)
    if chance.random() < (SABOTAGE_RATE if wrong_facts else SLIP_RATE):
        text = _NUMBER.sub(lambda number: str(int(number[0]) + chance.choice((1, 2, 5))), text, count=1)
    return text


def _later(clock: re.Match[str], chance: random.Random) -> str:
    minutes = int(clock[1]) * 60 + int(clock[2]) + chance.choice((-30, 15, 30, 45))
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"
