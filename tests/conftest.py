"""What many tests stand on: a house over a temporary database, in process, over HTTP, and on a real port."""

import asyncio
import contextlib
import gc
import os
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.testclient import TestClient

from heist.app import create_app
from heist.events import Event, Recorded
from heist.runtime import Runtime
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings
from heist.web.guard import Gate
from tests import fake_server, postgres

hypothesis.settings.register_profile(
    "quiet",
    deadline=None,  # a loaded machine is no failure
    derandomize="CI" in os.environ,  # what gates a change must not hang on chance; at home each run looks elsewhere
)
hypothesis.settings.load_profile("quiet")
USER = Principal("user", USER_SCOPES)
NO_TABLE = r'(no such table|relation "\w+" does not exist)'
"""What a database says, of either kind."""
SECRET = "a secret for tests alone, long enough for any key"


def pytest_configure(config: pytest.Config) -> None:
    """A test that lets go of its engine leaves what connections it has to the collector, of which psycopg warns."""
    config.addinivalue_line("filterwarnings", "ignore:<psycopg.Connection:ResourceWarning")


def pytest_sessionfinish() -> None:
    """The same at the very end, when no filter counts any more."""
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def database_url(tmp_path: Path) -> Generator[str]:
    """Where a database of the test's own is, or will be: an SQLite file, or an empty schema of the database that
    HEIST_TEST_DATABASE_URL names (`make test-postgres`)."""
    if server := os.environ.get("HEIST_TEST_DATABASE_URL"):
        with postgres.schema(server) as url:
            yield url
    else:
        yield f"sqlite:///{tmp_path}/heist.db"


@pytest.fixture
def settings(database_url: str) -> Settings:
    """The simulated crew over a database of its own."""
    return Settings(llm="simulated", database_url=database_url, secret=SecretStr(SECRET))


@pytest.fixture
async def runtime(settings: Settings) -> AsyncGenerator[Runtime]:
    async with Runtime(settings).opened() as opened:
        yield opened


@pytest.fixture
def heard(runtime: Runtime) -> list[Event]:
    """Every event that the runtime's watchers are told of, in order."""
    events: list[Event] = []
    runtime.bus.watch(lambda recorded: events.append(recorded.event))
    return events


class House(NamedTuple):
    """An app that runs: how to reach it, and what is behind it."""

    url: str
    runtime: Runtime
    gate: Gate

    @property
    def login(self) -> str:
        return f"{self.url}/login?token={self.gate.token}"


Announced = list[tuple[Runtime, Gate]]


def announcing(into: Announced) -> Callable[[Runtime, Gate], "asyncio.Future[None]"]:
    async def announce(runtime: Runtime, gate: Gate) -> None:
        into.append((runtime, gate))

    return announce  # type: ignore[return-value]


@pytest.fixture
def client(settings: Settings) -> Generator[TestClient]:
    """The app in process, its lifespan running, nobody logged in."""
    with TestClient(create_app(settings, announcing([])), base_url="http://127.0.0.1:8008") as inside:
        yield inside


@pytest.fixture
def browser(settings: Settings) -> Generator[TestClient]:
    """The app in process, as a browser that has logged in sees it."""
    announced: Announced = []
    headers = {"Sec-Fetch-Site": "same-origin"}
    with TestClient(create_app(settings, announcing(announced)), "http://127.0.0.1:8008", headers=headers) as inside:
        _, gate = announced[0]
        inside.get("/login", params={"token": gate.token})
        yield inside


@contextlib.contextmanager
def serving(settings: Settings) -> Generator[House]:
    """The app under a real uvicorn on a free port of the loopback, in a thread of its own."""
    announced: Announced = []
    app = create_app(settings, announcing(announced))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1, loop="asyncio"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield House(f"http://127.0.0.1:{port}", *announced[0])
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def served(settings: Settings) -> Generator[House]:
    with serving(settings) as house:
        yield house


class FakeModel(NamedTuple):
    """The fake model server: where it is, and the requests that it has seen."""

    url: str
    seen: list[dict[str, object]]


@pytest.fixture
async def fake_model() -> AsyncGenerator[FakeModel]:
    seen: list[dict[str, object]] = []
    server, url = await fake_server.listen(seen=seen)
    async with server:
        yield FakeModel(url, seen)
        server.close()


def kinds(events: list[Event] | list[Recorded]) -> list[str]:
    return [entry.event.kind if isinstance(entry, Recorded) else entry.kind for entry in events]
