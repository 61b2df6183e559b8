"""Talk: what an agent says of the plan, its tools and itself."""

from heist.llm.simulated import phrases
from heist.llm.simulated.planning import missing
from heist.llm.simulated.play import failed
from heist.llm.simulated.scene import Scene, Slot
from heist.llm.simulated.sources import SHEETS
from heist.llm.simulated.speech import SENTENCES, Speech

ASIDES = 0.12
"""The share of turns in which an agent says something that has nothing to do with the job."""
SECOND_THOUGHTS = 0.25
"""The share of turns in which an agent wants to look at a settled slot again, unless its brief has it do so."""
DRAWN = 0.6
"""How often a liar lets a slot pass that does not follow from its lies; else it would doubt far more than others."""
TROUBLED = 0.03
"""The share of turns in which an honest agent complains of a tool without a reason that others see."""


def colleagues(scene: Scene) -> list[str]:
    return [name for name in scene.job.crew if name != scene.name] or ["everybody"]


def settled(speech: Speech) -> None:
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


def sums(speech: Speech) -> None:
    for note in speech.scene.fresh:
        if note.tool == "calculator" and " = " in note.text and not speech.full:
            speech.say(phrases.SUM, sum=note.text.strip())


def asks(speech: Speech) -> None:
    """For what the agent's own slots still miss."""
    for slot in speech.player.owned:
        labels = [label for label in missing(speech.scene, slot, speech.player.belief) if label not in speech.about]
        if labels and speech.scene.round > 1:
            label = speech.chance.choice(labels)
            speech.about.add(label)
            name = speech.chance.choice(colleagues(speech.scene))
            speech.say(
                phrases.ASK if speech.chance.random() < 0.85 else phrases.WAIT, label=label, slot=slot.name, name=name
            )
            return


def doubts(speech: Speech) -> None:
    """A colleague's slot does not follow from what the agent knows, and nobody has said so."""
    for slot in speech.scene.job.slots.values():
        entry = speech.scene.plan.get(slot.name)
        if entry is None or speech.scene.owns(slot) or speech.chance.random() < 0.3:
            continue
        value = speech.player.reckoned(slot)
        if value is None or value.lower() == entry.value.lower():
            continue
        if speech.player.brief.lies and speech.chance.random() < DRAWN:
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


def second_thoughts(speech: Speech) -> None:
    if "reopening" not in speech.scene.means and speech.chance.random() < SECOND_THOUGHTS:
        reopen(speech)


def reopen(speech: Speech) -> str:
    slot = _settled_slot(speech)
    if slot is None:
        return ""
    name = speech.chance.choice(colleagues(speech.scene))
    bank = phrases.REOPEN if speech.chance.random() < 0.75 else phrases.REASSIGN
    speech.say(bank, slot=slot.name, owner=slot.owner, name=name)
    return slot.name


def troubles(speech: Speech) -> None:
    refused = [note.tool for note in speech.scene.fresh if note.tool in SHEETS and failed(note)]
    if refused and speech.player.fixed.random() < (0.15 if "wrong tools" in speech.player.brief.means else 0.8):
        speech.say(phrases.TROUBLE, tool=refused[0])
    elif tool(speech) and speech.chance.random() < TROUBLED:
        speech.say(phrases.TROUBLE, tool=tool(speech))


def tool(speech: Speech) -> str:
    used = [note.tool for note in (*speech.scene.notes, *speech.scene.fresh) if note.tool in (*SHEETS, "calculator")]
    return speech.chance.choice(used) if used else ""


def asides(speech: Speech) -> None:
    if speech.chance.random() < ASIDES:
        speech.say(phrases.ASIDE + phrases.PRIVATE)


def private(speech: Speech) -> None:
    if "secret" in speech.scene.means and speech.player.fixed.random() < speech.scene.rate * 0.7:
        speech.say(phrases.PRIVATE + phrases.ASIDE)


def confirms(speech: Speech) -> None:
    stands = {name: entry.value for name, entry in speech.scene.plan.items()} | speech.player.set_now()
    own = [f"{slot.name} = {stands[slot.name]}" for slot in speech.player.owned if slot.name in stands]
    if own and (speech.scene.last_round or speech.chance.random() < 0.15):
        speech.say(phrases.CONFIRM, slots=", ".join(own[:3]))


def fills(speech: Speech) -> None:
    bank = phrases.FILLERS.get(speech.scene.phase, phrases.FILLERS["planning"])
    left = [one for one in bank if one not in speech.told]
    speech.say(left or bank)
