"""Events and models as tests need them: short to write, and whole."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal, NoReturn

from hypothesis import strategies as st

from heist import events as e
from heist.agents.conversation import Conversation
from heist.llm.model import Call, Completion, Prompt, Usage
from heist.settings import shipped
from heist.world import scenario as scenarios
from heist.world.game import draw
from tests.models import Stand

BANK = scenarios.read(shipped("config"), "first_national_bank")

CREW = ("planner", "hacker", "safecracker", "intel", "driver", "lookout")
Fault = Literal["arguments", "scope", "token", "unknown", "service"]


def no_lobby() -> NoReturn:
    """For a registry that nobody from outside is meant to call."""
    raise AssertionError("nobody opens the lobby here")


def seats(*names: str) -> tuple[e.Seat, ...]:
    return tuple(e.Seat(name=name, role=f"role of {name}", persona="You help.", scopes=()) for name in names or CREW)


def session_started(
    session_id: str = "s1",
    names: tuple[str, ...] = CREW,
    rounds: int = 5,
    order: Literal["round_robin", "random"] = "round_robin",
    tool_calls: int = 2,
    tools: tuple[str, ...] | None = None,
) -> e.SessionStarted:
    return e.SessionStarted(
        session_id=session_id,
        crew="crew",
        scenario="first_national_bank",
        title="First National Bank",
        goal="the vault",
        seats=seats(*names),
        turn_order=order,
        rounds=rounds,
        context=5,
        tool_calls=tool_calls,
        temperature=0.7,
        max_tokens=300,
        model="m",
        server="s",
        simulated=True,
        words_per_second=0,
        tools=tools,
        by="test",
        process=1,
    )


def assigned(
    seed: int = 7,
    arm: e.Arm = "none",
    holder: str | None = None,
    strategy: str | None = None,
    briefs: dict[str, str] | None = None,
    session_id: str = "s1",
) -> e.MoleAssigned:
    return e.MoleAssigned(
        session_id=session_id,
        seed=seed,
        arm=arm,
        holder=holder,
        strategy=strategy,
        briefs=briefs or {},
        facts=dict(draw(BANK, seed).values),
    )


def conversation(*events: e.Event, seed: int = 7, truth: e.MoleAssigned | None = None, **given: Any) -> Conversation:
    """A session of `session_started(**given)`, folded up to the last of the events."""
    state = Conversation(session_started(**given), truth or assigned(seed), draw(BANK, seed))
    for event in events:
        state.apply(event)
    return state


def message(session_id: str, turn: int, text: str, agent: str = "planner", round_: int = 1) -> e.MessageCompleted:
    return e.MessageCompleted(
        session_id=session_id,
        turn=turn,
        round=round_,
        agent=agent,
        role="role",
        text=text,
        model="m",
        model_calls=1,
        prompt_tokens=10,
        completion_tokens=5,
        estimated=False,
        milliseconds=3.0,
    )


def tool_called(
    session_id: str | None,
    turn: int | None,
    agent: str = "planner",
    tool: str = "calculator",
    success: bool = True,
    fault: Fault | None = None,
    result: str = "1 + 1 = 2",
) -> e.ToolCalled:
    return e.ToolCalled(
        session_id=session_id,
        turn=turn,
        agent=agent,
        tool=tool,
        arguments={"expression": "1 + 1"},
        result=result,
        success=success,
        fault=fault,
        form="native",
        milliseconds=0.1,
    )


def quarantined(agent: str, reason: str = "", session_id: str = "s1") -> e.AgentQuarantined:
    return e.AgentQuarantined(session_id=session_id, agent=agent, reason=reason, by="user")


def released(agent: str, session_id: str = "s1") -> e.AgentReleased:
    return e.AgentReleased(session_id=session_id, agent=agent, by="user")


class Talker(Stand):
    """A model that answers each prompt as the test's function says, with words or with a call; keeps the prompts."""

    name = server = "talker"
    simulated = True

    def __init__(self, answer: Callable[[Prompt], str | Call] = lambda _: "Fine.") -> None:
        self._answer = answer
        self.prompts: list[Prompt] = []

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self.prompts.append(prompt)
        answer = self._answer(prompt)
        words, calls = ("", (answer,)) if isinstance(answer, Call) else (answer, ())
        if words:
            yield words
        yield Completion(words, calls, Usage(10, 5, False), self.name)

    def last(self, agent: str) -> Prompt:
        """The last prompt that began a turn of this agent."""
        return [prompt for prompt in self.prompts if f"Speak now, {agent}." in prompt.messages[-1].content][-1]


def calling(tool: str, arguments: str) -> Callable[[Prompt], str | Call]:
    """Everybody calls the tool first and then speaks of what it gave."""

    def answer(prompt: Prompt) -> str | Call:
        last = prompt.messages[-1]
        return f"I heard: {last.content}" if last.role == "tool" else Call("id", tool, arguments)

    return answer


def revealed(
    session_id: str = "s1",
    arm: e.Arm = "mole",
    holder: str | None = "hacker",
    strategy: str | None = "wrong_tools",
    guess: str | None = None,
    result: Literal["SUCCESS", "FAILURE", "BUSTED"] = "BUSTED",
    score: float = 50.0,
    damage: float | None = 12.5,
) -> e.MoleRevealed:
    return e.MoleRevealed(
        session_id=session_id,
        result=result,
        guess=guess,
        outcome="messy",
        score=score,
        reference=90.0,
        damage=damage,
        arm=arm,
        mole=holder if arm == "mole" else None,
        holder=holder,
        strategy=strategy,
        title="",
        briefs={},
        acts=(),
        facts={},
        seed=7,
        by="test",
    )


def message_failed(session_id: str, turn: int, agent: str) -> e.MessageFailed:
    return e.MessageFailed(
        session_id=session_id,
        turn=turn,
        round=1,
        agent=agent,
        role="role",
        error="model_error",
        detail="down",
        milliseconds=1,
    )


WORDS = st.sampled_from(
    [*CREW, "Intel,", "INTELLIGENCE", "the driver's", "hacker_2", "@planner:", "and", "03:10.", "ſafecracker", "HACKER"]
)
EXACT = st.integers(0, 2000).map(lambda halves: halves / 2)
"""Numbers that give the same sum in any order."""
PARTS: list[tuple[e.Arm, int | None, str | None]] = [
    ("mole", 0, "wrong_tools"),
    ("mole", 1, "subtle_delays"),
    ("placebo", 0, None),
    ("none", None, None),
]


@st.composite
def turns(draw_: st.DrawFn, session_id: str, names: tuple[str, ...]) -> list[e.Event]:
    """Turns from the first on; each is spoken or fails, after calls that succeed or do not."""
    told: list[e.Event] = []
    for turn in range(1, draw_(st.integers(0, 9)) + 1):
        agent = draw_(st.sampled_from(names))
        for _ in range(draw_(st.integers(0, 2))):
            fault: Fault | None = draw_(st.sampled_from([None, None, "scope", "arguments", "service"]))
            tool = draw_(st.sampled_from(["plan", "routes"]))
            used = tool_called(session_id, turn, agent, tool, fault is None, fault)
            told.append(used.model_copy(update={"milliseconds": draw_(EXACT)}))
        if draw_(st.integers(0, 5)) == 0:
            told.append(message_failed(session_id, turn, agent))
            continue
        said = message(session_id, turn, " ".join(draw_(st.lists(WORDS, max_size=4))), agent)
        counted = {name: draw_(st.integers(0, 5000)) for name in ("prompt_tokens", "completion_tokens")}
        told.append(said.model_copy(update={**counted, "milliseconds": draw_(EXACT)}))
    return told


@st.composite
def sessions(draw_: st.DrawFn, session_id: str) -> list[e.Event]:
    """A session from its start, as far as it went: running, paused, over, or over and revealed."""
    names = tuple(draw_(st.lists(st.sampled_from(CREW), min_size=2, max_size=4, unique=True)))
    given = {
        "crew": draw_(st.sampled_from(["crew", "other", "m"])),
        "model": draw_(st.sampled_from(["m", "n"])),
        "variant": draw_(st.sampled_from([None, "a", "b"])),
    }
    taken = draw_(turns(session_id, names))
    last = max((event.turn for event in taken if isinstance(event, e.Turn)), default=0)
    ends: list[e.Event | None] = [
        None,
        e.SessionPaused(session_id=session_id, by="test"),
        e.SessionStopped(session_id=session_id, by="test", turns=last),
        e.SessionCompleted(session_id=session_id, turns=last, failed=0),
        e.SessionFailed(session_id=session_id, turns=last, error="down"),
    ]
    end = draw_(st.sampled_from(ends))
    arm, seat, strategy = draw_(st.sampled_from(PARTS))
    holder = None if seat is None else names[seat]
    truth = assigned(7, arm, holder, strategy, session_id=session_id)
    told: list[e.Event] = [session_started(session_id, names).model_copy(update=given), truth, *taken]
    if end is not None:
        told.append(end)
    if end is not None and end.kind != "session.paused" and draw_(st.booleans()):
        guess = draw_(st.sampled_from([None, *names]))
        result: Literal["SUCCESS", "FAILURE", "BUSTED"] = draw_(st.sampled_from(["SUCCESS", "FAILURE", "BUSTED"]))
        damage = draw_(EXACT) if holder else None
        told.append(revealed(session_id, arm, holder, strategy, guess, result, draw_(EXACT), damage))
    return told


@st.composite
def houses(draw_: st.DrawFn) -> list[e.Event]:
    """The log of several sessions, one after another, and what an outsider called beside them."""
    told: list[e.Event] = []
    for number in range(draw_(st.integers(0, 4))):
        told += draw_(sessions(f"s{number}"))
        told.append(tool_called(None, None, "laptop"))
    return told
