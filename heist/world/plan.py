"""The plan: about a dozen slots, who answers for each, and who set them when."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from heist.configfile import Section
from heist.world.expressions import Formula
from heist.world.facts import Given, Type, Value, check, expected, parse

MOST = 40
"""Entries in one order; no scenario has more slots than that."""
_BREAK = re.compile(r"[;\n]+")
_SIGN = re.compile(r"\s*(?::=|[=:]|\bto\b|\bis\b)\s*")


class Slot(Section):
    """One thing that must be settled. `reckon` says how it follows from the truth; `unset` is what happens when nobody
    has set it."""

    label: str = Field(min_length=1, max_length=120)
    type: Type
    role: str
    reckon: Formula
    unset: Given
    among: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_its_type(self) -> Self:
        if (self.type == "choice") != bool(self.among):
            raise ValueError("a choice needs among, the list of what may be chosen, and nothing else has one")
        if check(self.type, self.unset) != self.unset or (self.among and self.unset not in self.among):
            raise ValueError(f"unset: expected {expected(self.type, self.among)}, found {self.unset!r}")
        return self


class Edit(NamedTuple):
    """A slot was set. `before` is what it was, None when nobody had set it."""

    slot: str
    value: Value
    before: Value | None
    agent: str
    turn: int


@dataclass
class Board:
    """The plan as it stands: `put` is told each edit in order, as the log has them."""

    slots: Mapping[str, Slot]
    _history: list[Edit] = field(default_factory=list)
    _entries: dict[str, Edit] = field(default_factory=dict)

    @property
    def entries(self) -> Mapping[str, Edit]:
        """By slot, its last edit; nothing for a slot that nobody has set."""
        return self._entries

    @property
    def history(self) -> Sequence[Edit]:
        return self._history

    def values(self) -> dict[str, Value | None]:
        """Every slot in the scenario's order; None for one that is not set."""
        return {slot: self._entries[slot].value if slot in self._entries else None for slot in self.slots}

    def put(self, edit: Edit) -> None:
        """Raises `KeyError` for a slot that does not exist."""
        if edit.slot not in self.slots:
            raise KeyError(edit.slot)
        self._entries[edit.slot] = edit
        self._history.append(edit)


def read_entries(slots: Mapping[str, Slot], text: str) -> list[tuple[str, Value]]:
    """What "entry_time = 2:11; entry_point = loading dock" sets. Raises `ValueError` in one sentence that says what was
    expected; then nothing of the text holds."""
    parts = [part for part in _BREAK.split(text) if part.strip()]
    if not parts:
        raise ValueError(f"expected an entry such as {_example(slots)}, found nothing")
    if len(parts) > MOST:
        raise ValueError(f"expected at most {MOST} entries, found {len(parts)}")
    found: dict[str, Value] = {}
    for part in parts:
        slot, value = _entry(slots, part.strip())
        if slot in found:
            raise ValueError(f"{slot} stands twice; say each slot once")
        found[slot] = value
    return list(found.items())


def find_slot(slots: Mapping[str, Slot], name: str) -> str | None:
    """The slot that somebody calls so: by its name or by its label, in any case."""
    bare = " ".join(name.lower().replace("_", " ").split()).strip("'\"`* ")
    for slot, what in slots.items():
        if bare in (slot.replace("_", " "), what.label.lower()):
            return slot
    return None


def _entry(slots: Mapping[str, Slot], part: str) -> tuple[str, Value]:
    sign = _SIGN.search(part)
    if sign is None:
        raise ValueError(f"expected an entry such as {_example(slots)}, found {part[:60]!r}")
    slot = find_slot(slots, part[: sign.start()][:200])
    if slot is None:
        raise ValueError(f"there is no slot {part[: sign.start()][:60]!r}; there are: {', '.join(slots)}")
    try:
        return slot, parse(slots[slot].type, part[sign.end() :][:200], slots[slot].among)
    except ValueError as error:
        raise ValueError(f"{slot}: {error}") from None


def _example(slots: Mapping[str, Slot]) -> str:
    first = next(iter(slots))
    return f"'{first} = {slots[first].unset}'"
