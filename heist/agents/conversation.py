"""One session's state, folded from its events: whose turn it is, who hears what, which orders wait."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from types import MappingProxyType
from typing import Literal, NamedTuple

from heist import events as e
from heist.agents.prompts import NOTES, Cue
from heist.errors import Conflict, NotFound
from heist.seeds import stream
from heist.services.memory.facts import Entry
from heist.services.memory.memory import remembered
from heist.services.memory.record import Due, Record
from heist.world.game import Game
from heist.world.plan import Board, Edit
from heist.world.scenario import Scenario

Status = Literal["running", "paused", "stopped", "completed", "failed"]


class Spent(NamedTuple):
    """What the session has cost by its messages: tokens, model calls, milliseconds of speech, and tokens by model."""

    tokens: int = 0
    calls: int = 0
    milliseconds: float = 0.0
    by_model: Mapping[str, tuple[int, int]] = MappingProxyType({})

    def and_(self, message: e.MessageCompleted) -> "Spent":
        asked, answered = self.by_model.get(message.model, (0, 0))
        both = (asked + message.prompt_tokens, answered + message.completion_tokens)
        return Spent(
            self.tokens + message.prompt_tokens + message.completion_tokens,
            self.calls + message.model_calls,
            self.milliseconds + message.milliseconds,
            MappingProxyType({**self.by_model, message.model: both}),
        )

    def beyond(self, budget: e.Budget) -> tuple[Literal["tokens", "calls", "seconds", "money"], float, float] | None:
        """(which limit is reached, the limit, what is spent), if one is."""
        if budget.tokens is not None and self.tokens >= budget.tokens:
            return "tokens", budget.tokens, self.tokens
        if budget.calls is not None and self.calls >= budget.calls:
            return "calls", budget.calls, self.calls
        if budget.seconds is not None and self.milliseconds / 1000 >= budget.seconds:
            return "seconds", budget.seconds, self.milliseconds / 1000
        if budget.money is not None and (money := self.money(budget)) >= budget.money:
            return "money", budget.money, money
        return None

    def money(self, budget: e.Budget) -> float:
        """By the budget's prices; a model without a price costs nothing."""
        priced = ((*budget.prices.get(model, (0.0, 0.0)), *tokens) for model, tokens in self.by_model.items())
        return sum((asked * ask + answered * answer) / 1e6 for ask, answer, asked, answered in priced)


def duties(scenario: Scenario, seats: Sequence[e.Seat]) -> dict[str, str]:
    """Slot of the plan -> the agent that answers for it: whoever has its role, else one of those who are there, in
    turn."""
    having = {seat.duty or seat.name: seat.name for seat in reversed(seats)}
    spare = cycle(seat.name for seat in seats)
    return {name: having.get(slot.role) or next(spare) for name, slot in scenario.slots.items()}


class Conversation:
    """Changes by `apply` alone, so that a session that was cut off continues from its log as if nothing had been."""

    def __init__(self, session: e.SessionStarted, truth: e.MoleAssigned, game: Game) -> None:
        self.session = session
        self.truth = truth
        self.game = game
        self.board = Board(game.scenario.slots)
        self.duties = duties(game.scenario, session.seats)
        self.status: Status = "running"
        self.paused_by = ""
        self.stopping_by: str | None = None
        self.turns = 0
        self.failed = 0
        self.last_error = ""
        self.rounds_started = 0
        self.rounds_completed = 0
        self.in_hand: e.MessageStarted | None = None
        self.commands: list[e.CommandIssued] = []
        self.last_command = 0
        self.quarantined: dict[str, e.AgentQuarantined] = {}
        self.guess: e.GuessMade | None = None
        self.spent = Spent()
        self.record = Record()
        self.notes = {seat.name: Record() for seat in session.seats}
        self._orders: list[tuple[e.Seat, ...]] = []
        self._looked_up: dict[str, list[e.ToolCalled]] = {seat.name: [] for seat in session.seats}

    def apply(self, event: e.Event) -> None:
        match event:
            case e.SessionPaused():
                self.status, self.paused_by = "paused", event.by
            case e.SessionRecovered():
                self.status, self.paused_by = "paused", "server"
            case e.SessionResumed():
                self.status, self.paused_by = "running", ""
            case e.BudgetReached():
                self.stopping_by = "budget"
            case e.SessionStopping():
                self.stopping_by = event.by
            case e.SessionStopped():
                self.status = "stopped"
            case e.SessionCompleted():
                self.status = "completed"
            case e.SessionFailed():
                self.status = "failed"
            case e.RoundStarted():
                self.rounds_started = event.round
            case e.RoundCompleted():
                self.rounds_completed = event.round
            case e.MessageStarted():
                self.in_hand = event
            case e.MessageInterrupted():
                self.in_hand = None
            case e.MessageCompleted():
                self._taken(event.turn)
                self.spent = self.spent.and_(event)
                self.record.add(Entry(event.turn, event.agent, event.text))
            case e.MessageFailed():
                self._taken(event.turn)
                self.failed += 1
                self.last_error = event.detail
            case e.ToolCalled(success=True) if event.turn is not None:
                self.notes[event.agent].add(Entry(event.turn, event.agent, remembered(event)))
                self._looked_up[event.agent].append(event)
            case e.PlanChanged():
                self.board.put(Edit(event.slot, event.value, event.before, event.agent, event.turn))
            case e.GuessMade():
                self.guess = event
            case e.MemoryCompressed(owner=""):
                self.record.fold(event)
            case e.MemoryCompressed():
                self.notes[event.owner].fold(event)
                calls = self._looked_up[event.owner]
                self._looked_up[event.owner] = [call for call in calls if (call.turn or 0) > event.last]
            case e.AgentQuarantined():
                self.quarantined[event.agent] = event
            case e.AgentReleased():
                self.quarantined.pop(event.agent, None)
            case e.CommandIssued():
                self.last_command = event.command
                self.commands.append(event)
            case e.CommandDelivered():
                self.commands = [waiting for waiting in self.commands if waiting.command != event.command]

    def _taken(self, turn: int) -> None:
        self.in_hand = None
        self.turns = turn

    @property
    def over(self) -> bool:
        return self.status in ("stopped", "completed", "failed")

    @property
    def names(self) -> list[str]:
        return [seat.name for seat in self.session.seats]

    @property
    def total(self) -> int:
        return self.session.rounds * len(self.session.seats)

    def cue(self) -> Cue:
        """What the next turn depends on; there is one while `turns` < `total`."""
        turn = self.turns + 1
        seat = self.seat_of(turn)
        return Cue(
            session=self.session,
            scenario=self.game.scenario,
            seed=self.truth.seed,
            brief=self.truth.briefs.get(seat.name, ""),
            duties=self.duties,
            plan=dict(self.board.entries),
            turn=turn,
            round=self.round_of(turn),
            seat=seat,
            blocks=tuple(self.record.blocks),
            heard=tuple(self.record.entries),
            facts=tuple(self.record.facts),
            noted=tuple(self.notes[seat.name].blocks),
            looked_up=tuple(self._looked_up[seat.name]),
            commands=tuple(command for command in self.commands if command.agent == seat.name),
            quarantine=self.quarantined.get(seat.name),
        )

    def round_of(self, turn: int) -> int:
        return (turn - 1) // len(self.session.seats) + 1

    def seat_of(self, turn: int) -> e.Seat:
        return self.order(self.round_of(turn))[(turn - 1) % len(self.session.seats)]

    def order(self, round_: int) -> Sequence[e.Seat]:
        """Who speaks in a round (from 1), in order. At random nobody speaks twice in a round, and nobody who closed a
        round opens the next."""
        if self.session.turn_order == "round_robin":
            return self.session.seats
        while len(self._orders) < round_:
            before = self._orders[-1] if self._orders else ()
            seats = list(before or self.session.seats)
            stream(self.truth.seed, "order", len(self._orders) + 1).shuffle(seats)
            if before and seats[0] == before[-1]:
                seats.append(seats.pop(0))
            self._orders.append(tuple(seats))
        return self._orders[round_ - 1]

    def due(self) -> tuple[str, Due] | None:
        """(whose memory, what of it) is to be told in short now; the crew's own first, which nobody owns."""
        memory = self.session.memory
        if due := self.record.due(memory.threshold, self.session.context):
            return "", due
        for owner, record in self.notes.items():
            if due := record.due(memory.threshold, NOTES):
                return owner, due
        return None

    def check_command(self, agent: str, first: int) -> None:
        """Raises when a command to `agent` could not reach it in turn `first` or later."""
        if self.over:
            raise Conflict(
                f"the session {self.session.session_id} is over ({self.status}); nobody can be ordered any more"
            )
        self.check_agent(agent)
        soon = range(
            first, min(self.total, first + 2 * len(self.session.seats)) + 1
        )  # by then everybody has had a turn
        if agent not in {self.seat_of(turn).name for turn in soon}:
            raise Conflict(f"{agent} has no turn left in this session")

    def check_agent(self, agent: str) -> None:
        """Raises `NotFound` for a name that nobody in this session has."""
        if agent not in self.names:
            raise NotFound(f"there is no agent {agent[:64]!r} in this session; there are: {', '.join(self.names)}")
