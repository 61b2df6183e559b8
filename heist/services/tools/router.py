"""The tools over HTTP: the same door as in process; the route only translates."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Generic

from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from heist.services.auth import DOCUMENTED, Auth, Bearer, Principal
from heist.services.documented import refusals
from heist.services.tools.inventory import Inventory, Stocked
from heist.services.tools.outside import Outside
from heist.services.tools.registry import AnyTool, R, Registry


class ToolCard(BaseModel):
    """A tool as its caller sees it."""

    name: str
    description: str
    scope: str
    arguments: dict[str, Any] = Field(description="JSON Schema of the arguments")
    result: dict[str, Any] = Field(description="JSON Schema of the result")


class ToolAnswer(BaseModel, Generic[R]):
    """`text` is the result as an agent reads it."""

    tool: str
    result: R
    text: str
    milliseconds: float


def router(registry: Registry, inventory: Inventory, auth: Auth, outside: Outside) -> APIRouter:
    routes = APIRouter(prefix="/tools", tags=["tools"], dependencies=[Depends(DOCUMENTED)])

    async def caller(request: Request, token: Bearer) -> Principal:
        return await auth.verify(token, auth.place(request))

    @routes.get("", summary="The tools that this token opens", responses=refusals(401, 503))
    async def tools(principal: Annotated[Principal, Depends(caller)]) -> list[ToolCard]:
        return [
            ToolCard(
                name=tool.name,
                description=tool.description,
                scope=tool.scope,
                arguments=tool.schema,
                result=tool.result_schema,
            )
            for tool in registry.visible(principal)
        ]

    @routes.get("/stats", summary="Every tool with its use; needs tools:admin", responses=refusals(401, 503))
    async def stats(principal: Annotated[Principal, Depends(caller)]) -> list[Stocked]:
        return await inventory.stock(principal)

    def call_of(name: str | None) -> Callable[..., Awaitable[JSONResponse]]:
        """What answers at one tool's address, or, for None, at that of a tool that does not exist."""

        async def call(request: Request, token: Bearer, arguments: Annotated[dict[str, Any], Body()]) -> JSONResponse:
            tool = name or str(request.path_params["name"])
            principal = await outside.admit(token, auth.place(request), tool, arguments)
            outcome = await outside.call(principal, tool, arguments)
            if outcome.error:
                raise outcome.error
            shown = {"result": outcome.result, "text": outcome.text, "milliseconds": outcome.milliseconds}
            return JSONResponse({"tool": tool, **shown})

        return call

    for tool in registry.tools.values():
        routes.add_api_route(
            f"/{tool.name}",
            call_of(tool.name),
            methods=["POST"],
            summary=f"Call {tool.name}; needs {tool.scope}",
            description=tool.description,
            operation_id=f"call_{tool.name}",
            response_model=None,  # a result is what the tool's own model makes of it, and is not checked twice
            responses=refusals(401, 422, 503) | {200: {"model": _answer_of(tool)}},
            openapi_extra={"requestBody": {"content": {"application/json": {"schema": inlined(tool.schema)}}}},
        )
    routes.add_api_route("/{name}", call_of(None), methods=["POST"], include_in_schema=False)
    return routes


def _answer_of(tool: AnyTool) -> type[BaseModel]:
    return ToolAnswer[tool.result]  # type: ignore[name-defined]  # it is known when the app is built


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without references, as a part of a larger document needs it; a model that holds itself stays open
    where it does."""
    definitions = schema.get("$defs", {})

    def resolved(node: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [resolved(entry, inside) for entry in node]
        if not isinstance(node, dict):
            return node
        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name in inside:
            return {}
        if name in definitions:
            return resolved(definitions[name], (*inside, name))
        return {key: resolved(value, inside) for key, value in node.items() if key != "$defs"}

    found: dict[str, Any] = resolved(dict(schema), ())
    return found
