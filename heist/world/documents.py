"""The papers and the security database of one game, rendered from the facts, so that text and truth cannot drift."""

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from heist.errors import ToolFailure
from heist.world.scenario import PLACE, Document, Scenario, Value


@dataclass(frozen=True, slots=True)
class Paper:
    name: str
    title: str
    date: str
    text: str


class Bank:
    """What the tools of one session can reach. The database lives in memory, is opened on first use, and is never the
    program's own; `lock` is held by whoever uses its connection, which may be any thread, and `queue` by whose turn
    it is, so that those who wait hold no thread."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.papers: Mapping[str, Paper] = {
            name: _render(name, document, scenario) for name, document in scenario.documents.items()
        }
        self.lock = threading.Lock()
        self.queue = asyncio.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def database(self) -> sqlite3.Connection:
        """The filled database; the caller holds `lock`. Raises `ToolFailure` when the bank is closed."""
        if self._closed:
            raise ToolFailure("the session is over, and its bank is closed")
        if self._connection is None:
            self._connection = _fill(self._scenario)
        return self._connection

    def interrupt(self) -> None:
        """Ends the query that runs."""
        if self._connection is not None:
            self._connection.interrupt()

    def close(self) -> None:
        """Ends a query that runs, and lets no other begin."""
        self._closed = True
        self.interrupt()
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _render(name: str, document: Document, scenario: Scenario) -> Paper:
    stated = {fact: entry.value for fact, entry in scenario.facts.items()} | dict(document.outdated)
    return Paper(name, document.title, document.date.isoformat(), _fill_in(document.text, stated))


def _fill_in(text: str, stated: Mapping[str, Value]) -> str:
    return PLACE.sub(lambda place: str(stated[place[1]]), text)


def _fill(scenario: Scenario) -> sqlite3.Connection:
    stated = {fact: entry.value for fact, entry in scenario.facts.items()}
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    for name, table in scenario.database.items():
        columns = ", ".join(f'"{column}"' for column in table.columns)
        marks = ", ".join("?" for _ in table.columns)
        rows = [[_fill_in(cell, stated) if isinstance(cell, str) else cell for cell in row] for row in table.rows]
        connection.execute(f'CREATE TABLE "{name}" ({columns})')
        connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)  # noqa: S608 - names are checked words
    return connection
