"""The examination: one pass over a case, in order, that turns what happened into evidence."""

from collections.abc import Iterator

from heist.services.detection.calls import Calls
from heist.services.detection.case import Called, Case, Deed, Put, Said, Schema
from heist.services.detection.evidence import Item
from heist.services.detection.figures import Figures
from heist.services.detection.ledger import Ledger, Told, stated
from heist.services.detection.slots import Slots
from heist.services.detection.talk import Talk

LONGEST = 20_000
"""Characters of a message that are looked at."""


class Examination:
    """Is told every deed once, in order; what it finds at one never changes by what comes later."""

    def __init__(self, case: Case, known: Schema, needless: frozenset[str] = frozenset()) -> None:
        self._ledger = Ledger(case, known)
        self._figures = Figures(self._ledger)
        self._slots = Slots(self._ledger)
        self._talk = Talk(self._ledger)
        self._calls = Calls(self._ledger, needless)
        self._turn = 0

    def see(self, deed: Deed) -> Iterator[Item]:
        """The evidence that this deed adds."""
        if deed.turn != self._turn:
            yield from self._slots.settle()
            self._turn = deed.turn
        match deed:
            case Called():
                yield from self._calls.call(deed)
                found = self._ledger.call(deed)
                self._calls.read(found)
                yield from self._figures.read(found)
            case Put() if deed.slot in self._ledger.schema.slots:
                self._slots.put(deed)
            case Said():
                yield from self._hear(deed)

    def _hear(self, said: Said) -> Iterator[Item]:
        if len(said.text) > LONGEST:
            said = said._replace(text=said.text[:LONGEST])
        ledger = self._ledger
        found = [
            Told(claim.fact, claim.value, said.turn, said.agent, claim.quote)
            for claim in stated(ledger.schema.facts, said.text)
        ]
        own: list[Told] = []
        for told in found:
            source = self._talk.quoted(said, told)
            if source is not None and ledger.words(source[0], told.fact):
                yield from self._placed(said, self._talk.quote(told, *source))
            else:
                own.append(told)
        yield from self._placed(said, self._figures.say(said, own))
        for told in found:
            ledger.tell(told)
            self._figures.contradict(told)
        yield from self._slots.settle()
        yield from self._placed(said, self._talk.say(said))
        self._calls.ask(said.agent, self._talk.wanted)
        yield from self._calls.say(said, found)
        yield from self._slots.close(said)

    @staticmethod
    def _placed(said: Said, items: Iterator[Item]) -> Iterator[Item]:
        """The items with the place of their quotes in the message."""
        for item in items:
            if item.span is None and item.quote and item.turns[0] == said.turn:
                at = said.text.find(item.quote)
                item = item._replace(span=(at, at + len(item.quote))) if at >= 0 else item
            yield item


def evidence(case: Case, needless: frozenset[str] = frozenset()) -> list[Item]:
    """All that there is to say about a case; nothing where there is no schema to say it by."""
    if case.schema is None:
        return []
    examination = Examination(case, case.schema, needless)
    return [item for deed in case.deeds for item in examination.see(deed)]
