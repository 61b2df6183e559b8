"""The routes: the ways to the place and away from it, as somebody drove and paced them out."""

from pydantic import Field

from heist.services.auth import Scope
from heist.services.tools.registry import Arguments, Caller, Tool
from heist.services.tools.sheets import Reading, reader

_read = reader("route", lambda bank: bank.routes)


class Route(Arguments):
    route: str = Field(description="the route's name, or index for the list of all routes", max_length=200)


async def _run(arguments: Route, caller: Caller) -> Reading:
    return await _read(arguments.route, caller)


routes = Tool("routes", "Tells about one of the ways there and away.", Scope.ROUTES, Route, Reading, _run)
