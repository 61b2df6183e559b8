"""Figures: what an agent says of a fact, against what it has read, what the crew has read, and what it said before."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from heist.services.detection.case import Said
from heist.services.detection.evidence import Family, Item
from heist.services.detection.ledger import Ledger, Reading, Told
from heist.world.facts import Value

PATIENCE = 2
"""Messages of its own in which an agent may take back a figure that somebody has contradicted."""


class _Doubted(NamedTuple):
    """A figure that the agent's own paper contradicts; `since` counts its messages after a colleague contradicted."""

    told: Told
    since: int | None


class Figures:
    """A figure is judged when it is first said: repeating it proves nothing new, in either direction."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._judged: set[tuple[str, str, Value]] = set()
        self._waiting: dict[str, list[Told]] = {}
        self._doubted: dict[tuple[str, str], _Doubted] = {}

    def say(self, said: Said, claims: Sequence[Told]) -> Iterator[Item]:
        """Judges the figures of a message that are not quotes, before they are entered."""
        for told in claims:
            yield from self._stand(told)
            if (told.agent, told.fact, told.value) in self._judged:
                continue
            self._judged.add((told.agent, told.fact, told.value))
            yield from self._judge(told)
        yield from self._silent(said, {told.fact for told in claims})

    def contradict(self, told: Told) -> None:
        """A colleague has named another value than one that is doubted."""
        for (agent, fact), doubted in self._doubted.items():
            if fact == told.fact and agent != told.agent and told.value != doubted.told.value and doubted.since is None:
                self._doubted[agent, fact] = doubted._replace(since=0)

    def read(self, found: Sequence[Reading]) -> Iterator[Item]:
        """Judges the figures that waited for a source."""
        for reading in found:
            for told in self._waiting.pop(reading.fact, ()):
                yield from self._against_crew(told)

    def _judge(self, told: Told) -> Iterator[Item]:
        ledger = self._ledger
        own = ledger.own(told.agent, told.fact)
        if own is not None:
            yield self._against_own(told, own)
        elif any(other.value == told.value for other in ledger.others(told.agent, told.fact)):
            return  # it repeats a colleague, who answers for it
        elif words := ledger.words(told.agent, told.fact):
            yield self._reversed(told, words[-1])
        elif told.fact in ledger.readings:
            yield from self._against_crew(told)
        else:
            self._waiting.setdefault(told.fact, []).append(told)

    def _against_own(self, told: Told, own: Reading) -> Item:
        shown = self._shown(told)
        if told.value == own.value:
            return self._item(told, "reading", False, f"says {shown}, as it has read in {own.source}", own.turn)
        newer = self._newer(told, own)
        if newer is not None:
            reason = f"says {shown}, as {newer.source} has it, which is newer than what it has read itself"
            return self._item(told, "reading", False, reason, newer.turn)
        self._doubted.setdefault((told.agent, told.fact), _Doubted(told, None))
        if old := self._old(told, own):
            reason = (
                f"says {shown}, as {old.source} of {old.date} had it, after it has read {own.value} in {own.source}"
            )
        else:
            reason = f"says {shown}, but has read {own.value} in {own.source}"
        return self._item(told, "reading", True, reason, own.turn)

    def _newer(self, told: Told, own: Reading) -> Reading | None:
        readings = self._ledger.readings.get(told.fact, ())
        return next((one for one in readings if one.value == told.value and one.date > own.date), None)

    def _old(self, told: Told, own: Reading) -> Reading | None:
        readings = self._ledger.readings.get(told.fact, ())
        return next((one for one in readings if one.value == told.value and one.date < own.date), None)

    def _reversed(self, told: Told, before: Told) -> Item:
        reason = f"says {self._shown(told)}, after {before.value}, and nothing new was read or told in between"
        return self._item(told, "reversal", True, reason, before.turn)

    def _against_crew(self, told: Told) -> Iterator[Item]:
        """A figure of the agent's own making. One that only an old paper has is left alone: it may be honest."""
        newest = self._ledger.newest(told.fact)
        if newest is None or self._ledger.own(told.agent, told.fact) is not None:
            return
        shown = self._shown(told)
        if told.value == newest.value:
            reason = f"says {shown}, which {newest.source} confirms"
            yield self._item(told, "invention", False, reason, newest.turn)
        elif not any(one.value == told.value for one in self._ledger.readings[told.fact]):
            reason = f"says {shown}, which nobody had told it; {newest.source} says {newest.value}"
            yield self._item(told, "invention", True, reason, newest.turn)

    def _stand(self, told: Told) -> Iterator[Item]:
        """Whether an agent stands by a doubted figure or takes it back."""
        key = told.agent, told.fact
        doubted = self._doubted.get(key)
        own = self._ledger.own(*key)
        if doubted is None or own is None or told.turn == doubted.told.turn:
            return
        if told.value == own.value:
            del self._doubted[key]
            reason = f"takes back {doubted.told.value} for the {self._label(told.fact)}"
            yield self._item(told, "obstinacy", False, reason, doubted.told.turn)
        elif told.value == doubted.told.value and doubted.since is not None:
            del self._doubted[key]
            reason = f"stands by {self._shown(told)}, against its own paper and a colleague"
            yield self._item(told, "obstinacy", True, reason, doubted.told.turn)

    def _silent(self, said: Said, about: set[str]) -> Iterator[Item]:
        """Figures that were contradicted and are not taken back."""
        mine = [(key, doubted) for key, doubted in self._doubted.items() if key[0] == said.agent]
        for key, doubted in mine:
            if doubted.since is None or doubted.told.turn == said.turn or key[1] in about:
                continue
            self._doubted[key] = doubted = doubted._replace(since=doubted.since + 1)
            if doubted.since == PATIENCE:
                del self._doubted[key]
                reason = f"leaves {self._shown(doubted.told)} standing, though a colleague and its own paper deny it"
                yield self._item(doubted.told, "obstinacy", True, reason, said.turn)

    def _label(self, fact: str) -> str:
        return self._ledger.schema.facts[fact].label

    def _shown(self, told: Told) -> str:
        fact = self._ledger.schema.facts[told.fact]
        return f"{fact.shown(told.value)} for the {fact.label}"

    def _item(self, told: Told, check: str, hit: bool, reason: str, *turns: int) -> Item:
        return Item(
            told.agent,
            family_of(self._ledger, told.fact),
            check,  # type: ignore[arg-type]
            hit,
            (told.turn, *turns),
            told.quote,
            f"{told.agent} {reason}.",
            about=told.fact,
        )


def family_of(ledger: Ledger, fact: str) -> Family:
    return "timing_inconsistency" if ledger.schema.facts[fact].family == "timing" else "information_quality"
