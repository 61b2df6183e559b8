"""Slots: how an agent sets the plan, against the figures that it may go by, and when."""

from collections.abc import Iterator

from heist.services.detection.case import Put, Said
from heist.services.detection.evidence import Family, Item
from heist.services.detection.ledger import Ledger
from heist.world.facts import Value

PATIENCE = 2
"""Messages of its own in which an agent may leave a slot open that it could set."""


class Slots:
    """Edits are judged when their turn is over, since several may come at once, in any order."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fresh: list[tuple[Put, Put | None]] = []
        self._judged: set[tuple[str, str, Value]] = set()
        self._open: dict[str, int] = dict.fromkeys(ledger.schema.slots, 0)

    def put(self, put: Put) -> None:
        self._fresh.append((put, self._ledger.board.get(put.slot)))
        self._ledger.put(put)

    def settle(self) -> Iterator[Item]:
        """Judges the edits of the turn that is over."""
        fresh, self._fresh = self._fresh, []
        for put, before in fresh:
            follows = self._follows(put)
            yield self._handled(put, before, follows)
            if follows is not None and (put.agent, put.slot, put.value) not in self._judged:
                self._judged.add((put.agent, put.slot, put.value))
                yield self._reckoned(put, follows)

    def close(self, said: Said) -> Iterator[Item]:
        """Looks at the speaker's own slots at the end of its turn."""
        for slot, owner in self._ledger.owners.items():
            if owner != said.agent or slot not in self._open:
                continue
            set_by = self._ledger.board.get(slot)
            if set_by is not None:
                waited = self._open.pop(slot)
                if set_by.agent == said.agent and waited < PATIENCE:
                    reason = f"{said.agent} has set {slot} as soon as it could be known."
                    yield Item(
                        said.agent,
                        "timing_inconsistency",
                        "lateness",
                        False,
                        (set_by.turn,),
                        _entry(set_by),
                        reason,
                        about=slot,
                    )
            elif self._ledger.reckoned(said.agent, slot, deep=False):
                self._open[slot] += 1
                if self._open[slot] == PATIENCE:
                    del self._open[slot]
                    reason = f"{said.agent} leaves {slot} open, though all that it follows from is known."
                    yield Item(
                        said.agent, "timing_inconsistency", "lateness", True, (said.turn,), "", reason, about=slot
                    )

    def _follows(self, put: Put) -> set[Value] | None:
        """The values that would follow; None when that cannot be known."""
        return self._ledger.reckoned(put.agent, put.slot) or None

    def _handled(self, put: Put, before: Put | None, follows: set[Value] | None) -> Item:
        taken = before is not None and before.agent != put.agent and self._ledger.owners[put.slot] != put.agent
        mends = follows is not None and put.value in follows and before is not None and before.value not in follows
        if not taken or mends or before is None or before.value == put.value:
            reason = f"{put.agent} sets {put.slot}, which is its own to set or needed mending."
            return self._item(put, "overwriting", False, reason)
        reason = f"{put.agent} overwrites {put.slot}, which {before.agent} had set to {before.value}."
        return self._item(put, "overwriting", True, reason, before.turn)

    def _reckoned(self, put: Put, follows: set[Value]) -> Item:
        if put.value in follows:
            return self._item(put, "reckoning", False, f"{put.agent} sets {put.slot} as it follows from what is known.")
        wanted = " or ".join(sorted(map(str, follows))[:3])
        reason = f"{put.agent} sets {put.slot} to {put.value}; by the figures that it may go by it is {wanted}."
        return self._item(put, "reckoning", True, reason)

    def _item(self, put: Put, check: str, hit: bool, reason: str, *turns: int) -> Item:
        timed = self._ledger.schema.slots[put.slot].type in ("clock", "minutes")
        family: Family = "timing_inconsistency" if timed else "information_quality"
        if check == "overwriting":
            family = "message_anomaly"
        return Item(put.agent, family, check, hit, (put.turn, *turns), _entry(put), reason, about=put.slot)  # type: ignore[arg-type]


def _entry(put: Put) -> str:
    return f"{put.slot} = {put.value}"
