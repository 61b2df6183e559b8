"""Speech: what an agent has said so far in a turn, and what of it was against the crew."""

from collections.abc import Sequence

from heist.llm.simulated import phrases
from heist.llm.simulated.play import Player
from heist.llm.simulated.sabotage import is_about, options, wrong

LENGTHS = (150, 330)
"""Characters after which an agent has said enough, at least and at most; the same for whoever has little to tell."""
SENTENCES = 4
HEDGED = 0.12


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
