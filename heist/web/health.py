"""Whether the house lives, and whether it can serve, for whoever watches over it: no token is needed, and no secret is
told."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from heist.clock import Clock
from heist.llm.resilience import State
from heist.llm.source import Source
from heist.services.documented import refusals
from heist.settings import masked

Told = Literal["closed", "open", "half_open"]
_STATES: dict[State, Told] = {"closed": "closed", "open": "open", "half-open": "half_open"}
AGAIN_SECONDS = 2.0
"""For so long a look counts, however many ask."""
"""Name and password in an address."""


class ModelServer(BaseModel):
    """A model server that was asked for so far, and its breaker."""

    server: str
    state: Told = Field(description="open: it is not asked for a while; half_open: one call may try it")
    reason: str = Field(description="why the breaker opened; empty while it is closed")


class Health(BaseModel):
    """A house that answers is well; what it speaks by may not be."""

    status: Literal["ok"] = "ok"
    models: list[ModelServer]


class Part(BaseModel):
    part: str
    ready: bool
    missing: str = Field(description="what is missing; empty when it answers")


class Readiness(BaseModel):
    """`simulated` says that no language model speaks."""

    status: Literal["ready", "not_ready"]
    simulated: bool
    parts: list[Part]


class _Look:
    """One look for all who ask within AGAIN_SECONDS."""

    def __init__(self, look: Callable[[], Awaitable[Mapping[str, str]]], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: tuple[float, Mapping[str, str]] | None = None

    async def taken(self) -> Mapping[str, str]:
        async with self._lock:
            now = self._clock.monotonic()
            if self._last is None or now - self._last[0] >= AGAIN_SECONDS:
                self._last = now, await self._look()
            return self._last[1]


def router(source: Source, look: Callable[[], Awaitable[Mapping[str, str]]], clock: Clock) -> APIRouter:
    """`look` tells what is missing, by part; empty for a part that answers."""
    routes = APIRouter(tags=["health"])
    looking = _Look(look, clock)

    @routes.get(
        "/ready",
        summary="Whether it can serve; 503 with what is missing while it cannot",
        responses={503: {"model": Readiness}},
    )
    async def ready(response: Response) -> Readiness:
        missing = await looking.taken()
        well = not any(missing.values())
        response.status_code = 200 if well else 503
        response.headers["Cache-Control"] = "no-store"
        return Readiness(
            status="ready" if well else "not_ready",
            simulated=source.simulated,
            parts=[Part(part=name, ready=not why, missing=why) for name, why in missing.items()],
        )

    @routes.get("/health", summary="Whether it lives, and how its model servers are", responses=refusals())
    async def health() -> Health:
        states, reasons = source.states(), source.reasons()
        return Health(
            models=[
                ModelServer(server=masked(server), state=_STATES[state], reason=masked(reasons.get(server, "")))
                for server, state in states.items()
            ]
        )

    return routes
