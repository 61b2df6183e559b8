"""The guard: who may come in, from where, and what a page may load."""

from collections.abc import Generator

import pytest
from starlette.testclient import TestClient

from heist.web.guard import LARGEST
from tests.services.oauth import MCP, Door, bearing, opened

pytestmark = pytest.mark.mission("S13")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Generator[Door]:
    with opened(tmp_path_factory.mktemp("guard")) as one:
        yield one


@pytest.fixture
def client(door: Door) -> TestClient:
    """Nobody is logged in."""
    door.http.cookies.clear()
    door.http.headers.pop("Sec-Fetch-Site", None)
    return door.http


@pytest.fixture
def browser(client: TestClient, door: Door) -> TestClient:
    """Somebody is."""
    client.headers["Sec-Fetch-Site"] = "same-origin"
    client.get("/login", params={"token": door.gate.token})
    return client


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


def test_reading_needs_no_origin_but_a_login(browser: TestClient) -> None:
    assert browser.get("/api/sessions", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
    browser.cookies.clear()
    assert browser.get("/api/sessions").status_code == 401


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "9999999999.abc.def", "9999999999.abc." + "0" * 64, "1.abc", "a.b.c.d", "😀.x.y", "-1..", "%00.a.b"],
)
def test_a_forged_cookie_is_no_login(client: TestClient, cookie: str) -> None:
    answer = client.get("/api/sessions", headers={b"Cookie": f"heist_8008={cookie}".encode()})
    assert answer.status_code == 401
    assert "log in first" in answer.json()["detail"]


def test_the_token_realms_never_read_the_cookie(browser: TestClient) -> None:
    for path in ("/tools", "/tools/stats", "/mcp"):
        assert browser.get(path).status_code == 401
    assert browser.post("/tools/calculator", json={"expression": "1"}).status_code == 401
    assert browser.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).status_code == 401
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        assert browser.post(path, data={"grant_type": "client_credentials", "token": "x"}).status_code == 401


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer nonsense", "Basic eDp5"])
def test_who_sends_an_authorization_header_is_let_in_by_that_alone(browser: TestClient, token: str) -> None:
    assert browser.get("/api/sessions").status_code == 200
    answer = browser.get("/api/sessions", headers={"Authorization": token})
    assert answer.status_code == 401
    where = 'resource_metadata="http://127.0.0.1:8008/.well-known/oauth-protected-resource"'
    code = 'error="invalid_token", ' if token == "Bearer nonsense" else ""
    assert answer.headers["WWW-Authenticate"] == f'Bearer realm="heist", {code}{where}'


@pytest.mark.mission("S1")
def test_an_agents_token_reads_and_steers_nothing(client: TestClient, door: Door) -> None:
    own = bearing(door.token(door.agent("calculator:use", "files:read", "database:read")))
    steer = f"/api/sessions/{door.session_id}"
    for method, path, scope in (
        ("GET", "/api/sessions", "session:read"),
        ("GET", steer, "session:read"),
        ("GET", "/api/house", "session:read"),
        ("GET", "/api/events", "session:read"),
        ("POST", "/api/sessions", "session:control"),
        ("POST", f"{steer}/resume", "session:control"),
        ("POST", f"{steer}/stop", "session:control"),
        ("DELETE", f"{steer}/quarantine/planner", "session:control"),
        ("GET", "/admin/tools", "tools:admin"),
        ("DELETE", "/admin/tools/calculator", "tools:admin"),
        ("GET", "/tools/stats", "tools:admin"),
    ):
        answer = door.http.request(method, path, headers=own)
        assert (answer.status_code, path) == (403, path)
        assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["WWW-Authenticate"]


@pytest.mark.mission("S1")
def test_a_client_from_outside_steers_with_the_scope_for_it_and_without_a_cookie(
    client: TestClient, door: Door
) -> None:
    known = door.outsider("session:read", "session:control")
    own = bearing(door.token(known))
    assert door.http.get("/api/sessions", headers=own).json()["sessions"][0]["session_id"] == door.session_id
    assert door.http.post(f"/api/sessions/{door.session_id}/step", headers=own).status_code == 204
    for_mcp = bearing(door.token(known, resource=MCP))
    assert door.http.get("/api/sessions", headers=for_mcp).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/s/x", "/login", "/static/main.js", "/api/sessions", "/nothing", "/oauth/token", "/mcp"]
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
