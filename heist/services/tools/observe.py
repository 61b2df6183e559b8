"""The views: what somebody who watches the street and the windows has noted."""

from pydantic import Field

from heist.services.auth import Scope
from heist.services.tools.registry import Arguments, Caller, Tool
from heist.services.tools.sheets import Reading, reader

_read = reader("view", lambda bank: bank.views)


class View(Arguments):
    view: str = Field(description="the view's name, or index for the list of all views", max_length=200)


async def _run(arguments: View, caller: Caller) -> Reading:
    return await _read(arguments.view, caller)


observe = Tool("observe", "Tells what was watched from one of the views.", Scope.STREET, View, Reading, _run)
