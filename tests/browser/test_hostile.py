"""Hostile text from agents, tools, commands and names is shown as the text that it is."""

import json
import shutil
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from heist.settings import Settings, shipped
from tests.browser.conftest import Serve, Visit, said, see, shown, watching

pytestmark = pytest.mark.browser
IMAGE = '<img src=x onerror="window.hurt=1">'
SCRIPT = "<script>window.hurt=2</script>"
FRAME = '"><iframe srcdoc="<script>top.hurt=3</script>"></iframe>'
LINK = '<a href="javascript:window.hurt=4">go</a>'
SPEECH = f"{IMAGE} {SCRIPT} {FRAME} {LINK} &lt;b&gt; </p></article><svg onload=window.hurt=5>"
MODEL = f"{SCRIPT}{IMAGE}"


class Mouth(BaseHTTPRequestHandler):
    """A model server that answers a first request with a hostile tool call, and the next with hostile speech."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("application/json", json.dumps({"data": [{"id": MODEL}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        function = {"name": IMAGE, "arguments": json.dumps({"query": SCRIPT, "document": FRAME})}
        call = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]}
        first = body.get("tools") and body["messages"][-1]["role"] != "tool"
        chunk = {"model": MODEL, "choices": [{"index": 0, "delta": call if first else {"content": SPEECH}}]}
        self._answer("text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")

    def _answer(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A test says nothing."""


@pytest.fixture
def mouth() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mouth)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def hostile(settings: Settings, mouth: str, tmp_path: Path) -> Settings:
    """A house where whatever may hold any text holds markup: the model's name, the scenario's title, names of papers,
    the crew's file, roles, personas, speech, tools and their arguments."""
    config = tmp_path / "config"
    shutil.copytree(shipped("config"), config)
    scenario = config / "scenarios" / "first_national_bank.yaml"
    text = scenario.read_text(encoding="utf-8")
    scenario.write_text(text.replace("title: First National Bank", f"title: '{IMAGE}'", 1), encoding="utf-8")
    (config / "crew.yaml").rename(config / "<img src=x onerror=hurt=6>.yaml")
    member = "{{name: {}, role: '{}', persona: '{}', scopes: [{}]}}"
    crew = "\n".join(
        [
            f"name: '{SCRIPT}'",
            "scenario: first_national_bank",
            "rounds: 1",
            "agents:",
            "  - " + member.format("one", FRAME, SCRIPT, "files:read"),
            "  - " + member.format("two", IMAGE, LINK, ""),
        ]
    )
    (config / "crew.yaml").write_text(f"{crew}\n", encoding="utf-8")
    return settings.model_copy(update={"llm": mouth, "config": config})


def test_hostile_text_from_every_side_stays_text(serve: Serve, visit: Visit, hostile: Settings) -> None:
    house = serve(hostile)
    page = visit(house.login)
    expect(page.locator("#who")).to_contain_text(MODEL)
    crews = page.locator("#start select[name=crew] option")
    assert f"{SCRIPT} (2 agents, 1 rounds)" in crews.all_text_contents()
    assert "<img src=x onerror=hurt=6>" in [crew.get_attribute("value") for crew in crews.all()]

    session_id = watching(page, paused=True)
    see(page, "paused")
    page.get_by_role("textbox", name="Order").fill(SPEECH)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#commands")).to_contain_text(SPEECH)
    page.get_by_role("button", name="Resume").click()
    see(page, "completed")
    assert [text for _, _, text in shown(page)] == [SPEECH, SPEECH]
    assert shown(page) == said(house, session_id)
    expect(page.locator("#headline")).to_contain_text(IMAGE)
    expect(page.locator("#headline")).to_contain_text(MODEL)
    expect(page.locator("#agents")).to_contain_text(FRAME)
    expect(page.locator("details.tool summary").first).to_contain_text(f'{IMAGE}({{"query": "{SCRIPT}"')
    expect(page.locator("#activity")).to_contain_text(IMAGE)
    unharmed(page)

    page.goto("/")
    expect(page.locator("#sessions")).to_contain_text(IMAGE)
    unharmed(page)


def test_hostile_addresses_stay_text(visit: Visit, serve: Serve, settings: Settings) -> None:
    house = serve(settings)
    page = visit(house.login)
    page.goto("/s/%3Cimg%20src=x%20onerror=hurt=7%3E")
    expect(page.get_by_role("alert")).to_contain_text("<img src=x onerror=hurt=7>")
    unharmed(page)


def unharmed(page: Page) -> None:
    """Nothing of it became an element, and nothing of it ran."""
    assert page.locator("img, iframe, svg[onload], body script, a[href^=javascript], b").count() == 0
    assert page.evaluate("window.hurt") is None


@pytest.fixture(autouse=True)
def refusals(request: pytest.FixtureRequest) -> None:
    if "addresses" in request.node.name:
        request.getfixturevalue("watch").expect("status of 404")
