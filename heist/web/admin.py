"""The API of whoever runs the house: the tools, switched on and off while sessions run."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.requests import HTTPConnection

from heist.services.auth import DOCUMENTED, Principal
from heist.services.documented import refusals
from heist.services.tools.inventory import Inventory, Stocked
from heist.web.guard import Gate


def router(inventory: Inventory, gate: Gate) -> APIRouter:
    routes = APIRouter(prefix="/admin/tools", tags=["admin"], dependencies=[Depends(DOCUMENTED)])

    async def user(connection: HTTPConnection) -> Principal:
        return await gate.user(connection)

    User = Annotated[Principal, Depends(user)]  # noqa: N806 - a type

    @routes.get("", summary="Every tool with its use", responses=refusals(401, 503))
    async def stock(principal: User) -> list[Stocked]:
        return await inventory.stock(principal)

    @routes.put("/{name}", status_code=204, summary="Switch a tool on", responses=refusals(401, 404, 503))
    async def on(principal: User, name: str) -> None:
        await inventory.switch(principal, name, True)

    @routes.delete("/{name}", status_code=204, summary="Switch a tool off", responses=refusals(401, 404, 503))
    async def off(principal: User, name: str) -> None:
        await inventory.switch(principal, name, False)

    return routes
