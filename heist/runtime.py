"""Builds every part of the house once, opens them in order, and closes them in reverse."""

import asyncio
import gc
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from pydantic import SecretStr

from heist.agents import crew as crews
from heist.agents import mole
from heist.agents.games import Games
from heist.agents.sessions import House, Sessions
from heist.bus import Bus
from heist.clock import Clock, SystemClock
from heist.errors import HeistError
from heist.events import ModelDegraded, ModelRestored
from heist.llm.endpoint import Patience
from heist.llm.network import Live, Network, Wanted
from heist.llm.resilience import State
from heist.llm.source import Source
from heist.seeds import by_chance
from heist.services.analytics.analytics import Analytics
from heist.services.auth import Auth, Scope
from heist.services.clients import Clients
from heist.services.detection.desk import Desk
from heist.services.detection.watch import Watch
from heist.services.keys import Keys
from heist.services.memory.memory import Memory, tools
from heist.services.oauth.server import AuthorizationServer
from heist.services.tools import plugins
from heist.services.tools.calculator import calculator
from heist.services.tools.database_query import database_query
from heist.services.tools.file_reader import file_reader
from heist.services.tools.inventory import Inventory
from heist.services.tools.observe import observe
from heist.services.tools.plan import plan, plan_board
from heist.services.tools.registry import Registry
from heist.services.tools.routes import routes
from heist.settings import Settings
from heist.store.audit import Audit
from heist.store.clients import Registrations
from heist.store.engine import connect
from heist.store.figures import Figures
from heist.store.migrate import revisions, upgrade
from heist.store.queries import Queries
from heist.telemetry.destination import destination
from heist.telemetry.telemetry import Telemetry
from heist.world import scenario as scenarios
from heist.world.documents import Bank
from heist.world.game import draw

log = logging.getLogger(__name__)


def spare_collector() -> None:
    """For a process that is a house from now on: what was built to last is no longer searched for garbage, and the rest
    less often. With 200 sessions at once the collector took a tenth of the processor."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _told(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


class Finding(NamedTuple):
    """What a look at one part found; `advice` is what to do about it, empty when all is well."""

    part: str
    well: bool
    found: str
    advice: str = ""


class World(NamedTuple):
    """What a house finds around itself: the time, how sessions are named (from their seed and what was ordered), the
    number of its process, the network of model servers, and whether a detector looks on. It looks when it has time, so
    without one nothing in a log depends on how fast the machine is."""

    clock: Clock
    name: Callable[..., str]
    process: int
    network: Network
    watched: bool = True


def around(settings: Settings) -> World:
    """The world as it is."""
    return World(SystemClock(), by_chance, os.getpid(), Live(wanted(settings)))


def wanted(settings: Settings) -> Wanted:
    """What the settings say of models."""
    return Wanted(
        settings.llm,
        settings.model,
        _told(settings.llm_key),
        settings.llm_tools,
        Patience(settings.llm_first_seconds, settings.llm_chunk_seconds, settings.llm_answer_seconds),
        settings.llm_slots,
    )


class Runtime:
    """The parts. Building opens nothing: no file, no connection, no thread."""

    def __init__(self, settings: Settings, world: World | None = None) -> None:
        world = world or around(settings)
        self.settings = settings
        self.clock = world.clock
        self.engine = connect(settings.database_url)
        self.telemetry = Telemetry(destination(settings.otlp), settings.trace_text, self.engine.dialect.name)
        self.audit = Audit(self.engine, self.telemetry.committed)
        self.queries = Queries(self.engine)
        self.bus = Bus(self.telemetry.around(self.audit), self.clock)
        self.keys = Keys(_told(settings.secret), _told(settings.secret_before), settings.key_files)
        self.clients = Clients(self.queries, Registrations(self.engine), self.clock)
        self.auth = Auth(self.keys, self.clients, self.clock, settings.url)
        remembering = tools(Memory(self.queries, self.bus.settled))
        quick = (calculator, file_reader, observe, plan, plan_board, routes)
        self.plugins = plugins.find((*quick, database_query, *remembering))
        self.registry = Registry(tuple(self.plugins.parts.values()), self.clock, self._lobby, quick=quick)
        self.inventory = Inventory(self.registry, self.bus, self.queries)
        self.server = AuthorizationServer(self.auth, self.clients, self.clock, self.scopes)
        cooling = SystemClock()  # a breaker cools while somebody really waits
        self.source = Source(wanted(settings), world.network, cooling, self._model_changed, self.telemetry)
        self.sessions = Sessions(
            House(
                settings.config,
                self.source,
                self.bus,
                self.clock,
                self.clients,
                self.server,
                self.auth,
                self.registry,
                self.queries,
                world.name,
                world.process,
            )
        )
        self.games = Games(self.sessions, self.queries, self.bus, settings.config)
        self.desk = Desk(settings.config, self.queries, self.source)
        self.watch = Watch(self.desk, self.bus, self.telemetry)
        self.analytics = Analytics(Figures(self.engine), self.desk)
        for watcher in (self.registry.hear, self.sessions.hear, self.games.hear):
            self.bus.watch(watcher)
        if world.watched:
            self.bus.watch(self.watch.hear)

    @property
    def scopes(self) -> frozenset[str]:
        """Every scope that there is, those of the plug-ins among them."""
        return self.registry.scopes | set(Scope)

    def _model_changed(self, server: str, state: State, reason: str) -> None:
        event = ModelRestored(session_id=None, server=server)
        self.bus.post(event if state == "closed" else ModelDegraded(session_id=None, server=server, reason=reason))

    def _lobby(self) -> Bank:
        """The bank that callers from outside of every session look into: that of the crew in `crew.yaml`, in its
        fixed game."""
        crew = crews.read(self.settings.config, "crew", self.registry.scopes)
        return Bank(draw(scenarios.read(self.settings.config, crew.scenario), None))

    @asynccontextmanager
    async def opened(self, recover: bool = True) -> AsyncGenerator["Runtime"]:
        """The running house. A wrong database ends it with one `StoreError`; a missing model or a wrong crew file does
        not: whoever starts a session is told. `recover` brings back what an earlier process left behind."""
        await asyncio.to_thread(upgrade, self.engine)
        self.audit.open()
        self.telemetry.open()
        try:
            await self.inventory.restore()
            if recover:
                await self.sessions.recover()
                await self.games.recover()
            yield self
        finally:
            await self.sessions.close()
            await self.games.close()
            await self.watch.close()
            await self.source.close()
            self.registry.close()
            self.audit.flush()
            await asyncio.to_thread(self.audit.close)
            await self.telemetry.close()
            self.engine.dispose()

    async def examine(self) -> list[Finding]:
        """Looks at every part, changes nothing, and says what is missing and what to do."""
        return [
            self._address(),
            await asyncio.to_thread(self._database),
            await asyncio.to_thread(self._tools),
            await asyncio.to_thread(self._detectors),
            *[Finding(f"tool {name}", False, why, "mend or remove the package") for name, why in self.plugins.refused],
            *await asyncio.to_thread(self._crews),
            await asyncio.to_thread(self._game),
            await self._model(),
            *self._tracing(),
        ]

    def _address(self) -> Finding:
        kept = "HEIST_SECRET is set" if self.settings.secret else "no HEIST_SECRET, so logins end when the server stops"
        return Finding("address", True, f"http://{self.settings.host}:{self.settings.port}, {kept}")

    def _database(self) -> Finding:
        try:
            at, wanted = revisions(self.engine)
        except HeistError as error:
            return Finding("database", False, str(error), "check HEIST_DATABASE_URL")
        if at is None:
            return Finding("database", True, f"{self.engine.url!r} is new and will be set up at the first start")
        if at != wanted:
            return Finding("database", True, f"{self.engine.url!r} is at {at} and will be brought to {wanted}")
        return Finding("database", True, f"{self.engine.url!r} is up to date")

    def _tools(self) -> Finding:
        try:
            kept = self.queries.switched() if revisions(self.engine)[0] else {}
        except HeistError:
            kept = {}  # the database has a finding of its own
        off = {name for name, kind in kept.items() if kind == "tool.removed"}
        names = [f"{name} (switched off)" if name in off else name for name in self.registry.tools]
        return Finding("tools", True, ", ".join(names))

    def _detectors(self) -> Finding:
        try:
            found = self.desk.found
        except HeistError as error:
            return Finding("detectors", False, str(error), "mend the file; detection is off until then")
        if found.refused:
            name, why = found.refused[0]
            return Finding("detectors", False, f"{name}: {why}", "mend or remove the package")
        return Finding("detectors", True, ", ".join(found.parts))

    def _crews(self) -> list[Finding]:
        folder = self.settings.config
        names = crews.crews(folder) if folder.is_dir() else []
        if not names:
            return [Finding("crews", False, f"{folder} holds no crew", "check HEIST_CONFIG")]
        return [self._crew(name) for name in names]

    def _crew(self, name: str) -> Finding:
        try:
            crew = crews.read(self.settings.config, name, self.registry.scopes)
            scenario = scenarios.read(self.settings.config, crew.scenario)
        except HeistError as error:
            return Finding(f"{name}.yaml", False, str(error), "mend the file; a session reads it when it starts")
        size = len(crew.agents)
        return Finding(f"{name}.yaml", True, f"{crew.name}: {size} agents, {crew.rounds} rounds, {scenario.title}")

    def _game(self) -> Finding:
        try:
            rules = mole.read(self.settings.config)
        except HeistError as error:
            return Finding("game", False, str(error), "mend the file, or the package; no session begins without it")
        return Finding("game", True, f"strategies: {', '.join(sorted(rules.strategies))}")

    def _tracing(self) -> list[Finding]:
        """Nothing where nobody asked for it."""
        address, text = self.telemetry.address, self.settings.trace_text
        return [Finding("tracing", True, f"spans go to {address}, words: {text}")] if address else []

    async def _model(self) -> Finding:
        try:
            model = await self.source.model()
        except HeistError as error:
            return Finding("model", False, str(error), "start it, or mend HEIST_LLM or HEIST_MODEL")
        if model.simulated:
            return Finding("model", True, self.source.notice or "the crew is simulated, as HEIST_LLM says")
        able = model.ability
        known = [
            f"{able.context} tokens of context" if able.context else "context not told",
            f"{able.slots} at once" if able.slots else "as many at once as it bears",
            f"tools {model.form}",
            "counts tokens" if able.tokenizer else "tokens estimated",
        ]
        return Finding("model", True, f"{model.name} by {model.server}: {', '.join(known)}")
