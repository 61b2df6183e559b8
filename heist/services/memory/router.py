"""Memory over HTTP: the two tools under addresses of their own; the routes only translate."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from heist.services.auth import DOCUMENTED, Auth, Bearer, Scope
from heist.services.documented import refusals
from heist.services.memory.memory import LONGEST, RECALL, STORE, Noted, Recalled, check_owner
from heist.services.tools.outside import Outside


class ToStore(BaseModel):
    model_config = ConfigDict(extra="forbid")
    message: str = Field(min_length=1, max_length=LONGEST)


def router(auth: Auth, outside: Outside) -> APIRouter:
    routes = APIRouter(
        prefix="/memory/{agent}",
        tags=["memory"],
        dependencies=[Depends(DOCUMENTED)],
        responses=refusals(401, 404, 422, 503),
    )

    async def called(request: Request, token: str, agent: str, tool: str, arguments: dict[str, Any]) -> Any:
        principal = await outside.admit(token, auth.place(request), tool, arguments)
        check_owner(principal, agent, Scope.MEMORY_WRITE if tool == STORE else Scope.MEMORY_READ)
        outcome = await outside.call(principal, tool, arguments)
        if outcome.error:
            raise outcome.error
        return outcome.result

    @routes.post("", summary="Remember something")
    async def store(request: Request, agent: str, token: Bearer, note: ToStore) -> Noted:
        return Noted.model_validate(await called(request, token, agent, STORE, note.model_dump()))

    @routes.get("", summary="What is remembered, within a budget")
    async def recall(
        request: Request,
        agent: str,
        token: Bearer,
        max_tokens: Annotated[int, Query(ge=50, le=4000)] = 400,
        recent_count: Annotated[int, Query(ge=0, le=50)] = 5,
        question: Annotated[str, Query(max_length=500)] = "",
    ) -> Recalled:
        arguments = {"question": question, "max_tokens": max_tokens, "recent_count": recent_count}
        return Recalled.model_validate(await called(request, token, agent, RECALL, arguments))

    return routes
