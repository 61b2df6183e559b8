"""The plan's tools: `plan` says what a member wants to set, `plan_board` shows what is set."""

from pydantic import BaseModel, Field

from heist.errors import ToolError, ToolFailure
from heist.services.auth import Principal, Scope
from heist.services.tools.registry import Arguments, Caller, Outcome, Result, Tool
from heist.world.facts import Value
from heist.world.plan import Board, Edit, find_slot, read_entries


class Entry(Arguments):
    entry: str = Field(
        description="one or more slots with their values, as SLOT = VALUE; SLOT = VALUE", max_length=1000
    )


class Change(BaseModel):
    slot: str
    value: str | int


class Planned(Result):
    """What will stand in the plan. The tool changes nothing: the log does, when the call is on it."""

    changes: list[Change]

    def text(self) -> str:
        return "\n".join(f"{change.slot} = {change.value}" for change in self.changes)


class About(Arguments):
    about: str = Field(
        "", description="a slot's name for that slot and its history; nothing for all slots", max_length=200
    )


class Entered(BaseModel):
    slot: str
    label: str
    role: str
    value: str | int | None = Field(description="null when nobody has set it")
    agent: str | None = Field(description="who set it last")
    turn: int | None


class Shown(Result):
    slots: list[Entered]
    missing: list[str] = Field(description="the slots that nobody has set")
    history: list[Entered] = Field(description="when one slot was asked for, each time it was set")

    def text(self) -> str:
        lines = [*map(_line, self.slots)]
        lines += [f"set by {one.agent} in turn {one.turn} to {one.value}" for one in self.history]
        if len(self.slots) > 1:
            lines.append(f"not set: {', '.join(self.missing) or 'nothing is missing'}")
        return "\n".join(lines)


def _line(entered: Entered) -> str:
    if entered.value is None:
        return f"{entered.slot}: not set ({entered.label}; {entered.role} answers for it)"
    return f"{entered.slot} = {entered.value} ({entered.agent}, turn {entered.turn}; {entered.label})"


def changes(outcome: Outcome) -> list[tuple[str, Value]]:
    """What a call has set: nothing, unless it was one of `plan` and went well."""
    if outcome.tool != plan.name or outcome.result is None:
        return []
    return [(change.slot, change.value) for change in Planned.model_validate(outcome.result).changes]


def _inside(principal: Principal) -> None:
    if principal.session_id is None:
        raise ToolFailure("only the agents of a session have a plan; this token belongs to none")


async def _plan(arguments: Entry, caller: Caller) -> Planned:
    _inside(caller.principal)
    try:
        entries = read_entries(caller.bank.board.slots, arguments.entry)
    except ValueError as error:
        raise ToolError(f"plan: {error}") from None
    return Planned(changes=[Change(slot=slot, value=value) for slot, value in entries])


async def _plan_board(arguments: About, caller: Caller) -> Shown:
    _inside(caller.principal)
    board = caller.bank.board
    missing = [slot for slot, value in board.values().items() if value is None]
    if not arguments.about.strip():
        return Shown(
            slots=[_entered(board, slot, board.entries.get(slot)) for slot in board.slots], missing=missing, history=[]
        )
    slot = find_slot(board.slots, arguments.about)
    if slot is None:
        raise ToolError(f"there is no slot {arguments.about[:60]!r}; there are: {', '.join(board.slots)}")
    history = [_entered(board, slot, edit) for edit in board.history if edit.slot == slot][-_LATEST:]
    return Shown(slots=[_entered(board, slot, board.entries.get(slot))], missing=missing, history=history)


_LATEST = 20
"""Edits of one slot that are shown."""


def _entered(board: Board, slot: str, edit: Edit | None) -> Entered:
    what = board.slots[slot]
    value, agent, turn = (edit.value, edit.agent, edit.turn) if edit else (None, None, None)
    return Entered(slot=slot, label=what.label, role=what.role, value=value, agent=agent, turn=turn)


plan = Tool("plan", "Sets slots of the plan.", Scope.PLAN_WRITE, Entry, Planned, _plan)
plan_board = Tool(
    "plan_board",
    "Shows the plan: what is set, by whom, and what is missing.",
    Scope.PLAN_READ,
    About,
    Shown,
    _plan_board,
)
