"""Counting: rows that the audit has counted, made into answers. No function here reads anything."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from heist.services.analytics.answers import (
    Agent,
    Followed,
    Game,
    Games,
    Named,
    Session,
    Tool,
    mean,
    rate,
)
from heist.store.figures import Calls, Failed, Outcome, Pair, Talk
from heist.store.queries import SessionRow


def session(
    row: SessionRow, talk: Sequence[Talk], failed: Sequence[Failed], calls: Sequence[Calls], game: Outcome | None
) -> Session:
    messages, called = sum(one.messages for one in talk), sum(one.calls for one in calls)
    return Session(
        session_id=row.session_id,
        start_time=row.start_time,
        end_time=row.end_time,
        status=row.status,
        crew=row.crew,
        scenario=row.scenario,
        title=row.title,
        model=row.model,
        simulated=row.simulated,
        variant=row.variant,
        rounds=row.rounds,
        turns=row.num_turns,
        messages=messages,
        failed_turns=len(failed),
        prompt_tokens=sum(one.prompt_tokens for one in talk),
        completion_tokens=sum(one.completion_tokens for one in talk),
        milliseconds=rate(sum(one.milliseconds for one in talk), messages),
        tool_calls=called,
        tool_success_rate=rate(sum(one.calls for one in calls if one.success), called),
        game=None if game is None else Game.model_validate(game._asdict()),
    )


def agents(talk: Iterable[Talk], failed: Iterable[Failed], calls: Iterable[Calls]) -> list[Agent]:
    """Who spoke most first, then by name; also who only called, or never got a word out."""
    spoken = {one.agent: one for one in talk}
    lost = Counter(one.agent for one in failed)
    called: Counter[str] = Counter()
    succeeded: Counter[str] = Counter()
    for one in calls:
        called[one.agent] += one.calls
        succeeded[one.agent] += one.calls * one.success
    whole = sum(one.messages for one in spoken.values())
    nothing = Talk("", "", 0, 0, 0, 0.0)

    def of(name: str) -> Agent:
        said = spoken.get(name, nothing)
        return Agent(
            agent=name,
            messages=said.messages,
            share=rate(said.messages, whole),
            failed_turns=lost[name],
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            milliseconds=rate(said.milliseconds, said.messages),
            tool_calls=called[name],
            tool_success_rate=rate(succeeded[name], called[name]),
        )

    found = [of(name) for name in {*spoken, *lost, *called}]
    return sorted(found, key=lambda one: (-one.messages, one.agent))


def tools(calls: Iterable[Calls]) -> list[Tool]:
    """The most called first, then by name."""
    by_tool: defaultdict[str, list[Calls]] = defaultdict(list)
    for one in calls:
        by_tool[one.tool].append(one)
    found = [_tool(name, some) for name, some in by_tool.items()]
    return sorted(found, key=lambda one: (-one.calls, one.tool))


def _tool(name: str, calls: Sequence[Calls]) -> Tool:
    many = sum(one.calls for one in calls)
    successes = sum(one.calls for one in calls if one.success)
    faults: Counter[str] = Counter()
    callers: Counter[str] = Counter()
    for one in calls:
        callers[one.agent] += one.calls
        if one.fault is not None:
            faults[one.fault] += one.calls
    return Tool(
        tool=name,
        calls=many,
        successes=successes,
        success_rate=rate(successes, many),
        milliseconds=rate(sum(one.milliseconds for one in calls), many),
        faults=dict(sorted(faults.items())),
        agents=dict(sorted(callers.items())),
    )


def follows(pairs: Iterable[Pair]) -> list[Followed]:
    return [Followed(agent=one.agent, next=one.other, times=one.times) for one in _ranked(pairs)]


def names(pairs: Iterable[Pair]) -> list[Named]:
    return [Named(agent=one.agent, named=one.other, messages=one.times) for one in _ranked(pairs)]


def _ranked(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda one: (-one.times, one.agent, one.other))


def games(outcomes: Sequence[Outcome]) -> Games:
    results = Counter(one.result for one in outcomes)
    return Games(
        revealed=len(outcomes),
        success=results["SUCCESS"],
        failure=results["FAILURE"],
        busted=results["BUSTED"],
        guess_accuracy=rate(results["SUCCESS"], len(outcomes)),
        score=mean([one.score for one in outcomes]),
        reference=mean([one.reference for one in outcomes]),
        damage=mean([one.damage for one in outcomes if one.damage is not None]),
    )
