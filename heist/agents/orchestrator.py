"""One session as a task: takes turn after turn, and holds, steps or ends when it is told to."""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing, suppress

from heist import events as e
from heist.agents.agent import Agent
from heist.agents.archivist import Archivist
from heist.agents.conversation import Conversation
from heist.agents.turn import take
from heist.bus import Bus
from heist.clock import Clock, milliseconds
from heist.errors import Conflict, ModelError, ModelOverflow, StoreError
from heist.llm.model import Message, Model, Prompt
from heist.telemetry.here import Here, within

AHEAD = 64
WORD = Prompt((Message("user", "Say yes."),), temperature=0, max_tokens=16)
THE_MODEL = "model"
"""Who pauses a session while its model is down, and resumes it."""


class Orchestrator:
    """Everything that happens is posted to the log and folded into the conversation. The session does not wait for the
    disk: it runs ahead of its log, by about AHEAD events at the most, and whoever watches sees only what is kept. An
    order has happened only when it is kept. Pause holds between turns; stop lets the turn in hand finish;
    `stop(now=True)` cuts it off."""

    def __init__(
        self,
        conversation: Conversation,
        agents: Mapping[str, Agent],
        models: Mapping[str, Model],
        archivist: Archivist,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self.conversation = conversation
        self._agents = agents
        self._models = models
        self._archivist = archivist
        self._bus = bus
        self._clock = clock
        self.session_id = conversation.session.session_id
        self._wake = asyncio.Event()
        self._control = asyncio.Lock()
        self._posted: deque[asyncio.Future[int]] = deque()
        self._steps = 0
        self._ended = False
        self._halvings = 0
        self._waiting: asyncio.Task[None] | None = None
        self._cued = conversation.turns
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        for agent in self.conversation.quarantined:
            self._agents[agent].suspend()
        with within(Here(self.session_id)):
            self._task = asyncio.create_task(self._run(), name=self.session_id)
        return self._task

    def dismiss(self) -> None:
        """The session is over or goes elsewhere: no token of its agents is good any more, and nobody waits for it."""
        self._archivist.close()
        if self._waiting is not None:
            self._waiting.cancel()
        for agent in self._agents.values():
            agent.leave()

    async def _run(self) -> None:
        self._close_round()
        await self._warm_up()
        while self.conversation.turns < self.conversation.total and await self._allowed():
            await self._turn()
            self._close_round()
            self._check_budget()
            async for block in self._archivist.blocks(self.conversation):
                self._post(block)
        async with self._control:  # whoever steers it now comes before the end, or finds it over
            self._ended = True
            await self._publish(self._ending())
        self._settle()

    async def _warm_up(self) -> None:
        """Has each model say a word before the first turn, so that the time that a server takes to load it is not the
        first speaker's. What goes wrong here will go wrong in a turn again, and is that turn's to deal with."""
        cold = {model.name: model for model in self._models.values() if not model.warm}
        for model in cold.values():
            started, failed = self._clock.monotonic(), ""
            try:
                async with aclosing(model.complete(WORD)) as answer:
                    async for _ in answer:
                        pass
            except ModelError as error:
                failed = str(error)
            spent = milliseconds(started, self._clock)
            self._post(e.ModelWarmed(session_id=self.session_id, model=model.name, milliseconds=spent, error=failed))

    async def _allowed(self) -> bool:
        """Waits while the session is paused; False once it is to stop. A step lets one turn through."""
        while self.conversation.stopping_by is None:
            if self.conversation.status == "running":
                return True
            if self._steps:
                self._steps -= 1
                return True
            self._wake.clear()
            await self._wake.wait()
        return False

    async def _turn(self) -> None:
        """Takes the next turn. Raises `StoreError` when something that happened could not be kept."""
        round_ = self.conversation.round_of(self.conversation.turns + 1)
        if self.conversation.rounds_started < round_:
            self._post(e.RoundStarted(session_id=self.session_id, round=round_))
        cue = self.conversation.cue()
        self._cued = cue.turn
        agent, model = self._agents[cue.seat.name], self._models[cue.seat.name]
        async with aclosing(take(cue, agent, model, self._clock, self._halvings)) as events:
            async for event in events:
                self._post(event)
                if isinstance(event, e.MessageInterrupted):
                    self._again(event, model)
        self._settle()
        await asyncio.sleep(0)  # a model that never waits must not keep everybody else waiting
        if len(self._posted) > AHEAD:
            self._bus.flush()
            await asyncio.wait([self._posted[0]])

    def _again(self, cut: e.MessageInterrupted, model: Model) -> None:
        """The turn is not spent: it will be taken again, with a shorter prompt, or when its model is back."""
        if cut.error == ModelOverflow.code:
            self._halvings += 1
            return
        self._cued = self.conversation.turns
        self._post(e.SessionPaused(session_id=self.session_id, by=THE_MODEL, reason=cut.reason))
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._go_on_with(model))

    async def _go_on_with(self, model: Model) -> None:
        """Resumes when the model may be asked again, unless somebody has paused or ended the session meanwhile."""
        await model.ready()
        self._waiting = None
        async with self._control:
            state = self.conversation
            if state.status == "paused" and state.paused_by == THE_MODEL and state.stopping_by is None:
                await self._publish(e.SessionResumed(session_id=self.session_id, by=THE_MODEL))
                self._wake.set()

    def _check_budget(self) -> None:
        if reached := self.conversation.spent.beyond(self.conversation.session.budget):
            of, limit, spent = reached
            self._post(e.BudgetReached(session_id=self.session_id, of=of, limit=limit, spent=round(spent, 6)))

    def _settle(self) -> None:
        """Lets go of what is kept; raises `StoreError` when it could not be."""
        while self._posted and self._posted[0].done():
            self._posted.popleft().result()

    def _close_round(self) -> None:
        done = self.conversation.turns // len(self.conversation.session.seats)
        if self.conversation.rounds_completed < done:
            self._post(e.RoundCompleted(session_id=self.session_id, round=done))

    def _ending(self) -> e.Event:
        state = self.conversation
        if state.stopping_by is not None and state.turns < state.total:
            return e.SessionStopped(session_id=self.session_id, by=state.stopping_by, turns=state.turns)
        if state.failed == state.total:
            return e.SessionFailed(session_id=self.session_id, turns=state.turns, error=state.last_error)
        return e.SessionCompleted(session_id=self.session_id, turns=state.turns, failed=state.failed)

    def _post(self, event: e.Event) -> None:
        if (kept := self._bus.post(event)) is not None:
            self._posted.append(kept)
        self.conversation.apply(event)

    async def _publish(self, event: e.Event) -> None:
        """Publishes an event that is not a turn's; what could not be kept, with a `StoreError`, has not happened."""
        await self._bus.publish(event)
        self.conversation.apply(event)

    async def pause(self, by: str, reason: str = "") -> None:
        async with self._control:
            if self.conversation.paused_by != THE_MODEL:  # what the model's return would resume, a person may hold
                self._must_be("running", "pause")
            self._must_stay()
            await self._publish(e.SessionPaused(session_id=self.session_id, by=by, reason=reason))

    async def resume(self, by: str) -> None:
        async with self._control:
            self._must_be("paused", "resume")
            await self._publish(e.SessionResumed(session_id=self.session_id, by=by))
            self._steps = 0
            self._wake.set()

    async def step(self, by: str) -> None:
        """Lets one turn of a paused session through."""
        async with self._control:
            self._must_be("paused", "step")
            if self._steps or self._cued > self.conversation.turns:
                raise Conflict("a turn is being taken; step again when it is over")
            await self._publish(e.SessionStepped(session_id=self.session_id, by=by))
            self._steps += 1
            self._wake.set()

    async def stop(self, by: str, now: bool = False) -> None:
        """Ends the session after the turn in hand; with `now` it cuts that turn off and returns when all is over."""
        async with self._control:
            self._must_go_on()
            if self.conversation.stopping_by is None:
                await self._publish(e.SessionStopping(session_id=self.session_id, by=by))
                self._wake.set()
            elif not now:
                raise Conflict(f"the session {self.session_id} is stopping; stop it now to cut its turn off")
            if now:
                await self._cut(f"stopped by {by}")
                if not self.conversation.over:
                    await self._publish(self._ending())

    async def idle(self) -> None:
        """Returns when nobody steers it."""
        async with self._control:
            pass

    async def suspend(self, reason: str) -> None:
        """Cuts the turn in hand off and leaves the session paused, to be continued by another process."""
        async with self._control:
            await self._cut(reason)
            if self.conversation.status == "running":
                await self._publish(e.SessionPaused(session_id=self.session_id, by="server", reason=reason))

    async def recover(self, process: int, before: int) -> None:
        """Takes over a session that the process `before` left: closes its turn in hand and leaves it paused."""
        async with self._control:
            await self._publish(e.SessionRecovered(session_id=self.session_id, process=process, before=before))
            await self._cut("the process was gone")

    async def fail(self, error: str) -> None:
        """Records that the session broke off, and where. When the log is what failed, it ends where it could."""
        async with self._control:
            if self.conversation.over:
                return
            with suppress(StoreError):
                await self._cut(error)
            turns = self.conversation.turns
            await self._publish(e.SessionFailed(session_id=self.session_id, turns=turns, error=error))

    async def command(self, agent: str, text: str, by: str) -> int:
        """Queues an order for the agent's next turn; answers its number."""
        async with self._control:
            self._must_stay()
            self.conversation.check_command(agent, max(self.conversation.turns, self._cued) + 1)
            number = self.conversation.last_command + 1
            await self._publish(
                e.CommandIssued(session_id=self.session_id, command=number, agent=agent, text=text, by=by)
            )
            return number

    async def quarantine(self, agent: str, reason: str, by: str) -> None:
        """Every token of the agent is dead before this is on record, so that no tool gives it anything after it."""
        async with self._control:
            self._must_go_on()
            self.conversation.check_agent(agent)
            if agent in self.conversation.quarantined:
                raise Conflict(f"{agent} is in quarantine already")
            self._agents[agent].suspend()
            event = e.AgentQuarantined(session_id=self.session_id, agent=agent, reason=reason, by=by)
            try:
                await self._publish(event)
            except StoreError:
                self._agents[agent].release()
                raise

    async def release(self, agent: str, by: str) -> None:
        async with self._control:
            self._must_go_on()
            self.conversation.check_agent(agent)
            if agent not in self.conversation.quarantined:
                raise Conflict(f"{agent} is not in quarantine")
            await self._publish(e.AgentReleased(session_id=self.session_id, agent=agent, by=by))
            self._agents[agent].release()

    def tell(self, event: e.ToolAdded | e.ToolRemoved) -> None:
        """Puts a change of the house's tools on this session's record, if it has the tool."""
        tools = self.conversation.session.tools
        if not (self._ended or self.conversation.over) and (tools is None or event.tool in tools):
            self._post(event.model_copy(update={"session_id": self.session_id}))

    async def _cut(self, reason: str) -> None:
        for task in (self._waiting, self._task):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if turn := self.conversation.in_hand:
            who = turn.model_dump(include={"session_id", "turn", "round", "agent", "role"})
            await self._publish(e.MessageInterrupted(**who, reason=reason))

    def _must_be(self, status: str, verb: str) -> None:
        self._must_stay()
        if self.conversation.status != status:
            hint = "pause it first" if verb == "step" else f"there is nothing to {verb}"
            raise Conflict(f"the session {self.session_id} is {self.conversation.status}; {hint}")

    def _must_stay(self) -> None:
        self._must_go_on()
        if self.conversation.stopping_by is not None:
            raise Conflict(f"the session {self.session_id} is stopping")

    def _must_go_on(self) -> None:
        if self.conversation.over:
            raise Conflict(f"the session {self.session_id} is over ({self.conversation.status})")
