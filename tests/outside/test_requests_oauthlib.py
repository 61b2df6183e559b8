"""requests-oauthlib as a client."""

from collections.abc import Generator
from typing import Any

import pytest
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError  # type: ignore[import-untyped]
from oauthlib.oauth2.rfc6749.errors import InvalidScopeError  # type: ignore[import-untyped]
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session  # type: ignore[import-untyped]

from tests.conftest import House
from tests.outside.conftest import Guest, guest

pytestmark = pytest.mark.mission("S1")


@pytest.fixture(autouse=True)
def _plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # it refuses http, even on the loopback


@pytest.fixture
def who(served: House) -> Guest:
    return guest(served)


@pytest.fixture
def session(who: Guest) -> Generator[Any]:
    with OAuth2Session(client=BackendApplicationClient(client_id=who.client_id)) as one:
        yield one


def by_header(who: Guest) -> dict[str, object]:
    return {"auth": HTTPBasicAuth(who.client_id, who.secret)}


def by_form(who: Guest) -> dict[str, object]:
    return {"client_secret": who.secret, "include_client_id": True}


@pytest.mark.parametrize("proof", [by_header, by_form])
def test_it_gets_a_token_and_calls_a_tool(who: Guest, session: Any, proof: Any) -> None:
    token = session.fetch_token(f"{who.url}/oauth/token", **proof(who))
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 300)
    assert [tool["name"] for tool in session.get(f"{who.url}/tools").json()] == ["calculator", "file_reader"]
    answer = session.post(f"{who.url}/tools/file_reader", json={"filename": "index"})
    assert answer.json()["result"]["title"] == "All papers"


def test_it_understands_our_refusals(who: Guest, session: Any) -> None:
    with pytest.raises(InvalidClientError):
        session.fetch_token(f"{who.url}/oauth/token", auth=HTTPBasicAuth(who.client_id, "wrong"))
    with pytest.raises(InvalidScopeError):
        session.fetch_token(f"{who.url}/oauth/token", scope="vault:open", **by_header(who))


def test_it_asks_for_more_than_it_may_have_and_learns_what_it_got(who: Guest, session: Any) -> None:
    token = session.fetch_token(f"{who.url}/oauth/token", scope="calculator:use database:read", **by_header(who))
    assert token.scope == "calculator:use"
