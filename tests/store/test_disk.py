"""A disk that is full or cannot be written: one sentence, and what was stored before stays readable."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.event import listen

from heist import events as e
from heist.agents.sessions import Order
from heist.errors import HeistError, StoreError
from heist.runtime import Runtime
from heist.settings import Settings
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.retention import Retention
from tests.conftest import USER

pytestmark = pytest.mark.anyio
PAGES = 200


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(llm="simulated", database_url=f"sqlite:///{tmp_path}/heist.db")


async def fill(runtime: Runtime, ids: list[str]) -> None:
    """Plays until nothing more can be begun."""
    while len(ids) < 50:
        ids.append(await runtime.sessions.start(USER, Order(rounds=1)))
        await runtime.sessions.finished(ids[-1])


async def test_a_full_disk_breaks_sessions_off_in_one_sentence_and_the_house_stays(settings: Settings) -> None:
    runtime = Runtime(settings)
    limit = [PAGES]
    listen(runtime.engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count={limit[0]}"))
    async with runtime.opened():
        ids: list[str] = []
        with pytest.raises(HeistError, match="the audit could not be written: database or disk is full"):
            await fill(runtime, ids)
        first = runtime.queries.log(0, ids[0], 1000)
        assert first[-1].kind == "session.completed"
        assert [e.parse(entry.body).kind for entry in first] == [entry.kind for entry in first]
        assert {row.session_id for row in await runtime.sessions.newest(USER, 99, None)} == set(ids)
        retention = Retention(runtime.engine)  # who deletes makes room again
        retention.purge(retention.old("2999", 0), "2999", False, "test", "2999")
        again = await runtime.sessions.start(USER, Order(rounds=1))
        await runtime.sessions.finished(again)
        assert (await runtime.sessions.one(USER, again)).status == "completed"
        broken = [row.session_id for row in await runtime.sessions.newest(USER, 99, None) if row.status == "running"]
        for session_id in broken:
            await runtime.sessions.resume(USER, session_id)
            await runtime.sessions.finished(session_id)
            assert (await runtime.sessions.one(USER, session_id)).status == "completed"


async def test_a_database_that_may_only_be_read_is_read_and_what_would_write_says_why(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Runtime(settings).opened() as runtime:
        played = await runtime.sessions.start(USER, Order(rounds=1))
        await runtime.sessions.finished(played)
    read_only = settings.model_copy(update={"database_url": f"sqlite:///file:{tmp_path}/heist.db?mode=ro&uri=true"})
    async with Runtime(read_only).opened() as runtime:
        assert (await runtime.sessions.one(USER, played)).status == "completed"
        with pytest.raises(StoreError, match="could not be written: attempt to write a readonly database"):
            await runtime.sessions.start(USER, Order())
    assert "other processes cannot know that this one lives" in caplog.text


def test_a_new_database_where_nothing_can_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "heist.db").close()
    with pytest.raises(StoreError, match="cannot be opened: attempt to write a readonly database"):
        upgrade(connect(f"sqlite:///file:{tmp_path}/heist.db?mode=ro&uri=true"))


def test_a_database_that_is_locked_is_one_sentence_and_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(connect(f"sqlite:///{tmp_path}/heist.db"))
    engine = connect(f"sqlite:///{tmp_path}/heist.db")
    listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=10"))
    other = sqlite3.connect(tmp_path / "heist.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="cannot be opened: database is locked"):
        upgrade(engine)
    other.close()
    upgrade(engine)
