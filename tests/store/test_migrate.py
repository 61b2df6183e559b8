"""The migrations lead to the tables that the code uses, which hold what people expect to find."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from heist.errors import ConfigError, StoreError
from heist.store.engine import connect
from heist.store.migrate import revisions, upgrade
from heist.store.tables import metadata


def test_the_migrated_database_is_the_one_that_the_code_expects(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/new.db")
    assert revisions(engine)[0] is None
    upgrade(engine)
    upgrade(engine)
    at, wanted = revisions(engine)
    assert at == wanted is not None
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.mission("S15")
def test_the_three_plain_tables_hold_the_columns_that_people_query(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/new.db")
    upgrade(engine)
    columns = {table: {column["name"] for column in inspect(engine).get_columns(table)} for table in metadata.tables}
    assert columns["sessions"] >= {"session_id", "start_time", "end_time", "num_turns", "status"}
    assert columns["messages"] >= {"session_id", "turn_id", "agent_name", "agent_role", "message", "timestamp"}
    assert columns["tool_usage"] >= {"session_id", "turn_id", "agent_name", "tool_name", "tool_params"}
    assert columns["tool_usage"] >= {"tool_result", "timestamp", "success"}


def test_a_newer_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/new.db")
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
    "url", ["nonsense", "sqlite+nodriver:///x.db", "oracle9://x:geheim@y", "sqlite://", "sqlite:///:memory:"]
)
def test_an_url_that_cannot_be_used_is_refused_by_the_name_of_its_setting_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="HEIST_DATABASE_URL") as refused:
        connect(url)
    assert "geheim" not in str(refused.value)
