"""The guard: who may come in, from where, and what a page may load."""

import pytest
from starlette.testclient import TestClient

from heist.web.guard import LARGEST

pytestmark = pytest.mark.mission("S13")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8008",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "127.0.0.2",
        "127.0.0.1/../x",
        "x@127.0.0.1",
    ],
)
def test_a_foreign_host_is_misdirected(browser: TestClient, host: str) -> None:
    answer = browser.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "does not answer to the name" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8008", "localhost:8008", "LOCALHOST", "[::1]:8008"])
def test_the_loopback_is_answered_under_each_of_its_names(browser: TestClient, host: str) -> None:
    assert browser.get("/static/fold.js", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Sec-Fetch-Site": "none"}, 404),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8008"}, 403),
        ({"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:8008"}, 403),
    ],
)
def test_a_change_must_come_from_our_own_pages(browser: TestClient, headers: dict[str, str], status: int) -> None:
    assert browser.post("/api/sessions/x/pause", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8008", 404),
        ("http://127.0.0.1:9999", 403),
        ("http://evil.example", 403),
        ("http://[", 403),
        ("null", 403),
        (None, 403),
    ],
)
def test_without_that_header_the_origin_decides(browser: TestClient, origin: str | None, status: int) -> None:
    del browser.headers["Sec-Fetch-Site"]
    headers = {"Origin": origin} if origin else {}
    assert browser.post("/api/sessions/x/pause", headers=headers).status_code == status


def test_reading_needs_no_origin_but_a_login(browser: TestClient, client: TestClient) -> None:
    assert browser.get("/api/sessions", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
    assert client.get("/api/sessions").status_code == 401


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "9999999999.abc.def", "9999999999.abc." + "0" * 64, "1.abc", "a.b.c.d", "😀.x.y", "-1..", "%00.a.b"],
)
def test_a_forged_cookie_is_no_login(client: TestClient, cookie: str) -> None:
    answer = client.get("/api/sessions", headers={b"Cookie": f"heist_8008={cookie}".encode()})
    assert answer.status_code == 401
    assert "log in first" in answer.json()["detail"]


def test_the_token_realms_never_read_the_cookie(browser: TestClient) -> None:
    assert browser.get("/tools").status_code == 401
    assert browser.post("/tools/calculator", json={"expression": "1"}).status_code == 401


def test_an_agents_token_steers_nothing(browser: TestClient) -> None:
    answer = browser.get("/api/sessions", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="heist", error="invalid_token"'


@pytest.mark.parametrize(
    "path", ["/", "/s/x", "/login", "/static/main.js", "/api/sessions", "/nothing", "/oauth/token"]
)
def test_every_answer_carries_the_policy(browser: TestClient, path: str) -> None:
    headers = browser.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "require-trusted-types-for 'script'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


def test_a_body_that_is_too_large_or_of_unknown_length_is_refused(browser: TestClient) -> None:
    large = browser.post("/api/sessions", content=b"x" * (LARGEST + 1))
    assert (large.status_code, large.json()["detail"]) == (413, f"the request's body is larger than {LARGEST} bytes")
    endless = browser.post("/api/sessions", content=iter([b"{}"]))
    assert endless.status_code == 411
