"""The sources of one game, rendered from its facts, so that text and truth cannot drift: papers, views, routes and the
security database."""

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from heist.errors import ToolFailure
from heist.world.facts import Value
from heist.world.game import Game
from heist.world.plan import Board
from heist.world.scenario import PLACE, Cell, Document


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

    def __init__(self, game: Game, board: Board | None = None) -> None:
        self.game = game
        self.board = board or Board(game.scenario.slots)
        self.papers = _rendered(game, game.scenario.documents)
        self.views = _rendered(game, game.scenario.observations)
        self.routes = _rendered(game, game.scenario.routes)
        self.lock = threading.Lock()
        self.queue = asyncio.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def database(self) -> sqlite3.Connection:
        """The filled database; the caller holds `lock`. Raises `ToolFailure` when the bank is closed."""
        if self._closed:
            raise ToolFailure("the session is over, and its bank is closed")
        if self._connection is None:
            self._connection = _fill(self.game)
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


def fill_in(text: str, game: Game, outdated: frozenset[str] = frozenset()) -> str:
    """The text with its places filled: `{fact}` by the value, `{fact:said}` by a clause that claims it (`{fact:Said}`
    at the beginning of a sentence), `{fact:old}` by what was true once, as are all in `outdated`."""

    def filled(place: str, form: str | None) -> str:
        fact = game.scenario.facts[place]
        value = game.outdated(place) if place in outdated or form == "old" else game.values[place]
        if form not in ("said", "Said"):
            return str(value)
        clause = fact.said(value)
        return clause[:1].upper() + clause[1:] if form == "Said" else clause

    return PLACE.sub(lambda found: filled(found[1], found[2]), text)


def _rendered(game: Game, documents: Mapping[str, Document]) -> Mapping[str, Paper]:
    return {
        name: Paper(
            name, document.title, document.date.isoformat(), fill_in(document.text, game, frozenset(document.outdated))
        )
        for name, document in documents.items()
    }


def _fill(game: Game) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    for name, table in game.scenario.database.items():
        columns = ", ".join(f'"{column}"' for column in table.columns)
        marks = ", ".join("?" for _ in table.columns)
        rows = [[_cell(cell, game) for cell in row] for row in table.rows]
        connection.execute(f'CREATE TABLE "{name}" ({columns})')
        connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)  # noqa: S608 - names are checked words
    return connection


def _cell(cell: Cell, game: Game) -> Cell:
    """A cell that is one place and nothing else holds the value itself, so that numbers can be added up."""
    if not isinstance(cell, str):
        return cell
    if alone := PLACE.fullmatch(cell):
        value: Value = game.outdated(alone[1]) if alone[2] == "old" else game.values[alone[1]]
        return value if alone[2] in (None, "old") else fill_in(cell, game)
    return fill_in(cell, game)
