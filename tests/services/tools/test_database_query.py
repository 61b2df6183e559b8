"""The bank's database against somebody who writes hostile SQL."""

import contextlib
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heist.errors import ToolError, ToolFailure
from heist.services.tools.database_query import CELL, ROWS, SECONDS, query
from heist.settings import shipped
from heist.world import scenario
from heist.world.documents import Bank

pytestmark = pytest.mark.mission("S4")

Rows = list[tuple[object, ...]]
TABLES = ("guards", "shifts", "cameras", "access_levels")


@contextmanager
def opened() -> Iterator[Bank]:
    bank = Bank(scenario.read(shipped("config"), "first_national_bank"))
    yield bank
    bank.close()


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Bank]:
    """A bank in a process that stands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with opened() as bank:
        yield bank


def everything(bank: Bank) -> Rows:
    """All that the database holds, read past the tool: its schema, its rows and what is attached to it."""
    with bank.lock:
        connection = bank.database()
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)
        rows: Rows = connection.execute("SELECT type, name, sql FROM sqlite_temp_master").fetchall()
        rows += connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        rows += connection.execute("PRAGMA database_list").fetchall()
        for table in TABLES:
            rows += connection.execute(f"SELECT rowid, * FROM {table}").fetchall()
    return rows


def test_rows_stand_under_the_names_of_their_columns(bank: Bank) -> None:
    assert query(bank, "SELECT name, access_level FROM guards WHERE access_level = 5 ORDER BY name").splitlines() == [
        "name | access_level",
        "Marta Hale | 5",
        "Victor Lindqvist | 5",
    ]


@pytest.mark.parametrize(
    ("statement", "last"),
    [
        ("SELECT count(*) FROM guards", "13"),
        ("SELECT COUNT(*) AS n FROM guards GROUP BY shift ORDER BY n", "6"),
        ("select max(years), min(years), round(avg(years), 1) from guards;", "14 | 1 | 5.6"),
        ("SELECT group_concat(shift, '/') FROM (SELECT DISTINCT shift FROM guards)", "early/late/night"),
        ("SELECT g.name FROM guards g JOIN access_levels a ON g.access_level = a.level WHERE opens LIKE 'vault%' "
         "ORDER BY years DESC LIMIT 1", "Frank Delacroix"),
        ("SELECT name, rank() OVER (ORDER BY years DESC) FROM guards ORDER BY 2 LIMIT 1", "Marta Hale | 1"),
        ("WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT sum(x) FROM n", "15"),
        ("SELECT name FROM sqlite_master ORDER BY name LIMIT 1", "access_levels"),
        ("SELECT upper(trim('  van ')) || coalesce(NULL, '!')", "VAN!"),
        ("SELECT name FROM guards WHERE years > 99", "(no rows)"),
        ("SELECT NULL", ""),
    ],
)  # fmt: skip
def test_an_honest_question_is_answered(statement: str, last: str, bank: Bank) -> None:
    assert query(bank, statement).split("\n")[-1] == last


ATTACKS = [
    "INSERT INTO guards VALUES ('Mole', 5, 'night', 'vault', 1)",
    "REPLACE INTO guards VALUES ('Mole', 5, 'night', 'vault', 1)",
    "UPDATE guards SET access_level = 0",
    "UPDATE guards SET access_level = 0 WHERE 0",
    "DELETE FROM guards",
    "DELETE FROM guards WHERE 0",
    "DROP TABLE guards",
    "DROP TABLE IF EXISTS guards",
    "ALTER TABLE guards RENAME TO friends",
    "ALTER TABLE guards ADD COLUMN bribed",
    "ALTER TABLE guards DROP COLUMN name",
    "CREATE TABLE moles (name)",
    "CREATE TABLE copy AS SELECT * FROM guards",
    "CREATE TEMP TABLE moles (name)",
    "CREATE TEMP TABLE copy AS SELECT * FROM guards",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TEMP VIEW guards AS SELECT 1",
    "CREATE INDEX i ON guards (name)",
    "CREATE TRIGGER t AFTER INSERT ON guards BEGIN SELECT 1; END",
    "CREATE TEMP TRIGGER t AFTER INSERT ON guards BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE v USING fts5(x)",
    "CREATE VIRTUAL TABLE v USING rtree(a, b, c)",
    "WITH x AS (SELECT 1) INSERT INTO guards SELECT 1, 1, 1, 1, 1",
    "WITH x AS (SELECT 1) DELETE FROM guards",
    "WITH x AS (SELECT 1) UPDATE guards SET years = 0",
    "INSERT INTO guards SELECT * FROM guards RETURNING name",
    "DELETE FROM guards RETURNING *",
    "INSERT INTO guards VALUES (1, 2, 3, 4, 5) ON CONFLICT DO NOTHING",
    "UPDATE sqlite_master SET sql = 'x'",
    "DELETE FROM sqlite_master",
    "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 1, 'x')",
    "ATTACH 'stolen.db' AS stolen",
    "ATTACH ':memory:' AS other",
    "ATTACH 'file:stolen.db?mode=rwc' AS stolen",
    "ATTACH '/etc/passwd' AS passwd",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO 'stolen.db'",
    "VACUUM main INTO 'stolen.db'",
    "REINDEX",
    "ANALYZE",
    "PRAGMA writable_schema = 1",
    "PRAGMA journal_mode = WAL",
    "PRAGMA table_info(guards)",
    "PRAGMA database_list",
    "PRAGMA temp_store_directory = '.'",
    "PRAGMA query_only = 0",
    "PRAGMA trusted_schema = 1",
    "PRAGMA max_page_count = 1",
    "pragma/**/user_version=7",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('guards')",
    "SELECT * FROM pragma_journal_mode('off')",
    "SELECT * FROM pragma_function_list",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM json_each('[1, 2]')",
    "SELECT * FROM generate_series(1, 9999999999)",
    "SELECT * FROM fsdir('/')",
    "SELECT * FROM sessions",
    "SELECT * FROM events",
    "SELECT * FROM main.tool_usage",
    "SELECT * FROM temp.guards",
    "SELECT * FROM other.guards",
    "SELECT load_extension('./evil.so')",
    "SELECT load_extension('./evil.so', 'main')",
    "SELECT writefile('stolen.txt', 'x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT edit('x', 'id')",
    "SELECT fts3_tokenizer('x')",
    "SELECT sqlite_compileoption_get(1)",
    "SELECT sqlite_version()",
    "SELECT randomblob(1000000000)",
    "SELECT zeroblob(1000000000)",
    "SELECT hex(zeroblob(1000000))",
    "SELECT length(randomblob(900000))",
    "SELECT printf('%999999999d', 1)",
    "SELECT printf('%.*c', 999999999, 'x')",
    "SELECT char(0x1F600)",
    "SELECT quote('x')",
    "SELECT unhex('00')",
    "SELECT random()",
    "SELECT json('[]')",
    "SELECT last_insert_rowid(), changes()",
    "SELECT 'a' GLOB '*a*a*a*a*a*a*'",
    "SELECT 'a' REGEXP '(a+)+$'",
    "SELECT 'a' MATCH 'a'",
    "SELECT 'a' LIKE '" + "%a" * 100 + "'",
    "SELECT group_concat(" + "replace(" * 6 + "'a'" + ", 'a', 'aaaaaaaaaa')" * 6 + ") FROM guards",
    "SELECT " + "replace(" * 8 + "'a'" + ", 'a', 'aaaaaaaaaa')" * 8,
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE guards",
    "SELECT 1;; DELETE FROM guards; --",
    "SELECT 1; ATTACH 'stolen.db' AS s",
    "BEGIN",
    "BEGIN EXCLUSIVE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "RELEASE s",
    "EXPLAIN DELETE FROM guards",
    "EXPLAIN QUERY PLAN DROP TABLE guards",
    ".shell id",
    ".open stolen.db",
    "SELECT ?",
    "SELECT :name",
    "SELECT @name, $name",
    "",
    ";",
    "-- nothing",
    "/* nothing",
    "SELECT 1\0; DROP TABLE guards",
    "SELECT '\ud800'",
    "SELECT CAST(x'ff' AS TEXT)",
    "SELECT 1 UNION " * 12 + "SELECT 1",
    "SELECT " + "1 + (" * 55 + "1" + ")" * 55,
    "SELECT " + "1, " * 2_000 + "1",
    "SELECT '" + "a" * 3_000 + "'",
]


@pytest.mark.parametrize("statement", ATTACKS)
def test_an_attack_is_refused_and_changes_nothing(statement: str, bank: Bank) -> None:
    before = everything(bank)
    with pytest.raises(ToolError, match=r"^the query failed: ") as refusal:
        query(bank, statement)
    assert len(str(refusal.value)) < 300
    assert everything(bank) == before
    assert os.listdir() == []
    assert query(bank, "SELECT count(*) FROM guards") == "count(*)\n13"


def test_writing_is_refused_in_words_that_say_so(bank: Bank) -> None:
    with pytest.raises(ToolError) as refusal:
        query(bank, "DELETE FROM guards")
    assert str(refusal.value) == "the query failed: only reading is allowed"


def test_a_question_without_end_is_stopped_after_two_seconds_and_the_next_one_is_answered(bank: Bank) -> None:
    started = time.monotonic()
    with pytest.raises(ToolError, match=f"stopped after {SECONDS:g} s"):
        query(bank, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n")
    assert SECONDS <= time.monotonic() - started < SECONDS + 1
    assert query(bank, "SELECT 1") == "1\n1"


def test_a_join_of_everything_with_everything_shows_its_first_rows_at_once(bank: Bank) -> None:
    started = time.monotonic()
    answer = query(bank, "SELECT 1 FROM guards, guards, guards, guards, guards, guards, guards, guards, guards")
    assert time.monotonic() - started < 0.5
    assert answer.endswith(f"(truncated after {ROWS} rows)")


def numbers(last: int) -> str:
    return f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {last}) SELECT x FROM n"


def test_rows_beyond_the_cap_are_cut_and_the_answer_says_so(bank: Bank) -> None:
    lines = query(bank, numbers(ROWS + 1)).splitlines()
    assert lines == ["x", *(str(number) for number in range(1, ROWS + 1)), "(truncated after 50 rows)"]


def test_as_many_rows_as_the_cap_are_all_there(bank: Bank) -> None:
    assert query(bank, numbers(ROWS)).splitlines()[-1] == "50"


def test_a_long_cell_is_cut(bank: Bank) -> None:
    cell = query(bank, f"SELECT replace('{'a' * 100}', 'a', 'aaaaa')").splitlines()[-1]
    assert cell == "a" * CELL + "…"


def test_what_the_tables_say_comes_from_the_facts(bank: Bank) -> None:
    answer = query(bank, "SELECT begins, guards FROM shifts WHERE shift = 'late'")
    assert answer.splitlines()[-1] == "14:00 | 6"


words = st.sampled_from(
    "SELECT INSERT INTO UPDATE SET DELETE FROM DROP TABLE CREATE TEMP VIEW INDEX ALTER RENAME TO ATTACH AS VACUUM "
    "PRAGMA user_version = REPLACE VALUES WITH RETURNING WHERE guards shifts cameras sqlite_master name years * ( ) , "
    "; 1 'x' -- BEGIN COMMIT EXPLAIN TRIGGER ON".split()
)
writes = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", " ", "/* */ ", "-- \n", "WITH w AS (SELECT 1) ", "EXPLAIN ", "SELECT 1; ", "\t(", ";"]),
    st.sampled_from(
        [
            "DELETE FROM {table}",
            "UPDATE {table} SET rowid = rowid + 100",
            "INSERT INTO {table} SELECT * FROM {table}",
            "REPLACE INTO {table} SELECT * FROM {table}",
            "DROP TABLE {table}",
            "ALTER TABLE {table} RENAME TO stolen",
            "ALTER TABLE {table} ADD COLUMN stolen",
            "CREATE TABLE stolen AS SELECT * FROM {table}",
            "CREATE TEMP TABLE stolen AS SELECT * FROM {table}",
            "CREATE VIEW stolen AS SELECT * FROM {table}",
            "ATTACH ':memory:' AS {table}",
        ]
    ),
    st.sampled_from(["", ";", " RETURNING *", " WHERE 1", " -- ", "; SELECT 1"]),
)
statements = (
    st.lists(words, max_size=12).map(" ".join)
    | st.builds(lambda write, table: write.format(table=table), writes, st.sampled_from((*TABLES, "sqlite_master")))
    | st.text(max_size=60)
)


@given(statement=statements)
@settings(max_examples=400)
def test_no_statement_ever_changes_the_database(statement: str) -> None:
    with opened() as bank:
        before = everything(bank)
        try:
            query(bank, statement)
        except ToolError:
            assert everything(bank) == before
            return
        assert everything(bank) == before


def test_two_banks_never_share_a_database() -> None:
    with opened() as one, opened() as other:
        with one.lock:
            one.database().execute("DELETE FROM guards")
        assert query(one, "SELECT count(*) FROM guards") == "count(*)\n0"
        assert query(other, "SELECT count(*) FROM guards") == "count(*)\n13"


def big(letter: str, tens: int) -> str:
    text = f"'{letter}'"
    for _ in range(tens):
        text = f"replace({text}, '{letter}', '{letter * 10}')"
    return text


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT length(ltrim({big('a', 5)}, replace({big('b', 4)}, 'b', 'bbbbbbbb') || 'a'))",
        "SELECT " + ", ".join([big("a", 5)] * 60),
    ],
)
def test_a_single_slow_function_is_bounded_too(bank: Bank, statement: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(ToolError):
        query(bank, statement[:2000])
    assert time.monotonic() - started < SECONDS


def test_closing_the_bank_ends_a_query_and_lets_no_other_begin(bank: Bank) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    failed: list[str] = []

    def ask() -> None:
        try:
            query(bank, endless)
        except ToolError as error:
            failed.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.2)
    started = time.monotonic()
    bank.close()
    asking.join()
    assert time.monotonic() - started < SECONDS / 2
    assert len(failed) == 1
    with pytest.raises(ToolFailure, match="the session is over"):
        query(bank, "SELECT 1")
