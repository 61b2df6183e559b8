"""The bank's database against somebody who writes hostile SQL."""

import asyncio
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
from heist.services.auth import Principal, Scope
from heist.services.tools.database_query import CELL, ROWS, SECONDS, database_query, query
from heist.services.tools.registry import LONGEST, Outcome, Registry
from heist.settings import shipped
from heist.world import scenario
from heist.world.documents import Bank
from heist.world.game import draw
from tests.strategies import no_lobby
from tests.times import HandClock

pytestmark = pytest.mark.mission("S4")

Rows = list[tuple[object, ...]]
TABLES = ("guards", "shifts", "cameras", "access_levels")


@contextmanager
def opened() -> Iterator[Bank]:
    bank = Bank(draw(scenario.read(shipped("config"), "first_national_bank"), None))
    yield bank
    bank.close()


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Bank]:
    """A bank in a process that stands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with opened() as bank:
        yield bank


def text(bank: Bank, statement: str) -> str:
    """What an agent gets to read."""
    return query(bank, statement).text()


def asked(statement: str) -> Outcome:
    """The outcome of a whole call."""
    registry = Registry((database_query,), HandClock(), no_lobby)
    registry.furnish("heist_1", Bank(draw(scenario.read(shipped("config"), "first_national_bank"), None)))
    intel = Principal("intel", frozenset({Scope.DATABASE}), "heist_1")
    try:
        return asyncio.run(registry.call(intel, "database_query", {"query": statement}))
    finally:
        registry.close()


def everything(bank: Bank) -> Rows:
    """All that the database holds, read past the tool: its schema, its rows, what is attached to it, and whether a
    transaction is open."""
    with bank.lock:
        connection = bank.database()
        connection.set_progress_handler(None, 0)
        connection.set_authorizer(None)
        rows: Rows = connection.execute("SELECT type, name, sql FROM sqlite_temp_master").fetchall()
        rows += connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        rows += connection.execute("PRAGMA database_list").fetchall()
        rows.append((connection.in_transaction,))
        for table in TABLES:
            rows += connection.execute(f"SELECT rowid, * FROM {table}").fetchall()
    return rows


def test_rows_stand_under_the_names_of_their_columns(bank: Bank) -> None:
    assert text(bank, "SELECT name, access_level FROM guards WHERE access_level = 5 ORDER BY name").splitlines() == [
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
    assert text(bank, statement).split("\n")[-1] == last


ATTACKS = [
    "INSERT OR REPLACE INTO guards SELECT * FROM guards",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) INSERT INTO guards SELECT x, x, x, x, x FROM n",
    "UPDATE guards SET years = 0 RETURNING years",
    "INSERT INTO guards DEFAULT VALUES RETURNING rowid",
    "CREATE TABLE IF NOT EXISTS guards (name)",
    "CREATE UNIQUE INDEX IF NOT EXISTS i ON guards (name)",
    "CREATE TABLE t (a, b AS (load_extension('x')))",
    "CREATE TABLE t (a DEFAULT (writefile('stolen.txt', 'x')))",
    "CREATE VIRTUAL TABLE temp.v USING fts5(x, content='guards')",
    "CREATE VIRTUAL TABLE v USING fts4(x, tokenize=porter)",
    "CREATE VIRTUAL TABLE v USING fts3tokenize",
    "CREATE VIRTUAL TABLE v USING dbstat",
    "CREATE VIRTUAL TABLE v USING csv(filename='/etc/passwd')",
    "CREATE VIRTUAL TABLE v USING geopoly(a)",
    "SELECT * FROM fts5vocab",
    "SELECT highlight(guards, 0, 'a', 'b') FROM guards",
    "SELECT bm25(guards) FROM guards",
    "SELECT rtreecheck('guards')",
    "SELECT * FROM json_tree('{}')",
    "SELECT value FROM guards, json_each(guards.name)",
    "SELECT json_extract('[1]', '$[0]'), '{}' -> '$'",
    "SELECT json_group_array(name) FROM guards",
    "SELECT fts5(?1)",
    "SELECT sqlite_rename_table(0, 0, 0, 0, 0, 0, 0)",
    "SELECT sqlite_log(1, 'x')",
    "SELECT sqlite_source_id()",
    "SELECT likely(1), unlikely(1), likelihood(1, 0.5)",
    "SELECT * FROM sqlite_stat1",
    "SELECT * FROM sqlite_sequence",
    "SELECT * FROM pragma_index_list('guards'), pragma_user_version",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM bytecode('SELECT 1')",
    "SELECT * FROM sqlite_memstat",
    "SELECT * FROM completion('x')",
    "SELECT * FROM clients",
    "SELECT * FROM revocations",
    "SELECT * FROM alembic_version",
    "SELECT * FROM messages UNION SELECT * FROM guards",
    "ATTACH DATABASE 'heist.db' AS app; SELECT * FROM app.events",
    "ATTACH '' AS temporary",
    "ATTACH DATABASE char(97) AS a",
    "DETACH DATABASE temp",
    "VACUUM INTO (SELECT 'stolen.db')",
    "PRAGMA main.schema_version = 99",
    "PRAGMA case_sensitive_like = 1",
    "PRAGMA soft_heap_limit = 1",
    "PRAGMA threads = 8",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA optimize",
    "PRAGMA integrity_check",
    "EXPLAIN ATTACH 'stolen.db' AS s",
    "EXPLAIN PRAGMA user_version = 1",
    "BEGIN IMMEDIATE; DELETE FROM guards; COMMIT",
    "END",
    "ROLLBACK TO s",
    "SAVEPOINT s; DELETE FROM guards; RELEASE s",
    "SELECT 1 /* ; */; /* */ DROP TABLE guards",
    "SELECT 1 -- \n; DROP TABLE guards",
    "\ufeff DROP TABLE guards",
    "\u00a0DELETE FROM guards",
    "DELETE\u2003FROM guards",
    "\0DELETE FROM guards",
    "DELETE FROM guards\0",
    "SELECT '\0'",
    "SELECT \udcff",
    "ＤＥＬＥＴＥ FROM guards",
    "SELECT CAST(x'eda080' AS TEXT)",
    "SELECT CAST(randomblob(9) AS TEXT)",
    "SELECT substr(zeroblob(999999999), 1, 1)",
    "SELECT format('%*d', 999999999, 1)",
    "SELECT printf('%s', 'x')",
    "SELECT hex(hex(hex('x')))",
    "SELECT group_concat(replace(replace(replace(name, 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa')) "
    "FROM guards",
    "SELECT replace(group_concat(a.name), 'a', 'aaaaaaaaaaaaaaaa') FROM guards a, guards b, guards c",
    "WITH RECURSIVE n(x) AS (SELECT 'aaaaaaaaaa' UNION ALL SELECT x || x FROM n) SELECT length(x) FROM n LIMIT 40 "
    "OFFSET 20",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9999) SELECT group_concat(x) OVER (ORDER "
    "BY x) FROM n LIMIT 1 OFFSET 9000",
    "SELECT total_changes(), changes()",
    "SELECT randomblob(1)",
    "SELECT abs(-9223372036854775808)",
    "SELECT sum(9223372036854775807) FROM guards",
    "SELECT ntile(3) OVER () FROM guards",
    "SELECT sum(1) FILTER (WHERE load_extension('x')) FROM guards",
    "SELECT name FROM guards ORDER BY load_extension('x')",
    "SELECT name FROM guards WHERE readfile('/etc/passwd') IS NULL",
    "SELECT (SELECT (SELECT load_extension('x')))",
    "SELECT name FROM guards GROUP BY writefile('stolen.txt', name)",
    "SELECT " + "(SELECT " * 60 + "1" + ")" * 60,
    "SELECT 1 EXCEPT " * 12 + "SELECT 1",
    "SELECT 1 WHERE " + "1 AND " * 60 + "1",
    "VALUES " + ", ".join(f"(writefile('s{number}.txt', 1))" for number in range(5)),
    "SELECT * FROM guards a, guards b, guards c, guards d, guards e, guards f, guards g, guards h, guards i, guards j, "
    "guards k",
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
        text(bank, statement)
    assert len(str(refusal.value)) < 300
    assert everything(bank) == before
    assert os.listdir() == []
    assert text(bank, "SELECT count(*) FROM guards") == "count(*)\n13"


def test_writing_is_refused_in_words_that_say_so(bank: Bank) -> None:
    with pytest.raises(ToolError) as refusal:
        text(bank, "DELETE FROM guards")
    assert str(refusal.value) == "the query failed: only reading is allowed"


BOMBS = [
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION SELECT (x * 31) % 1000000007 FROM n) SELECT sum(x) FROM n",
    "SELECT count(*) FROM guards, guards b, guards c, guards d, guards e, guards f, guards g, guards h, guards i",
    "SELECT name FROM guards ORDER BY (SELECT count(*) FROM guards b, guards c, guards d, guards e, guards f, guards "
    "g, guards h, guards i)",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT sum(x) OVER (ORDER BY x) FROM n",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 30000) SELECT min(length(x)) OVER "
    "(ORDER BY x ROWS BETWEEN 5000 PRECEDING AND 5000 FOLLOWING EXCLUDE TIES) AS y FROM n ORDER BY y",
    "SELECT DISTINCT a.name || b.name || c.name || d.name || e.name || f.name FROM guards a, guards b, guards c, "
    "guards d, guards e, guards f ORDER BY 1",
]


@pytest.mark.parametrize("statement", BOMBS)
def test_a_bomb_is_stopped_when_its_time_is_over_and_leaves_nothing_behind(
    statement: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heist.services.tools.database_query.SECONDS", 0.25)
    before = everything(bank)
    started, used = time.monotonic(), time.process_time()
    with pytest.raises(ToolError, match=r"stopped after 0\.25 s"):
        query(bank, statement)
    assert time.monotonic() - started >= 0.25
    assert time.process_time() - used < 1.25
    assert everything(bank) == before
    assert os.listdir() == []


def test_a_question_without_end_is_stopped_after_two_seconds_and_the_next_one_is_answered(bank: Bank) -> None:
    started, used = time.monotonic(), time.process_time()
    with pytest.raises(ToolError, match=f"stopped after {SECONDS:g} s"):
        text(bank, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n")
    assert time.monotonic() - started >= SECONDS
    assert time.process_time() - used < SECONDS + 1
    assert text(bank, "SELECT 1") == "1\n1"


def test_a_join_of_everything_with_everything_shows_its_first_rows_at_once(bank: Bank) -> None:
    started = time.process_time()
    answer = text(bank, "SELECT 1 FROM guards, guards, guards, guards, guards, guards, guards, guards, guards")
    assert time.process_time() - started < 0.5
    assert answer.endswith(f"(truncated after {ROWS} rows)")


def numbers(last: int) -> str:
    return f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {last}) SELECT x FROM n"


def test_rows_beyond_the_cap_are_cut_and_the_answer_says_so(bank: Bank) -> None:
    lines = text(bank, numbers(ROWS + 1)).splitlines()
    assert lines == ["x", *(str(number) for number in range(1, ROWS + 1)), "(truncated after 50 rows)"]


def test_as_many_rows_as_the_cap_are_all_there(bank: Bank) -> None:
    assert text(bank, numbers(ROWS)).splitlines()[-1] == "50"


def test_a_long_cell_is_cut(bank: Bank) -> None:
    cell = text(bank, f"SELECT replace('{'a' * 100}', 'a', 'aaaaa')").splitlines()[-1]
    assert cell == "a" * CELL + "…"


def test_what_the_tables_say_comes_from_the_facts(bank: Bank) -> None:
    answer = text(bank, "SELECT begins, guards FROM shifts WHERE shift = 'late'")
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


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An attack with a few of its characters replaced, doubled or gone, or two of them in one."""
    first, second = draw(st.sampled_from(ATTACKS)), draw(st.sampled_from(ATTACKS))
    cut = draw(st.integers(0, len(first)))
    statement = draw(st.sampled_from([first, first[:cut] + second, f"{first};{second}", f"{first} {second}"]))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(statement)))
        piece = draw(st.sampled_from(["", ";", "'", '"', "--", "/*", "*/", "\0", " ", "(", ")", "x"]))
        statement = statement[:place] + piece + statement[place + draw(st.integers(0, 2)) :]
    return statement


@given(statement=statements | mutated())
@settings(max_examples=600)
def test_no_statement_ever_changes_the_database(statement: str) -> None:
    with opened() as bank:
        before = everything(bank)
        try:
            text(bank, statement)
        except ToolError:
            assert everything(bank) == before
            return
        assert everything(bank) == before


def test_two_banks_never_share_a_database() -> None:
    with opened() as one, opened() as other:
        with one.lock:
            one.database().execute("DELETE FROM guards")
        assert text(one, "SELECT count(*) FROM guards") == "count(*)\n0"
        assert text(other, "SELECT count(*) FROM guards") == "count(*)\n13"


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
    started = time.process_time()
    with contextlib.suppress(ToolError):
        text(bank, statement[:2000])
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(("letters", "set_"), [(8, 8), (4, 4), (3, 3)])
def test_slow_functions_do_not_put_the_stop_off(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, letters: int, set_: int
) -> None:
    """SQLite looks at the clock between rows at best, so what one row may cost must be little."""
    monkeypatch.setattr("heist.services.tools.database_query.SECONDS", 0.25)
    trims = ", ".join(["||".join(["ltrim(a,b)"] * 40)] * 3)
    statement = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100), s(a, b) AS MATERIALIZED "
        f"(SELECT replace({big('a', 3)}, 'a', '{'a' * letters}'), replace({big('b', 2)}, 'b', '{'b' * set_}') || 'a') "
        f"SELECT {trims} FROM s, n"
    )
    assert len(statement) < 2000
    started = time.process_time()
    with pytest.raises(ToolError):
        query(bank, statement)
    assert time.process_time() - started < 1


def test_numbers_nulls_and_texts_reach_a_program_as_they_are() -> None:
    outcome = asked("SELECT 7 AS whole, 0.5 AS part, NULL AS none, 'x|y' AS word, 9e999 AS endless, x'00ff' AS bytes")
    assert outcome.result == {
        "columns": ["whole", "part", "none", "word", "endless", "bytes"],
        "rows": [[7, 0.5, None, "x|y", "inf", "b'\\x00\\xff'"]],
        "truncated": False,
    }
    assert outcome.text.splitlines()[1] == "7 | 0.5 |  | x|y | inf | b'\\x00\\xff'"


def test_a_program_is_told_that_rows_are_missing() -> None:
    result = asked(numbers(ROWS + 1)).result
    assert result is not None
    assert result["rows"] == [[number] for number in range(1, ROWS + 1)]
    assert result["truncated"] is True
    whole = asked(numbers(ROWS)).result
    assert whole is not None
    assert whole["truncated"] is False


def test_rows_that_are_too_wide_are_cut_by_their_characters_and_the_answer_says_so() -> None:
    wide = ", ".join(f"replace('{'a' * 50}', 'a', 'aaaa') AS c{number}" for number in range(9))
    outcome = asked(f"SELECT {wide} FROM guards")
    assert outcome.result is not None
    shown = outcome.result["rows"]
    assert isinstance(shown, list)
    assert (outcome.result["truncated"], len(shown)) == (True, 2)
    assert outcome.text.endswith("(truncated after 2 rows)")
    assert len(outcome.text) <= LONGEST + 30


def test_a_header_that_leaves_no_room_shows_no_row_and_says_so() -> None:
    names = ", ".join(f"1 AS {'c' * 30}{number}" for number in range(50))
    outcome = asked(f"SELECT {names}")
    assert outcome.result is not None
    assert len(outcome.text) <= LONGEST + 100
    assert outcome.success


@given(statement=statements | mutated() | st.builds(numbers, st.integers(0, 60)))
@settings(max_examples=150)
def test_what_an_agent_reads_and_what_a_program_gets_are_always_the_same_and_bounded(statement: str) -> None:
    outcome = asked(statement)
    assert len(outcome.text) <= LONGEST + 100
    if outcome.result is None:
        assert outcome.fault == "arguments"
        return
    assert len(str(outcome.result["rows"])) <= 2 * LONGEST
    shown = [str(row) for row in outcome.result["rows"]]  # type: ignore[union-attr]
    assert len(shown) <= ROWS


def test_closing_the_bank_ends_a_query_and_lets_no_other_begin(bank: Bank) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    failed: list[str] = []

    def ask() -> None:
        try:
            text(bank, endless)
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
        text(bank, "SELECT 1")
