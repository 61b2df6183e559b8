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
    "path",
    ["/oauth/token", "/oauth/register", "/login", "/api/clients", "/api/events", "/mcp", "/tools", "/memory/facts"],
)
def test_nothing_with_a_token_in_it_and_no_stream_is_compressed(path: str) -> None:
    squeezed = ANSWERS.get(path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in squeezed.headers
    assert squeezed.text == LONG
