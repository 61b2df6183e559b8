"""Events as tests need them: short to write, and whole."""

from typing import Literal

from heist import events as e

CREW = ("planner", "hacker", "safecracker", "intel", "driver", "lookout")
Fault = Literal["arguments", "scope", "token", "unknown", "service"]


def seats(*names: str) -> tuple[e.Seat, ...]:
    return tuple(e.Seat(name=name, role=f"role of {name}", persona="You help.", scopes=()) for name in names or CREW)


def session_started(
    session_id: str = "s1",
    names: tuple[str, ...] = CREW,
    rounds: int = 5,
    order: Literal["round_robin", "random"] = "round_robin",
    seed: int = 7,
    tool_calls: int = 2,
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
        seed=seed,
        model="m",
        server="s",
        simulated=True,
        words_per_second=0,
        by="test",
        process=1,
    )


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
    session_id: str,
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
