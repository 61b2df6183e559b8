"""What travels compressed, and what never does."""

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from heist.web.compressed import LEAST, Compressed

LONG = "word " * LEAST


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(LONG)(scope, receive, send)


ANSWERS = TestClient(Compressed(answer))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/s/heist_1",
        "/s/heist_1/report",
        "/lab",
        "/lab/compare",
        "/play",
        "/play/heist_1",
        "/static/main.js",
        "/api/sessions",
        "/api/sessions/heist_1/log",
        "/api/scenarios/first_national_bank",
        "/detection/analyze",
        "/analytics/sessions",
    ],
)
def test_pages_and_what_they_ask_for_are_compressed_for_who_takes_them_so(path: str) -> None:
    squeezed = ANSWERS.get(path, headers={"Accept-Encoding": "gzip"})
    assert squeezed.headers["content-encoding"] == "gzip"
    assert int(squeezed.headers["content-length"]) < LEAST
    assert squeezed.headers["vary"] == "Accept-Encoding"
    plain = ANSWERS.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert squeezed.text == plain.text == LONG


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("gzip", "gzip"),
        ("br, gzip", "gzip"),
        ("GZIP;q=0.5, br;q=0", "gzip"),
        ("gzip;q=1.0", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000, *;q=0", None),
        ("gzipx, nogzip", None),
        ("", None),
    ],
)
def test_who_refuses_gzip_gets_none(asked: str, given: str | None) -> None:
    told = ANSWERS.get("/static/main.js", headers={"Accept-Encoding": asked})
    assert told.headers.get("content-encoding") == given
    assert (told.headers["vary"], told.text) == ("Accept-Encoding", LONG)


@pytest.mark.parametrize("parts", ["bytes=0-9", "bytes=5-1", "lines=1", "bytes=999999999-"])
def test_what_is_asked_for_in_parts_is_given_whole(browser: TestClient, parts: str) -> None:
    told = browser.get("/static/main.js", headers={"Range": parts, "Accept-Encoding": "gzip"})
    assert (told.status_code, told.text) == (200, browser.get("/static/main.js").text)


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_a_file_that_a_browser_has_is_not_sent_again(browser: TestClient, coding: str) -> None:
    tag = browser.get("/static/main.js", headers={"Accept-Encoding": "gzip"}).headers["etag"]
    assert tag.startswith('W/"')
    again = browser.get("/static/main.js", headers={"Accept-Encoding": coding, "If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = browser.get("/static/main.js", headers={"If-None-Match": 'W/"older"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/oauth/token", "/oauth/register", "/login", "/api/clients", "/api/events", "/mcp", "/tools", "/memory/facts"],
)
def test_nothing_with_a_token_in_it_and_no_stream_is_compressed(path: str) -> None:
    squeezed = ANSWERS.get(path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in squeezed.headers
    assert squeezed.text == LONG
