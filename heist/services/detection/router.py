"""Detection over HTTP: verdicts on sessions and on records; the routes only translate."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.requests import HTTPConnection
from pydantic import BaseModel, ConfigDict, Field

from heist.errors import Invalid
from heist.services.auth import DOCUMENTED, Principal
from heist.services.detection.desk import Card, Desk, Moment, Record, Suggestion, suggestion
from heist.services.detection.quality import Quality
from heist.services.detection.verdict import Verdict
from heist.services.documented import refusals


class Asked(BaseModel):
    """What is to be judged: a session of this house by its id, or a record as data."""

    model_config = ConfigDict(extra="forbid")
    session_id: str | None = Field(None, max_length=100)
    record: Record | None = None
    detector: str = Field("rules", max_length=64, description="one of GET /detection/detectors")


def router(desk: Desk, admit: Callable[[HTTPConnection], Awaitable[Principal]]) -> APIRouter:
    """`admit` gives the principal of a request, by its token or its login."""
    routes = APIRouter(
        prefix="/detection",
        tags=["detection"],
        dependencies=[Depends(DOCUMENTED)],
        responses=refusals(401, 404, 409, 422, 503),
    )

    async def caller(connection: HTTPConnection) -> Principal:
        return await admit(connection)

    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type

    async def assessed(principal: Principal, asked: Asked) -> Verdict:
        match asked:
            case Asked(session_id=str(session_id), record=None):
                return await desk.assess(principal, session_id, asked.detector)
            case Asked(session_id=None, record=Record() as record):
                return await desk.assess_record(principal, record, asked.detector)
        raise Invalid("give either a session_id or a record")

    @routes.get("/detectors", summary="The detectors that there are; needs detection:read")
    async def detectors(principal: Caller) -> list[Card]:
        return await desk.detectors(principal)

    @routes.post("/analyze", summary="Who it is, why, and how sure; needs detection:read")
    async def analyze(principal: Caller, asked: Asked) -> Verdict:
        return await assessed(principal, asked)

    @routes.post("/suggest", summary="The same in a sentence; needs detection:read")
    async def suggest(principal: Caller, asked: Asked) -> Suggestion:
        return suggestion(await assessed(principal, asked))

    @routes.get("/sessions/{session_id}/verdicts", summary="How it looked after each message; needs detection:read")
    async def verdicts(
        principal: Caller, session_id: str, detector: Annotated[str, Query(max_length=64)] = "rules"
    ) -> list[Moment]:
        return await desk.history(principal, session_id, detector)

    @routes.get("/quality", summary="How right the rules were in games that are over; needs detection:read")
    async def quality(principal: Caller, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Quality:
        return await desk.quality(principal, limit)

    return routes
