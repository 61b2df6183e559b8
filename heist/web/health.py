"""Whether the house lives, for whoever watches over it: no token is needed, and no secret is told."""

import re
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from heist.llm.resilience import State
from heist.llm.source import Source
from heist.services.documented import refusals

Told = Literal["closed", "open", "half_open"]
_STATES: dict[State, Told] = {"closed": "closed", "open": "open", "half-open": "half_open"}
_LOGIN = re.compile(r"//[^/@\s]*@")
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


def router(source: Source) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/health", summary="Whether it lives, and how its model servers are", responses=refusals())
    async def health() -> Health:
        states, reasons = source.states(), source.reasons()
        return Health(
            models=[
                ModelServer(server=plain(server), state=_STATES[state], reason=plain(reasons.get(server, "")))
                for server, state in states.items()
            ]
        )

    return routes


def plain(sentence: str) -> str:
    """The sentence without a name and a password that an address in it may hold."""
    return _LOGIN.sub("//", sentence)
