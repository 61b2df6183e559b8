"""Everything that can happen in a session, as frozen types in one tagged union.

A session *is* its ordered log of events: the audit, the browser, a resumed session and the tests are folds over it. An
event is a fact without a place; the log gives it one (`Recorded`): `seq`, its row number, and `at`, when it was kept.
On the wire and in the log an event is one JSON object: `seq`, `at`, `kind`, `session_id` and its own fields.
"""

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter


class Fact(BaseModel):
    """What all events share. Turns and rounds count from 1; durations are milliseconds; actors are names. `session_id`
    is None for what belongs to no session. What is `sealed` is kept in rows of its own, has no place in the log, and no
    watcher hears of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    durable: ClassVar[bool] = True
    sealed: ClassVar[bool] = False
    session_id: str | None


class SessionFact(Fact):
    """What happens in a session, and nowhere else."""

    session_id: str


class Voice(BaseModel):
    """A model that somebody speaks by: `model` at `server`, found by `llm` if the crew file gives an address."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    server: str
    simulated: bool
    llm: str | None
    temperature: float
    max_tokens: int


class Seat(BaseModel):
    """One agent of a crew, as the crew file gives it. `duty` is the scenario's role that it answers for, its name if
    that is empty. Without a `voice` of its own it speaks by the session's model."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    role: str
    persona: str
    scopes: tuple[str, ...]
    duty: str = ""
    voice: Voice | None = None


class Budget(BaseModel):
    """What a session may spend, in all; None is no limit. `prices` are money per million tokens, (prompt, completion),
    by model."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None
    money: float | None = None
    prices: dict[str, tuple[float, float]] = {}


class Memory(BaseModel):
    """How much is remembered, in tokens; `summariser` writes the blocks, the session's model if it is None."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    prompt: int = 3500
    threshold: int = 1000
    block: int = 200
    summariser: Voice | None = None


class Origin(BaseModel):
    """The moment that a fork went on from: row `seq` of the log of another session, when `turn` turns were over. `root`
    is the session whose game it is, where that was a fork itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    session_id: str
    seq: int
    turn: int
    root: str | None = None


class SessionStarted(SessionFact):
    """Holds all that a session depends on besides the scenario's file and what is sealed (`mole.assigned`), so that the
    log can bring it back. `tools` are the only ones that its agents may be offered; None is all that there are.
    `variant` is the arm of a comparison that it was dealt to, None where nothing is compared. A session with a `fork`
    is a re-execution: its log up to that moment is taken over from the other's."""

    kind: Literal["session.started"] = "session.started"
    crew: str
    scenario: str
    title: str
    goal: str
    seats: tuple[Seat, ...]
    turn_order: Literal["round_robin", "random"]
    rounds: int
    context: int
    tool_calls: int
    temperature: float
    max_tokens: int
    model: str
    server: str
    simulated: bool
    words_per_second: float
    tools: tuple[str, ...] | None = None
    llm: str | None = None
    memory: Memory = Memory()
    budget: Budget = Budget()
    variant: str | None = None
    fork: Origin | None = None
    by: str
    process: int


class ServiceMissing(SessionFact):
    """The session began without a part of the house, or with less of it; `why` says what is wrong."""

    kind: Literal["service.missing"] = "service.missing"
    part: Literal["model", "tools", "detection"]
    why: str


class SessionPaused(SessionFact):
    kind: Literal["session.paused"] = "session.paused"
    by: str
    reason: str = ""


class SessionStepped(SessionFact):
    """One turn is let through while the session stays paused."""

    kind: Literal["session.stepped"] = "session.stepped"
    by: str


class SessionResumed(SessionFact):
    kind: Literal["session.resumed"] = "session.resumed"
    by: str


class SessionRecovered(SessionFact):
    """Taken over, paused, by `process` from the process `before`, which is gone. Of two that try, one succeeds."""

    kind: Literal["session.recovered"] = "session.recovered"
    process: int
    before: int


class SessionStopping(SessionFact):
    """It is to end; the turn in hand goes on."""

    kind: Literal["session.stopping"] = "session.stopping"
    by: str


class SessionStopped(SessionFact):
    """Ended by order before its last turn; `turns` were taken."""

    kind: Literal["session.stopped"] = "session.stopped"
    by: str
    turns: int


class SessionCompleted(SessionFact):
    """Every turn was taken; `failed` of them without a word."""

    kind: Literal["session.completed"] = "session.completed"
    turns: int
    failed: int


class SessionFailed(SessionFact):
    """Every turn was tried and nobody could say a word; `error` is the last reason."""

    kind: Literal["session.failed"] = "session.failed"
    turns: int
    error: str


class RoundStarted(SessionFact):
    kind: Literal["round.started"] = "round.started"
    round: int


class RoundCompleted(SessionFact):
    kind: Literal["round.completed"] = "round.completed"
    round: int


class Turn(SessionFact):
    """What every event of a turn says first."""

    turn: int
    round: int
    agent: str
    role: str


class MessageStarted(Turn):
    """With what the agent is offered and gets to hear, so that the log alone tells what it saw: `tools` by name, and
    how many messages (`left_out`) and which parts of the prompt (`without`) there was no room for, beyond what the
    record holds in short."""

    kind: Literal["message.started"] = "message.started"
    tools: tuple[str, ...] = ()
    form: Literal["native", "schema", "text"] = "native"
    left_out: int = 0
    without: tuple[str, ...] = ()


class MessageDelta(SessionFact):
    """A piece of a message while it is spoken, from character `offset` on; never stored."""

    durable: ClassVar[bool] = False
    kind: Literal["message.delta"] = "message.delta"
    turn: int
    agent: str
    offset: int
    text: str


class MessageCompleted(Turn):
    """Tokens are summed over the turn's model calls, without those of the agent's private brief, the number of which
    would be a trace of it; `estimated` says that the server gave none and they were guessed from the length of the
    text."""

    kind: Literal["message.completed"] = "message.completed"
    text: str
    model: str
    model_calls: int
    form: Literal["native", "schema", "text"] = "native"
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    cached_tokens: int | None = None
    milliseconds: float


class MessageFailed(Turn):
    """The turn is spent and nothing was said; `error` is the code, `detail` the sentence."""

    kind: Literal["message.failed"] = "message.failed"
    error: str
    detail: str
    milliseconds: float


class MessageInterrupted(Turn):
    """The turn was cut off in the middle and does not count: it will be taken again if the session goes on. `error` is
    the code when a model error cut it off."""

    kind: Literal["message.interrupted"] = "message.interrupted"
    reason: str
    error: str = ""


CallForm = Literal["native", "schema", "text", "http", "mcp"]


class ToolCalled(Fact):
    """One call, whoever made it and however it ended. `turn` is None when it came over HTTP or MCP, outside of a turn;
    then `agent` may be a client from outside, which has no session. `fault` says whose fault a failure is: the caller's
    `arguments`, `scope`, `token` or choice of tool (`unknown`), or the `service`. `form` is how it was asked for."""

    kind: Literal["tool.called"] = "tool.called"
    turn: int | None
    agent: str
    tool: str
    arguments: JsonValue
    result: str
    success: bool
    fault: Literal["arguments", "scope", "token", "unknown", "service", "cancelled"] | None
    form: CallForm
    milliseconds: float


class MemoryCompressed(SessionFact):
    """The turns `first` to `last` are told in short from now on: to everybody, or to `owner` alone if it is an agent's
    own memory. `level` 1 stands for turns, 2 for blocks of level 1, and so on; `by` is the model, or `extract` where
    none was asked."""

    kind: Literal["memory.compressed"] = "memory.compressed"
    owner: str
    first: int
    last: int
    level: int
    text: str
    by: str


class ModelDegraded(Fact):
    """A model server is given up on for a while; whoever speaks by it waits."""

    kind: Literal["model.degraded"] = "model.degraded"
    server: str
    reason: str


class ModelRestored(Fact):
    kind: Literal["model.restored"] = "model.restored"
    server: str


class ModelWarmed(SessionFact):
    """The model has answered for the first time, to a word that is no turn's: a server may load it for a minute first.
    `error` says why it has not."""

    kind: Literal["model.warmed"] = "model.warmed"
    model: str
    milliseconds: float
    error: str = ""


class BudgetReached(SessionFact):
    """A limit of the session's budget is reached, so it ends: `spent` of `limit`, of tokens, calls, seconds, or
    money."""

    kind: Literal["budget.reached"] = "budget.reached"
    of: Literal["tokens", "calls", "seconds", "money"]
    limit: float
    spent: float


class AuditPurged(Fact):
    """So many sessions that had ended `before` a moment are deleted from the audit; with `outside` also what happened
    outside of every session."""

    kind: Literal["audit.purged"] = "audit.purged"
    by: str
    before: str
    sessions: int
    outside: bool


class ToolAdded(Fact):
    """The tool was switched on: for the whole house, or, as a session's log tells it, for this session."""

    kind: Literal["tool.added"] = "tool.added"
    tool: str
    by: str


class ToolRemoved(Fact):
    """The tool was switched off, likewise."""

    kind: Literal["tool.removed"] = "tool.removed"
    tool: str
    by: str


class AgentQuarantined(SessionFact):
    """None of the agent's tokens is good any more, and it gets no other."""

    kind: Literal["agent.quarantined"] = "agent.quarantined"
    agent: str
    reason: str
    by: str


class AgentReleased(SessionFact):
    """The agent may ask for new tokens; the ones from before stay dead."""

    kind: Literal["agent.released"] = "agent.released"
    agent: str
    by: str


class AccessRefused(Fact):
    """A request from outside of a turn that came to nothing for want of a right: no token or a bad one, a scope that is
    missing, a client that is not who it says, too many tries. `client` is the id as far as it is known, or as it was
    claimed. Calls of a known client are told by `tool.called` alone."""

    kind: Literal["access.refused"] = "access.refused"
    client: str
    path: str
    tool: str | None
    scope: str | None
    status: int
    error: str
    detail: str


class CommandIssued(SessionFact):
    kind: Literal["command.issued"] = "command.issued"
    command: int
    agent: str
    text: str
    by: str


class CommandDelivered(SessionFact):
    """The agent has answered a prompt that held the command."""

    kind: Literal["command.delivered"] = "command.delivered"
    command: int
    agent: str
    turn: int


class PlanChanged(SessionFact):
    """A slot of the plan has another value: `before` is None where it had none."""

    kind: Literal["plan.changed"] = "plan.changed"
    turn: int
    agent: str
    slot: str
    value: str | int
    before: str | int | None


Arm = Literal["mole", "none", "placebo", "incompetent"]
"""What a game is of: with a mole, without one, with an innocent who has a secret, with one who errs without intent."""


class MoleAssigned(SessionFact):
    """What nobody is to know before the reveal: the seed that all chance in the session comes from, who of the crew
    carries the arm's own brief (`holder`, None in the arm without one), every agent's brief, and the facts of the bank,
    which are those of the seed unless they are `fixed`."""

    sealed: ClassVar[bool] = True
    kind: Literal["mole.assigned"] = "mole.assigned"
    seed: int
    arm: Arm
    holder: str | None
    strategy: str | None
    briefs: dict[str, str]
    facts: dict[str, str | int]
    fixed: bool = False

    @property
    def mole(self) -> str | None:
        return self.holder if self.arm == "mole" else None


class SabotageDone(SessionFact):
    """What an agent says in private that it did against the crew."""

    sealed: ClassVar[bool] = True
    kind: Literal["sabotage.done"] = "sabotage.done"
    turn: int
    agent: str
    did: str


class ThoughtsKept(SessionFact):
    """What a model thought before it spoke; it may name its brief."""

    sealed: ClassVar[bool] = True
    kind: Literal["thoughts.kept"] = "thoughts.kept"
    turn: int
    agent: str
    text: str


class SuspicionStated(SessionFact):
    """How much a player suspects each agent, and nobody, after so many turns: shares that sum to 1."""

    kind: Literal["suspicion.stated"] = "suspicion.stated"
    by: str
    turns: int
    suspicions: dict[str, float]
    nobody: float


class GuessMade(SessionFact):
    """A player's one guess, after so many turns; `agent` None says that nobody is a mole."""

    kind: Literal["guess.made"] = "guess.made"
    by: str
    turns: int
    agent: str | None


class SuspicionUpdated(SessionFact):
    """How a detector sees the session after a turn: shares that sum to 1 with `nobody`, nats by agent and family, the
    weightiest items of evidence by id. Never stored: whoever has the log can work it out again."""

    durable: ClassVar[bool] = False
    kind: Literal["suspicion.updated"] = "suspicion.updated"
    turn: int
    detector: str
    posterior: dict[str, float]
    nobody: float
    breakdown: dict[str, dict[str, float]]
    evidence: tuple[str, ...]
    alarm: bool


class JudgeCited(BaseModel):
    """A reason of the judge's, with words that stand in that turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    agent: str
    turn: int
    quote: str
    why: str


class JudgeAnswered(SessionFact):
    """What the judge made of the session after a turn; `posterior` and `nobody` are None when no sample was valid, and
    `error` says why."""

    kind: Literal["judge.answered"] = "judge.answered"
    turn: int
    status: Literal["given", "abstained", "failed"]
    arm: str
    form: str
    model: str
    samples: int
    valid: int
    error: str
    posterior: dict[str, float] | None
    nobody: float | None
    reasons: tuple[JudgeCited, ...] = ()


class OutcomeStep(SessionFact):
    """One moment of the plan as it is played out: the clock of the bank, where the crew is, what happens there. What
    goes wrong comes of a `slot`, and `costs` so many percent of what the score had left."""

    kind: Literal["outcome.step"] = "outcome.step"
    clock: str
    place: str
    text: str
    slot: str = ""
    costs: float = 0


class OutcomeDecided(SessionFact):
    """What the bank did to the plan. `reference` is the score of the plan that follows from the truth; `damage` is each
    agent's Shapley share of what is missing to it, `slots` what each slot alone costs."""

    kind: Literal["outcome.decided"] = "outcome.decided"
    outcome: Literal["clean", "messy", "empty", "busted"]
    score: float
    reference: float
    loot: float
    damage: dict[str, float]
    slots: dict[str, float]


class Act(BaseModel):
    """Something that the mole did in a turn: what the record shows, what it says of it in private, and the points that
    it cost, by the slots that it spoiled."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    turn: int
    what: str
    did: str = ""
    slots: tuple[str, ...] = ()
    costs: float = 0


class MoleRevealed(SessionFact):
    """All that was sealed, once the game is over. `result`: the guess was right (SUCCESS), it was wrong (FAILURE), or
    nobody was accused and there was a mole (BUSTED). `damage` is the share of `holder`, whoever carried the arm's own
    brief, in what is missing to the `reference`. A `fork_of` another session is no game of its own: who the mole is was
    told before."""

    kind: Literal["mole.revealed"] = "mole.revealed"
    result: Literal["SUCCESS", "FAILURE", "BUSTED"]
    guess: str | None
    outcome: Literal["clean", "messy", "empty", "busted"]
    score: float
    reference: float
    damage: float | None
    arm: Arm
    mole: str | None
    holder: str | None
    strategy: str | None
    title: str
    briefs: dict[str, str]
    acts: tuple[Act, ...]
    facts: dict[str, str | int]
    seed: int
    by: str
    fork_of: str | None = None


ENDS = ("session.completed", "session.stopped", "session.failed")
"""The kinds with which a session is over."""

Event = Annotated[
    SessionStarted
    | ServiceMissing
    | SessionPaused
    | SessionStepped
    | SessionResumed
    | SessionRecovered
    | SessionStopping
    | SessionStopped
    | SessionCompleted
    | SessionFailed
    | RoundStarted
    | RoundCompleted
    | MessageStarted
    | MessageDelta
    | MessageCompleted
    | MessageFailed
    | MessageInterrupted
    | ToolCalled
    | MemoryCompressed
    | ModelDegraded
    | ModelRestored
    | ModelWarmed
    | BudgetReached
    | AuditPurged
    | ToolAdded
    | ToolRemoved
    | AgentQuarantined
    | AgentReleased
    | AccessRefused
    | CommandIssued
    | CommandDelivered
    | PlanChanged
    | MoleAssigned
    | SabotageDone
    | ThoughtsKept
    | SuspicionStated
    | GuessMade
    | SuspicionUpdated
    | JudgeAnswered
    | OutcomeStep
    | OutcomeDecided
    | MoleRevealed,
    Field(discriminator="kind"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Recorded(NamedTuple):
    """An event with its place in the log; `seq` is None for what is never stored. What a fork has `taken` over from
    another session happened there, and has been counted."""

    seq: int | None
    at: str
    event: Event
    body: str
    taken: bool = False

    @property
    def json(self) -> str:
        return placed(self.seq, self.at, self.body)


def body_of(event: Event) -> str:
    """The event alone as JSON, as the log stores it."""
    return event.model_dump_json()


def parse(body: str) -> Event:
    """The event that `body_of` wrote; a body of unknown kind raises pydantic's ValidationError."""
    return _EVENT.validate_json(body)


def placed(seq: int | None, at: str, body: str) -> str:
    """The event with its place as one JSON object, made without parsing the body again."""
    place = f'{{"at":"{at}",' if seq is None else f'{{"seq":{seq},"at":"{at}",'
    return place + body[1:]


def sound(text: str) -> str:
    """The text as a log can hold it: without halves of characters, which JSON lets through and UTF-8 does not."""
    return text.encode("utf-8", "replace").decode()
