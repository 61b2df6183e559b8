"""PostgreSQL as the store: what only a server can do wrong, in one sentence each, and nothing is lost."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Generator

import pytest
from sqlalchemy import make_url, select

from heist import events as e
from heist.agents.sessions import Order
from heist.errors import HeistError, StoreError
from heist.runtime import Runtime
from heist.settings import Settings
from heist.store import audit as audits
from heist.store import engine as engines
from heist.store import tables
from heist.store.audit import Audit
from heist.store.engine import connect, told
from heist.store.migrate import revisions, upgrade
from heist.store.queries import Queries
from tests import postgres
from tests.conftest import USER
from tests.postgres import PASSWORD
from tests.strategies import assigned, message, session_started

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.mission("B9"),
    pytest.mark.skipif("HEIST_TEST_DATABASE_URL" not in os.environ, reason="needs PostgreSQL: make test-postgres"),
]
AT = "2026-01-01T00:00:00.000000Z"
HOST = "127.0.0.1"


@pytest.fixture
def server() -> Generator[postgres.Server]:
    """One of the test's own, to be stopped."""
    with postgres.running() as server:
        yield server


@pytest.fixture
async def audit(database_url: str) -> AsyncGenerator[Audit]:
    engine = connect(database_url)
    upgrade(engine)
    audit = Audit(engine)
    audit.open()
    yield audit
    audit.flush()
    audit.close()
    engine.dispose()


async def keep(audit: Audit, *events: e.Event) -> list[int]:
    kept = [audit.keep(event, AT, e.body_of(event)) for event in events]
    audit.flush()
    return await asyncio.gather(*kept)


def wrong(url: str, **parts: object) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"password": "not it"}, r'password authentication failed for user "heist"'),
        ({"username": "nobody"}, r'password authentication failed for user "nobody"'),
        ({"database": "no_such"}, r'database "no_such" does not exist'),
        ({"port": 1}, r"Connection refused"),
        (
            {"host": "no-such-host.invalid"},
            r"(?i)(could not translate host name|failed to resolve host|Name or service)",
        ),
    ],
)
def test_what_cannot_be_opened_is_one_sentence_without_the_password(
    database_url: str, parts: dict[str, object], sentence: str
) -> None:
    engine = connect(wrong(database_url, **parts))
    for look in (upgrade, revisions):
        with pytest.raises(StoreError, match=sentence) as refused:
            look(engine)
        said = str(refused.value)
        assert said.startswith("the database postgresql+psycopg://")
        assert "\n" not in said
        assert PASSWORD not in said
        assert "not it" not in said
    with pytest.raises(StoreError, match=sentence):
        Queries(engine).last_seq()


def test_no_name_of_a_database_shows_a_secret(database_url: str) -> None:
    engine = connect(wrong(database_url, password=None, query={"password": "geheim2", "sslpassword": "geheim3"}))
    assert "geheim" not in told(engine)
    assert told(connect(database_url)).startswith("postgresql+psycopg://heist:***@127.0.0.1:")


async def test_what_no_text_of_postgresql_can_hold_is_marked_in_the_row_and_whole_in_the_event(audit: Audit) -> None:
    odd, long = "one\0two \N{BANK} \\ ' %s", "name " * 100
    started = session_started("s1").model_copy(update={"model": long, "title": odd})
    spoken = message("s1", 1, odd)
    assert await keep(audit, started, assigned(session_id="s1"), spoken) == [1, 0, 2]
    with audit._engine.connect() as connection:
        [text] = connection.scalars(select(tables.messages.c.message)).all()
        [(title, model)] = connection.execute(select(tables.sessions.c.title, tables.sessions.c.model)).all()
        bodies = connection.scalars(select(tables.events.c.body).order_by(tables.events.c.seq)).all()
    assert text == title == odd.replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert model == long[:200]
    assert [e.parse(body) for body in bodies] == [started, spoken]


async def test_who_reads_meanwhile_never_sees_a_number_before_a_smaller_one(database_url: str) -> None:
    engine = connect(database_url)
    upgrade(engine)
    writers = [Audit(engine) for _ in range(3)]
    for one in writers:
        one.open()
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        queries = Queries(engine)
        while not done.is_set():
            seen.extend(entry.seq for entry in queries.log(seen[-1] if seen else 0, None, 10_000))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        await asyncio.gather(*(keep(one, session_started(f"{place}-{number}")) for place, one in enumerate(writers)))
    await asyncio.sleep(0.2)
    done.set()
    reader.join()
    for one in writers:
        one.close()
    assert seen == list(range(1, 91))
    engine.dispose()


async def test_who_is_kept_out_for_long_is_refused_and_says_why(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0.2)
    await keep(audit, session_started("s1"))
    refused = pytest.raises(StoreError, match="could not be written: canceling statement due to lock timeout")
    with engines.writing(audit._engine), refused:
        await keep(audit, message("s1", 1, "a"))
    with pytest.raises(StoreError, match="an earlier event of this session is missing"):
        await keep(audit, message("s1", 2, "b"))


async def test_a_server_that_is_begun_anew_loses_nothing_that_was_told_to_be_kept(server: postgres.Server) -> None:
    engine = connect(server.url)
    upgrade(engine)
    audit = Audit(engine)
    audit.open()
    told = await keep(audit, session_started("s1"))

    def begin_anew() -> None:
        server.stop("fast")
        time.sleep(0.5)
        server.start()

    again = threading.Thread(target=begin_anew)
    again.start()
    for turn in range(1, 60):
        told += await keep(audit, message("s1", turn, "a"))
        await asyncio.sleep(0.02)
    again.join()
    assert told == list(range(1, 61))
    assert [entry.seq for entry in Queries(engine).log(0, "s1", 100)] == told
    audit.close()
    engine.dispose()


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("sealed", [True, False])
async def test_a_commit_without_an_answer_is_looked_up_and_never_written_twice(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, committed: bool, sealed: bool
) -> None:
    """The line breaks once while the server commits: before it has, or after."""
    await keep(audit, session_started("s1"))
    dialect = type(audit._engine.dialect)
    breaks = [True]
    whole = audits.Writer._remember

    def remember(writer: audits.Writer, waiting: object) -> None:
        if breaks and committed:
            breaks.clear()
            raise audit._engine.dialect.loaded_dbapi.OperationalError("the line broke")
        whole(writer, waiting)  # type: ignore[arg-type]

    class Breaking:
        """A connection whose first commit never arrives."""

        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def commit(self) -> None:
            if breaks and not committed:
                breaks.clear()
                raise audit._engine.dialect.loaded_dbapi.OperationalError("the line broke")
            self._inner.commit()  # type: ignore[attr-defined]

    raw = audit._engine.raw_connection
    monkeypatch.setattr(audit._engine, "raw_connection", lambda: Breaking(raw()))
    monkeypatch.setattr(audits.Writer, "_remember", remember)
    monkeypatch.setattr(dialect, "is_disconnect", lambda *_: True)
    first = audits.Writer(audit._engine)
    some: list[e.Event] = [assigned(session_id="s1")] if sealed else [message("s1", 1, "a"), message("s1", 2, "b")]
    entries = [audits.Waiting(event, AT, e.body_of(event), asyncio.Future()) for event in some]
    assert first.write(entries) == ([0] if sealed else [2, 3])
    first.close()
    assert breaks == []
    assert [entry.seq for entry in Queries(audit._engine).log(0, None, 9)] == ([1] if sealed else [1, 2, 3])
    assert len(Queries(audit._engine).sealed("s1")) == (1 if sealed else 0)


async def test_a_server_that_stays_away_breaks_sessions_off_and_they_come_back_with_it(
    server: postgres.Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "RETURN_SECONDS", 0.3)
    caplog.set_level(logging.DEBUG)
    async with Runtime(Settings(llm="simulated", database_url=server.url)).opened() as runtime:
        session_id = await runtime.sessions.start(USER, Order(words_per_second=100))
        await asyncio.sleep(0.5)
        server.stop()
        with pytest.raises(StoreError, match=r"could not be read: connection failed: .*Connection refused"):
            await runtime.sessions.one(USER, session_id)
        await runtime.sessions.finished(session_id)
        with pytest.raises(HeistError):
            await runtime.sessions.start(USER, Order())
        assert await runtime.sessions._later.done() == []
        server.start()
        before = [entry.seq for entry in runtime.queries.log(0, session_id, 10_000)]
        assert before[0] == 1
        await runtime.sessions.resume(USER, session_id)
        await runtime.sessions.finished(session_id)
        log = runtime.queries.log(0, session_id, 10_000)
        assert [entry.seq for entry in log][: len(before)] == before
        assert [entry.kind for entry in log].count("session.recovered") == 1
        assert (await runtime.sessions.one(USER, session_id)).status == "completed"
        turns = [e.parse(entry.body).turn for entry in log if entry.kind == "message.completed"]  # type: ignore[union-attr]
        assert turns == list(range(1, 31))
    assert PASSWORD not in caplog.text
