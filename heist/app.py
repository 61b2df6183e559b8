"""The one ASGI app: mounts the services as sub-routers and opens the house around them."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.routing import Route

from heist import __version__, settings
from heist.checkup import ready
from heist.errors import ConfigError
from heist.runtime import Runtime, World, spare_collector
from heist.services.analytics import router as analytics
from heist.services.detection import router as detection
from heist.services.memory import router as memory
from heist.services.oauth import router as oauth
from heist.services.tools import router as tools
from heist.services.tools.mcp import Mcp
from heist.services.tools.outside import Outside
from heist.settings import Settings
from heist.telemetry import logs
from heist.web import admin, control, health, pages, scenarios
from heist.web import metrics as figures
from heist.web.compressed import Compressed
from heist.web.guard import LOOPBACK, Gate, Guard
from heist.web.live import Live
from heist.web.metrics import Metrics
from heist.web.refusals import Refusals

Announce = Callable[[Runtime, Gate], Awaitable[None]]


def create_app(given: Settings | None = None, announce: Announce | None = None, world: World | None = None) -> FastAPI:
    """The app over a house of its own, in the world as it is if no other is given; raises `ConfigError`. The house
    opens with the app's lifespan, and `announce` tells whoever started it how to come in."""
    chosen = given or settings.read()
    _check_address(chosen)
    runtime = Runtime(chosen, world)
    live = Live(runtime.queries, runtime.clock, chosen.streams)
    gate = Gate(runtime.keys, runtime.auth, runtime.clock)
    outside, mcp = _doors(runtime)
    metrics = Metrics(runtime.registry.tools, runtime.source, live)
    runtime.telemetry.measure(metrics)
    for watcher in (live.hear, mcp.hear, metrics.hear):
        runtime.bus.watch(watcher)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with runtime.opened(), mcp.opened():
            await (announce or _announce)(runtime, gate)
            spare_collector()
            yield

    app = FastAPI(title="heist", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    scopes = runtime.registry.scopes
    refusals = Refusals(runtime.auth, runtime.clients, runtime.registry.tools, runtime.bus)
    refusals.install(app)
    app.include_router(oauth.router(runtime.server, runtime.auth, runtime.keys, scopes))
    app.include_router(tools.router(runtime.registry, runtime.inventory, runtime.auth, outside))
    app.include_router(memory.router(runtime.auth, outside))
    app.include_router(detection.router(runtime.desk, gate.user))
    app.include_router(analytics.router(runtime.analytics, gate.user))
    app.router.routes.append(Route("/mcp", mcp))
    app.include_router(health.router(runtime.source, partial(ready, runtime), runtime.clock))
    app.include_router(figures.router(metrics, gate, chosen.metrics == "open"))
    app.include_router(admin.router(runtime.inventory, gate))
    app.include_router(
        control.router(
            runtime.sessions,
            runtime.games,
            live,
            runtime.queries,
            runtime.source,
            chosen,
            runtime.switches,
            gate,
            refusals,
            scopes,
        )
    )
    app.include_router(scenarios.router(chosen.config, gate))
    app.include_router(pages.router(gate, refusals))
    app.mount("/static", pages.Files(directory=pages.STATIC), name="static")
    hosts = tuple(host.strip() for host in chosen.hosts.split(",") if host.strip())
    told = urlsplit(chosen.url or "").hostname
    app.add_middleware(Compressed)
    app.add_middleware(Guard, hosts=(*hosts, chosen.host, *([told] if told else [])))
    return app


def _doors(runtime: Runtime) -> tuple[Outside, Mcp]:
    """The tools for callers from outside, over HTTP and over MCP."""
    registry, auth, clients, bus = runtime.registry, runtime.auth, runtime.clients, runtime.bus
    return Outside(registry, auth, clients, bus, "http"), Mcp(
        registry, Outside(registry, auth, clients, bus, "mcp"), auth
    )


def _check_address(chosen: Settings) -> None:
    if chosen.host.lower() in LOOPBACK:
        return
    missing = [] if chosen.allow_remote else ["HEIST_ALLOW_REMOTE=true"]
    missing += [] if chosen.secret else ["a HEIST_SECRET, which `openssl rand -hex 32` prints"]
    if missing:
        raise ConfigError(
            f"HEIST_HOST: {chosen.host!r} can be reached from other machines; that needs {' and '.join(missing)}"
        )


async def _announce(_: Runtime, gate: Gate) -> None:
    """For servers that were started by hand, the port of which only they know."""
    sys.stderr.write(f"heist: log in with /login?token={gate.token} on the address that this server prints\n")


def __getattr__(name: str) -> FastAPI:
    """`app` is built when a server asks for it, so that importing this module builds nothing."""
    if name == "app":
        chosen = settings.read()
        logs.install(chosen.log)
        return create_app(chosen)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
