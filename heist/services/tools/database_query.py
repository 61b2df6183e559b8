"""Read-only SQL on the bank's security database, which is never the program's own."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence

from pydantic import Field

from heist.errors import ToolError
from heist.services.auth import Scope
from heist.services.tools.registry import Arguments, Tool
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
    (sqlite3.SQLITE_LIMIT_LENGTH, 10_000),  # the deadline is checked between steps, never inside of a function
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


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    """Everything that is not named here is denied: writing, attaching, pragmas, functions that reach a file."""
    if action in _READS or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def query(bank: Bank, statement: str) -> str:
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
    return _table([column[0] for column in cursor.description], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [" | ".join(columns), *(" | ".join(_cell(value) for value in row) for row in rows[:ROWS])]
    if not rows:
        lines.append("(no rows)")
    if len(rows) > ROWS:
        lines.append(f"(truncated after {ROWS} rows)")
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= CELL else text[:CELL] + "…"


async def _run(arguments: Query, bank: Bank) -> str:
    return await asyncio.to_thread(query, bank, arguments.query)


database_query = Tool(
    "database_query",
    "Asks the bank's security database (guards, shifts, cameras, access levels).",
    Scope.DATABASE,
    Query,
    _run,
)
