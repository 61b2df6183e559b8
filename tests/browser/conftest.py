"""A real Chromium before a real server, and a watch that fails a test whose page does what no page may do."""

import contextlib
import os
import re
import select
import shutil
import socket
import threading
from collections.abc import Callable, Generator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebError,
    expect,
    sync_playwright,
)

from heist import events as e
from heist.settings import Settings
from tests.conftest import House, serving

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --renderer-process-limit=1 --process-per-site"
).split()
WIDE, NARROW = (1440, 900), (390, 844)
NETWORK = r"net::ERR_"
SHOWN = """() => [...document.querySelectorAll("article.turn")].map((turn) => [
  Number(turn.id.slice(1)), turn.querySelector("strong").textContent,
  [...turn.querySelectorAll("p:not(.error)")].map((said) => said.textContent).join("|"),
])"""

Visit = Callable[..., Page]
Serve = Callable[[Settings], House]
expect.set_options(timeout=10_000)


@pytest.fixture(scope="package")
def chromium() -> Generator[Browser]:
    """One Chromium for all tests in here, and none longer: playwright keeps an event loop running in this thread, in
    which no asynchronous test of another package could begin."""
    if not os.access(CHROMIUM, os.X_OK):
        if os.environ.get("CI"):
            pytest.fail("no-chromium")
        pytest.skip("no-chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Watch:
    """The faults of a test's pages: a request to another host, an error in the console, an exception that nobody
    caught. The 401 of a page that is visited logged out is none."""

    def __init__(self) -> None:
        self._faults: list[tuple[str, str]] = []
        self._doors: set[str] = set()
        self._expected: list[re.Pattern[str]] = []

    def over(self, context: BrowserContext, url: str) -> None:
        host = urlsplit(url).netloc

        def requested(request: Request) -> None:
            if urlsplit(request.url).netloc not in (host, ""):
                self._faults.append((request.url, f"another host was asked: {request.url}"))

        context.on("request", requested)
        context.on("response", self._answered)
        context.on("console", self._logged)
        context.on("weberror", self._thrown)

    def expect(self, pattern: str) -> None:
        """Errors that match are what this test is about."""
        self._expected.append(re.compile(pattern))

    @property
    def faults(self) -> list[str]:
        return [
            fault
            for url, fault in self._faults
            if not ("401" in fault and url in self._doors)
            and not any(pattern.search(fault) for pattern in self._expected)
        ]

    def _answered(self, response: Response) -> None:
        if response.status == 401 and response.request.is_navigation_request():
            self._doors.add(response.url)

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._faults.append((message.location["url"], f"the console says: {message.text}"))

    def _thrown(self, error: WebError) -> None:
        self._faults.append(("", f"the page threw: {error.error}"))


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def serve() -> Generator[Serve]:
    """Opens a house that lasts as long as the test."""
    with contextlib.ExitStack() as houses:
        yield lambda settings: houses.enter_context(serving(settings))


@pytest.fixture
def visit(chromium: Browser, serve: Serve, watch: Watch) -> Generator[Visit]:
    """Opens an address in a browser of its own, that nobody has logged in with. Ends before the servers do, and fails
    the test for what its pages did."""
    with contextlib.ExitStack() as contexts:

        def visit(
            url: str, size: tuple[int, int] = WIDE, scheme: str = "dark", permissions: tuple[str, ...] = ()
        ) -> Page:
            parts = urlsplit(url)
            context = contexts.enter_context(
                chromium.new_context(
                    base_url=f"{parts.scheme}://{parts.netloc}",
                    viewport={"width": size[0], "height": size[1]},
                    color_scheme="light" if scheme == "light" else "dark",
                    permissions=permissions,
                )
            )
            context.set_default_timeout(10_000)
            watch.over(context, url)
            page = context.new_page()
            page.goto(url)
            return page

        yield visit
        for context in chromium.contexts:
            for page in context.pages:
                page.evaluate("0")  # what the page has reported by now has then arrived here
    assert watch.faults == []


@pytest.fixture
def house(serve: Serve, settings: Settings) -> House:
    return serve(settings)


@pytest.fixture
def page(visit: Visit, house: House) -> Page:
    """The lobby, logged in."""
    return visit(house.login)


def start(page: Page, **order: object) -> str:
    """Starts a session with the page's login, by default of one round; answers its id."""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(page.url))
    answer = page.request.post("/api/sessions", data={"rounds": 1, **order}, headers={"Origin": origin})
    assert answer.ok, answer.text()
    return str(answer.json()["session_id"])


def watching(page: Page, **order: object) -> str:
    """Starts a session and opens its page; answers its id."""
    session_id = start(page, **order)
    page.goto(f"/s/{session_id}")
    return session_id


def hearing(page: Page, **order: object) -> str:
    """Starts a session and has its page open before the first word is spoken; answers its id."""
    session_id = watching(page, paused=True, **order)
    linked(page, "live")
    page.keyboard.press(" ")
    return session_id


def see(page: Page, status: str) -> None:
    expect(page.locator("#status")).to_have_text(status, timeout=30_000)


def linked(page: Page, word: str) -> None:
    expect(page.locator("#link")).to_have_text(word, timeout=20_000)


def shown(page: Page) -> list[list[object]]:
    """The conversation on the page, from top to bottom: turn, agent, text."""
    conversation: list[list[object]] = page.evaluate(SHOWN)
    return conversation


PARTS = ("#status", "#progress", "#agents", "#plan", "#whom", "#tools", "#commands", "#activity", "#where")


def told(page: Page) -> list[str | None]:
    """What stands beside the conversation, whether it is in view or not."""
    return [page.locator(part).text_content() for part in PARTS]


def see_alike(one: Page, other: Page) -> None:
    """Two pages come to show the same: the detector's last word comes a moment after the crew's."""
    for _ in range(50):
        if (shown(one), told(one)) == (shown(other), told(other)):
            return
        one.wait_for_timeout(100)
    assert (shown(one), told(one)) == (shown(other), told(other))


def log(house: House, session_id: str) -> list[e.Event]:
    return [e.parse(row.body) for row in house.runtime.queries.log(0, session_id, 10_000)]


def said(house: House, session_id: str) -> list[list[object]]:
    """The conversation in the log: turn, agent, text."""
    return [
        [event.turn, event.agent, event.text]
        for event in log(house, session_id)
        if isinstance(event, e.MessageCompleted)
    ]


class Relay:
    """A port that leads to a server: it can cut every connection in the middle, and lead to another server."""

    def __init__(self) -> None:
        self.target: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._near: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lead_to(self, house: House | None) -> None:
        self.target = None if house is None else urlsplit(house.url).port

    def login(self, house: House) -> str:
        return f"{self.url}/login?token={house.gate.token}"

    def cut(self) -> None:
        for near in list(self._near):
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.lead_to(None)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(near,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            if self.target is None:
                return
            with socket.create_connection(("127.0.0.1", self.target)) as far:
                self._near.add(near)
                other = {near: far, far: near}
                while True:
                    for ready in select.select([near, far], [], [])[0]:
                        piece = ready.recv(65_536)
                        if not piece:
                            return
                        other[ready].sendall(piece)
        self._near.discard(near)


@pytest.fixture
def relay() -> Generator[Relay]:
    opened = Relay()
    yield opened
    opened.close()
