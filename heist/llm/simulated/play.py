"""Play: what an agent does next, a call or a word, where the prompt tells of a plan with slots."""

import random
import re
from typing import NamedTuple

from heist import seeds
from heist.llm.simulated import planning, sources
from heist.llm.simulated.knowledge import Knowledge
from heist.llm.simulated.sabotage import Sabotage, options, wrong, wrong_entry
from heist.llm.simulated.scene import Note, Scene, Slot

SLIP_RATE = 0.04
"""The share of figures that an honest agent gets wrong."""
SLIP_ENTRY = 0.01
"""The share of slots that it mistypes."""
FAILING = 0.13
"""The share of turns that begin with a mistyped call."""
EAGER = 0.95
FIRST_ROUNDS = 3
"""Later a list that is forgotten is read again only by whoever misses something."""
SPOILING = frozenset(("bad slots", "false sums"))
PLAN = "plan"
_SET = re.compile(r"(\w+) = ([^;\n]+)")
_FAILED = re.compile(r"there is no |the query failed|plan: |the tool \w+ |\S+ may not |missing scope", re.IGNORECASE)


class Deed(NamedTuple):
    """A call (a tool with its first argument), or what is said; and what of it was against the crew."""

    tool: str
    argument: str
    text: str
    did: str = ""


class Player:
    """One agent in one turn, with what it knows and what its brief asks for."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.brief = Sabotage(scene, seed)
        self.knowledge = Knowledge(scene, trusted=not self.brief.lies)
        self.chance = seeds.stream(seed, "call", scene.given)
        self.fixed = seeds.stream(seed, "turn", scene.name, scene.turn)
        self.careless = "slips" in scene.means
        self.slips = max(scene.rate, SLIP_RATE) if self.careless else SLIP_RATE
        self.owned = [slot for slot in scene.job.slots.values() if scene.owns(slot)]

    def honest(self, label: str) -> str | None:
        """What an honest agent in this seat would go by."""
        report = self.knowledge.belief(label)
        return report.value if report else None

    def belief(self, label: str) -> str | None:
        """What this agent goes by: whoever lies keeps to its own word, and whoever gets figures wrong until told."""
        if not self.brief.lies and not self.careless:
            return self.honest(label)
        if self.was_contradicted(label) and not self.stands_by(label):
            return self.honest(label)
        report = self.knowledge.word(label)
        return report.value if report else None

    def stands_by(self, label: str) -> bool:
        """Whether a liar who is contradicted stays with its word; the others give in."""
        mine = self.knowledge.mine.get(label)
        return self.brief.lies and mine is not None and self.brief.stands_by(f"{label} {mine.value}")

    def was_contradicted(self, label: str) -> bool:
        mine = self.knowledge.mine.get(label)
        others = self.knowledge.heard.get(label, {}).values()
        return mine is not None and any(one.value != mine.value and one.turn > mine.turn for one in others)

    def was_doubted(self, slot: Slot) -> bool:
        """Whether a colleague has named the slot, or given another figure for what it follows from."""
        others = (said.text for said in self.scene.said if said.agent != self.scene.name)
        return any(slot.name in text for text in others) or any(map(self.was_contradicted, self.scene.job.of(slot)))

    def reckoned(self, slot: Slot, honest: bool = False) -> str | None:
        ahead = self.scene.round * 2 > self.scene.rounds
        return planning.reckoned(self.scene, slot, self.honest if honest else self.belief, ahead)

    def slipped(self, value: str, label: str) -> str:
        """The value, now and then wrong without intent."""
        if self.brief.lies or self.chance.random() >= self.slips or (self.careless and label in self.knowledge.mine):
            return value
        return wrong(value, options(self.scene, label), self.chance)

    def set_now(self) -> dict[str, str]:
        """What this turn's calls have put into the plan, as far as they went through."""
        answers = [note.text for note in self.scene.fresh if note.tool == PLAN and not failed(note)]
        return {slot: value.strip() for text in answers for slot, value in _SET.findall(text)}


def failed(note: Note) -> bool:
    return _FAILED.match(note.text) is not None


def call(player: Player) -> Deed | None:
    """The tool call that the agent wants now, if any."""
    scene = player.scene
    if not scene.tools or scene.calls <= 0:
        return None
    for deed in (_wrong_call, _planned, _failing, _foreign, _lookup):
        if found := deed(player):
            return found
    return None


def _used(player: Player, tool: str) -> bool:
    return any(note.tool == tool for note in player.scene.fresh)


def due(player: Player) -> dict[str, tuple[Slot, str]]:
    """The agent's own slots that it can reckon and that stand otherwise."""
    found = {}
    for slot in player.owned:
        value = player.reckoned(slot)
        entry = player.scene.plan.get(slot.name)
        if value is None or (entry and entry.value.lower() == value.lower()):
            continue
        if player.careless and entry and entry.agent == player.scene.name and not player.was_doubted(slot):
            continue
        if entry and entry.agent == player.scene.name and SPOILING & player.scene.means:
            honest = player.reckoned(slot, honest=True)
            if honest == value:  # it stands wrong because it was put so
                continue
        found[slot.name] = (slot, value)
    return found


def _planned(player: Player) -> Deed | None:
    """The slots that are due, reckoned with the calculator where there is something to multiply."""
    if PLAN not in player.scene.tools or _used(player, PLAN):
        return None
    wanted = {name: one for name, one in due(player).items() if not late(player, *one)}
    if not wanted:
        return None
    if player.scene.calls > 1 and (sum_ := _sum(player, [slot for slot, _ in wanted.values()])):
        return sum_
    entries, dids = [], []
    spoilt = _spoilt(player, list(wanted))
    for name, (slot, value) in wanted.items():
        told = value
        if name in spoilt or (
            not player.brief.against and player.chance.random() < (player.slips / 2 if player.careless else SLIP_ENTRY)
        ):
            told = wrong_entry(slot, value, player.chance)
        honest = player.reckoned(slot, honest=True)
        if player.brief.against and honest is not None and told != honest:
            dids.append(f"set {name} = {told}, which is {honest} by all it knows")
        entries.append(f"{name} = {told}")
    return Deed(PLAN, "; ".join(entries), "", "; ".join(dids))


def _spoilt(player: Player, names: list[str]) -> set[str]:
    """The slots that the brief has the agent set wrong in this turn."""
    if not SPOILING & set(player.brief.means):
        return set()
    return {name for name in names if player.fixed.random() < 0.7} or set(names[:1])


def late(player: Player, slot: Slot, value: str) -> bool:
    """Whether the brief has the agent leave the slot for now; in the last round it sets some of those after all."""
    about = f"{slot.name} {value}"
    if player.scene.last_round:
        return player.brief.always("late slots", about) and player.brief.always("late slots", f"{about} for good")
    return player.brief.always("late slots", about)


def _sum(player: Player, slots: list[Slot]) -> Deed | None:
    if "calculator" not in player.scene.tools or _used(player, "calculator"):
        return None
    known = sources.tried(player.scene, "calculator")
    sums = [planning.written_out(player.scene, slot, player.belief) for slot in slots]
    sums = [one for one in sums if "*" in one and one not in known and "None" not in one]
    return Deed("calculator", sums[0], "") if sums else None


def _lookup(player: Player) -> Deed | None:
    """The next sheet; whoever misses something for its own slots is the more eager."""
    scene = player.scene
    lacks = any(planning.missing(scene, slot, player.belief) for slot in player.owned)
    eager = EAGER if lacks else sources.EAGERNESS.get(scene.phase, 0.6)
    if player.fixed.random() >= eager and not scene.fresh:
        return None
    if PLAN in scene.tools and scene.calls == 1 and scene.round > 1 and due(player) and not _used(player, PLAN):
        return None
    if found := sources.wish(scene, player.chance, lacks or scene.round <= FIRST_ROUNDS):
        return Deed(*found, "")
    if "plan_board" in scene.tools and not scene.fresh and player.chance.random() < 0.5:
        return Deed("plan_board", player.chance.choice(["", *scene.job.slots]), "")
    return None


def _failing(player: Player) -> Deed | None:
    """A call with a slip of the pen in it, as happens to everybody."""
    if player.chance.random() >= FAILING or player.scene.fresh:
        return None
    tools = [tool for tool in sources.SHEETS if tool in player.scene.tools]
    return _malformed(tools[0], player.chance) if tools else None


def _malformed(tool: str, chance: random.Random) -> Deed:
    if tool == "database_query":
        return Deed(tool, chance.choice(["SELECT * FORM shifts", "SELECT everything", "SELECT * FROM gaurds"]), "")
    return Deed(tool, chance.choice(["indx", "the list", "plans", "the new one"]), "")


def _wrong_call(player: Player) -> Deed | None:
    """A call that does no good: without the right to it, malformed, or pointless; it takes the place of a good one."""
    if "wrong tools" not in player.brief.means or len(player.scene.fresh) > player.fixed.randrange(3):
        return None
    mine = [tool for tool in sources.SHEETS if tool in player.scene.tools]
    others = [tool for tool in sources.SHEETS if tool not in player.scene.tools]
    kind = player.chance.random()
    if kind < 0.4 and others and "" not in player.scene.tools.values():
        tool = player.chance.choice(others)
        deed = Deed(tool, sources.LISTING if tool == "database_query" else "index", "")
        return deed._replace(did=f"called {tool}, which it has no right to")
    if kind < 0.8 and mine:
        deed = _malformed(mine[0], player.chance)
        return deed._replace(did=f"called {deed.tool} with {deed.argument!r}, which means nothing")
    if mine:
        argument = sources.LISTING if mine[0] == "database_query" else "index"
        return Deed(mine[0], argument, "", f"called {mine[0]} for its list again, to waste the call")
    if "plan_board" in player.scene.tools:
        return Deed("plan_board", "nothing", "", "called plan_board about nothing, to waste the call")
    return None


def _foreign(player: Player) -> Deed | None:
    """Another's slot, overwritten."""
    scene = player.scene
    if "foreign slots" not in player.brief.means or PLAN not in scene.tools:
        return None
    taken = player.set_now()
    others = [slot for slot in scene.job.slots.values() if not scene.owns(slot) and slot.name not in taken]
    if not others or any(not scene.owns(scene.job.slots[name]) for name in taken if name in scene.job.slots):
        return None
    some = [slot for slot in others if slot.name in scene.plan] or others
    entries, dids = [], []
    for slot in player.chance.sample(some, min(2, len(some))):
        stands = scene.plan.get(slot.name)
        right = stands.value if stands else player.reckoned(slot, honest=True)
        if right is None:
            continue
        told = wrong_entry(slot, right, player.chance)
        entries.append(f"{slot.name} = {told}")
        dids.append(f"overwrote {slot.name} of {slot.owner}: {told} for {right}")
    return Deed(PLAN, "; ".join(entries), "", "; ".join(dids)) if entries else None
