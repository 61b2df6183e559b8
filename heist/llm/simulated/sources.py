"""Sources: which sheet or table an agent looks up next."""

import random
import re

from heist.llm.simulated.scene import Scene

LISTING = "SELECT name, sql FROM sqlite_master"
EAGERNESS = {"reconnaissance": 1.0, "planning": 0.75, "decision": 0.2}
"""How often an agent looks something up while it has sheets that it did not read."""
_SHEET = re.compile(r"^(\w+): .+ \((\d{4}-\d\d-\d\d)\)$", re.MULTILINE)
_TABLE = re.compile(r"^(\w+) \| CREATE TABLE.*?(\bvalue\b|$)", re.MULTILINE)
"""A table with a column of values is likelier to tell what is looked for than one of names: it comes first."""
_BEFORE = re.compile(r"(\w+)\(([^()]*)\)")
SHEETS = ("file_reader", "database_query", "observe", "routes")
NEWEST_FIRST = 0.9
"""How often an agent takes the newest of the sheets that it did not read."""
ARGUMENTS = {
    "file_reader": "filename",
    "database_query": "query",
    "observe": "sheet",
    "routes": "sheet",
    "calculator": "expression",
    "plan": "entry",
    "plan_board": "about",
}
"""What the tools' first arguments are called where a prompt does not tell."""


def tried(scene: Scene, tool: str) -> set[str]:
    notes = (*scene.notes, *scene.fresh)
    before = {argument for name, argument in _BEFORE.findall(scene.noted) if name == tool}
    return before | {note.argument for note in notes if note.tool == tool}


def wish(scene: Scene, chance: random.Random, again: bool = True) -> tuple[str, str] | None:
    """(tool, argument): a list first, then what it names and the agent did not read, mostly the newest first. A list
    that is forgotten is read again only if `again` says so."""
    wishes = [found for tool in SHEETS if tool in scene.tools and (found := _next(scene, tool, chance, again))]
    return chance.choice(wishes) if wishes else None


def _next(scene: Scene, tool: str, chance: random.Random, again: bool) -> tuple[str, str] | None:
    known = tried(scene, tool)
    text = "\n".join(note.text for note in (*scene.notes, *scene.fresh) if note.tool == tool)
    pattern = _TABLE if tool == "database_query" else _SHEET
    listed = sorted({(date, _asking(tool, name)) for name, date in pattern.findall(text)}, reverse=True)
    unread = [argument for _, argument in listed if argument not in known]
    if not listed and known and not again:
        return None
    if not listed:
        return tool, LISTING if tool == "database_query" else "index"
    if not unread:
        return None
    return tool, unread[0] if chance.random() < NEWEST_FIRST else chance.choice(unread)


def _asking(tool: str, name: str) -> str:
    return f"SELECT * FROM {name}" if tool == "database_query" else name  # noqa: S608 - for a tool that only reads
