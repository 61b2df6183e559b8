"""Retention: what is old goes whole, what is not stays to the last row, and no number is given again."""

import asyncio
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from heist import events as e
from heist.errors import ConfigError, StoreError
from heist.store import retention as retentions
from heist.store import tables
from heist.store.audit import Audit
from heist.store.backup import copy
from heist.store.engine import connect
from heist.store.migrate import revisions, upgrade
from heist.store.queries import Queries
from heist.store.retention import Retention
from tests import postgres
from tests.strategies import assigned, message, session_started, tool_called
from tests.test_cli import Shell, shell

__all__ = ["shell"]
DAY = "2026-01-0{}T00:00:00.000000Z"
REVEALED: dict[str, Any] = {
    "arm": "mole",
    "strategy": "wrong_facts",
    "holder": "intel",
    "guess": None,
    "result": "BUSTED",
    "outcome": "busted",
    "score": 0.0,
    "reference": 1.0,
    "damage": 1.0,
}
WITH_SESSIONS = [table for table in tables.metadata.sorted_tables if "session_id" in table.columns]


@pytest.fixture
def engine(database_url: str) -> Engine:
    engine = connect(database_url)
    upgrade(engine)
    return engine


def told(engine: Engine, at: str, *events: e.Event) -> list[int]:
    return asyncio.run(_told(engine, at, *events))


async def _told(engine: Engine, at: str, *events: e.Event) -> list[int]:
    audit = Audit(engine)
    audit.open()
    kept = [audit.keep(event, at, e.body_of(event)) for event in events]
    audit.flush()
    numbers = await asyncio.gather(*kept)
    audit.close()
    return numbers


def revealed(session_id: str) -> e.MoleRevealed:
    known = {name: REVEALED[name] for name in REVEALED if name in e.MoleRevealed.model_fields}
    return e.MoleRevealed.model_construct(session_id=session_id, kind="mole.revealed", **known)


def whole(engine: Engine, session_id: str, day: int, over: bool = True) -> None:
    """A session with a row or more in every table, begun on a day and over on the next."""
    started = session_started(session_id)
    told(
        engine,
        DAY.format(day),
        started,
        assigned(session_id=session_id),
        tool_called(session_id, 1),
        message(session_id, 1, "hello"),
    )
    if over:
        ended = e.SessionCompleted(session_id=session_id, turns=1, failed=0)
        told(engine, DAY.format(day + 1), ended, revealed(session_id))


def held(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that knows sessions."""
    with engine.connect() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table)).all()), key=repr) for table in WITH_SESSIONS
        }


def test_an_old_session_goes_from_every_table_and_the_others_stay_to_the_last_row(engine: Engine) -> None:
    for session_id, day in (("old", 1), ("older", 2), ("new", 5)):
        whole(engine, session_id, day)
    whole(engine, "endless", 1, over=False)
    told(engine, DAY.format(1), tool_called(None, None))
    before = held(engine)
    assert all({"old", "new"} <= {row for rows in some for row in rows} for some in before.values())
    retention = Retention(engine)
    old = retention.old(DAY.format(4), 0)
    assert (old.sessions, old.unfinished, old.outside) == (["old", "older"], 1, 1)
    rows = retention.purge(old, DAY.format(4), False, "terminal", DAY.format(9))
    retention.free()
    assert rows == {"events": 10, "games": 2, "messages": 2, "sealed": 2, "sessions": 2, "tool_usage": 2}
    after = held(engine)
    [newest] = [row for row in after["events"] if row[2] == "audit.purged"]
    after["events"].remove(newest)
    for name, some in before.items():
        assert after[name] == [row for row in some if not {"old", "older"} & set(row)], name
    assert newest[1:4] == (None, "audit.purged", DAY.format(9))
    assert e.parse(newest[4]) == e.AuditPurged(
        session_id=None, by="terminal", before=DAY.format(4), sessions=2, outside=False
    )


def test_no_number_is_given_again_though_the_newest_rows_went(engine: Engine) -> None:
    whole(engine, "s1", 1)
    last = Queries(engine).last_seq()
    retention = Retention(engine)
    retention.purge(retention.old(DAY.format(9), 0), DAY.format(9), True, "x", DAY.format(9))
    assert told(engine, DAY.format(9), session_started("s2")) == [last + 2]


def test_in_chunks_as_in_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retentions, "CHUNK", 2)
    for number in range(5):
        whole(engine, f"s{number}", 1)
    retention = Retention(engine)
    assert retention.purge(retention.old(DAY.format(9), 0), DAY.format(9), False, "x", DAY.format(9))["sessions"] == 5
    assert held(engine)["sessions"] == []


def test_the_newest_are_kept_however_old(engine: Engine) -> None:
    for number in range(4):
        whole(engine, f"s{number}", number + 1)
    retention = Retention(engine)
    assert [len(retention.old(DAY.format(9), keep).sessions) for keep in (0, 1, 3, 4, 9)] == [4, 3, 1, 0, 0]
    assert retention.old(DAY.format(9), 3).sessions == ["s0"]
    assert retention.old(DAY.format(2), 0).sessions == []  # what ends at that very moment is not before it


def test_outside_goes_what_is_old_and_never_how_the_tools_are_switched(engine: Engine) -> None:
    switch = e.ToolRemoved(session_id=None, tool="calculator", by="user")
    told(engine, DAY.format(1), tool_called(None, None), switch)
    told(engine, DAY.format(5), tool_called(None, None))
    retention = Retention(engine)
    old = retention.old(DAY.format(3), 0)
    rows = retention.purge(old, DAY.format(3), True, "x", DAY.format(9))
    assert (old.outside, rows) == (1, {"events": 1, "tool_usage": 1})
    assert [entry.kind for entry in Queries(engine).log(0, None, 9)] == ["tool.removed", "tool.called", "audit.purged"]
    assert Queries(engine).switched() == {"calculator": "tool.removed"}


def test_the_command_says_what_would_go_and_then_what_went(engine: Engine, shell: Shell) -> None:
    whole(engine, "s1", 1)
    whole(engine, "s2", 1, over=False)
    status, out, _ = shell("purge", "--before", "2026-01-05", "--dry-run")
    assert (status, held(engine)["sessions"][0][0]) == (0, "s1")
    assert " ".join(out.split()) == (
        "1 sessions that ended before 2026-01-05T00:00:00.000000Z would go; "
        "1 that began before it and have not ended stay."
    )
    status, out, err = shell("purge", "--before", "90d")
    assert (status, "Deleted: 5 of events, 1 of games" in out, err) == (0, True, "")
    assert [row[0] for row in held(engine)["sessions"]] == ["s2"]
    assert "0 sessions" in shell("purge", "--before", "90d")[1]


@pytest.mark.parametrize("wrong", ["yesterday", "2026-13-01", "d", "-5d", ""])
def test_a_day_that_is_none_is_one_sentence(shell: Shell, wrong: str) -> None:
    status, _, err = shell("purge", f"--before={wrong}")
    assert (status, err) == (
        1,
        f"heist: --before: expected a day such as 2026-01-31 or an age such as 90d, found {wrong!r}\n",
    )


def test_a_database_that_is_not_there_is_neither_made_nor_purged_nor_backed_up(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEIST_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    for order in (("purge", "--before", "1d"), ("backup", str(tmp_path / "copy"))):
        status, _, err = shell(*order)
        assert (status, "there is no database" in err, err.count("\n")) == (1, True, 1)
    assert list(tmp_path.glob("none*")) + list(tmp_path.glob("copy*")) == []


@pytest.mark.skipif("HEIST_TEST_DATABASE_URL" in os.environ, reason="a file is what is copied here")
def test_a_backup_is_what_was_there_and_is_put_back_as_a_file(engine: Engine, tmp_path: Path) -> None:
    whole(engine, "s1", 1)
    expected = held(engine)
    copy(engine, tmp_path / "backup.db")
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
    whole(engine, "s2", 1)
    assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup.db"]
    again = connect(f"sqlite:///{tmp_path}/backup.db")
    assert (held(again), len(set(revisions(again)))) == (expected, 1)
    upgrade(again)
    assert told(again, DAY.format(3), session_started("s3")) == [len(expected["events"]) + 1]


@pytest.mark.anyio
@pytest.mark.skipif("HEIST_TEST_DATABASE_URL" in os.environ, reason="a file is what is copied here")
async def test_a_backup_while_somebody_writes_is_whole_sessions_or_none(engine: Engine, tmp_path: Path) -> None:
    audit = Audit(engine)
    audit.open()

    async def write() -> None:
        for number in range(60):
            events: list[e.Event] = [session_started(f"s{number}"), message(f"s{number}", 1, "x" * 5000)]
            kept = [audit.keep(event, DAY.format(1), e.body_of(event)) for event in events]
            audit.flush()
            await asyncio.gather(*kept)

    writing = asyncio.create_task(write())
    for number in range(5):
        await asyncio.to_thread(copy, engine, tmp_path / f"copy{number}.db")
        with sqlite3.connect(tmp_path / f"copy{number}.db") as taken:
            rows = taken.execute(
                "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM messages), max(seq) FROM events"
            )
            sessions, messages, last = rows.fetchone()
        taken.close()
        assert sessions == messages == (last or 0) / 2
    await writing
    audit.close()


def test_a_backup_overwrites_nothing_and_leaves_nothing_half_done(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("letter")
    with pytest.raises(ConfigError, match="is there already; a backup overwrites nothing"):
        copy(engine, tmp_path / "mine")
    (tmp_path / "other.part").write_text("half")
    with pytest.raises(ConfigError, match=r"other\.part is there already: another backup runs"):
        copy(engine, tmp_path / "other")
    with pytest.raises(ConfigError, match="the backup cannot be written: No such file or directory"):
        copy(engine, tmp_path / "no" / "copy")
    assert (tmp_path / "mine").read_text() == "letter"
    assert (tmp_path / "other.part").exists()


@pytest.mark.skipif("HEIST_TEST_DATABASE_URL" not in os.environ, reason="needs PostgreSQL: make test-postgres")
def test_a_dump_is_restored_by_postgresqls_own_program(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.database(os.environ["HEIST_TEST_DATABASE_URL"]) as first:
        monkeypatch.setenv("HEIST_DATABASE_URL", first)
        engine = connect(first)
        upgrade(engine)
        whole(engine, "s1", 1)
        expected = held(engine)
        status, out, err = shell("backup", str(tmp_path / "heist.dump"))
        assert (status, err, "holds the database" in " ".join(out.split())) == (0, "", True)
        engine.dispose()
    assert (tmp_path / "heist.dump").stat().st_mode & 0o777 == 0o600
    assert postgres.PASSWORD.encode() not in (tmp_path / "heist.dump").read_bytes()
    with postgres.database(os.environ["HEIST_TEST_DATABASE_URL"]) as second:
        again = connect(second)
        subprocess.run(
            [
                "pg_restore",
                "--no-owner",
                "--exit-on-error",
                f"--dbname={postgres.plain(second)}",
                tmp_path / "heist.dump",
            ],
            env=os.environ | {"PGPASSWORD": postgres.PASSWORD},
            check=True,
        )
        assert (held(again), len(set(revisions(again)))) == (expected, 1)
        assert told(again, DAY.format(3), session_started("s3"), assigned(session_id="s3")) == [6, 0]
        again.dispose()


@pytest.mark.skipif("HEIST_TEST_DATABASE_URL" not in os.environ, reason="needs PostgreSQL: make test-postgres")
def test_without_pg_dump_a_backup_says_what_brings_it(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match=r"there is no pg_dump here; PostgreSQL's client programs bring it"):
        copy(engine, tmp_path / "copy")
    assert list(tmp_path.glob("copy*")) == []
