"""Everything that can happen in a session, as frozen types in one tagged union.

A session *is* its ordered log of events: the audit, the browser, a resumed session and the tests are folds over it. An
event is a fact without a place; the log gives it one (`Recorded`): `seq`, its row number, and `at`, when it was kept.
On the wire and in the log an event is one JSON object: `seq`, `at`, `kind`, `session_id` and its own fields.
"""

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter


class Fact(BaseModel):
    """What all events share. Turns and rounds count from 1; durations are milliseconds; actors are names."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    durable: ClassVar[bool] = True
    session_id: str


class Seat(BaseModel):
    """One agent of a crew, as the crew file gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    role: str
    persona: str
    scopes: tuple[str, ...]


class SessionStarted(Fact):
    """Holds all that a session depends on besides the scenario's file, so that the log alone can bring it back."""

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
    seed: int
    model: str
    server: str
    simulated: bool
    words_per_second: float
    by: str
    process: int


class SessionPaused(Fact):
    kind: Literal["session.paused"] = "session.paused"
    by: str
    reason: str = ""


class SessionStepped(Fact):
    """One turn is let through while the session stays paused."""

    kind: Literal["session.stepped"] = "session.stepped"
    by: str


class SessionResumed(Fact):
    kind: Literal["session.resumed"] = "session.resumed"
    by: str


class SessionRecovered(Fact):
    """Taken over, paused, by `process` from the process `before`, which is gone. Of two that try, one succeeds."""

    kind: Literal["session.recovered"] = "session.recovered"
    process: int
    before: int


class SessionStopping(Fact):
    """It is to end; the turn in hand goes on."""

    kind: Literal["session.stopping"] = "session.stopping"
    by: str


class SessionStopped(Fact):
    """Ended by order before its last turn; `turns` were taken."""

    kind: Literal["session.stopped"] = "session.stopped"
    by: str
    turns: int


class SessionCompleted(Fact):
    """Every turn was taken; `failed` of them without a word."""

    kind: Literal["session.completed"] = "session.completed"
    turns: int
    failed: int


class SessionFailed(Fact):
    """Every turn was tried and nobody could say a word; `error` is the last reason."""

    kind: Literal["session.failed"] = "session.failed"
    turns: int
    error: str


class RoundStarted(Fact):
    kind: Literal["round.started"] = "round.started"
    round: int


class RoundCompleted(Fact):
    kind: Literal["round.completed"] = "round.completed"
    round: int


class Turn(Fact):
    """What every event of a turn says first."""

    turn: int
    round: int
    agent: str
    role: str


class MessageStarted(Turn):
    kind: Literal["message.started"] = "message.started"


class MessageDelta(Fact):
    """A piece of a message while it is spoken, from character `offset` on; never stored."""

    durable: ClassVar[bool] = False
    kind: Literal["message.delta"] = "message.delta"
    turn: int
    agent: str
    offset: int
    text: str


class MessageCompleted(Turn):
    """Tokens are summed over the turn's model calls; `estimated` says that the server gave none and they were
    guessed from the length of the text."""

    kind: Literal["message.completed"] = "message.completed"
    text: str
    model: str
    model_calls: int
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    milliseconds: float


class MessageFailed(Turn):
    """The turn is spent and nothing was said; `error` is the code, `detail` the sentence."""

    kind: Literal["message.failed"] = "message.failed"
    error: str
    detail: str
    milliseconds: float


class MessageInterrupted(Turn):
    """The turn was cut off in the middle and does not count: it will be taken again if the session goes on."""

    kind: Literal["message.interrupted"] = "message.interrupted"
    reason: str


class ToolCalled(Fact):
    """One call, whoever made it and however it ended. `turn` is None when it came over HTTP, outside a turn. `fault`
    says whose fault a failure is: the caller's `arguments`, `scope`, `token` or choice of tool (`unknown`), or the
    `service`. `form` is how it was asked for."""

    kind: Literal["tool.called"] = "tool.called"
    turn: int | None
    agent: str
    tool: str
    arguments: JsonValue
    result: str
    success: bool
    fault: Literal["arguments", "scope", "token", "unknown", "service"] | None
    form: Literal["native", "text", "http"]
    milliseconds: float


class CommandIssued(Fact):
    kind: Literal["command.issued"] = "command.issued"
    command: int
    agent: str
    text: str
    by: str


class CommandDelivered(Fact):
    """The agent has answered a prompt that held the command."""

    kind: Literal["command.delivered"] = "command.delivered"
    command: int
    agent: str
    turn: int


Event = Annotated[
    SessionStarted
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
    | CommandIssued
    | CommandDelivered,
    Field(discriminator="kind"),
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Recorded(NamedTuple):
    """An event with its place in the log; `seq` is None for what is never stored."""

    seq: int | None
    at: str
    event: Event
    body: str

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
