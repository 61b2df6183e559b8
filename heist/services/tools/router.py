"""The tools over HTTP: the same door as in process; the route only translates."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field

from heist.bus import Bus
from heist.errors import InvalidToken
from heist.events import ToolCalled
from heist.services.auth import DOCUMENTED, Auth, Bearer, Clients, Principal
from heist.services.tools.registry import Fault, Registry, recordable


class ToolCard(BaseModel):
    """A tool as its caller sees it."""

    name: str
    description: str
    scope: str
    arguments: dict[str, Any] = Field(description="JSON Schema of the arguments")


class ToolResult(BaseModel):
    tool: str
    result: str
    milliseconds: float


def router(registry: Registry, auth: Auth, clients: Clients, bus: Bus) -> APIRouter:
    routes = APIRouter(prefix="/tools", tags=["tools"], dependencies=[Depends(DOCUMENTED)])

    def caller(token: Bearer) -> Principal:
        return auth.verify(token)

    @routes.get("", summary="The tools that this token opens")
    async def tools(principal: Annotated[Principal, Depends(caller)]) -> list[ToolCard]:
        return [
            ToolCard(name=tool.name, description=tool.description, scope=tool.scope, arguments=tool.schema)
            for tool in registry.visible(principal)
        ]

    @routes.post("/{name}", summary="Call a tool")
    async def call(name: str, token: Bearer, arguments: Annotated[dict[str, Any], Body()]) -> ToolResult:
        try:
            principal = auth.verify(token)
        except InvalidToken as refusal:
            client = clients.get(refusal.subject or "")
            if client and client.session_id:
                await bus.publish(_called(client.session_id, client.name, name, arguments, str(refusal), "token", 0.0))
            raise
        outcome = await registry.call(principal, name, arguments)
        if principal.session_id:
            await bus.publish(
                _called(
                    principal.session_id,
                    principal.name,
                    name,
                    outcome.arguments,
                    outcome.text,
                    outcome.fault,
                    outcome.milliseconds,
                )
            )
        if outcome.error:
            raise outcome.error
        return ToolResult(tool=name, result=outcome.text, milliseconds=outcome.milliseconds)

    return routes


def _called(
    session_id: str, agent: str, tool: str, arguments: Any, text: str, fault: Fault | None, milliseconds: float
) -> ToolCalled:
    return ToolCalled(
        session_id=session_id,
        turn=None,
        agent=agent,
        tool=tool[:64],
        arguments=recordable(arguments),
        result=text,
        success=fault is None,
        fault=fault,
        form="http",
        milliseconds=milliseconds,
    )
