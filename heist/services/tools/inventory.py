"""The tools as an operator sees them: switched on and off while everything runs, and counted."""

import asyncio

from pydantic import BaseModel, Field

from heist.bus import Bus
from heist.events import ToolAdded, ToolRemoved
from heist.services.auth import Principal, Scope
from heist.services.tools.registry import AnyTool, Registry
from heist.store.queries import Queries, ToolUse


class Stocked(BaseModel):
    """A tool with what came of its calls, over all sessions and callers from outside. Times are milliseconds."""

    name: str
    description: str
    scope: str
    enabled: bool
    calls: int
    succeeded: int
    faults: dict[str, int] = Field(description="failed calls by whose fault it was")
    milliseconds: float = Field(description="the mean of all calls")
    last: str | None = Field(description="when it was last called")


class Inventory:
    """Each method takes the principal first and asks it for `tools:admin`. What is switched is in the log: the registry
    hears of it from there, and a new process finds it there again."""

    def __init__(self, registry: Registry, bus: Bus, queries: Queries) -> None:
        self._registry = registry
        self._bus = bus
        self._queries = queries
        self._switching = asyncio.Lock()

    async def restore(self) -> None:
        """Switches the tools as they were switched last, by whichever process."""
        for name, kind in (await asyncio.to_thread(self._queries.switched)).items():
            self._registry.switch(name, kind == "tool.added")

    async def switch(self, principal: Principal, name: str, on: bool) -> None:
        """Switches a tool on or off for everybody; nothing happens when it is so already. Raises `NotFound`."""
        principal.require(Scope.TOOLS_ADMIN)
        tool = self._registry.named(name)
        async with self._switching:
            await self.restore()  # another process over this database may have switched it
            if self._registry.is_on(name) == on:
                return
            kind = ToolAdded if on else ToolRemoved
            await self._bus.publish(kind(session_id=None, tool=tool.name, by=principal.name))

    async def stock(self, principal: Principal) -> list[Stocked]:
        """Every tool, switched on or not, with its use."""
        principal.require(Scope.TOOLS_ADMIN)
        use = await asyncio.to_thread(self._queries.tool_use)
        return [self._counted(tool, [one for one in use if one.tool == tool.name]) for tool in self._tools()]

    def _tools(self) -> list[AnyTool]:
        return list(self._registry.tools.values())

    def _counted(self, tool: AnyTool, use: list[ToolUse]) -> Stocked:
        calls = sum(one.calls for one in use)
        return Stocked(
            name=tool.name,
            description=tool.description,
            scope=tool.scope,
            enabled=self._registry.is_on(tool.name),
            calls=calls,
            succeeded=sum(one.calls for one in use if one.fault is None),
            faults={one.fault: one.calls for one in use if one.fault is not None},
            milliseconds=round(sum(one.milliseconds * one.calls for one in use) / calls, 1) if calls else 0.0,
            last=max((one.last for one in use), default=None),
        )
