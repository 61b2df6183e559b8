"""The bank's papers: a dict of texts, so that there is no path and none to attack."""

from pydantic import Field

from heist.errors import ToolError
from heist.services.auth import Scope
from heist.services.tools.registry import Arguments, Tool
from heist.world.documents import Bank, Paper


class Filename(Arguments):
    filename: str = Field(description="the paper's name, or index for the list of all papers", max_length=200)


async def _run(arguments: Filename, bank: Bank) -> str:
    """The paper with its date; `index` lists what there is, and so does the answer to a name that does not exist."""
    name = arguments.filename.strip().lower()
    if name == "index":
        return "\n".join(f"{paper.name}: {paper.title} ({paper.date})" for paper in bank.papers.values())
    paper = bank.papers.get(name)
    if paper is None:
        raise ToolError(f"there is no paper {arguments.filename[:60]!r}; there are: index, {', '.join(bank.papers)}")
    return _shown(paper)


def _shown(paper: Paper) -> str:
    return f"{paper.title}, dated {paper.date}\n{paper.text}"


file_reader = Tool("file_reader", "Reads one of the bank's papers by its name.", Scope.FILES, Filename, _run)
