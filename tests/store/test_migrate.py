"""The migrations lead to the tables that the code uses, which hold what people expect to find."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, MetaData, Table, inspect, text
from sqlalchemy.exc import IntegrityError

from heist.errors import ConfigError, StoreError
from heist.settings import shipped
from heist.store.engine import connect, migrating
from heist.store.migrate import revisions, upgrade
from heist.store.tables import metadata


def test_the_migrated_database_is_the_one_that_the_code_expects(database_url: str) -> None:
    engine = connect(database_url)
    assert revisions(engine)[0] is None
    upgrade(engine)
    upgrade(engine)
    at, wanted = revisions(engine)
    assert at == wanted is not None
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.mission("S15")
def test_the_three_plain_tables_hold_the_columns_that_people_query(database_url: str) -> None:
    engine = connect(database_url)
    upgrade(engine)
    columns = {table: {column["name"] for column in inspect(engine).get_columns(table)} for table in metadata.tables}
    assert columns["sessions"] >= {"session_id", "start_time", "end_time", "num_turns", "status"}
    assert columns["messages"] >= {"session_id", "turn_id", "agent_name", "agent_role", "message", "timestamp"}
    assert columns["tool_usage"] >= {"session_id", "turn_id", "agent_name", "tool_name", "tool_params"}
    assert columns["tool_usage"] >= {"tool_result", "timestamp", "success"}


def test_a_newer_database_is_refused_in_one_sentence(database_url: str) -> None:
    engine = connect(database_url)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="of another version of heist"):
        upgrade(engine)


def test_a_database_that_cannot_be_opened_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened: unable to open database file"):
        upgrade(connect(f"sqlite:///{tmp_path}/no/such/folder/x.db"))
    (tmp_path / "text.db").write_text("this is a letter, not a database, and long enough to be looked at")
    with pytest.raises(StoreError, match="cannot be opened: file is not a database"):
        upgrade(connect(f"sqlite:///{tmp_path}/text.db"))


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite+nodriver:///x.db",
        "oracle9://x:geheim@y",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:audit?mode=memory&uri=true",
        "postgres://x:geheim@y/z",
        "postgresql+asyncpg://x:geheim@y/z",
        "postgresql+psycopg://x:ge@geheim@y/z",
        "postgresql+psycopg://x:ge@y:geheim@y/z",
        "postgresql+psycopg://x:ge@y:geheim/z",
    ],
)
def test_an_url_that_cannot_be_used_is_refused_by_the_name_of_its_setting_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="HEIST_DATABASE_URL") as refused:
        connect(url)
    assert "geheim" not in str(refused.value)


# From the first schema to the second, and back.

SESSION = "('s1', 'a', 'b', 2, 'completed', 'c', 'd', 'e', 5, 7, 'm', 's', TRUE, 4711)"
EVENTS: list[tuple[Any, ...]] = [
    (1, "s1", "session.started", "a", '{"crew":"c","seed":7}'),
    (2, "s1", "tool.called", "b", "{}"),
    (3, "s1", "x", "c", "ü"),
]
MESSAGE = ("s1", 1, "planner", "role", "hello", "a", 1, "m", 10, 5, False, 2.5)
USED = [
    (2, "s1", 1, "planner", "calculator", '{"a": 1}', "2", "b", True, None, "native", 0.5),
    (3, "s1", None, "mole", "file_reader", "{}", "no", "c", False, "scope", "http", 1.5),
]
ROWS: dict[str, list[tuple[Any, ...]]] = {"events": EVENTS, "messages": [MESSAGE], "tool_usage": USED}

SEALED = ROWS | {"events": [(1, "s1", "session.started", "a", '{"crew":"c"}'), *EVENTS[1:]]}
"""The same since the third schema, in which the seed of a session is sealed."""


def moved(engine: Engine, how: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")))
    with migrating(engine) as connection:
        config.attributes["connection"] = connection
        how(config, revision)


def at_first(url: str) -> Engine:
    """A database of the first schema with a row or more in each of its tables."""
    engine = connect(url)
    moved(engine, command.upgrade, "0001")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO sessions VALUES {SESSION}")
        for name, some in ROWS.items():
            table = Table(name, MetaData(), autoload_with=connection)
            for row in some:
                connection.execute(table.insert().values(row))
    return engine


def held(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """What the first schema knows of; columns that came later stand behind its own."""
    with engine.connect() as connection:
        return {
            table: [
                tuple(row)[: len(some[0])] for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1")
            ]
            for table, some in ROWS.items()
        }


def asked(engine: Engine, sql: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def references_hold(engine: Engine) -> None:
    """SQLite has to be told to watch over them; PostgreSQL always does."""
    if engine.dialect.name == "sqlite":
        assert asked(engine, "PRAGMA foreign_key_check") == []
        assert asked(engine, "PRAGMA foreign_keys") == [(1,)]


def test_the_second_schema_keeps_every_row_of_the_first(database_url: str) -> None:
    engine = at_first(database_url)
    assert held(engine) == ROWS
    upgrade(engine)
    sealed = ("s1", "mole.assigned", "a")
    assert held(engine) == SEALED
    [(*place, body)] = asked(engine, "SELECT session_id, kind, at, body FROM sealed")
    assert (tuple(place), json.loads(body)["seed"]) == (sealed, 7)
    assert len(asked(engine, "SELECT * FROM sessions")) == 1
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_after_the_upgrade_every_reference_holds_and_is_watched_over_again(database_url: str) -> None:
    engine = at_first(database_url)
    upgrade(engine)
    for _ in range(2):  # on the connection that migrated, and on a new one
        references_hold(engine)
        for wrong in (
            "INSERT INTO events VALUES (9, 'nosuch', 'x', 'a', '{}')",
            "INSERT INTO tool_usage VALUES (99, 's1', 1, 'a', 't', '{}', '', 'a', TRUE, NULL, 'http', 1)",
            "INSERT INTO messages VALUES ('nosuch', 1, 'a', 'r', 'm', 'a', 1, 'm', 1, 1, FALSE, 1, NULL)",
            "DELETE FROM events WHERE seq = 2",
            "DELETE FROM sessions",
        ):
            with pytest.raises(IntegrityError, match=r"(?i)foreign key"), engine.begin() as connection:
                connection.exec_driver_sql(wrong)
        engine.dispose()
    references = {(table, key["referred_table"]) for table in ROWS for key in inspect(engine).get_foreign_keys(table)}
    assert references == {
        ("events", "sessions"),
        ("messages", "sessions"),
        ("tool_usage", "events"),
        ("tool_usage", "sessions"),
    }


def test_the_indices_of_the_first_schema_are_still_there(database_url: str) -> None:
    engine = at_first(database_url)
    before = {table: {index["name"] for index in inspect(engine).get_indexes(table)} for table in ROWS}
    upgrade(engine)
    after = {table: {index["name"] for index in inspect(engine).get_indexes(table)} for table in ROWS}
    assert all(before[table] <= after[table] for table in ROWS)
    assert before["tool_usage"] == {"tool_usage_by_session"}


def test_what_belongs_to_no_session_can_be_kept_only_since_the_second_schema(database_url: str) -> None:
    engine = at_first(database_url)
    event = "INSERT INTO events VALUES (4, NULL, 'access.refused', 'd', '{}')"
    with pytest.raises(IntegrityError, match=r"(?i)not.null"), engine.begin() as connection:
        connection.exec_driver_sql(event)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(event)
    assert asked(engine, "SELECT session_id, kind FROM events WHERE seq = 4") == [(None, "access.refused")]


@pytest.mark.mission("S14")
def test_the_fourth_schema_finds_in_old_messages_who_spoke_before_and_who_is_named(database_url: str) -> None:
    engine = at_first(database_url)
    crew = json.dumps({"seats": [{"name": name} for name in ("planner", "intel", "driver")], "seed": 7})
    said = [
        (3, "intel", "PLANNER, my intelligence says no"),
        (4, "intel", "Intel here."),
        (7, "planner", "intel! driver"),
    ]
    spoken = "INSERT INTO messages VALUES ('s1', :turn, :agent, 'role', :said, 'a', 1, 'm', 1, 1, FALSE, 1)"
    with engine.begin() as connection:
        connection.execute(text("UPDATE events SET body = :crew WHERE seq = 1"), {"crew": crew})
        for turn, agent, words in said:
            connection.execute(text(spoken), {"turn": turn, "agent": agent, "said": words})
    upgrade(engine)
    assert asked(engine, "SELECT turn_id, previous FROM messages ORDER BY 1") == [
        (1, None),
        (3, "planner"),
        (4, "intel"),
        (7, "intel"),
    ]
    named = [(3, "intel", "planner"), (7, "planner", "driver"), (7, "planner", "intel")]
    assert asked(engine, "SELECT turn_id, agent_name, named FROM mentions ORDER BY 1, 3") == named


def test_going_back_keeps_all_that_the_first_schema_can_hold(database_url: str) -> None:
    engine = at_first(database_url)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO events VALUES (4, NULL, 'tool.called', 'd', '{}')")
        connection.exec_driver_sql(
            "INSERT INTO tool_usage VALUES (4, NULL, NULL, 'o', 't', '{}', '', 'd', TRUE, NULL, 'mcp', 1)"
        )
        connection.exec_driver_sql("INSERT INTO clients VALUES ('a-1', 'a', 'h', 's', 't', NULL)")
    moved(engine, command.downgrade, "0001")
    assert held(engine) == ROWS
    assert not {"clients", "revocations", "sealed", "games", "mentions"} & set(inspect(engine).get_table_names())
    references_hold(engine)
    upgrade(engine)
    assert held(engine) == SEALED


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(database_url: str) -> None:
    engine = at_first(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE revocations (in_the_way INTEGER)")
    with pytest.raises(StoreError, match="already exists"):
        upgrade(engine)
    assert held(engine) == ROWS
    assert revisions(engine)[0] == "0001"
    assert "clients" not in inspect(engine).get_table_names()
    references_hold(engine)


def test_alembic_by_hand_does_the_same(database_url: str, tmp_path: Path) -> None:
    engine = at_first(database_url)
    config = tmp_path / "alembic.ini"
    config.write_text(f"[alembic]\nscript_location = {shipped('migrations')}\n")
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(config), "upgrade", "head"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"HEIST_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert held(engine) == SEALED
    assert len(set(revisions(engine))) == 1


def test_two_active_clients_never_share_a_name_and_any_number_of_disabled_ones_may(database_url: str) -> None:
    engine = connect(database_url)
    upgrade(engine)
    with engine.begin() as connection:
        for number, ended in ((1, "'then'"), (2, "'later'"), (3, "NULL")):
            connection.exec_driver_sql(f"INSERT INTO clients VALUES ('c{number}', 'a', 'h', 's', 't', {ended})")
    with pytest.raises(IntegrityError, match=r"(?i)unique"), engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO clients VALUES ('c4', 'a', 'h', 's', 't', NULL)")


def test_many_who_begin_at_once_on_a_new_database_all_find_it_made(database_url: str) -> None:
    engines = [connect(database_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(upgrade, engines))
    at, wanted = revisions(engines[0])
    assert at == wanted


def test_a_newer_database_is_not_said_to_be_fine(database_url: str) -> None:
    engine = connect(database_url)
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="of another version of heist"):
        revisions(engine)
