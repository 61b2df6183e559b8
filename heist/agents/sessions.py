"""The sessions that run now: started, steered, and brought back after the process was gone."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from heist import events as e
from heist.agents import crew as crews
from heist.agents import mole
from heist.agents.agent import Agent
from heist.agents.archivist import Archivist
from heist.agents.conversation import Conversation
from heist.agents.forks import Beginning, Moment, fork
from heist.agents.hindsight import Seen, moment, seen
from heist.agents.orchestrator import Orchestrator
from heist.agents.past import Past, bank, past
from heist.bus import Bus
from heist.clock import Clock
from heist.errors import Conflict, HeistError, Invalid, NotFound, StoreError
from heist.later import Later
from heist.llm.model import Model
from heist.llm.pace import Paced
from heist.llm.source import Source
from heist.services.auth import Auth, Principal, Scope
from heist.services.clients import Clients
from heist.services.oauth.server import AuthorizationServer
from heist.services.tools.registry import Registry
from heist.store.processes import BEAT_SECONDS, DEAD_SECONDS, Processes
from heist.store.queries import Queries, SessionRow
from heist.store.tables import ENDED
from heist.switches import Feature, Switches
from heist.telemetry.here import Here, within
from heist.world import scenario as scenarios
from heist.world.documents import Bank
from heist.world.game import draw
from heist.world.scenario import Scenario

LONGEST_COMMAND = 2000
LONGEST_REASON = 300
SEEDS = 2**53
"""Of so many a seed is drawn, that nobody can try them all; every one is a whole number to JavaScript."""
log = logging.getLogger(__name__)


class Order(BaseModel):
    """What somebody wants started. What is left out comes from the crew's file; `seed` from chance."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    crew: str = Field("crew", max_length=100, description="a crew file of the config folder, without .yaml")
    rounds: int | None = Field(None, ge=1, le=1000)
    turn_order: Literal["round_robin", "random"] | None = None
    seed: int | None = Field(None, ge=0, lt=SEEDS, description="who knows it can play the same game, and know its end")
    mole: str | None = Field(None, max_length=100, description="random, none, or an agent's name; left out: by chance")
    arm: Literal["any", "mole", "none", "placebo", "incompetent"] = Field("any", description="what the game is of")
    strategy: str | None = Field(None, max_length=100, description="how the mole works; left out: by chance")
    rate: int | None = Field(None, ge=0, le=10, description="in how many of ten turns the mole acts")
    facts: Literal["drawn", "fixed"] = Field("drawn", description="the bank drawn anew, or as its file gives it")
    words_per_second: float = Field(0, ge=0, le=1000, description="the pace of speech; 0 is as fast as the model")
    paused: bool = Field(False, description="begin paused, before the first turn")
    variant: str | None = Field(None, max_length=32, description="one of the crew's variants; left out: by chance")
    tools: tuple[str, ...] | None = Field(
        None, max_length=100, description="the only tools that the agents may be offered; left out: all that there are"
    )


class Begun(NamedTuple):
    """A session that was started, and what it has to do without."""

    session_id: str
    missing: Sequence[e.ServiceMissing]


class House(NamedTuple):
    """The rooms below that a session needs. `problem` says why no detector can look on, `name` ends a session's id, by
    its seed and what was ordered, and `processes` tells this process from the others over its database."""

    config: Path
    source: Source
    bus: Bus
    clock: Clock
    clients: Clients
    server: AuthorizationServer
    auth: Auth
    registry: Registry
    queries: Queries
    switches: Switches
    problem: Callable[[], str]
    name: Callable[..., str]
    processes: Processes


class Sessions:
    """Each method takes the principal first and asks it for `session:control`; a session that is not running here
    answers with `NotFound` or `Conflict`, in a sentence that says why, and what the house has switched off with
    `SwitchedOff`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._running: dict[str, Orchestrator] = {}
        self._beginning: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._later = Later()
        self._bringing_back = asyncio.Lock()
        self._watches: tuple[asyncio.Task[None], ...] = ()
        self._left: set[str] = set()

    async def start(self, principal: Principal, order: Order) -> str:
        """Starts a session; answers its id once it is on record. Raises `ConfigError`, `NotFound` or `ModelError`."""
        return (await self.begin(principal, order)).session_id

    async def begin(self, principal: Principal, order: Order) -> Begun:
        """The same, with what the session has to do without."""
        principal.require(Scope.SESSION_CONTROL)
        house = self._house
        if order.paused:
            house.switches.require("live_control")
        for tool in order.tools or ():
            house.registry.named(tool)
        crew = await asyncio.to_thread(crews.read, house.config, order.crew, house.registry.scopes)
        scenario = await asyncio.to_thread(scenarios.read, house.config, crew.scenario)
        rules = await asyncio.to_thread(mole.read, house.config)
        seed = secrets.randbelow(SEEDS) if order.seed is None else order.seed
        crew, variant = crews.varied(crew, order.variant, seed)
        started = await self._started(order, crew, variant, scenario, principal.name, seed)
        truth = _assigned(started, order, rules, scenario, seed)
        conversation = Conversation(started, truth, bank(scenario, truth))
        return await self._launch(
            Beginning(started, (), (truth,)), conversation, principal.name if order.paused else None
        )

    async def _missing(self, started: e.SessionStarted) -> list[e.ServiceMissing]:
        """What is not as it should be when a session begins, and does not keep it from beginning."""
        house, session_id = self._house, started.session_id
        scopes = {scope for seat in started.seats for scope in seat.scopes}
        reasons = house.source.reasons()
        servers = [started.server, *(seat.voice.server for seat in started.seats if seat.voice)]
        found: list[tuple[Any, str]] = [
            *([("model", house.source.notice)] if started.simulated and house.source.notice else []),
            *[("model", f"{name}: {reasons[name]}") for name in dict.fromkeys(servers) if name in reasons],
            *[("tools", f"{name} is switched off") for name in house.registry.withheld(scopes, started.tools)],
        ]
        if problem := await asyncio.to_thread(house.problem):
            found.append(("detection", problem))
        return [e.ServiceMissing(session_id=session_id, part=part, why=e.sound(why)) for part, why in found]

    async def fork(self, principal: Principal, session_id: str, moment: Moment) -> str:
        """Forks a session; answers the id of the fork once it is on record. Raises as `go_on`."""
        return (await self.go_on(principal, session_id, moment)).session_id

    async def go_on(self, principal: Principal, session_id: str, moment: Moment) -> Begun:
        """Starts a session that goes on from a moment of this one, running or over, as a re-execution: with the same
        seats, seed, bank and mole, by the models and tools that there are now. Raises `NotFound`, `Invalid`,
        `ModelError`, or `Conflict` when nothing could follow."""
        principal.require(Scope.SESSION_CONTROL)
        if moment.paused:
            self._house.switches.require("live_control")
        past = await self.past(session_id)
        name = self._named(past.truth.seed, session_id, moment.model_dump_json())
        process = self._house.processes.number
        forked = fork(past.log, past.places, past.secret, moment, name, principal.name, process)
        conversation = Conversation(forked.started, past.truth, past.game)
        for event in forked.taken:
            conversation.apply(event)
        _check_room(session_id, conversation)
        return await self._launch(
            forked, conversation, principal.name if moment.paused else None, "a fork waits to be resumed"
        )

    async def _launch(
        self, beginning: Beginning, conversation: Conversation, paused_by: str | None, why: str = ""
    ) -> Begun:
        """Puts the session on record and drives it from now on, or from its first resume if somebody pauses it."""
        await asyncio.to_thread(self._house.processes.beat)
        missing = await self._missing(beginning.started)
        orchestrator = await self._seat(conversation)
        with self._begun_here(orchestrator.session_id):
            try:
                await self._record(beginning, missing)
                if paused_by is not None:
                    await orchestrator.pause(paused_by, why)
            except StoreError:
                self._clear(orchestrator)
                raise
            self._drive(orchestrator)
        return Begun(orchestrator.session_id, missing)

    @contextmanager
    def _begun_here(self, session_id: str) -> Generator[None]:
        """A session is on record a moment before it runs. Nobody holds it for abandoned then; who steers it waits."""
        over = self._beginning[session_id] = asyncio.Event()
        try:
            yield
        finally:
            del self._beginning[session_id]
            over.set()

    async def _record(self, beginning: Beginning, missing: Sequence[e.ServiceMissing]) -> None:
        """Posts all at once, so that no other session's events come between; returns when they are kept."""
        bus = self._house.bus
        own = [bus.post(beginning.started), *map(bus.post, missing)]
        posted = [*own, *(bus.post(event, taken=True) for event in (*beginning.taken, *beginning.sealed))]
        kept = [future for future in posted if future is not None]
        bus.flush()
        await asyncio.wait(kept)
        for future in kept:
            future.result()

    def _named(self, seed: int, *ordered: str) -> str:
        """A new session's id."""
        moment = self._house.clock.now().strftime("%Y%m%d_%H%M%S")
        return f"heist_{moment}_{self._house.name(seed, *ordered)}"

    async def _started(
        self, order: Order, crew: crews.Crew, variant: str | None, scenario: Scenario, by: str, seed: int
    ) -> e.SessionStarted:
        model = await self._house.source.model(crew.model.name, crew.model.llm)
        return e.SessionStarted(
            session_id=self._named(seed, order.model_dump_json()),
            crew=order.crew,
            variant=variant,
            scenario=crew.scenario,
            title=scenario.title,
            goal=scenario.goal,
            seats=tuple([await self._take_seat(member, crew.model) for member in crew.agents]),
            turn_order=order.turn_order or crew.order,
            rounds=order.rounds or crew.rounds,
            context=crew.context,
            tool_calls=crew.tool_calls,
            temperature=crew.model.temperature,
            max_tokens=crew.model.max_tokens,
            model=model.name,
            server=model.server,
            simulated=model.simulated,
            words_per_second=order.words_per_second,
            by=by,
            process=self._house.processes.number,
            tools=order.tools,
            llm=crew.model.llm,
            memory=e.Memory(
                prompt=crew.memory.prompt,
                threshold=crew.memory.threshold,
                block=crew.memory.block,
                summariser=await self._voice(crew.memory.summariser) if crew.memory.summariser else None,
            ),
            budget=e.Budget(
                **crew.budget.model_dump(), prices=await asyncio.to_thread(crews.prices, self._house.config)
            ),
        )

    async def _take_seat(self, member: crews.Member, common: crews.ModelSettings) -> e.Seat:
        """The member's seat, with a voice of its own where its file gives it one; the rest of that is the crew's."""
        if (own := member.model.own(common)) is None:
            return member.seat
        return member.seat.model_copy(update={"voice": await self._voice(own)})

    async def _voice(self, wanted: crews.ModelSettings) -> e.Voice:
        model = await self._house.source.model(wanted.name, wanted.llm)
        return e.Voice(
            model=model.name,
            server=model.server,
            simulated=model.simulated,
            llm=wanted.llm,
            temperature=wanted.temperature,
            max_tokens=wanted.max_tokens,
        )

    async def _seat(self, conversation: Conversation) -> Orchestrator:
        """The agents with their clients and models, the bank, and the orchestrator over them. Raises `ModelError` or
        `Conflict` when a model is not the one that the session began with."""
        house, started = self._house, conversation.session
        common = e.Voice(**{name: getattr(started, name) for name in e.Voice.model_fields})
        speaker = await self._speaker(common)
        models = {seat.name: await self._speaker(seat.voice) if seat.voice else speaker for seat in started.seats}
        summariser = started.memory.summariser
        archivist = Archivist(await self._speaker(summariser) if summariser else speaker)
        house.registry.furnish(started.session_id, Bank(conversation.game, conversation.board), started.tools)
        agents = {
            seat.name: Agent(seat, started.session_id, house.clients, house.server, house.auth, house.registry)
            for seat in started.seats
        }
        pace = started.words_per_second
        paced = {name: Paced(model, pace) if pace else model for name, model in models.items()}
        return Orchestrator(conversation, agents, paced, archivist, house.bus, house.clock)

    async def _speaker(self, voice: e.Voice) -> Model:
        model = await self._house.source.model(None if voice.simulated else voice.model, voice.llm)
        if (model.name, model.simulated) != (voice.model, voice.simulated):
            raise Conflict(f"the session began with the model {voice.model!r}, and now there is {model.name!r}")
        return model

    def _drive(self, orchestrator: Orchestrator) -> None:
        session_id = orchestrator.session_id
        self._running[session_id] = orchestrator
        task = orchestrator.start()
        self._tasks[session_id] = task
        task.add_done_callback(lambda task: self._ended(session_id, task))

    def _ended(self, session_id: str, task: "asyncio.Task[None]") -> None:
        orchestrator = self._running[session_id]
        if task.cancelled():
            self._later.begin(self._drop_when_idle(session_id, orchestrator))
            return
        if (error := task.exception()) is not None:
            with within(Here(session_id)):
                log.error("session %s broke off", session_id, exc_info=error)
            if not isinstance(error, StoreError):  # what is on record then can be brought back
                self._later.begin(self._record_failure(session_id, orchestrator, error))
                return
        self._drop(session_id, orchestrator)

    async def _drop_when_idle(self, session_id: str, orchestrator: Orchestrator) -> None:
        """Who cut a session off puts its end on record after it; until then nobody may find it gone."""
        await orchestrator.idle()
        self._drop(session_id, orchestrator)

    def _drop(self, session_id: str, orchestrator: Orchestrator) -> None:
        if self._running.get(session_id) is orchestrator:
            del self._running[session_id], self._tasks[session_id]
            self._clear(orchestrator)

    def _clear(self, orchestrator: Orchestrator) -> None:
        orchestrator.dismiss()
        self._house.registry.clear(orchestrator.session_id)

    async def _record_failure(self, session_id: str, orchestrator: Orchestrator, error: BaseException) -> None:
        try:
            await orchestrator.fail(f"{type(error).__name__}: {error}")
        except StoreError as also:
            log.error("its end could not be recorded, so it can be brought back: %s", also)
        finally:
            self._drop(session_id, orchestrator)

    async def pause(self, principal: Principal, session_id: str) -> None:
        """No new turn begins; the one in hand goes on to its end."""
        await (await self._running_here(principal, session_id)).pause(principal.name)

    async def resume(self, principal: Principal, session_id: str) -> None:
        await (await self._running_here(principal, session_id)).resume(principal.name)

    async def step(self, principal: Principal, session_id: str) -> None:
        """One turn of a paused session."""
        await (await self._running_here(principal, session_id)).step(principal.name)

    async def stop(self, principal: Principal, session_id: str, now: bool = False) -> None:
        """Ends after the turn in hand; with `now` the turn is cut off and the session is over on return."""
        orchestrator = await self._running_here(principal, session_id)
        await orchestrator.stop(principal.name, now)
        if now:
            self._drop(session_id, orchestrator)

    async def cut(self, principal: Principal, session_id: str) -> None:
        """Ends a session because its process goes away, whoever may steer it."""
        principal.require(Scope.SESSION_CONTROL)
        if orchestrator := self._running.get(session_id):
            await orchestrator.stop(principal.name, now=True)
            self._drop(session_id, orchestrator)

    async def command(self, principal: Principal, session_id: str, agent: str, text: str) -> int:
        """Queues an order that overrides the agent's instructions in its next turn; answers the command's number."""
        orchestrator = await self._running_here(principal, session_id, "commands")
        return await orchestrator.command(agent, _clean("a command", text, LONGEST_COMMAND, 1), principal.name)

    async def quarantine(self, principal: Principal, session_id: str, agent: str, reason: str) -> None:
        """Every token of the agent dies at once; its next turn says why. Raises `NotFound`, `Conflict` or `Invalid`."""
        orchestrator = await self._running_here(principal, session_id)
        await orchestrator.quarantine(agent, _clean("a reason", reason, LONGEST_REASON, 0), principal.name)

    async def release(self, principal: Principal, session_id: str, agent: str) -> None:
        """The agent may ask for new tokens."""
        await (await self._running_here(principal, session_id)).release(agent, principal.name)

    def hear(self, recorded: e.Recorded) -> None:
        """A watcher of the bus: what changes for the whole house is on the record of each session that runs."""
        if isinstance(recorded.event, e.ToolAdded | e.ToolRemoved) and recorded.event.session_id is None:
            for orchestrator in self._running.values():
                orchestrator.tell(recorded.event)

    async def finished(self, session_id: str) -> None:
        """Returns when the session no longer runs here."""
        if task := self._tasks.get(session_id):
            await asyncio.wait([task])

    async def newest(self, principal: Principal, limit: int, before: str | None) -> list[SessionRow]:
        """The sessions on record, newest first, wherever they run."""
        principal.require(Scope.SESSION_READ)
        if before is not None:
            await self.row(before)
        return await asyncio.to_thread(self._house.queries.newest_sessions, limit, before)

    async def one(self, principal: Principal, session_id: str) -> SessionRow:
        principal.require(Scope.SESSION_READ)
        return await self.row(session_id)

    async def seen(self, principal: Principal, session_id: str, turn: int) -> Seen:
        """What the agent of a turn had before it, worked out again from the log: the prompt by its parts."""
        principal.require(Scope.SESSION_READ)
        past = await self.past(session_id)
        tools = self._house.registry.tools
        at = await asyncio.to_thread(moment, past.log, past.truth, past.game, turn, tools)
        return seen(at, past.revealed)

    async def past(self, session_id: str) -> Past:
        """All that is on record of a session."""
        row = await self.row(session_id)
        return await asyncio.to_thread(past, self._house.queries, self._house.config, row)

    async def row(self, session_id: str) -> SessionRow:
        row = await asyncio.to_thread(self._house.queries.session, session_id)
        if row is None:
            raise NotFound(f"there is no session {session_id[:64]!r}")
        return row

    async def _running_here(
        self, principal: Principal, session_id: str, feature: Feature = "live_control"
    ) -> Orchestrator:
        principal.require(Scope.SESSION_CONTROL)
        self._house.switches.require(feature)
        if beginning := self._beginning.get(session_id):
            await beginning.wait()
        if orchestrator := self._running.get(session_id):
            return orchestrator
        async with self._bringing_back:
            row = await self.row(session_id)
            if row.status in ENDED:
                raise Conflict(f"the session {session_id} is over ({row.status})")
            if where := await self._driven(row):
                raise Conflict(f"the session {session_id} runs in another process ({where}); steer it there")
            if session_id not in self._running:
                await self._bring_back(row)
            return self._running[session_id]

    async def open(self, recover: bool = True) -> None:
        """This process is known from now on to those that share its database. With `recover`, what another one left
        behind is brought back, now and whenever one is gone. Where nothing can be written, what there is can be
        read."""
        await self._beat()
        self._watches = (asyncio.create_task(self._pulse()),)
        if recover:
            await self.recover()
        self._watches += (asyncio.create_task(self._patrol()),) if recover else ()

    async def _pulse(self) -> None:
        """Says that this process lives, while that matters to anybody and whatever else it does."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._running or self._bringing_back.locked():
                await self._beat()

    async def _patrol(self) -> None:
        """Looks for sessions of processes that live no longer."""
        while True:
            await asyncio.sleep(DEAD_SECONDS)
            try:
                await self.recover()
            except HeistError as error:
                log.warning("sessions of other processes are not looked for: %s", error)

    async def _beat(self) -> None:
        try:
            await asyncio.to_thread(self._house.processes.beat)
        except StoreError as error:
            log.warning("other processes cannot know that this one lives: %s", error)

    async def recover(self) -> Sequence[str]:
        """Brings back, paused, every session whose process is gone; answers their ids. What the log says of a turn in
        the middle is closed as interrupted, and the turn will be taken again. One that cannot be brought back now, say
        because its model is not there, is tried again when somebody steers it."""
        await self._let_go()
        back: list[str] = []
        for session_id in [row.session_id for row in await asyncio.to_thread(self._house.queries.unfinished)]:
            async with self._bringing_back:
                if any(session_id in known for known in (self._running, self._beginning, self._left)):
                    continue
                try:
                    row = await self.row(session_id)  # as it is now: it may just have ended
                    if row.status in ENDED or await self._driven(row):
                        continue
                    await self._bring_back(row)
                    back.append(session_id)
                except HeistError as error:
                    if not isinstance(error, StoreError | NotFound):  # which will be another time, or never
                        self._left.add(session_id)
                    with within(Here(session_id)):
                        log.warning("session %s is not brought back: %s", session_id, error)
        return back

    async def _let_go(self) -> None:
        """Sessions that another process has taken over, since it held this one for dead, are its own now."""
        for session_id, orchestrator in list(self._running.items()):
            row = await asyncio.to_thread(self._house.queries.session, session_id)
            task = self._tasks.get(session_id)
            if row is not None and row.process != self._house.processes.number and task is not None:
                task.cancel()
                await asyncio.wait([task])
                self._drop(session_id, orchestrator)

    async def _driven(self, row: SessionRow) -> str | None:
        """Where the process lives that drives a session, if it is not this one; None when the session is abandoned. One
        of our own number that does not run here broke off."""
        if row.process == self._house.processes.number:
            return None
        return await asyncio.to_thread(self._house.processes.living, row.process)

    async def _bring_back(self, row: SessionRow) -> None:
        known = await self.past(row.session_id)
        orchestrator = await self._seat(known.conversation())
        try:
            if len((await self.past(row.session_id)).log) > len(known.log):
                raise StoreError(f"the session {row.session_id} has just gone on in another process; try again")
            await orchestrator.recover(self._house.processes.number, row.process)
        except StoreError:
            self._clear(orchestrator)
            raise
        self._left.discard(row.session_id)
        self._drive(orchestrator)

    async def close(self) -> None:
        """Leaves every session paused in the log, for the next process to bring back."""
        for watch in self._watches:
            watch.cancel()
            await asyncio.wait([watch])
        for beginning in list(self._beginning.values()):
            await beginning.wait()
        running = [orchestrator.suspend("the server was shut down") for orchestrator in self._running.values()]
        left = await asyncio.gather(*running, return_exceptions=True)
        for error in (*filter(None, left), *await self._later.done()):
            log.error("a session could not be left paused: %s", error)
        with suppress(StoreError):  # then it is held for dead, a little later
            await asyncio.to_thread(self._house.processes.leave)


def _assigned(
    started: e.SessionStarted, order: Order, rules: mole.Rules, scenario: Scenario, seed: int
) -> e.MoleAssigned:
    """What chance and the order make of the game."""
    names = [seat.name for seat in started.seats]
    cast = mole.cast(rules, mole.wish(order.mole, order.arm, order.strategy, order.rate, names), names, seed)
    fixed = order.facts == "fixed"
    facts = draw(scenario, None if fixed else seed).values
    return e.MoleAssigned(session_id=started.session_id, seed=seed, facts=dict(facts), fixed=fixed, **cast._asdict())


def _check_room(session_id: str, conversation: Conversation) -> None:
    """Raises `Conflict` when no turn could follow."""
    if conversation.turns >= conversation.total:
        raise Conflict(
            f"the session {session_id} had taken all of its {conversation.total} turns; go back to an earlier moment"
        )
    if reached := conversation.spent.beyond(conversation.session.budget):
        of, limit, _ = reached
        raise Conflict(f"the session {session_id} had reached its budget of {limit} {of}; go back to an earlier moment")


def _clean(what: str, text: str, longest: int, shortest: int) -> str:
    """The text without blanks around it; raises `Invalid` when it is too long, too short, or no text."""
    text = text.strip()
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise Invalid(f"{what} is text, and this one holds half of a character")
    if not shortest <= len(text) <= longest:
        raise Invalid(f"{what} has {shortest} to {longest} characters, this one has {len(text)}")
    return text
