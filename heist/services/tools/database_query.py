"""Read-only SQL on the bank's security database, which is never the program's own."""

import asyncio
import math
import sqlite3
import time
from collections.abc import Sequence

from pydantic import Field

from heist.errors import ToolError
from heist.services.auth import Scope
from heist.services.tools.registry import LONGEST, Arguments, Caller, Result, Tool
from heist.world.documents import Bank

SECONDS = 2.0
ROWS = 50
CELL = 200
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_FUNCTIONS = frozenset(
    "abs avg coalesce count date datetime group_concat ifnull iif instr length like lower ltrim max min nullif replace "
    "round rtrim strftime substr substring sum time total trim typeof upper rank row_number dense_rank lag lead".split()
)
_LIMITS = (
    (sqlite3.SQLITE_LIMIT_LENGTH, 4_000),  # the deadline is checked between steps, never inside of a function
    (sqlite3.SQLITE_LIMIT_COLUMN, 50),
    (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 2_000),
    (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 50),
    (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 10),
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
)


class Query(Arguments):
    query: str = Field(
        description="one SELECT statement; SELECT name, sql FROM sqlite_master lists the tables", max_length=2000
    )


Cell = str | int | float | None


class Rows(Result):
    columns: list[str]
    rows: list[list[Cell]] = Field(description="one list per row, in the order of the columns")
    truncated: bool = Field(description="whether there were more rows than are shown")

    def text(self) -> str:
        lines = [" | ".join(self.columns), *map(_line, self.rows)]
        if self.truncated:
            lines.append(f"(truncated after {len(self.rows)} rows)")
        elif not self.rows:
            lines.append("(no rows)")
        return "\n".join(lines)


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    """Everything that is not named here is denied: writing, attaching, pragmas, functions that reach a file."""
    if action in _READS or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def query(bank: Bank, statement: str) -> Rows:
    """The rows under their column names, at most ROWS of them; stops after SECONDS; raises `ToolError`. Blocks."""
    with bank.lock:
        connection = bank.database()
        for limit, value in _LIMITS:
            connection.setlimit(limit, value)
        deadline = time.monotonic() + SECONDS
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
        try:
            cursor = connection.execute(statement)
            rows = cursor.fetchmany(ROWS + 1)
            cursor.close()
        except sqlite3.OperationalError as error:
            reason = f"stopped after {SECONDS:g} s" if str(error) == "interrupted" else str(error)
            raise ToolError(f"the query failed: {reason}") from None
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            reason = "only reading is allowed" if "authoriz" in str(error) else str(error)
            raise ToolError(f"the query failed: {reason}") from None
    if cursor.description is None:
        raise ToolError("the query failed: it is not a SELECT statement")
    return _table([str(column[0])[:CELL] for column in cursor.description], rows)


def _table(columns: list[str], rows: Sequence[Sequence[object]]) -> Rows:
    """As many rows as there is room for, in number and in characters."""
    shown: list[list[Cell]] = []
    room = LONGEST - len(" | ".join(columns))
    for row in rows[:ROWS]:
        cells = [_cell(value) for value in row]
        room -= len(_line(cells)) + 1
        if room < 0:
            break
        shown.append(cells)
    return Rows(columns=columns, rows=shown, truncated=len(shown) < len(rows))


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = str(value)
    return text if len(text) <= CELL else text[:CELL] + "…"


def _line(cells: Sequence[Cell]) -> str:
    return " | ".join("" if cell is None else str(cell) for cell in cells)


async def _run(arguments: Query, caller: Caller) -> Rows:
    bank = caller.bank
    async with bank.queue:
        try:
            return await asyncio.to_thread(query, bank, arguments.query)
        except asyncio.CancelledError:
            bank.interrupt()
            raise


database_query = Tool(
    "database_query",
    "Asks the bank's security database (guards, shifts, cameras, access levels).",
    Scope.DATABASE,
    Query,
    Rows,
    _run,
)
