"""The program as its users start it: real processes, killed and interrupted in the middle."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from heist import app
from heist.errors import ConfigError
from heist.settings import Settings
from heist.store.engine import connect

ENVIRONMENT = {"HEIST_LLM": "simulated", "HEIST_PORT": "0", "HEIST_SECRET": "s" * 40, "COLUMNS": "200"}


class Served:
    """`heist serve` in a process of its own, with a visitor who has logged in."""

    def __init__(self, folder: Path, database_url: str) -> None:
        environment = {**os.environ, **ENVIRONMENT, "HEIST_DATABASE_URL": database_url}
        command = [sys.executable, "-m", "heist", "serve"]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"Log in: (http://127\.0\.0\.1:\d+)(/login\?token=\S+)", line):
                break
        assert found, self.said
        self.url = found[1]
        headers = {"Sec-Fetch-Site": "same-origin"}
        self.visitor = httpx2.Client(base_url=self.url, headers=headers, follow_redirects=True, timeout=20)
        assert self.visitor.get(found[2]).status_code == 200

    def start(self, **order: object) -> str:
        session_id: str = self.visitor.post("/api/sessions", json=order).json()["session_id"]
        return session_id

    def status(self, session_id: str) -> str:
        status: str = self.visitor.get(f"/api/sessions/{session_id}").json()["status"]
        return status


@contextmanager
def serving(folder: Path, database_url: str) -> Generator[Served]:
    served = Served(folder, database_url)
    try:
        yield served
    finally:
        served.visitor.close()
        served.process.kill()
        served.process.wait()
        assert served.process.stdout is not None
        served.process.stdout.close()


def rows(database_url: str, query: str) -> list[tuple[object, ...]]:
    engine = connect(database_url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return found


def stream(served: Served, session_id: str, into: list[dict[str, object]]) -> threading.Thread:
    """Follows a session by server-sent events in a thread until the server ends the stream."""
    ready = threading.Event()

    def follow() -> None:
        try:
            with served.visitor.stream("GET", f"/api/events?session={session_id}") as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        into.append(json.loads(line[6:]))
                        ready.set()
        except httpx2.HTTPError:
            pass

    thread = threading.Thread(target=follow)
    thread.start()
    assert ready.wait(10)
    return thread


def wait_for(count: int, database_url: str) -> None:
    deadline = time.monotonic() + 15
    while rows(database_url, "SELECT count(*) FROM messages")[0][0] < count:  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_with_open_streams_ends_in_two_seconds_and_leaves_everything_consistent(
    tmp_path: Path, database_url: str
) -> None:
    with serving(tmp_path, database_url) as served:
        assert "simulated" in served.said
        session_id = served.start(words_per_second=40)
        heard: list[list[dict[str, object]]] = [[], [], []]
        threads = [stream(served, session_id, into) for into in heard]
        wait_for(2, database_url)
        began = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        served.process.wait(10)
        assert time.monotonic() - began < 2
        assert served.process.returncode == 0
        for thread in threads:
            thread.join(5)
    if database_url.startswith("sqlite"):
        assert rows(database_url, "PRAGMA integrity_check") == [("ok",)]
    assert rows(database_url, "SELECT status FROM sessions") == [("paused",)]
    log = rows(database_url, "SELECT seq, kind FROM events ORDER BY seq")
    for events in heard:
        seen = [(event["seq"], event["kind"]) for event in events if "seq" in event]
        assert seen == log[: len(seen)]
        assert len(seen) > 4


@pytest.mark.mission("B8")
def test_a_killed_server_comes_back_with_its_session_and_no_turn_is_lost_or_doubled(
    tmp_path: Path, database_url: str
) -> None:
    with serving(tmp_path, database_url) as served:
        session_id = served.start(words_per_second=60, rounds=2)
        wait_for(2, database_url)
        time.sleep(0.1)
        served.process.kill()
        served.process.wait()
    assert rows(database_url, "SELECT status FROM sessions") == [("running",)]
    with serving(tmp_path, database_url) as served:
        assert served.status(session_id) == "paused"
        assert served.visitor.post(f"/api/sessions/{session_id}/resume").status_code == 204
        wait_for(12, database_url)
    turns = [row[0] for row in rows(database_url, "SELECT turn_id FROM messages ORDER BY timestamp, turn_id")]
    assert turns == list(range(1, 13))
    kinds = [row[0] for row in rows(database_url, "SELECT kind FROM events ORDER BY seq")]
    assert kinds.count("message.started") == kinds.count("message.completed") + kinds.count("message.interrupted")


@pytest.mark.mission("B8", "B9")
def test_two_servers_over_one_database_show_all_drive_their_own_and_take_over_from_the_dead(
    tmp_path: Path, database_url: str
) -> None:
    with serving(tmp_path, database_url) as first, serving(tmp_path, database_url) as second:
        mine, other = first.start(rounds=1, words_per_second=60), second.start(paused=True, rounds=1)
        for served in (first, second):
            listed = served.visitor.get("/api/sessions").json()
            assert {mine, other} <= {row["session_id"] for row in listed["sessions"]}
        refused = second.visitor.post(f"/api/sessions/{mine}/pause")
        assert refused.status_code == 409
        assert "runs in another process (process" in refused.text
        heard: list[dict[str, object]] = []
        thread = stream(second, mine, heard)
        wait_for(3, database_url)
        first.process.kill()
        first.process.wait()
        assert second.visitor.post(f"/api/sessions/{mine}/resume").status_code == 204
        wait_for(6, database_url)
        deadline = time.monotonic() + 10
        while "session.completed" not in [event["kind"] for event in heard]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second.process.kill()
        thread.join(5)
    log = rows(database_url, f"SELECT seq, kind FROM events WHERE session_id = '{mine}' ORDER BY seq")
    seen = [(event["seq"], event["kind"]) for event in heard if "seq" in event]
    assert seen == log[: len(seen)]
    numbers = [row[0] for row in rows(database_url, "SELECT seq FROM events ORDER BY seq")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.mission("S22")
def test_a_stream_resumes_after_the_event_that_it_heard_last(tmp_path: Path, database_url: str) -> None:
    with serving(tmp_path, database_url) as served:
        session_id = served.start(rounds=1)
        wait_for(6, database_url)
        headers = {"Last-Event-ID": "5"}
        with served.visitor.stream("GET", f"/api/events?session={session_id}", headers=headers) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 1000"
            first = next(line for line in lines if line.startswith("id: "))
        assert first == "id: 6"
        assert served.visitor.get("/api/events?session=nobody").status_code == 404
        assert httpx2.get(f"{served.url}/api/events").status_code == 401


def test_uvicorn_finds_the_app_with_the_same_defaults(tmp_path: Path) -> None:
    environment = {**os.environ, "HEIST_LLM": "simulated", "HEIST_DATABASE_URL": f"sqlite:///{tmp_path}/heist.db"}
    command = [sys.executable, "-m", "uvicorn", "heist.app:app", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    token = url = ""
    for line in process.stderr:
        token = token or "".join(re.findall(r"log in with (/login\?token=\S+)", line))
        url = "".join(re.findall(r"running on (http://\S+)", line))
        if url:
            break
    try:
        with httpx2.Client(base_url=url, follow_redirects=True) as visitor:
            assert visitor.get(token).status_code == 200
            assert visitor.get("/api/house").json()["simulated"]
    finally:
        process.send_signal(signal.SIGINT)
        process.stderr.close()
        assert process.wait(10) == 0


def test_a_port_in_use_is_one_sentence(tmp_path: Path, database_url: str) -> None:
    with serving(tmp_path, database_url) as served:
        port = served.url.rsplit(":", 1)[1]
        environment = {**os.environ, **ENVIRONMENT, "HEIST_PORT": port}
        command = [sys.executable, "-m", "heist", "serve"]
        second = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    expected = (
        f"heist: cannot listen on 127.0.0.1:{port}: another program uses it; HEIST_HOST and HEIST_PORT choose another"
    )
    assert second.stderr.strip() == expected


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"host": "0.0.0.0"}, "that needs HEIST_ALLOW_REMOTE=true and a HEIST_SECRET"),
        ({"host": "0.0.0.0", "allow_remote": True}, "that needs a HEIST_SECRET"),
    ],
)
def test_an_address_that_others_reach_needs_a_secret_and_a_word(changed: dict[str, object], missing: str) -> None:
    with pytest.raises(ConfigError, match=rf"HEIST_HOST: '0\.0\.0\.0' can be reached from other machines; {missing}"):
        app.create_app(Settings(llm="simulated").model_copy(update=changed))


def test_the_module_has_an_app_and_nothing_else_that_it_has_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'application'"):
        _ = app.application
