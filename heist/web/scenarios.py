"""The API of what everybody may know of a job: its places, its roles, and the plan's slots, empty."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.requests import HTTPConnection
from pydantic import BaseModel, Field

from heist.errors import NotFound
from heist.services.auth import DOCUMENTED, Principal, Scope
from heist.services.documented import refusals
from heist.web.guard import Gate
from heist.world import scenario as scenarios
from heist.world.facts import Type
from heist.world.scenario import Scenario


class Room(BaseModel):
    at: tuple[int, int, int, int] = Field(description="left, top, width, height, in any one unit")
    to: tuple[str, ...] = Field(description="the rooms next to it; a way leads in both directions")


class Blank(BaseModel):
    """A slot of the plan, and what it may be set to."""

    label: str
    type: Type
    role: str = Field(description="who answers for it")
    among: tuple[str, ...]


class Duty(BaseModel):
    tool: str
    about: str


class Stage(BaseModel):
    name: str
    purpose: str


class Job(BaseModel):
    """Nothing in it follows from the facts of a game: whoever plays may read all of it."""

    name: str
    title: str
    brief: str
    goal: str
    phases: list[Stage]
    roles: dict[str, Duty]
    places: dict[str, Room]
    slots: dict[str, Blank]


def router(config: Path, gate: Gate) -> APIRouter:
    routes = APIRouter(prefix="/api/scenarios", tags=["sessions"], dependencies=[Depends(DOCUMENTED)])

    async def user(connection: HTTPConnection) -> Principal:
        return await gate.user(connection)

    @routes.get("/{name}", summary="A job without its facts", responses=refusals(401, 404, 503))
    async def job(principal: Annotated[Principal, Depends(user)], name: str) -> Job:
        principal.require(Scope.SESSION_READ)
        return await asyncio.to_thread(_job, config, name)

    return routes


def _job(config: Path, name: str) -> Job:
    if name not in scenarios.names(config):
        raise NotFound(f"there is no scenario {name[:64]!r}")
    return public(name, scenarios.read(config, name))


def public(name: str, scenario: Scenario) -> Job:
    """Each part is named here, so that what is added to a scenario stays inside until somebody takes it out."""
    return Job(
        name=name,
        title=scenario.title,
        brief=scenario.brief,
        goal=scenario.goal,
        phases=[Stage(name=phase.name, purpose=phase.purpose) for phase in scenario.phases],
        roles={role: Duty(tool=duty.tool, about=duty.about) for role, duty in scenario.roles.items()},
        places={place: Room(at=room.at, to=room.to) for place, room in scenario.places.items()},
        slots={
            slot: Blank(label=blank.label, type=blank.type, role=blank.role, among=blank.among)
            for slot, blank in scenario.slots.items()
        },
    )
