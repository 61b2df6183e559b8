"""Deceit: what an agent says because its brief asks for it, in the words that everybody uses."""

from collections.abc import Callable, Sequence

from heist.llm.simulated import phrases
from heist.llm.simulated.play import due, failed, late
from heist.llm.simulated.sabotage import LYING, wrong
from heist.llm.simulated.speech import Speech
from heist.llm.simulated.talk import reopen, tool

REOPENED = 0.5
BROKEN = 0.15
"""The share of a mole's turns in which it reopens a slot, or calls a tool broken: no more than honest agents in all, so
that the words alone tell nothing."""


def sabotage(speech: Speech) -> None:
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
    if speech.player.fixed.random() >= REOPENED or _before(
        speech, ("over", "sure of", "happy", "still hold", "look at")
    ):
        return False
    if slot := reopen(speech):
        speech.did.append(f"reopened {slot}, which was settled")
    return bool(slot)


def _broken(speech: Speech) -> bool:
    used = tool(speech)
    if not used or any(failed(note) for note in speech.scene.fresh) or speech.player.fixed.random() >= BROKEN:
        return False
    if _before(speech, ("trouble", "error", "did not answer", "no luck", "failed")):
        return False
    speech.mute = True
    speech.say(phrases.TROUBLE, tool=used)
    speech.did.append(f"said that {used} failed, which it did not")
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
