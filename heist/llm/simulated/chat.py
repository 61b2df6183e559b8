"""Chat: what an agent looks up and says where the prompt tells of no plan with slots."""

import random
import re
from collections.abc import Sequence
from itertools import pairwise

from heist.llm.simulated import sources
from heist.llm.simulated.play import SLIP_RATE, Deed
from heist.llm.simulated.scene import SENTENCE, Note, Scene

SABOTAGE_RATE = 0.6
"""The share of statements in which an agent whose prompt tells it to mislead gets a number wrong."""

_ASKED = re.compile(r"[a-z]{3,}|\d+")
_COMMON = frozenset(
    "the and for that this with you your are was were will have has had not but from they them what when who how why "
    "can could there here our out all any many much does did".split()
)
_CLOCK = re.compile(r"\b(\d\d):(\d\d)\b")
_NUMBER = re.compile(r"(?<![\d:.-])\d{1,4}(?![\d:]|[.-]\d)")
_FIGURE = re.compile(r"\d")
_MINUTES = re.compile(r"(\d{1,4}) minutes")
_WRONG_TIMES = re.compile(r"\b(wrong|shift\w*|delay\w*|false) (clock )?times?\b|\btiming errors?\b")
_WRONG_FACTS = re.compile(r"\b(false|wrong|mislead\w*) (facts?|figures?|information|numbers?)\b")


def deed(scene: Scene, chance: random.Random) -> Deed:
    wished = _wish(scene, chance) if scene.tools else None
    return Deed(*wished, "") if wished else _speech(scene, chance)


def ordered(scene: Scene) -> str:
    """The beginning of an answer to an order, empty without one."""
    return f"As ordered: {_order(scene.order)}" if scene.order else ""


def _wish(scene: Scene, chance: random.Random) -> tuple[str, str] | None:
    """The tool call that the agent wants now, if any: in the beginning it looks up, later it talks."""
    only_index = len(scene.fresh) == 1 and scene.fresh[0].argument in ("index", sources.LISTING)
    eagerness = {"reconnaissance": 0.95, "planning": 0.6, "decision": 0.25}.get(scene.phase, 0.6)
    if scene.fresh and not only_index:
        return None
    if not only_index and chance.random() > eagerness:
        return None
    wishes = [wish for wish in (sources.wish(scene, chance), _sum(scene, chance)) if wish]
    return chance.choice(wishes) if wishes else None


def _sum(scene: Scene, chance: random.Random) -> tuple[str, str] | None:
    """Something to reckon with what was said: minutes that add up, or the time between two clock times."""
    if "calculator" not in scene.tools:
        return None
    heard = " ".join(said.text for said in scene.said)
    minutes = sorted({int(number) for number in _MINUTES.findall(heard) if int(number) <= 90})
    hours = sorted({int(hour) for hour, _ in _CLOCK.findall(heard)})
    sums = [f"2 * {one}" for one in minutes] + [f"{large} - {small}" for small, large in pairwise(minutes)]
    sums += [f"({later} - {earlier}) * 60" for earlier, later in pairwise(hours)]
    tried = sources.tried(scene, "calculator")
    sums = [expression for expression in sums if expression not in tried]
    return ("calculator", chance.choice(sums)) if sums else None


def _speech(scene: Scene, chance: random.Random) -> Deed:
    findings = _findings(scene, chance)
    told = [_slipped(finding, scene.secret, chance) for finding in findings]
    if not findings or chance.random() < 0.4:
        told.append(_slipped(_answer(scene, chance), scene.secret, chance))
    text = " ".join([*filter(None, [ordered(scene)]), *(text for text, _ in told)])
    return Deed("", "", text, "; ".join(did for _, did in told if did))


def remembered(scene: Scene) -> str:
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
    said = " ".join(one.text for one in scene.said)
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
            return [sentence for line in lines[1:] for sentence in SENTENCE.split(line) if _FIGURE.search(sentence)]
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
        (said.agent, sentence.rstrip("."))
        for said in scene.said
        if said.agent != scene.name
        for sentence in SENTENCE.split(said.text)
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


def _slipped(text: str, secret: str, chance: random.Random) -> tuple[str, str]:
    """(the text, with one number wrong if the agent slips or if its private brief tells it to mislead; what of that was
    against the crew)."""
    brief = secret.lower()
    meant = bool(_WRONG_TIMES.search(brief)), bool(_WRONG_FACTS.search(brief))
    did = []
    for means, pattern, wrong in zip(meant, (_CLOCK, _NUMBER), (_later, _more), strict=True):
        if chance.random() < (SABOTAGE_RATE if means else SLIP_RATE):
            told = pattern.sub(lambda found, wrong=wrong: wrong(found, chance), text, count=1)  # type: ignore[misc]
            did += [f"said «{told}» for «{text}»"] if means and told != text else []
            text = told
    return text, "; ".join(did)


def _more(number: re.Match[str], chance: random.Random) -> str:
    return str(int(number[0]) + chance.choice((1, 2, 5)))


def _later(clock: re.Match[str], chance: random.Random) -> str:
    minutes = int(clock[1]) * 60 + int(clock[2]) + chance.choice((-30, 15, 30, 45))
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}"
