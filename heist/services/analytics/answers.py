"""Answers: the shapes in which figures are told.

Times are UTC, ISO 8601. `milliseconds` are means, of a message from its prompt to its last word, or of a call. Rates
are shares from 0 to 1, and None where there is nothing that they could be of. What was secret in a game stands in
`game`, which is None until the reveal."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Game(Answer):
    """A game that is over and revealed. `holder` carried the arm's own brief; `damage` is its share in what is missing
    to the `reference`."""

    arm: str
    strategy: str | None
    holder: str | None
    guess: str | None
    result: str = Field(description="SUCCESS, FAILURE or BUSTED")
    outcome: str
    score: float
    reference: float
    damage: float | None


class Session(Answer):
    """A session in figures. `turns` are those that were taken, `failed_turns` of them without a word."""

    session_id: str
    start_time: str
    end_time: str | None
    status: str
    crew: str
    scenario: str
    title: str
    model: str
    simulated: bool
    variant: str | None
    rounds: int
    turns: int
    messages: int
    failed_turns: int
    prompt_tokens: int
    completion_tokens: int
    milliseconds: float | None
    tool_calls: int
    tool_success_rate: float | None
    game: Game | None = Field(description="null until the reveal")


class Agent(Answer):
    """`share` is that of all messages. Agents of one name are one agent, in whichever session they spoke."""

    agent: str
    messages: int
    share: float | None
    failed_turns: int
    prompt_tokens: int
    completion_tokens: int
    milliseconds: float | None
    tool_calls: int
    tool_success_rate: float | None


class Tool(Answer):
    """`faults` says how often whose fault a failure was, `agents` how often each agent called."""

    tool: str
    calls: int
    successes: int
    success_rate: float | None
    milliseconds: float | None
    faults: dict[str, int]
    agents: dict[str, int]


class Followed(Answer):
    """`agent` spoke, and `next` spoke after it."""

    agent: str
    next: str
    times: int


class Named(Answer):
    """Messages of `agent` in which the name of `named` stands as a word of its own."""

    agent: str
    named: str
    messages: int


class Sessions(Answer):
    """`next` is what to give as `before` for the page after this one, null on the last."""

    sessions: list[Session]
    next: str | None


class SessionDetail(Answer):
    session: Session
    seconds: float | None = Field(description="from its start to its end; null while it goes on")
    agents: list[Agent]
    tools: list[Tool]
    follows: list[Followed]
    names: list[Named]


class ToolStats(Answer):
    """The most called first; `total` counts the tools that there are figures of."""

    tools: list[Tool]
    total: int


class AgentActivity(Answer):
    """Who spoke most first; `total` counts the agents that there are figures of."""

    agents: list[Agent]
    total: int


class Interactions(Answer):
    """The most frequent pairs first; the totals count all pairs."""

    follows: list[Followed]
    follows_total: int
    names: list[Named]
    names_total: int


class Compared(Answer):
    session: Session
    agents: list[Agent]
    tools: list[Tool]


class Difference(Answer):
    """How much more of a measure a session has than the one that it is held `against`. `pairs` are the agents that both
    have; `mean` is what each of them has more, with its 95 % interval by bootstrap over the pairs, null where the
    measure is none of agents."""

    session_id: str
    against: str
    measure: str
    difference: float | None
    pairs: int
    mean: float | None
    low: float | None
    high: float | None


class Comparison(Answer):
    """The first session is the one that the others are held against."""

    sessions: list[Compared]
    differences: list[Difference]


class Games(Answer):
    """Games that are over and revealed; `guess_accuracy` is how often the player was right, of games with or without a
    mole; `score`, `reference` and `damage` are means."""

    revealed: int
    success: int
    failure: int
    busted: int
    guess_accuracy: float | None
    score: float | None
    reference: float | None
    damage: float | None


class Detection(Answer):
    """How often a detector's last word on a game was right, also that there is nobody: over the games that were
    revealed last. Where it abstained it is not counted as wrong."""

    detector: str
    games: int = Field(description="of how many games it was asked")
    abstained: int
    right: int
    accuracy: float | None
    false_accusations: int = Field(description="somebody who was not the mole was named")


class Summary(Answer):
    """`group` is the value that the sessions share when they are told apart by one. The completion rate and the average
    of turns are over sessions that have ended."""

    group: str | None
    sessions: int
    ongoing: int
    completed: int
    stopped: int
    failed: int
    completion_rate: float | None
    average_turns: float | None
    messages: int
    failed_turns: int
    prompt_tokens: int
    completion_tokens: int
    milliseconds: float | None
    tool_calls: int
    tool_success_rate: float | None
    games: Games
    detection: Detection | None = Field(description="null if no detector was asked for, or no game is revealed")


class MetricsSummary(Answer):
    summary: Summary
    groups: list[Summary] = Field(description="one for each value of what `by` names")


def rate(some: float, of: int) -> float | None:
    """The share or mean of something, None of nothing."""
    return some / of if of else None


def mean(values: Sequence[float]) -> float | None:
    return rate(sum(values), len(values))
