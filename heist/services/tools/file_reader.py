"""The papers: what is written about the place."""

from pydantic import Field

from heist.services.auth import Scope
from heist.services.tools.registry import Arguments, Caller, Tool
from heist.services.tools.sheets import Reading, reader

_read = reader("paper", lambda bank: bank.papers)


class Filename(Arguments):
    filename: str = Field(description="the paper's name, or index for the list of all papers", max_length=200)


async def _run(arguments: Filename, caller: Caller) -> Reading:
    return await _read(arguments.filename, caller)


file_reader = Tool("file_reader", "Reads one of the bank's papers by its name.", Scope.FILES, Filename, Reading, _run)
