"""What an agent knows: statements "the L is V", each with who made it, when, and by which paper."""

import datetime
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from heist.llm.simulated.scene import SENTENCE, Job, Note, Said, Scene

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TITLE = re.compile(r"^(.+), dated (\d{4}-\d\d-\d\d)$")
_IS = r"(?:is|are|was|stays|stands|remains|comes|=|:|at|of)"
_FORWARD = r"(?:\s+[^\W\d]+ \(\w+\))?\s*{be}(?:\s+(?:still|now|at|about|to|really))*\s*(?:the\s+)?({value})"
_REPAIRED = r"\s*{be}\s+not\s+(?:{value})[^.;,]*?,?\s+(?:but|it is)\s+(?:the\s+)?({value})"
_BACKWARD = r"(?<!not )(?<!not the )({value})(?:\s+[a-z]+)?\s+(?:is|for|as)\s+(?:the\s+)?$"
_UNIT = re.compile(r"\s+(minutes?|inch|[a-z]{3,}s)\b(?<!says)(?<!was)")
_AGAINST = re.compile(r"\b(not|but)\b")
LOOK_BACK = 60
RECENT = datetime.timedelta(days=150)


class Claim(NamedTuple):
    """`unit` is the word that stands after a number, empty where there is none."""

    label: str
    value: str
    unit: str


class Report(NamedTuple):
    """A claim and where it is from: `agent` is who said it, empty for what the agent has read itself; `source` and
    `date` are of the paper, as far as one is named. It is at second hand when the speaker has it from a colleague."""

    label: str
    value: str
    unit: str
    agent: str
    turn: int
    source: str
    date: str
    first_hand: bool = True


@lru_cache(maxsize=256)
def _around(value: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    fill = {"be": _IS, "value": value}
    forward, repaired, backward = (one.format(**fill) for one in (_FORWARD, _REPAIRED, _BACKWARD))
    return (re.compile(forward, re.I), re.compile(repaired, re.I), re.compile(backward, re.I))


@lru_cache(maxsize=50_000)
def claims(job: Job, sentence: str) -> tuple[Claim, ...]:
    """What a sentence states about the facts that the plan needs; a question states nothing."""
    if job.labels is None or sentence.rstrip("»\"' ").endswith("?"):
        return ()
    found = {}
    for match in job.labels.finditer(sentence):
        label = match[1].lower()
        value, unit = _value(job, sentence, match.start(), match.end())
        if value and fits(job, label, value):
            found[label] = Claim(label, shown(value), unit)
    return tuple(found.values())


def _value(job: Job, sentence: str, start: int, end: int) -> tuple[str, str]:
    """(the value that stands with a label, its unit)."""
    forward, repaired, backward = _around(job.value)
    found = forward.match(sentence, end) or repaired.match(sentence, end)
    found = found or backward.search(sentence, max(start - LOOK_BACK, 0), start)
    if not found:
        return "", ""
    unit = _UNIT.match(sentence, found.end(1)) if found[1].isdecimal() else None
    return found[1], unit[1] if unit else ""


def fits(job: Job, label: str, value: str) -> bool:
    """Whether the value is of the label's kind."""
    return (job.kinds.get(label) == "choice") == (job.options.fullmatch(value) is not None)


def shown(value: str) -> str:
    """The value as the plan would have it."""
    hours, colon, minutes = value.replace(".", ":").partition(":")
    if colon and hours.isdecimal():
        return f"{int(hours):02}:{minutes}"
    return value if value.isdecimal() else value.lower()


def read_in(job: Job, note: Note) -> list[Report]:
    """What a sheet or a table that the agent looked up states."""
    if note.argument == "index" or "CREATE TABLE" in note.text:
        return []
    lines = note.text.splitlines()
    title = _TITLE.match(lines[0]) if lines else None
    if note.tool == "database_query":
        return _table(job, note, lines)
    source, date = title.groups() if title else ("", "")
    text = " ".join(lines[1:] if title else lines)
    return [Report(*claim, "", 0, source, date) for line in SENTENCE.split(text) for claim in claims(job, line)]


def _table(job: Job, note: Note, lines: Sequence[str]) -> list[Report]:
    """Rows in which a fact stands by its label, beside its value; the date is the row's own, if it has one."""
    found = []
    name = note.argument.rsplit(" ", 1)[-1].strip('";').replace("_", " ")
    for line in lines[1:]:
        cells = [cell.strip() for cell in line.split(" | ")]
        date = next((cell for cell in cells if _DATE.fullmatch(cell)), "")
        stated = [claim for cell in cells for sentence in SENTENCE.split(cell) for claim in claims(job, sentence)]
        for label, value, unit in zip(cells, cells[1:], [*cells[2:], ""], strict=False):
            if label.lower() in job.kinds and re.fullmatch(job.value, value) and fits(job, label.lower(), value):
                first = unit.split(" ")[0] if value.isdecimal() and unit[:1].isalpha() else ""
                stated.append(Claim(label.lower(), shown(value), first))
        found += [Report(*claim, "", 0, f"table {name}", date) for claim in stated]
    return found


def told_by(job: Job, said: Said) -> list[Report]:
    """What somebody said, with the date of the paper that the sentence names."""
    found = []
    for sentence in SENTENCE.split(said.text):
        if stated := claims(job, sentence):
            date, first_hand = _manner(job, said.agent, sentence)
            found += [Report(*claim, said.agent, said.turn, "", date, first_hand) for claim in stated]
    return found


@lru_cache(maxsize=50_000)
def _manner(job: Job, speaker: str, sentence: str) -> tuple[str, bool]:
    """(the date that a sentence names, whether it is said of the speaker's own knowledge). Who names a colleague
    repeats him, unless it is to contradict."""
    dates = _DATE.findall(sentence)
    named = any(re.search(rf"\b{re.escape(name)}\b", sentence) for name in job.crew if name != speaker)
    return dates[-1] if dates else "", not named or _AGAINST.search(sentence) is not None


class Knowledge:
    """What an agent has read, what it has said, and what it has heard, by label. Whoever does not trust its own word,
    because it lies, does not take it for a memory of what it read."""

    def __init__(self, scene: Scene, trusted: bool = True) -> None:
        self._trusted = trusted
        job = scene.job
        self._job = job
        self.read: dict[str, list[Report]] = {}
        for note in (*scene.notes, *scene.fresh):
            self._keep(self.read, read_in(job, note))
        older = [Report(*claim, "", 0, "", "") for line in _lines(scene.noted) for claim in claims(job, line)]
        self._keep(self.read, (report for report in older if report.label not in self.read))
        self.mine: dict[str, Report] = {}
        self.own: dict[str, Report] = {}
        self.heard: dict[str, dict[str, Report]] = {}
        self._recent = _recent(scene)
        self._used = {label for name in scene.plan if name in job.slots for label in job.of(job.slots[name])}
        for said in sorted((*scene.recorded, *scene.said), key=lambda one: one.turn):
            for report in told_by(job, said):
                if said.agent == scene.name:
                    self.mine[report.label] = report
                    if report.first_hand and report.date:
                        self._hear(self.own, report.label, report)
                else:
                    self._hear(self.heard.setdefault(report.label, {}), said.agent, report)

    @staticmethod
    def _hear(kept: dict[str, Report], key: str, report: Report) -> None:
        """What somebody said with a date outweighs what the same one said without."""
        before = kept.get(key)
        if report.date or before is None or not before.date:
            kept[key] = report

    @staticmethod
    def _keep(kept: dict[str, list[Report]], reports: Iterable[Report]) -> None:
        for report in reports:
            kept.setdefault(report.label, []).append(report)

    def unit(self, label: str) -> str:
        """The unit in which anybody gave it."""
        mine = [self.mine[label]] if label in self.mine else []
        reports = [*self.read.get(label, ()), *mine, *self.heard.get(label, {}).values()]
        return next((report.unit for report in reports if report.unit), "")

    def truth(self, label: str) -> Report | None:
        """By the newest paper that the agent has read itself, or remembers to have told of. A paper that is much older
        than others counts for nothing where somebody says otherwise, nor where the plan has long gone by another."""
        own = self.own.get(label) if self._trusted else None
        reports = [*([own] if own else []), *self.read.get(label, ())]
        best = max(reports, key=lambda report: (report.date, not report.agent), default=None)
        if best is None or not self.is_old(best) or (own and own.date == best.date):
            return best
        told = [*self.heard.get(label, {}).values(), *([self.mine[label]] if label in self.mine else [])]
        return best if label not in self._used and all(report.value == best.value for report in told) else None

    def is_old(self, report: Report) -> bool:
        return bool(report.date) and report.date < self._recent

    def hearsay(self, label: str) -> Report | None:
        """What the colleagues say: by the newest paper that they name, and of two as new the latest at first hand."""
        return max(self.heard.get(label, {}).values(), key=_weight, default=None)

    def belief(self, label: str) -> Report | None:
        """What the agent goes by: what it has read, else what the others say, else its own word."""
        return self.truth(label) or self.hearsay(label) or self.mine.get(label)

    def word(self, label: str) -> Report | None:
        """What the agent has told the others, and keeps to; else what it goes by."""
        return self.mine.get(label) or self.belief(label)

    def disputed(self, label: str) -> tuple[Report, Report] | None:
        """Two colleagues with different figures from papers as new as each other, what the agent goes by last."""
        best = self.hearsay(label)
        reports = self.heard.get(label, {}).values()
        if best is None:
            return None
        rank = _weight(best)[:2]
        other = next((one for one in reports if one.value != best.value and _weight(one)[:2] >= rank), None)
        return (other, best) if other else None

    def was_told(self, label: str, value: str) -> bool:
        """Whether somebody has given the others this value."""
        reports = [*self.heard.get(label, {}).values(), *([self.mine[label]] if label in self.mine else [])]
        return any(report.value == value for report in reports)


def _weight(report: Report) -> tuple[str, bool, int]:
    return report.date, report.first_hand, report.turn


def _recent(scene: Scene) -> str:
    """The date from which on a paper is not much older than the newest that is named."""
    texts = [
        *(note.text for note in (*scene.notes, *scene.fresh)),
        *(said.text for said in (*scene.recorded, *scene.said)),
    ]
    dates = sorted(date for text in texts for date in _DATE.findall(text))
    try:
        newest = datetime.date.fromisoformat(dates[-1] if dates else "")
    except ValueError:
        return ""
    return (newest - RECENT).isoformat() if newest.year > 1 else ""


def _lines(text: str) -> list[str]:
    return [sentence for line in text.splitlines() for sentence in SENTENCE.split(line)]
