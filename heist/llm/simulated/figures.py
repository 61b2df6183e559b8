"""Figures: what an agent says of the facts that the plan needs."""

import re
from collections.abc import Sequence

from heist.llm.simulated import phrases
from heist.llm.simulated.knowledge import Report, read_in
from heist.llm.simulated.play import failed
from heist.llm.simulated.sabotage import options, wrong
from heist.llm.simulated.scene import SENTENCE
from heist.llm.simulated.sources import LISTING, SHEETS
from heist.llm.simulated.speech import SENTENCES, Speech

QUIET = 0.75
"""How often a liar who gives in, or a careless agent who was told, goes by the new figure and says nothing of it."""
EARLY = 2
OLD_TOLD = 0.3
"""How often an agent that has only an old paper tells of it in the first rounds; later it does."""
NEW = 0.5
"""How often an agent goes by a colleague in what it has not spoken of itself, where there is such a thing; the same for
a liar, whom anything else gives away by how much it speaks of."""
_ASKS = re.compile(r"\?|\b(need|miss|missing|who has|cannot settle)\b", re.IGNORECASE)


def _unread(speech: Speech) -> list[str]:
    """The labels that the plan needs, that the agent has read of, and that nobody has told in these words."""
    knowledge = speech.knowledge
    found = []
    for label in knowledge.read:
        truth = knowledge.truth(label)
        if not truth or label in speech.about or knowledge.was_told(label, speech.player.belief(label) or truth.value):
            continue
        if knowledge.is_old(truth) and speech.scene.round <= EARLY and speech.player.fixed.random() >= OLD_TOLD:
            continue
        found.append(label)
    return found


def withheld(speech: Speech, label: str) -> bool:
    value = speech.player.honest(label)
    return speech.mute or speech.player.brief.always("silence", f"{label} {value}")


def _keep_back(speech: Speech, labels: Sequence[str]) -> list[str]:
    """The labels that the agent is ready to tell of; what it keeps back goes on its account."""
    told = [label for label in labels if not withheld(speech, label)]
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


def shares(speech: Speech) -> None:
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


def misspoke(speech: Speech) -> None:
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
        if (player.brief.lies or player.careless) and player.fixed.random() < QUIET:
            continue
        speech.about.add(label)
        words = {"value": speech.shown(label, right.value), "other": mine.value}
        dated = f", as {right.agent} says" if right.agent in speech.scene.job.crew else ""
        dated = _dated(speech, right, phrases.DATED[2:]) if right.agent in ("", speech.scene.name) else dated
        speech.say(phrases.MISSPOKE, label=label, dated=dated, **words)


def corrections(speech: Speech) -> None:
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
        if withheld(speech, label):
            continue
        speech.about.add(label)
        speech.own_up(label, value)
        words = {"source": _source(truth), "value": speech.shown(label, value), "other": latest.value}
        speech.say(phrases.CORRECT, name=latest.agent, label=label, **words)


def answers(speech: Speech) -> None:
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


def disputes(speech: Speech) -> None:
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


def relays(speech: Speech) -> None:
    """What a colleague said and the agent goes by."""
    heard = [
        report
        for label, reports in speech.knowledge.heard.items()
        for report in reports.values()
        if label not in speech.about and speech.player.belief(label) == report.value
    ]
    if not heard or speech.chance.random() < 0.15:
        return
    new = [report for report in heard if report.label not in speech.knowledge.mine]
    report = speech.chance.choice(new if new and speech.chance.random() < NEW else heard)
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


def recalls(speech: Speech) -> None:
    mine = [label for label in speech.knowledge.own if label not in speech.about]
    if mine and speech.chance.random() < 0.3:
        label = speech.chance.choice(mine)
        speech.say(phrases.RECALL, label=label, value=speech.value(label) or "open")


def nothing_new(speech: Speech) -> None:
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
    return superseded or (withheld(speech, report.label) and report.label not in speech.knowledge.mine)
