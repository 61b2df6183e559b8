"""The pages and the way in."""

import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from heist.web.pages import PAGES, STATIC, scripts
from tests.conftest import House
from tests.record_demo import DEMO, KEPT

BUDGET = 117_000
TRAVELS = 48_000
"""Of all files together, as a browser gets them."""


def test_who_is_not_logged_in_gets_the_login_page(client: TestClient) -> None:
    for path in (
        "/",
        "/s/anything",
        "/s/anything/report",
        "/lab",
        "/lab/compare",
        "/play",
        "/play/anything",
        "/login",
        "/login?token=wrong",
    ):
        answer = client.get(path)
        assert answer.status_code == 401
        assert "Open the address that the server printed" in answer.text
    assert not list(client.cookies.jar)


def test_the_printed_address_leads_in_and_on(served: House) -> None:
    import httpx2

    with httpx2.Client() as visitor:
        answer = visitor.get(f"{served.login}&next=/s/abc")
        assert (answer.status_code, answer.headers["location"]) == (303, "/s/abc")
        cookie = answer.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/", f"heist_{served.url[-5:]}"))
        assert visitor.get(f"{served.url}/s/abc").status_code == 200
        for outside in ("//evil.example", "/\\evil.example", "https://evil.example"):
            answer = visitor.get(served.login, params={"token": served.gate.token, "next": outside})
            assert answer.headers["location"] == "/"


def test_everything_is_served_from_here_within_its_budget(browser: TestClient) -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= BUDGET
    sent = 0
    for path in files:
        answer = browser.get(f"/static/{path.name}", headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.content == path.read_bytes()
        sent += int(answer.headers["content-length"])
    assert sent <= TRAVELS


@pytest.mark.parametrize(("path", "page"), PAGES.items())
def test_a_page_names_all_its_scripts_so_that_none_is_asked_for_after_another(
    browser: TestClient, path: str, page: str
) -> None:
    text = browser.get(path.format(session_id="heist_1")).text
    assert f'<html data-page="{page}" lang="en">' in text
    named = re.findall(r'<link rel="modulepreload" href="/static/(\w+)\.js">', text)
    assert named[:2] == ["main", page]
    assert len(named) == len(set(named))
    for name in named:
        source = (STATIC / f"{name}.js").read_text()
        assert {line.split('"')[1] for line in source.splitlines() if line.startswith("import ")} <= {
            f"./{one}.js" for one in named
        }


def test_every_script_is_of_some_page() -> None:
    used = {name for page in PAGES.values() for name in scripts(page)}
    assert {path.stem for path in STATIC.glob("*.js")} == used | {"theme", "login"}


def test_the_recorded_game_of_the_empty_lobby_is_short_and_whole() -> None:
    assert DEMO.stat().st_size <= 6_000
    told = json.loads(DEMO.read_text(encoding="utf-8"))
    assert (told[0]["kind"], told[-1]["kind"]) == ("session.started", "mole.revealed")
    assert {event["kind"] for event in told} <= set(KEPT)
    assert told[0]["simulated"]


@pytest.mark.parametrize("name", ["../pages.py", "%2e%2e/pages.py", "..%2f..%2fcli.py", "nothing.js"])
def test_no_other_file_is_served(browser: TestClient, name: str) -> None:
    assert browser.get(f"/static/{name}").status_code == 404


def test_no_page_makes_markup_of_text_or_asks_another_host() -> None:
    for path in STATIC.glob("*.js"):
        source = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "http://",
        ):
            assert word not in source, f"{path.name} says {word}"
    for path in (*STATIC.glob("*.html"), *STATIC.glob("*.css")):
        assert "//" not in Path(path).read_text().replace("/* ", "").replace(" */", ""), path.name
