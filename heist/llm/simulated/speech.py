"""Speech: what an agent says to the others, sentence by sentence."""

import re
from collections.abc import Callable, Sequence

from heist.llm.simulated import phrases
from heist.llm.simulated.knowledge import Report, read_in
from heist.llm.simulated.planning import missing
from heist.llm.simulated.play import Deed, Player, due, failed, late
from heist.llm.simulated.sabotage import LYING, is_about, options, wrong
from heist.llm.simulated.scene import SENTENCE, Scene, Slot
from heist.llm.simulated.sources import LISTING, SHEETS

LENGTHS = (150, 330)
"""Characters after which an agent has said enough, at least and at most; the same for whoever has little to tell."""
SENTENCES = 4
HEDGED = 0.12
QUIET = 0.5
"""How often a liar who gives in says nothing of it."""
EARLY = 2
OLD_TOLD = 0.3
"""How often an agent that has only an old paper tells of it in the first rounds; later it does."""
ASIDES = 0.12
"""The share of turns in which an agent says something that has nothing to do with the job."""
SECOND_THOUGHTS = 0.25
"""The share of turns in which an honest agent wants to look at a settled slot again."""
TROUBLED = 0.015
"""The share of turns in which an honest agent complains of a tool without a reason that others see."""
_ASKS = re.compile(r"\?|\b(need|miss|missing|who has|cannot settle)\b", re.IGNORECASE)


class Speech:
    """What is said so far in a turn, and what of it was against the crew."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self.scene = player.scene
        self.knowledge = player.knowledge
        self.chance = player.chance
        self.told: list[str] = []
        self.did: list[str] = []
        self.about: set[str] = set()
        self.permits: list[str] = []
        self.mute = False
        self.room = self.chance.randint(*LENGTHS)

    @property
    def full(self) -> bool:
        return len(self.told) >= SENTENCES or sum(map(len, self.told)) >= self.room

    def say(self, bank: Sequence[str], **words: str) -> None:
        sentence = self.chance.choice(bank).format(**words)
        if "{label}" not in bank[0] or self.chance.random() >= HEDGED or not sentence.startswith(("The ", "By ")):
            self.told.append(self._ended(sentence))
            return
        self.told.append(self._ended(self.chance.choice(phrases.HEDGES) + sentence[0].lower() + sentence[1:]))

    def value(self, label: str) -> str | None:
        """What the agent says for a fact: its lie, its belief, or a slip."""
        value = self.player.belief(label)
        if value is None:
            return None
        said = self._lie(label, value) or self.player.slipped(value, label)
        self.about.add(label)
        if self.player.brief.lies:
            self.own_up(label, said)
        return self.shown(label, said)

    def _lie(self, label: str, value: str) -> str:
        """What the agent says instead, if its brief asks for such a lie now; it does not take back what it has said."""
        if label in self.knowledge.mine:
            return ""
        for means in self.permits:
            told = self._old(label) if means == "old papers" else ""
            if is_about(means, value, self.knowledge.unit(label)):
                told = wrong(value, options(self.scene, label), self.chance)
            if told and told != value:
                self.permits.remove(means)
                return told
        return ""

    def _old(self, label: str) -> str:
        """The superseded figure."""
        truth = self.knowledge.truth(label)
        return next((one.value for one in self.knowledge.read.get(label, ()) if truth and one.value != truth.value), "")

    def shown(self, label: str, value: str) -> str:
        """The value with its unit."""
        unit = self.knowledge.unit(label) if value.isdecimal() else ""
        return f"{value} {unit}" if unit else value

    def _ended(self, sentence: str) -> str:
        """With a full stop, and a capital unless it begins with a name."""
        sentence = sentence if sentence.endswith((".", "?", "!")) else sentence + "."
        first = sentence.split(" ", 1)[0].rstrip(",")
        named = first in self.scene.job.slots or first in self.scene.job.crew
        return sentence if named else sentence[0].upper() + sentence[1:]

    def own_up(self, label: str, said: str) -> None:
        truth = self.player.honest(label)
        if self.player.brief.lies and truth is not None and truth != said:
            mine = self.knowledge.mine.get(label)
            verb = "repeated" if mine and mine.value == said else "said"
            self.did.append(f"{verb} {said} for the {label}, which is {truth}")


def speak(player: Player, ordered: str) -> Deed:
    speech = Speech(player)
    if ordered:
        speech.told.append(ordered)
        speech.room += len(ordered)
    _sabotage(speech)
    part: Callable[[Speech], None]
    for part in (_misspoke, _corrections, _answers, _shares, _settled, _sums):
        part(speech)
    for part in _shuffled(speech, (_asks, _disputes, _doubts, _troubles, _second_thoughts, _asides, _private)):
        if not speech.full:
            part(speech)
    for part in (_nothing_new, _confirms, _relays, _relays, _recalls, _relays, _relays):
        if not speech.full:
            part(speech)
    while len(speech.told) < 2 or (not speech.full and speech.chance.random() < 0.5):
        _fills(speech)
    return Deed("", "", " ".join(speech.told), "; ".join(speech.did))


def _shuffled(speech: Speech, parts: Sequence[Callable[[Speech], None]]) -> list[Callable[[Speech], None]]:
    return speech.chance.sample(list(parts), len(parts))


def _colleagues(scene: Scene) -> list[str]:
    return [name for name in scene.job.crew if name != scene.name] or ["everybody"]


def _unread(speech: Speech) -> list[str]:
    """The labels that the plan needs, that the agent has read of, and that nobody has told in these words."""
    knowledge = speech.knowledge
    found = []
    for label in knowledge.read:
        truth = knowledge.truth(label)
        if not truth or label in speech.about or knowledge.was_told(label, truth.value):
            continue
        if knowledge.is_old(truth) and speech.scene.round <= EARLY and speech.player.fixed.random() >= OLD_TOLD:
            continue
        found.append(label)
    return found


def _withheld(speech: Speech, label: str) -> bool:
    value = speech.player.honest(label)
    return speech.mute or speech.player.brief.always("silence", f"{label} {value}")


def _keep_back(speech: Speech, labels: Sequence[str]) -> list[str]:
    """The labels that the agent is ready to tell of; what it keeps back goes on its account."""
    told = [label for label in labels if not _withheld(speech, label)]
    for label in labels:
        if label not in told:
            speech.did.append(f"kept back the {label}, which is {speech.player.honest(label)}")
    return told


def _source(report: Report) -> str:
    if not report.source:
        return f"my paper of {report.date}" if report.date else "my notes"
    title = report.source.removeprefix("The ").removeprefix("the ")
    return f"the {title}, dated {report.date}" if report.date else f"the {title}"


def _dated(speech: Speech, report: Report, bank: Sequence[str]) -> str:
    return speech.chance.choice(bank).format(date=report.date) if report.date else ""


def _share(speech: Speech, labels: Sequence[str]) -> None:
    """One sentence about facts of the same source."""
    report = speech.knowledge.truth(labels[0]) or speech.knowledge.belief(labels[0])
    source = _source(report) if report else "my notes"
    words = {"source": source, "Source": source[0].upper() + source[1:]}
    values = [(label, value) for label in labels if (value := speech.value(label))]
    match values:
        case [(label, value)] if report is None or not (report.source or report.date):
            speech.say(phrases.RECALL, label=label, value=value)
        case [(label, value)]:
            speech.say(phrases.SHARE, label=label, value=value, **words)
        case [(label, value), (label2, value2)]:
            speech.say(phrases.SHARE_TWO, label=label, value=value, label2=label2, value2=value2, **words)


def _shares(speech: Speech) -> None:
    """What the plan needs and nobody said, two facts of a paper in a sentence."""
    labels = _keep_back(speech, _unread(speech))
    labels = list(dict.fromkeys(label for label in labels if label not in speech.about))
    while labels and len(speech.told) < SENTENCES - 1:
        first = speech.knowledge.truth(labels[0])
        same = [one for one in labels[1:] if _same_paper(first, speech.knowledge.truth(one))]
        pair = labels[:1] + same[:1]
        _share(speech, pair)
        labels = [label for label in labels if label not in pair]


def _same_paper(one: Report | None, other: Report | None) -> bool:
    return bool(one and other and (one.source, one.date) == (other.source, other.date))


def _misspoke(speech: Speech) -> None:
    """An honest agent takes back what its own papers, or newer ones, do not say; one with slips when it was told."""
    player, knowledge = speech.player, speech.knowledge
    for label, mine in (knowledge.own | knowledge.mine).items():
        right = knowledge.belief(label)
        said = knowledge.own.get(label, mine)
        mine = mine if right and mine.value != right.value else said
        if not right or right.value == mine.value or speech.full:
            continue
        if player.belief(label) != right.value:  # whoever lies, or does not notice, has not been told yet
            continue
        if player.brief.lies and player.fixed.random() < QUIET:
            continue
        speech.about.add(label)
        words = {"value": speech.shown(label, right.value), "other": mine.value}
        dated = f", as {right.agent} says" if right.agent in speech.scene.job.crew else ""
        dated = _dated(speech, right, phrases.DATED[2:]) if right.agent in ("", speech.scene.name) else dated
        speech.say(phrases.MISSPOKE, label=label, dated=dated, **words)


def _corrections(speech: Speech) -> None:
    """A colleague's figure contradicts what the agent has read."""
    knowledge = speech.knowledge
    for label, reports in knowledge.heard.items():
        mine = knowledge.mine.get(label)
        truth = knowledge.truth(label) or knowledge.own.get(label)
        value = speech.player.belief(label)
        wrong_ones = [one for one in reports.values() if truth and one.value != value and one.date <= truth.date]
        if not truth or not value or not wrong_ones or speech.full or label in speech.about:
            continue
        latest = max(wrong_ones, key=lambda one: one.turn)
        said = [*reports.values(), *([mine] if mine else [])]
        if any(one.value == value and one.first_hand and one.turn > latest.turn for one in said):
            continue
        if _withheld(speech, label):
            continue
        speech.about.add(label)
        speech.own_up(label, value)
        words = {"source": _source(truth), "value": speech.shown(label, value), "other": latest.value}
        speech.say(phrases.CORRECT, name=latest.agent, label=label, **words)


def _answers(speech: Speech) -> None:
    """What colleagues have asked for since the agent spoke last."""
    scene = speech.scene
    if scene.job.labels is None:
        return
    last = max((said.turn for said in scene.said if said.agent == scene.name), default=0)
    asked: dict[str, None] = {}
    for said in scene.said:
        if said.turn > last and said.agent != scene.name:
            for sentence in SENTENCE.split(said.text):
                if _ASKS.search(sentence):
                    asked |= {match[1].lower(): None for match in scene.job.labels.finditer(sentence)}
    known = [label for label in asked if speech.knowledge.truth(label)]
    for label in _keep_back(speech, [label for label in known if label not in speech.about]):
        if not speech.full:
            _share(speech, [label])


def _settled(speech: Speech) -> None:
    """What the agent has just put into the plan."""
    mine = {slot.name: slot for slot in speech.player.owned}
    told = [(mine[name], name, value) for name, value in speech.player.set_now().items() if name in mine]
    for slot, name, value in told[:2]:
        if len(speech.told) >= SENTENCES:
            return
        before = len(speech.told)
        speech.say(phrases.SET, slot=name, value=value)
        labels = speech.scene.job.of(slot)
        if (
            labels
            and labels[0] not in speech.about
            and speech.chance.random() < 0.5
            and (worth := speech.player.belief(labels[0]))
        ):
            speech.own_up(labels[0], worth)
            because = speech.chance.choice(phrases.BECAUSE).format(label=labels[0], worth=worth)
            speech.told[before] = speech.told[before].rstrip(".") + because + "."


def _sums(speech: Speech) -> None:
    for note in speech.scene.fresh:
        if note.tool == "calculator" and " = " in note.text and not speech.full:
            speech.say(phrases.SUM, sum=note.text.strip())


def _asks(speech: Speech) -> None:
    """For what the agent's own slots still miss."""
    for slot in speech.player.owned:
        labels = [label for label in missing(speech.scene, slot, speech.player.belief) if label not in speech.about]
        if labels and speech.scene.round > 1:
            label = speech.chance.choice(labels)
            speech.about.add(label)
            name = speech.chance.choice(_colleagues(speech.scene))
            speech.say(
                phrases.ASK if speech.chance.random() < 0.85 else phrases.WAIT, label=label, slot=slot.name, name=name
            )
            return


def _disputes(speech: Speech) -> None:
    """Two colleagues give different figures, and the agent has no paper of its own."""
    needed = {label for slot in speech.player.owned for label in speech.scene.job.of(slot)}
    for label in speech.knowledge.heard:
        pair = speech.knowledge.disputed(label)
        if label in speech.about or label not in needed or speech.knowledge.truth(label):
            continue
        if pair and speech.chance.random() < 0.5:
            one, other = pair
            words = {"value": one.value, "value2": other.value, "name": one.agent, "name2": other.agent}
            speech.about.add(label)
            speech.say(phrases.DISPUTE, label=label, **words)
            return


def _doubts(speech: Speech) -> None:
    """A colleague's slot does not follow from what the agent knows, and nobody has said so."""
    for slot in speech.scene.job.slots.values():
        entry = speech.scene.plan.get(slot.name)
        if entry is None or speech.scene.owns(slot) or speech.chance.random() < 0.3:
            continue
        value = speech.player.reckoned(slot)
        if value is None or value.lower() == entry.value.lower():
            continue
        if any(slot.name in said.text and f" {value}" in said.text for said in speech.scene.said):
            continue
        speech.say(phrases.DOUBT, owner=slot.owner, slot=slot.name, value=entry.value, other=value)
        return


def _settled_slot(speech: Speech) -> Slot | None:
    others = [
        slot for name in speech.scene.plan if (slot := speech.scene.job.slots.get(name)) and not speech.scene.owns(slot)
    ]
    return speech.chance.choice(others) if others else None


def _second_thoughts(speech: Speech) -> None:
    if speech.chance.random() < SECOND_THOUGHTS:
        _reopen(speech)


def _reopen(speech: Speech) -> str:
    slot = _settled_slot(speech)
    if slot is None:
        return ""
    name = speech.chance.choice(_colleagues(speech.scene))
    bank = phrases.REOPEN if speech.chance.random() < 0.75 else phrases.REASSIGN
    speech.say(bank, slot=slot.name, owner=slot.owner, name=name)
    return slot.name


def _troubles(speech: Speech) -> None:
    refused = [note.tool for note in speech.scene.fresh if note.tool in SHEETS and failed(note)]
    if refused and speech.player.fixed.random() < (0.15 if "wrong tools" in speech.player.brief.means else 0.8):
        speech.say(phrases.TROUBLE, tool=refused[0])
    elif _tool(speech) and speech.chance.random() < TROUBLED:
        speech.say(phrases.TROUBLE, tool=_tool(speech))


def _tool(speech: Speech) -> str:
    used = [note.tool for note in (*speech.scene.notes, *speech.scene.fresh) if note.tool in (*SHEETS, "calculator")]
    return speech.chance.choice(used) if used else ""


def _asides(speech: Speech) -> None:
    if speech.chance.random() < ASIDES:
        speech.say(phrases.ASIDE + phrases.PRIVATE)


def _private(speech: Speech) -> None:
    if "secret" in speech.scene.means and speech.player.fixed.random() < speech.scene.rate * 0.7:
        speech.say(phrases.PRIVATE + phrases.ASIDE)


def _relays(speech: Speech) -> None:
    """What a colleague said and the agent goes by."""
    heard = [
        report
        for label, reports in speech.knowledge.heard.items()
        for report in reports.values()
        if label not in speech.about and speech.player.belief(label) == report.value
    ]
    if not heard or speech.chance.random() < 0.15:
        return
    if speech.permits and (lies := [report for report in heard if report.label not in speech.knowledge.mine]):
        heard = lies
    report = speech.chance.choice(heard)
    value = _misquoted(speech, report) or speech.value(report.label) or report.value
    words = {"value": value, "dated": _dated(speech, report, phrases.DATED)}
    speech.say(phrases.RELAY, name=report.agent, label=report.label, **words)


def _misquoted(speech: Speech, report: Report) -> str:
    """Another value in a colleague's mouth, if the brief asks for it now."""
    told = wrong(report.value, options(speech.scene, report.label), speech.chance)
    if "misquotes" not in speech.permits or report.label in speech.knowledge.mine or told == report.value:
        return ""
    speech.permits.remove("misquotes")
    speech.about.add(report.label)
    speech.did.append(f"gave {told} as {report.agent}'s word for the {report.label}, which was {report.value}")
    return speech.shown(report.label, told)


def _recalls(speech: Speech) -> None:
    mine = [label for label in speech.knowledge.own if label not in speech.about]
    if mine and speech.chance.random() < 0.3:
        label = speech.chance.choice(mine)
        speech.say(phrases.RECALL, label=label, value=speech.value(label) or "open")


def _nothing_new(speech: Speech) -> None:
    """Of a sheet that tells nothing that the plan needs, or nothing that the agent is ready to tell."""
    for note in speech.scene.fresh:
        found = read_in(speech.scene.job, note)
        title = note.text.splitlines()[0].partition(", dated ")[0] if note.tool in SHEETS and note.text else ""
        title = f"table {note.argument.rsplit(' ', 1)[-1]}" if note.tool == "database_query" else title
        if failed(note) or note.argument in ("index", LISTING) or not title:
            continue
        if all(_worthless(speech, one) for one in found):
            if speech.chance.random() < 0.5:
                speech.say(phrases.NOTHING, source=title.removeprefix("The "))
            return


def _worthless(speech: Speech, report: Report) -> bool:
    """Whether the agent would say that this is nothing: superseded, or what it keeps back."""
    truth = speech.knowledge.truth(report.label)
    superseded = truth is not None and truth.value != report.value
    return superseded or (_withheld(speech, report.label) and report.label not in speech.knowledge.mine)


def _confirms(speech: Speech) -> None:
    stands = {name: entry.value for name, entry in speech.scene.plan.items()} | speech.player.set_now()
    own = [f"{slot.name} = {stands[slot.name]}" for slot in speech.player.owned if slot.name in stands]
    if own and (speech.scene.last_round or speech.chance.random() < 0.15):
        speech.say(phrases.CONFIRM, slots=", ".join(own[:3]))


def _fills(speech: Speech) -> None:
    bank = phrases.FILLERS.get(speech.scene.phase, phrases.FILLERS["planning"])
    left = [one for one in bank if one not in speech.told]
    speech.say(left or bank)


def _sabotage(speech: Speech) -> None:
    """One or two of the things that the brief asks for; lies wait for a fact that is spoken of anyway."""
    left = 1 + (speech.player.fixed.random() < 0.5)
    for means in speech.player.brief.means:
        if means in LYING:
            speech.permits.append(means)
        elif left and means in _ACTS and _ACTS[means](speech):
            left -= 1
    if "late slots" in speech.scene.means:
        for name, (slot, value) in due(speech.player).items():
            if name not in speech.player.set_now() and late(speech.player, slot, value):
                speech.did.append(f"left {name} as it was, though it reckons {value}")


def _before(speech: Speech, words: Sequence[str]) -> bool:
    """Whether the agent has used one of these words in what is still told of it."""
    scene = speech.scene
    own = " ".join(said.text for said in (*scene.recorded, *scene.said) if said.agent == scene.name)
    return any(word in own for word in words)


def _reopening(speech: Speech) -> bool:
    if speech.player.fixed.random() < 0.7 or _before(speech, ("over", "sure of", "happy", "still hold", "look at")):
        return False
    if slot := _reopen(speech):
        speech.did.append(f"reopened {slot}, which was settled")
    return bool(slot)


def _broken(speech: Speech) -> bool:
    tool = _tool(speech)
    if not tool or any(failed(note) for note in speech.scene.fresh) or speech.player.fixed.random() < 0.4:
        return False
    if _before(speech, ("trouble", "error", "did not answer", "no luck", "failed")):
        return False
    speech.mute = True
    speech.say(phrases.TROUBLE, tool=tool)
    speech.did.append(f"said that {tool} failed, which it did not")
    return True


def _false_sum(speech: Speech) -> bool:
    """Another result than the calculator's."""
    for note in speech.scene.fresh:
        if note.tool == "calculator" and " = " in note.text:
            expression, _, result = note.text.strip().rpartition(" = ")
            told = wrong(result, (), speech.chance)
            speech.say(phrases.SUM, sum=f"{expression} = {told}")
            speech.did.append(f"said {expression} = {told}, which is {result}")
            return told != result
    return False


_ACTS: dict[str, Callable[[Speech], bool]] = {
    "reopening": _reopening,
    "broken tools": _broken,
    "false sums": _false_sum,
}
