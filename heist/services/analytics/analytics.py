"""Analytics: questions about sessions, answered by counting what the audit has. Each method takes the principal first
and asks it for `analytics:read`; nothing is ever written."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from heist.errors import HeistError, Invalid, NotFound
from heist.services.analytics import counting
from heist.services.analytics.answers import (
    AgentActivity,
    Compared,
    Comparison,
    Detection,
    Interactions,
    MetricsSummary,
    Session,
    SessionDetail,
    Sessions,
    Summary,
    ToolStats,
    rate,
)
from heist.services.analytics.comparing import differences
from heist.services.auth import Principal, Scope
from heist.services.detection.desk import Desk
from heist.store.figures import By, Calls, Chosen, Failed, Figures, Outcome, Reading, Talk
from heist.store.queries import SessionRow
from heist.store.tables import ENDED

T = TypeVar("T")
MOST_COMPARED = 20
MOST_GROUPS = 50
KEPT = 10_000
"""Last words of detectors on revealed games that are remembered: nothing changes them any more."""
DETECTIVE = Principal("analytics", frozenset({Scope.DETECTION}))
"""Who asks the detectors about games that are revealed."""


class Analytics:
    """A strategy that is asked for, as all that was secret in a game, is known of revealed games only: of the others it
    is not even counted that they exist."""

    def __init__(self, figures: Figures, desk: Desk) -> None:
        self._figures = figures
        self._desk = desk
        self._last_words: dict[tuple[str, str], tuple[bool, str | None]] = {}

    async def sessions(self, principal: Principal, chosen: Chosen, limit: int, before: str | None = None) -> Sessions:
        """The sessions in figures, newest first. Raises `NotFound` when there is no session `before`."""
        principal.require(Scope.ANALYTICS)
        return await asyncio.to_thread(self._read, lambda reading: _sessions(reading, chosen, limit, before))

    async def session(self, principal: Principal, session_id: str) -> SessionDetail:
        """Raises `NotFound`."""
        principal.require(Scope.ANALYTICS)
        return await asyncio.to_thread(self._read, lambda reading: _detail(reading, session_id))

    async def tool_stats(self, principal: Principal, chosen: Chosen, limit: int, offset: int = 0) -> ToolStats:
        """Each tool's calls by agents in sessions, by whom, and how they ended."""
        principal.require(Scope.ANALYTICS)
        tools = counting.tools(await asyncio.to_thread(self._read, lambda reading: reading.calls(chosen)))
        return ToolStats(tools=tools[offset : offset + limit], total=len(tools))

    async def agent_activity(self, principal: Principal, chosen: Chosen, limit: int, offset: int = 0) -> AgentActivity:
        principal.require(Scope.ANALYTICS)
        agents = await asyncio.to_thread(
            self._read,
            lambda reading: counting.agents(reading.talk(chosen), reading.failed(chosen), reading.calls(chosen)),
        )
        return AgentActivity(agents=agents[offset : offset + limit], total=len(agents))

    async def interactions(self, principal: Principal, chosen: Chosen, limit: int, offset: int = 0) -> Interactions:
        """Who speaks after whom, and who names whom."""
        principal.require(Scope.ANALYTICS)
        follows, names = await asyncio.to_thread(
            self._read, lambda reading: (reading.follows(chosen), reading.names(chosen))
        )
        return Interactions(
            follows=counting.follows(follows)[offset : offset + limit],
            follows_total=len(follows),
            names=counting.names(names)[offset : offset + limit],
            names_total=len(names),
        )

    async def compare(self, principal: Principal, session_ids: Sequence[str]) -> Comparison:
        """Two sessions or more, each against the first. Raises `NotFound`, or `Invalid` when they are too few, too
        many, or one stands twice."""
        principal.require(Scope.ANALYTICS)
        if len(session_ids) != len(set(session_ids)) or not 2 <= len(session_ids) <= MOST_COMPARED:
            raise Invalid(f"a comparison is of 2 to {MOST_COMPARED} sessions, each named once")
        compared = await asyncio.to_thread(self._read, lambda reading: _compared(reading, session_ids))
        return Comparison(sessions=compared, differences=await asyncio.to_thread(differences, compared))

    async def metrics_summary(
        self,
        principal: Principal,
        chosen: Chosen,
        by: By | None = None,
        detector: str | None = "rules",
        last: int = 25,
    ) -> MetricsSummary:
        """The figures of all sessions that are meant, and of them by `by`; how right the detector was on the `last`
        games that were revealed. Raises `NotFound` when there is no such detector, or `Invalid` for too many groups."""
        principal.require(Scope.ANALYTICS)
        if detector is not None:
            await asyncio.to_thread(self._desk.named, detector)
        counted = await asyncio.to_thread(self._read, lambda reading: _summaries(reading, chosen, by))
        whole, *groups = [await self._detected(summary, games, detector, last) for summary, games in counted]
        return MetricsSummary(summary=whole, groups=groups)

    async def _detected(self, summary: Summary, games: Sequence[Outcome], detector: str | None, last: int) -> Summary:
        asked = games[:last]
        if detector is None or not asked:
            return summary
        told = [(game.holder if game.arm == "mole" else None, *await self._word(detector, game)) for game in asked]
        spoken = [(mole, named) for mole, abstained, named in told if not abstained]
        right = sum(mole == named for mole, named in spoken)
        detection = Detection(
            detector=detector,
            games=len(told),
            abstained=len(told) - len(spoken),
            right=right,
            accuracy=rate(right, len(spoken)),
            false_accusations=sum(named is not None and mole != named for mole, named in spoken),
        )
        return summary.model_copy(update={"detection": detection})

    async def _word(self, detector: str, game: Outcome) -> tuple[bool, str | None]:
        """(whether the detector abstained, whom it named in its last word on a revealed game)."""
        key = detector, game.session_id
        if key not in self._last_words:
            if len(self._last_words) >= KEPT:
                self._last_words.clear()
            try:
                moments = await self._desk.history(DETECTIVE, game.session_id, detector)
            except HeistError:
                moments = []  # a log that this version cannot judge
            silent = not moments or moments[-1].nobody is None
            self._last_words[key] = silent, None if silent else moments[-1].suggested_mole
        return self._last_words[key]

    def _read(self, question: Callable[[Reading], T]) -> T:
        """Blocks."""
        with self._figures.reading() as reading:
            return question(reading)


def _sessions(reading: Reading, chosen: Chosen, limit: int, before: str | None) -> Sessions:
    if before is not None:
        _rows(reading, [before])
    rows = reading.sessions(chosen, limit + 1, before)
    shown = rows[:limit]
    return Sessions(
        sessions=[compared.session for compared in _figures(reading, shown)],
        next=shown[-1].session_id if len(rows) > limit else None,
    )


def _detail(reading: Reading, session_id: str) -> SessionDetail:
    [compared] = _compared(reading, [session_id])
    chosen = Chosen(session_ids=(session_id,))
    return SessionDetail(
        session=compared.session,
        seconds=_seconds(compared.session),
        agents=compared.agents,
        tools=compared.tools,
        follows=counting.follows(reading.follows(chosen)),
        names=counting.names(reading.names(chosen)),
    )


def _seconds(session: Session) -> float | None:
    if session.end_time is None:
        return None
    began, ended = map(datetime.fromisoformat, (session.start_time, session.end_time))
    return (ended - began).total_seconds()


def _compared(reading: Reading, session_ids: Sequence[str]) -> list[Compared]:
    return _figures(reading, _rows(reading, session_ids))


def _rows(reading: Reading, session_ids: Sequence[str]) -> list[SessionRow]:
    """In the order in which they are named."""
    found = {row.session_id: row for row in reading.sessions(Chosen(session_ids=tuple(session_ids)), len(session_ids))}
    if missing := [session_id for session_id in session_ids if session_id not in found]:
        raise NotFound(f"there is no session {missing[0][:64]!r}")
    return [found[session_id] for session_id in session_ids]


def _figures(reading: Reading, rows: Sequence[SessionRow]) -> list[Compared]:
    """All that is counted by session, in four questions for any number of them."""
    ids = [row.session_id for row in rows]
    chosen = Chosen(session_ids=tuple(ids))
    talk = _by_session(reading.talk_by_session(ids))
    failed = _by_session(reading.failed(chosen))
    calls = _by_session(reading.calls_by_session(ids))
    games = {game.session_id: game for game in reading.outcomes(chosen)}
    return [
        Compared(
            session=counting.session(row, talk.get(one, []), failed.get(one, []), calls.get(one, []), games.get(one)),
            agents=counting.agents(talk.get(one, []), failed.get(one, []), calls.get(one, [])),
            tools=counting.tools(calls.get(one, [])),
        )
        for row, one in zip(rows, ids, strict=True)
    ]


Counted = TypeVar("Counted", Talk, Failed, Calls)


def _by_session(counted: Sequence[Counted]) -> dict[str, list[Counted]]:
    ordered = sorted(counted, key=lambda one: one.session_id)
    return {session_id: list(some) for session_id, some in groupby(ordered, key=lambda one: one.session_id)}


def _summaries(reading: Reading, chosen: Chosen, by: By | None) -> list[tuple[Summary, list[Outcome]]]:
    """Each with its revealed games, the last one first; all sessions together come first."""
    values = reading.values(chosen, by) if by is not None else []
    if len(values) > MOST_GROUPS:
        raise Invalid(f"there are {len(values)} values of {by}, and a summary tells {MOST_GROUPS} apart; choose fewer")
    groups = [(value, chosen.narrowed(by, value)) for value in values if by is not None]
    return [_summary(reading, group, some) for group, some in [(None, chosen), *groups]]


def _summary(reading: Reading, group: str | None, chosen: Chosen) -> tuple[Summary, list[Outcome]]:
    totals = reading.totals(chosen)
    games = reading.outcomes(chosen)
    statuses = reading.statuses(chosen)
    many = {one.status: one.sessions for one in statuses}
    ended = [one for one in statuses if one.status in ENDED]
    over = sum(one.sessions for one in ended)
    summary = Summary(
        group=group,
        sessions=sum(many.values()),
        ongoing=sum(many.values()) - over,
        completed=many.get("completed", 0),
        stopped=many.get("stopped", 0),
        failed=many.get("failed", 0),
        completion_rate=rate(many.get("completed", 0), over),
        average_turns=rate(sum(one.turns for one in ended), over),
        messages=totals.messages,
        failed_turns=len(reading.failed(chosen)),
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        milliseconds=rate(totals.milliseconds, totals.messages),
        tool_calls=totals.calls,
        tool_success_rate=rate(totals.successes, totals.calls),
        games=counting.games(games),
        detection=None,
    )
    return summary, games
