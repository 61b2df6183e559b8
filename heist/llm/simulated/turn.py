"""Turn: what an agent says when it is its turn, part by part."""

from collections.abc import Callable, Sequence

from heist.llm.simulated.deceit import sabotage
from heist.llm.simulated.figures import (
    answers,
    corrections,
    disputes,
    misspoke,
    nothing_new,
    recalls,
    relays,
    shares,
)
from heist.llm.simulated.play import Deed, Player
from heist.llm.simulated.speech import Speech
from heist.llm.simulated.talk import (
    asides,
    asks,
    confirms,
    doubts,
    fills,
    private,
    second_thoughts,
    settled,
    sums,
    troubles,
)


def speak(player: Player, ordered: str) -> Deed:
    speech = Speech(player)
    if ordered:
        speech.told.append(ordered)
        speech.room += len(ordered)
    sabotage(speech)
    part: Callable[[Speech], None]
    for part in (misspoke, corrections, answers, shares, settled, sums):
        part(speech)
    for part in _shuffled(speech, (asks, disputes, doubts, troubles, second_thoughts, asides, private)):
        if not speech.full:
            part(speech)
    for part in (nothing_new, confirms, relays, relays, recalls, relays, relays):
        if not speech.full:
            part(speech)
    while len(speech.told) < 2 or (not speech.full and speech.chance.random() < 0.5):
        fills(speech)
    return Deed("", "", " ".join(speech.told), "; ".join(speech.did))


def _shuffled(speech: Speech, parts: Sequence[Callable[[Speech], None]]) -> list[Callable[[Speech], None]]:
    return speech.chance.sample(list(parts), len(parts))
