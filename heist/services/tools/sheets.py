"""Sheets: what a tool reads by name from a source of the bank; a dict of texts, so that there is no path and none to
attack."""

from collections.abc import Awaitable, Callable, Mapping

from pydantic import Field

from heist.errors import ToolError
from heist.services.tools.registry import Caller, Result
from heist.world.documents import Bank, Paper


class Reading(Result):
    name: str
    title: str
    date: str | None = Field(description="the sheet's own date, ISO 8601; the list of all has none")
    content: str

    def text(self) -> str:
        head = f"{self.title}, dated {self.date}\n" if self.date else ""
        return head + self.content


def reader(noun: str, shelf: Callable[[Bank], Mapping[str, Paper]]) -> Callable[[str, Caller], Awaitable[Reading]]:
    """Reads a sheet with its date from `shelf`; `index` lists what there is, and so does the answer to a name that does
    not exist."""

    async def read(wanted: str, caller: Caller) -> Reading:
        sheets = shelf(caller.bank)
        name = wanted.strip().lower()
        if name == "index":
            lines = [f"{sheet.name}: {sheet.title} ({sheet.date})" for sheet in sheets.values()]
            return Reading(name=name, title=f"All {noun}s", date=None, content="\n".join(lines))
        if name not in sheets:
            raise ToolError(f"there is no {noun} {wanted[:60]!r}; there are: index, {', '.join(sheets)}")
        sheet = sheets[name]
        return Reading(name=name, title=sheet.title, date=sheet.date, content=sheet.text)

    return read
