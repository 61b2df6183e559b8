"""Builds every part of the house once, opens them in order, and closes them in reverse."""

import asyncio
import gc
import logging
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from pydantic import SecretStr

from heist.agents import crew as crews
from heist.agents.games import Games
from heist.agents.sessions import House, Sessions
from heist.bus import Bus
from heist.clock import Clock, SystemClock
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
from heist.store.migrate import upgrade
from heist.store.processes import Processes, here
from heist.store.queries import Queries
from heist.switches import Switches
from heist.telemetry.destination import destination
from heist.telemetry.telemetry import Telemetry
from heist.world import scenario as scenarios
from heist.world.documents import Bank
from heist.world.game import draw

NUMBERS = 2**31
"""Of so many a process draws its own, which no other over the same database has."""
log = logging.getLogger(__name__)


def spare_collector() -> None:
    """For a process that is a house from now on: what was built to last is no longer searched for garbage, and the rest
    less often. With 200 sessions at once the collector took a tenth of the processor."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _told(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


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
    return World(SystemClock(), by_chance, secrets.randbelow(NUMBERS), Live(wanted(settings)))


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
        self.switches = Switches(settings)
        self.engine = connect(settings.database_url)
        self.telemetry = Telemetry(destination(settings.otlp), settings.trace_text, self.engine.dialect.name)
        self.audit = Audit(self.engine, self.telemetry.committed)
        self.queries = Queries(self.engine)
        self.processes = Processes(self.engine, world.process, here())
        self.bus = Bus(self.telemetry.around(self.audit), self.clock)
        self.keys = Keys(_told(settings.secret), _told(settings.secret_before), settings.key_files)
        self.clients = Clients(self.queries, Registrations(self.engine), self.clock)
        self.auth = Auth(self.keys, self.clients, self.clock, settings.url)
        self.memory = Memory(self.queries, self.bus.settled)
        remembering = tools(self.memory)
        quick = (calculator, file_reader, observe, plan, plan_board, routes)
        self.plugins = plugins.find((*quick, database_query, *remembering))
        self.registry = Registry(tuple(self.plugins.parts.values()), self.clock, self._lobby, quick=quick)
        self.inventory = Inventory(self.registry, self.bus, self.queries)
        self.server = AuthorizationServer(self.auth, self.clients, self.clock, self.scopes)
        cooling = SystemClock()  # a breaker cools while somebody really waits
        self.source = Source(wanted(settings), world.network, cooling, self._model_changed, self.telemetry)
        self.desk = Desk(settings.config, self.queries, self.source, self.switches, self.telemetry)
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
                self.switches,
                self.desk.problem if world.watched else str,
                world.name,
                self.processes,
            )
        )
        self.games = Games(self.sessions, self.queries, self.bus, settings.config, self.switches)
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
            await self.sessions.open(recover)
            if recover:
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
