"""The bank's papers: a dict of texts, so that there is no path and none to attack."""

from pydantic import Field

from heist.errors import ToolError
from heist.services.auth import Scope
from heist.services.tools.registry import Arguments, Caller, Result, Tool


class Filename(Arguments):
    filename: str = Field(description="the paper's name, or index for the list of all papers", max_length=200)


class Reading(Result):
    name: str
    title: str
    date: str | None = Field(description="the paper's own date, ISO 8601; the list of papers has none")
    content: str

    def text(self) -> str:
        head = f"{self.title}, dated {self.date}\n" if self.date else ""
        return head + self.content


async def _run(arguments: Filename, caller: Caller) -> Reading:
    """The paper with its date; `index` lists what there is, and so does the answer to a name that does not exist."""
    papers = caller.bank.papers
    name = arguments.filename.strip().lower()
    if name == "index":
        lines = [f"{paper.name}: {paper.title} ({paper.date})" for paper in papers.values()]
        return Reading(name=name, title="All papers", date=None, content="\n".join(lines))
    if name not in papers:
        raise ToolError(f"there is no paper {arguments.filename[:60]!r}; there are: index, {', '.join(papers)}")
    paper = papers[name]
    return Reading(name=name, title=paper.title, date=paper.date, content=paper.text)


file_reader = Tool("file_reader", "Reads one of the bank's papers by its name.", Scope.FILES, Filename, Reading, _run)
