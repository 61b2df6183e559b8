"""Comparing: how sessions differ, in all and agent by agent."""

from collections.abc import Iterator, Sequence

from heist.services.analytics.answers import Agent, Compared, Difference, Session
from heist.services.detection import metrics

OF_SESSIONS = (
    "turns",
    "messages",
    "failed_turns",
    "prompt_tokens",
    "completion_tokens",
    "milliseconds",
    "tool_calls",
    "tool_success_rate",
)
OF_GAMES = ("score", "reference", "damage")
OF_AGENTS = frozenset(Agent.model_fields) - {"agent", "share"}


def differences(sessions: Sequence[Compared]) -> list[Difference]:
    """Each session against the first, by every measure; what is secret in a game only where both are revealed."""
    first, *others = sessions
    return [told for other in others for told in _between(first, other)]


def _between(first: Compared, other: Compared) -> Iterator[Difference]:
    for measure in (*OF_SESSIONS, *OF_GAMES):
        values = _paired(first.agents, other.agents, measure) if measure in OF_AGENTS else []
        figure = metrics.figure(values)
        yield Difference(
            session_id=other.session.session_id,
            against=first.session.session_id,
            measure=measure,
            difference=_more(_value(first.session, measure), _value(other.session, measure)),
            pairs=figure.n,
            mean=figure.value if values else None,
            low=figure.low if values else None,
            high=figure.high if values else None,
        )


def _value(session: Session, measure: str) -> float | None:
    found: float | None = getattr(session.game if measure in OF_GAMES else session, measure, None)
    return found


def _more(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _paired(first: Sequence[Agent], other: Sequence[Agent], measure: str) -> list[float]:
    """What each agent of both sessions has more of in the other, where both have a value."""
    before = {agent.agent: getattr(agent, measure) for agent in first}
    found = [_more(before.get(agent.agent), getattr(agent, measure)) for agent in other]
    return [value for value in found if value is not None]
