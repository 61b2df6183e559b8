"""The watch: looks on while sessions run, and tells after each message how a detector sees it.

Nobody waits for it. A message is looked at in a task of the session's own; what has come in meanwhile is looked at
together, and only the last standing is told. The judge is asked in another task, one question at a time, with a purse
of its own; when it is slow, messages pass it by."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace

from heist import events as e
from heist.bus import Bus
from heist.errors import HeistError
from heist.events import JudgeAnswered, JudgeCited, Recorded, SuspicionUpdated
from heist.services.detection import case
from heist.services.detection.case import Case, Deed, Said
from heist.services.detection.desk import Desk
from heist.services.detection.judge import Purse
from heist.services.detection.ladder.hybrid import Hybrid
from heist.services.detection.ladder.rules import Assessment
from heist.services.detection.verdict import JudgeState
from heist.telemetry.telemetry import Telemetry

TOP = 5
"""Items of evidence that are told with each standing."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watched:
    """One session: what was heard and not yet looked at, and the case as far as it goes."""

    heard: list[Deed] = field(default_factory=list)
    seen: list[Deed] = field(default_factory=list)
    case: Case | None = None
    assessment: Assessment | None = None
    task: asyncio.Task[None] | None = None
    judging: asyncio.Task[None] | None = None
    purse: Purse | None = None
    messages: int = 0
    over: bool = False

    def whole(self) -> int:
        """How many of the deeds that were heard make whole turns: those up to the last message."""
        return next((at for at in range(len(self.heard), 0, -1) if isinstance(self.heard[at - 1], Said)), 0)


class Watch:
    """A watcher of the bus."""

    def __init__(self, desk: Desk, bus: Bus, telemetry: Telemetry) -> None:
        self._desk = desk
        self._bus = bus
        self._telemetry = telemetry
        self._sessions: dict[str, _Watched] = {}

    def hear(self, recorded: Recorded) -> None:
        event = recorded.event
        if event.session_id is None or event.kind == "message.delta":
            return
        if isinstance(event, e.SessionStarted | e.SessionRecovered):
            self._begin(event)
        watched = self._sessions.get(event.session_id)
        if watched is None:
            return
        if event.kind in e.ENDS:
            watched.over = True
            self._drop_if_idle(event.session_id, watched)
        elif (deed := case.deed_of(event)) is not None:
            watched.heard.append(deed)
            if isinstance(deed, Said) and (watched.task is None or watched.task.done()):
                watched.task = self._run(event.session_id, watched, self._look(event.session_id, watched))

    async def close(self) -> None:
        """What is being looked at is finished; the judge is not waited for."""
        tasks = [watched.task for watched in self._sessions.values() if watched.task is not None]
        judging = [watched.judging for watched in self._sessions.values() if watched.judging is not None]
        for one in judging:
            one.cancel()
        await asyncio.gather(*tasks, *judging, return_exceptions=True)

    def _begin(self, event: e.SessionStarted | e.SessionRecovered) -> None:
        """A session that begins is followed from its first event; one that comes back is read from the log."""
        watched = _Watched()
        if isinstance(event, e.SessionStarted):
            watched.case = case.begun(event, None)
        self._sessions[event.session_id] = watched

    def _run(self, session_id: str, watched: _Watched, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._drop_if_idle(session_id, watched))
        return task

    def _drop_if_idle(self, session_id: str, watched: _Watched) -> None:
        busy = any(task is not None and not task.done() for task in (watched.task, watched.judging))
        if watched.over and not busy and not watched.whole():
            self._sessions.pop(session_id, None)

    async def _look(self, session_id: str, watched: _Watched) -> None:
        """Looks at all that was heard, until nothing new comes in."""
        try:
            if watched.assessment is None and not await self._open(session_id, watched):
                self._sessions.pop(session_id, None)
                return
            while whole := watched.whole():
                deeds, watched.heard = watched.heard[:whole], watched.heard[whole:]
                self._see(session_id, watched, deeds)
                await asyncio.sleep(0)
        except HeistError as error:
            log.warning("the session %s is not watched: %s", session_id, error)
            self._sessions.pop(session_id, None)

    async def _open(self, session_id: str, watched: _Watched) -> bool:
        """Whether there is anything to see it by. What the log already holds is not looked at twice."""
        settings = await asyncio.to_thread(lambda: self._desk.settings)
        if settings.live == "off":
            return False
        if watched.case is None:
            stored = (await asyncio.to_thread(self._desk.stored, session_id)).case
            watched.case = replace(stored, deeds=())
            watched.heard = list(stored.deeds)
        known = await asyncio.to_thread(self._desk.schema, watched.case.scenario)
        watched.case = replace(watched.case, schema=known)
        watched.assessment = self._desk.rules.begin(watched.case)
        watched.purse = self._desk.bench.judge.purse()
        return watched.assessment is not None

    def _see(self, session_id: str, watched: _Watched, deeds: list[Deed]) -> None:
        assessment = watched.assessment
        assert assessment is not None
        with self._telemetry.assessing("rules", session_id, deeds[-1].turn):
            for deed in deeds:
                assessment.see(deed)
                watched.messages += isinstance(deed, Said)
            watched.seen += deeds
            standing = assessment.standing()
        told = standing.posterior
        against = [item.id for item in reversed(assessment.items) if item.hit][:TOP]
        self._bus.post(
            SuspicionUpdated(
                session_id=session_id,
                turn=standing.turn,
                detector="rules",
                posterior=dict(told.agents),
                nobody=told.nobody,
                breakdown={agent: dict(added) for agent, added in standing.odds.families.items()},
                evidence=tuple(against),
                alarm=standing.alarm.raised,
            )
        )
        settings = self._desk.settings
        idle = watched.judging is None or watched.judging.done()
        if settings.live == "hybrid" and settings.judge.arm != "off" and idle and watched.messages >= settings.every:
            watched.messages = 0
            watched.judging = self._run(session_id, watched, self._judge(session_id, watched))

    async def _judge(self, session_id: str, watched: _Watched) -> None:
        assert watched.case is not None
        seen = replace(watched.case, deeds=tuple(watched.seen))
        with self._telemetry.assessing("judge", session_id, seen.turns):
            state = await self._desk.bench.state(seen, self._desk.rules, watched.purse)
        if (event := answered(session_id, seen.turns, state)) is not None:
            self._bus.post(event)
            await self._pooled(session_id, seen, state)

    async def _pooled(self, session_id: str, seen: Case, state: JudgeState) -> None:
        if state.posterior is None:
            return
        rules = self._desk.rules
        verdict = Hybrid(self._desk.bench, rules).pool(seen, await rules.assess(seen), state)
        assert verdict.nobody is not None
        self._bus.post(
            SuspicionUpdated(
                session_id=session_id,
                turn=verdict.turn,
                detector="hybrid",
                posterior=verdict.posterior,
                nobody=verdict.nobody,
                breakdown=verdict.score_breakdown,
                evidence=tuple(item.id for item in verdict.evidence if item.hit)[:TOP],
                alarm=verdict.alarm is not None and verdict.alarm.raised,
            )
        )


def answered(session_id: str, turn: int, state: JudgeState) -> JudgeAnswered | None:
    """What the judge made of it, for the log; None when it was not asked."""
    if state.status == "off":
        return None
    return JudgeAnswered(
        session_id=session_id,
        turn=turn,
        **state.model_dump(exclude={"reasons"}),
        reasons=tuple(JudgeCited(**reason.model_dump()) for reason in state.reasons),
    )
