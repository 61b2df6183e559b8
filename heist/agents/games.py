"""The player's side of a session: suspicions, one guess, and the reveal."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from heist.agents import mole
from heist.agents.conversation import Conversation
from heist.agents.past import Past
from heist.agents.reveal import ending
from heist.agents.sessions import Sessions
from heist.bus import Bus
from heist.errors import Conflict, HeistError, Invalid
from heist.events import ENDS, GuessMade, Recorded, SuspicionStated
from heist.later import Later
from heist.services.auth import Principal, Scope
from heist.store.queries import Queries, Tally
from heist.switches import Switches
from heist.telemetry.here import Here, within

log = logging.getLogger(__name__)


class Games:
    """Each method takes the principal first. A game ends once, when its session is over and its guess is made, or given
    up; until then nothing here tells who the mole is, or whether there is one."""

    def __init__(self, sessions: Sessions, queries: Queries, bus: Bus, config: Path, switches: Switches) -> None:
        self._sessions = sessions
        self._queries = queries
        self._bus = bus
        self._config = config
        self._switches = switches
        self._judging = asyncio.Lock()
        self._later = Later()

    async def suspect(self, principal: Principal, session_id: str, shares: Mapping[str, float], nobody: float) -> None:
        """Puts on record how much the player suspects each agent, and nobody: any numbers from 0, which are made to sum
        to 1. Who is not named has none."""
        principal.require(Scope.SESSION_CONTROL)
        self._switches.require("blind_play")
        past = await self._open(session_id)
        conversation = past.conversation()
        names = conversation.names
        if unknown := [name for name in shares if name not in names]:
            raise Invalid(f"there is no agent {unknown[0][:64]!r} in this session; there are: {', '.join(names)}")
        given = {name: shares.get(name, 0.0) for name in names}
        total = sum(given.values()) + nobody
        if min(*given.values(), nobody) < 0 or not 0 < total < float("inf"):
            raise Invalid("suspicions are numbers from 0, and not all of them are 0")
        await self._bus.publish(
            SuspicionStated(
                session_id=session_id,
                by=principal.name,
                turns=conversation.turns,
                suspicions={name: round(share / total, 4) for name, share in given.items()},
                nobody=round(nobody / total, 4),
            )
        )

    async def guess(self, principal: Principal, session_id: str, agent: str | None) -> None:
        """The player's one guess; None says that there is no mole. In a session that is over it ends the game; else the
        game ends with the session. Raises `NotFound`, or `Conflict` when it is made already."""
        principal.require(Scope.SESSION_CONTROL)
        async with self._judging:
            past = await self._open(session_id)
            conversation = past.conversation()
            if conversation.guess is not None:
                when = "ask for the reveal" if conversation.over else "the answer comes when the session is over"
                raise Conflict(f"the guess of {session_id} is made; {when}")
            if agent is not None:
                conversation.check_agent(agent)
            if conversation.over:
                await self._check_origin(conversation)
            made = GuessMade(session_id=session_id, by=principal.name, turns=conversation.turns, agent=agent)
            await self._bus.publish(made)
            conversation.apply(made)
            if conversation.over:
                with suppress(Conflict):  # another process has seen the guess, and tells the end
                    await self._end(past, conversation, principal.name)
            else:  # unless another process has just ended it
                self._later.begin(self._end_if_guessed(session_id))

    async def reveal(self, principal: Principal, session_id: str) -> None:
        """Ends the game of a session that is over; who has not guessed gives up, and has accused nobody."""
        principal.require(Scope.SESSION_CONTROL)
        async with self._judging:
            past = await self._open(session_id)
            conversation = past.conversation()
            if not conversation.over:
                raise Conflict(f"the session {session_id} is not over; stop it, or wait for its end")
            await self._end(past, conversation, principal.name)

    async def recover(self) -> None:
        """Ends the games that a guess has ended: when the process was gone, or while another game was to end first."""
        for session_id in await asyncio.to_thread(self._queries.guessed):
            await self._end_if_guessed(session_id)

    async def tally(self, principal: Principal) -> list[Tally]:
        """What came of the games that are over, by arm and strategy."""
        principal.require(Scope.SESSION_READ)
        return await asyncio.to_thread(self._queries.tally)

    async def rules(self, principal: Principal) -> mole.Rules:
        principal.require(Scope.SESSION_READ)
        return await asyncio.to_thread(mole.read, self._config)

    def hear(self, recorded: Recorded) -> None:
        """A watcher of the bus: a session that ends with its guess made ends its game, and a game that is told those of
        its forks that waited for it."""
        if recorded.event.kind in ENDS and recorded.event.session_id is not None:
            self._later.begin(self._end_if_guessed(recorded.event.session_id))
        elif recorded.event.kind == "mole.revealed":
            self._later.begin(self.recover())

    async def close(self) -> None:
        """Games that are ending end."""
        await self._later.done()

    async def _end_if_guessed(self, session_id: str) -> None:
        with within(Here(session_id)):
            await self._judge(session_id)

    async def _judge(self, session_id: str) -> None:
        async with self._judging:
            try:
                past = await self._open(session_id)
                conversation = past.conversation()
                if conversation.over and conversation.guess is not None:
                    await self._end(past, conversation, conversation.guess.by)
            except Conflict as error:
                log.debug("the game of %s is told already, or after another one: %s", session_id, error)
            except HeistError as error:
                log.warning("the game of %s is not ended: %s", session_id, error)

    async def _open(self, session_id: str) -> Past:
        """The session on record, if its game is not over."""
        past = await self._sessions.past(session_id)
        if past.revealed:
            raise Conflict(f"the game of {session_id} is over: its log tells all")
        return past

    async def _check_origin(self, conversation: Conversation) -> None:
        """Raises `Conflict` for a fork of a session whose game is not over: the reveal of one tells that of the
        other."""
        origin = conversation.session.fork
        for other in (origin.root, origin.session_id) if origin is not None else ():
            if other is not None and await asyncio.to_thread(self._queries.is_sealed, other):
                raise Conflict(f"this is a fork of {other}, which has the same mole; end that game first")

    async def _end(self, past: Past, conversation: Conversation, by: str) -> None:
        await self._check_origin(conversation)
        strategies = (await asyncio.to_thread(mole.read, self._config)).strategies
        strategy = past.truth.strategy or ""
        title = strategies[strategy].title if strategy in strategies else strategy
        *steps, last = await asyncio.to_thread(ending, conversation, past.log, past.secret, title, by)
        for event in steps:
            self._bus.post(event)
        await self._bus.publish(last)
