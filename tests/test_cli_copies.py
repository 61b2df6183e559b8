"""Sessions go out of one audit and into another, whole; what cannot go says why in a sentence."""

import asyncio
import csv
import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from heist.agents.sessions import Order
from heist.runtime import Runtime
from heist.settings import Settings
from heist.store.engine import connect
from tests.conftest import USER
from tests.test_cli import Shell

pytestmark = pytest.mark.mission("B6")
SAME = ("messages", "mentions", "tool_usage", "games", "sealed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A database with a session that is over, and one that is revealed; and their ids."""
    path = tmp_path_factory.mktemp("made") / "heist.db"
    return path, *asyncio.run(played(path))


async def played(path: Path) -> tuple[str, str]:
    ids = []
    async with Runtime(Settings(llm="simulated", database_url=f"sqlite:///{path}")).opened() as runtime:
        for seed in (7, 8):
            ids.append(await runtime.sessions.start(USER, Order(rounds=1, seed=seed, mole="hacker")))
            await runtime.sessions.finished(ids[-1])
        await runtime.games.guess(USER, ids[1], "hacker")
    return ids[0], ids[1]


@pytest.fixture
def database(made: tuple[Path, str, str], settings: Settings) -> Path:
    """A copy of it, which the command line finds."""
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    shutil.copy(made[0], path)
    return path


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: Settings) -> Shell:
    return Shell(monkeypatch, capsys, settings.database_url)


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """From now on the command line finds another database, which does not exist yet."""
    path = folder / "other.db"
    monkeypatch.setenv("HEIST_DATABASE_URL", f"sqlite:///{path}")
    return path


def rows(path: Path, table: str, session_id: str) -> list[tuple[Any, ...]]:
    """Without row numbers, which are each database's own."""
    engine = connect(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = connection.execute(
            text(f"SELECT * FROM {table} WHERE session_id = :one ORDER BY 1, 2"), {"one": session_id}
        )
        columns = [name for name in found.keys() if name not in ("seq", "number")]  # noqa: SIM118 - it is no mapping
        told = [tuple(row._mapping[name] for name in columns) for row in found]
    engine.dispose()
    return told


def told(log: Path) -> list[dict[str, Any]]:
    """The public events of a log, without their numbers."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [{name: value for name, value in event.items() if name != "seq"} for event in events if "seq" in event]


@pytest.mark.parametrize("sealed", [False, True])
def test_an_imported_session_is_the_one_that_was_exported(
    made: tuple[Path, str, str],
    database: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sealed: bool,
) -> None:
    _, hidden, open_ = made
    ids = [open_] if sealed else [hidden, open_]
    log = tmp_path / "log.jsonl"
    assert shell("export", *ids, "--to", str(log), *(["--sealed"] if sealed else []))[0] == 0
    other = elsewhere(monkeypatch, tmp_path)
    status, out, err = shell("import", str(log))
    assert (status, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == ids
    for session_id in ids:
        for table in ("sessions", "events", *SAME):
            expected = rows(database, table, session_id) if sealed or table != "sealed" else []
            assert rows(other, table, session_id) == expected, table
    assert shell("export", "--to", str(tmp_path / "again.jsonl"))[0] == 0
    before, after = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (log, tmp_path / "again.jsonl")
    )
    places = [{name: value for name, value in event.items() if name != "seq"} for event in before if "seq" in event]
    assert [{name: value for name, value in event.items() if name != "seq"} for event in after] == places


def test_without_sealed_an_export_is_the_public_log_and_nothing_more(
    made: tuple[Path, str, str], database: Path, shell: Shell
) -> None:
    _, hidden, _ = made
    status, out, _ = shell("export", hidden)
    events = [json.loads(line) for line in out.splitlines()]
    with sqlite3.connect(database) as audit:
        stored = audit.execute(
            "SELECT seq, at, body FROM events WHERE session_id = ? ORDER BY seq", (hidden,)
        ).fetchall()
    assert (status, events) == (0, [{"seq": seq, "at": at, **json.loads(body)} for seq, at, body in stored])
    assert not {"mole.assigned", "sabotage.done", "thoughts.kept"} & {event["kind"] for event in events}
    status, _, err = shell("export", hidden, "--sealed")
    assert (status, "is not revealed; what is sealed stays so until then" in err) == (1, True)
    assert shell("export", "--sealed")[0] == 1


def test_tables_hold_the_rows_of_the_audit(
    made: tuple[Path, str, str], database: Path, shell: Shell, tmp_path: Path
) -> None:
    _, hidden, open_ = made
    status, out, _ = shell("export", "--format", "csv")
    told = list(csv.DictReader(out.splitlines(keepends=True)))
    assert (status, len(told), {row["session_id"] for row in told}) == (0, 12, {hidden, open_})
    for table in ("messages", "tool_usage", "mentions", "sessions", "games", "events"):
        file = tmp_path / f"{table}.csv"
        assert shell("export", open_, "--format", "csv", "--table", table, "--to", str(file))[0] == 0
        with file.open(newline="") as opened:
            assert len(list(csv.DictReader(opened))) == len(rows(database, table, open_)), table
    assert shell("export", "--format", "csv", "--table", "sealed")[0] == 2


def test_parquet_holds_the_same_with_its_types(
    made: tuple[Path, str, str], database: Path, shell: Shell, tmp_path: Path
) -> None:
    from pyarrow import parquet

    _, _, open_ = made
    for table in ("messages", "tool_usage", "sessions"):
        file = tmp_path / f"{table}.parquet"
        assert shell("export", open_, "--format", "parquet", "--table", table, "--to", str(file))[0] == 0
        told = parquet.read_table(file)
        names = [name for name in told.column_names if name != "seq"]
        held = [tuple(row[name] for name in names) for row in told.to_pylist()]
        assert sorted(held, key=repr) == sorted(rows(database, table, open_), key=repr)
    assert str(told.schema.field("num_turns").type) == "int64"


def test_what_fits_is_exported(made: tuple[Path, str, str], database: Path, shell: Shell) -> None:
    _, hidden, open_ = made
    with sqlite3.connect(database) as audit:
        [(strategy,)] = audit.execute("SELECT strategy FROM games")

    def told(*options: str) -> set[str]:
        status, out, _ = shell("export", "--format", "csv", "--table", "sessions", *options)
        assert status == 0
        return {row["session_id"] for row in csv.DictReader(out.splitlines(keepends=True))}

    assert told("--strategy", strategy) == {open_}
    assert told("--crew", "crew", "--since", "2020-01-01") == {hidden, open_}
    assert told("--until", "2020-01-01") == told("--variant", "a") == told("--model", "none") == set()


def test_a_formula_in_a_table_is_a_text(made: tuple[Path, str, str], database: Path, shell: Shell) -> None:
    with sqlite3.connect(database) as audit:
        audit.execute("UPDATE messages SET message = '=1+1' WHERE turn_id = 1")
    [first, *_] = csv.DictReader(shell("export", made[1], "--format", "csv")[1].splitlines(keepends=True))
    assert first["message"] == "'=1+1"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("export", "nope"), "there is no session 'nope'"),
        (("export", "--format", "parquet"), "--to: Parquet is no text; name a file"),
        (("export", "--format", "csv", "--sealed"), "--sealed: what was sealed is told in logs alone"),
        (("export", "--since", "2026-02-01", "--until", "2026-01-01"), "--until: it has to be later than --since"),
        (("export", "--to", "no/such/folder/x.jsonl"), "the file cannot be written: No such file or directory"),
        (("export", "--to", "kept.jsonl"), "--to: kept.jsonl is there already; name a new file"),
        (("export", "\udcff"), "what was asked for is no text in UTF-8"),
        (("import", "no.jsonl"), "no.jsonl: the file cannot be read"),
    ],
)
def test_what_cannot_be_written_or_read_is_said_in_a_sentence(
    database: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kept.jsonl").write_text("kept")
    status, out, err = shell(*options)
    assert (status, out) == (1, "")
    assert sentence in err
    assert Path("kept.jsonl").read_text() == "kept"


def test_a_pipe_is_written_into_and_stays_one(database: Path, shell: Shell, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert shell("export", "--to", str(pipe))[0] == 0
    reader.join(10)
    assert (read[0].count("session.started"), pipe.is_fifo()) == (2, True)


def test_a_session_that_is_here_already_is_refused_and_nothing_is_imported(
    made: tuple[Path, str, str], database: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, hidden, open_ = made
    one, both = tmp_path / "one.jsonl", tmp_path / "both.jsonl"
    assert shell("export", hidden, "--to", str(one))[0] == shell("export", "--to", str(both))[0] == 0
    status, _, err = shell("import", str(one), str(both))
    assert (status, f"the session {hidden} is in two of the files" in err) == (1, True)
    other = elsewhere(monkeypatch, tmp_path)
    assert shell("import", str(one))[0] == 0
    status, _, err = shell("import", str(both))
    assert (status, f"the session {hidden} is here already, so nothing was imported" in err) == (1, True)
    assert rows(other, "sessions", open_) == []


def changed(line: str, **fields: Any) -> str:
    return json.dumps(json.loads(line) | fields)


def every(lines: list[str], kind: str, **fields: Any) -> list[str]:
    return [changed(line, **fields) if json.loads(line)["kind"] == kind else line for line in lines]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda lines: ["", *lines[:2], "{", *lines[2:]], "log.jsonl, line 4: expected an event as heist"),
        (lambda lines: [lines[0], "7"], "line 2: expected an event as heist export writes it, found int"),
        (lambda lines: lines[1:], "line 1: expected session.started at the beginning of a session, found "),
        (lambda lines: [lines[0], changed(lines[1], kind="x")], "line 2: expected an event as heist export writes"),
        (lambda lines: [changed(lines[0], at="now"), *lines[1:]], "line 1: expected at: a time as 2026-01-01T12"),
        (lambda lines: [changed(lines[0], seq=0), *lines[1:]], "line 1: expected a seq from 1, found 0"),
        (lambda lines: [changed(lines[0], session_id="../x")], "line 1: expected a session_id of letters"),
        (lambda lines: [lines[0], *lines], "line 2: expected session.started once in heist_"),
        (lambda lines: [lines[0], lines[2], lines[1]], "line 3: expected a seq above "),
        (lambda lines: lines[:-1], "is not over; expected session.completed, session.stopped or session.failed"),
        (
            lambda lines: every(lines, "message.completed", milliseconds=float("inf")),
            "expected an event as heist export",
        ),
        (
            lambda lines: every(lines, "message.completed", milliseconds=float("nan")),
            "expected an event as heist export",
        ),
        (
            lambda lines: every(lines, "message.completed", turn=10**25),
            "expected a turn from 0 to 2147483647, found 1000",
        ),
        (lambda lines: every(lines, "tool.called", turn=10**25), "expected a turn from 0 to 2147483647, found 1000"),
        (lambda lines: [], "there is no log in this file"),
    ],
)
def test_a_bad_line_says_where_it_is_and_what_was_expected(
    made: tuple[Path, str, str],
    database: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    spoil: Any,
    sentence: str,
) -> None:
    lines = shell("export", made[1])[1].splitlines()
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(spoil(lines)))
    other = elsewhere(monkeypatch, tmp_path)
    status, _, err = shell("import", str(log))
    assert (status, sentence in " ".join(err.split())) == (1, True), err
    assert not other.exists()


def test_an_imported_session_can_be_replayed_and_judged(
    made: tuple[Path, str, str], database: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, _, open_ = made
    log = tmp_path / "log.jsonl"
    shell("export", open_, "--sealed", "--to", str(log))
    other = elsewhere(monkeypatch, tmp_path)
    shell("import", str(log))
    asyncio.run(looked_at(other, open_))


async def looked_at(database: Path, session_id: str) -> None:
    async with Runtime(Settings(llm="simulated", database_url=f"sqlite:///{database}")).opened() as runtime:
        row = await runtime.sessions.one(USER, session_id)
        assert (row.status, row.num_turns) == ("completed", 6)
        assert (await runtime.desk.assess(USER, session_id)).turn == 6
        assert (await runtime.sessions.seen(USER, session_id, 3)).agent
        assert (await runtime.analytics.session(USER, session_id)).session.messages == 6
