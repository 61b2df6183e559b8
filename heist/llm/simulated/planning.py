"""Planning: the slots that an agent can reckon from what it knows."""

import re
from collections.abc import Callable
from functools import lru_cache

from heist.llm.simulated.scene import Scene, Slot

DAY = 24 * 60
DEEP = 8
"""So many slots may follow one from another."""
Belief = Callable[[str], str | None]
Expression = tuple[str, "Expression", "Expression"] | str
_TOKEN = re.compile(r"[-+*()]|[^-+*()\s][^-+*()]*")


def reckoned(scene: Scene, slot: Slot, belief: Belief, ahead: bool = False, deep: int = 0) -> str | None:
    """The slot's value as it follows from what is believed, None while something is missing. Other slots count as they
    stand in the plan; with `ahead` one that is not set counts as it would follow."""
    found = worth(scene, slot.reckon, belief, ahead, deep)
    if found is None or slot.kind == "choice":
        known = found if isinstance(found, str) else None
        return next((one for one in slot.among if known is not None and one.lower() == known.lower()), None)
    return as_shown(slot, found) if isinstance(found, int) else None


def worth(scene: Scene, reckon: str, belief: Belief, ahead: bool, deep: int = 0) -> int | str | None:
    tree = parsed(reckon)
    return None if tree is None else _worked_out(scene, tree, belief, ahead, deep)


def as_shown(slot: Slot, found: int) -> str:
    if slot.kind == "clock":
        return clock(found)
    return str(found % DAY if slot.kind == "minutes" and found < 0 else found)


def clock(found: int) -> str:
    return f"{found // 60 % 24:02}:{found % 60:02}"


def amount(value: str) -> int | str:
    """A clock time in minutes, a number, or the word that it is."""
    hours, colon, minutes = value.partition(":")
    if colon and hours.isdecimal() and minutes.isdecimal():
        return int(hours) * 60 + int(minutes)
    return int(value) if value.isdecimal() and len(value) < 10 else value


@lru_cache(maxsize=4096)
def parsed(reckon: str) -> Expression | None:
    """The reckoning as a tree of (operator, left, right); None when it is none."""
    tokens = [token.strip() for token in _TOKEN.findall(reckon[:400])]
    try:
        tree = _sum(tokens)
    except (IndexError, RecursionError):
        return None
    return None if tokens else tree


def _sum(tokens: list[str]) -> Expression:
    tree = _product(tokens)
    while tokens and tokens[0] in "+-":
        tree = (tokens.pop(0), tree, _product(tokens))
    return tree


def _product(tokens: list[str]) -> Expression:
    tree = _term(tokens)
    while tokens and tokens[0] == "*":
        tree = (tokens.pop(0), tree, _term(tokens))
    return tree


def _term(tokens: list[str]) -> Expression:
    token = tokens.pop(0)
    if token != "(":  # noqa: S105 - no password, a bracket
        return token
    tree = _sum(tokens)
    tokens.pop(0)
    return tree


def _worked_out(scene: Scene, tree: Expression, belief: Belief, ahead: bool, deep: int) -> int | str | None:
    if isinstance(tree, str):
        return _looked_up(scene, tree, belief, ahead, deep)
    operator, left, right = tree
    one, other = (_worked_out(scene, side, belief, ahead, deep) for side in (left, right))
    if not isinstance(one, int) or not isinstance(other, int):
        return None
    return {"+": one + other, "-": one - other, "*": one * other}[operator]


def _looked_up(scene: Scene, term: str, belief: Belief, ahead: bool, deep: int) -> int | str | None:
    if term.isdecimal():
        return amount(term)
    if slot := scene.job.slots.get(term):
        entry = scene.plan.get(term)
        value = entry.value if entry else None
        if value is None and ahead and deep < DEEP:
            value = reckoned(scene, slot, belief, ahead, deep + 1)
    else:
        value = belief(term)
    return None if value is None else amount(value)


def missing(scene: Scene, slot: Slot, belief: Belief) -> list[str]:
    """The labels that the slot follows from and that the agent does not know."""
    return [label for label in scene.job.of(slot) if belief(label) is None]


def written_out(scene: Scene, slot: Slot, belief: Belief) -> str:
    """The reckoning with figures in place of names, for the calculator; empty when there is nothing to reckon."""
    if slot.kind == "choice" or not isinstance(parsed(slot.reckon), tuple):
        return ""
    told = _written(scene, parsed(slot.reckon) or "", belief)
    return told.removeprefix("(").removesuffix(")") if told.count("(") == 1 and told.startswith("(") else told


def _written(scene: Scene, tree: Expression, belief: Belief) -> str:
    if isinstance(tree, str):
        return str(_looked_up(scene, tree, belief, True, 0))
    operator, left, right = tree
    text = f"{_written(scene, left, belief)} {operator} {_written(scene, right, belief)}"
    return text if operator == "*" else f"({text})"
