"""Authlib as a client, and Authlib as a resource server that trusts our tokens."""

import base64
import json
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from authlib.oauth2.rfc6750.errors import InsufficientScopeError, InvalidTokenError  # type: ignore[import-untyped]
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata  # type: ignore[import-untyped]
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator  # type: ignore[import-untyped]
from joserfc.jwk import KeySet

from tests.conftest import House
from tests.outside.conftest import Guest, guest

pytestmark = pytest.mark.mission("S1")


class Program(NamedTuple):
    session: Any
    about: Any

    def fetched(self, **more: str) -> dict[str, Any]:
        token: dict[str, Any] = self.session.fetch_token(
            self.about["token_endpoint"], grant_type="client_credentials", **more
        )
        return token

    def worth(self, token: str) -> dict[str, Any]:
        worth: dict[str, Any] = self.session.introspect_token(self.about["introspection_endpoint"], token=token).json()
        return worth


def metadata(url: str) -> Any:
    return AuthorizationServerMetadata(requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=10).json())


def program(who: Guest, method: str) -> Program:
    session = OAuth2Session(
        who.client_id, who.secret, token_endpoint_auth_method=method, revocation_endpoint_auth_method=method
    )
    return Program(session, metadata(who.url))


@pytest.fixture(params=["client_secret_basic", "client_secret_post"])
def authlib(served: House, request: pytest.FixtureRequest) -> Generator[Program]:
    one = program(guest(served), request.param)
    with one.session:
        yield one


def test_it_gets_a_token_and_calls_a_tool(served: House, authlib: Program) -> None:
    token = authlib.fetched()
    assert (token["token_type"], token["scope"]) == ("Bearer", "calculator:use files:read")
    tools = authlib.session.get(f"{served.url}/tools").json()
    assert [tool["name"] for tool in tools] == ["calculator", "file_reader"]
    answer = authlib.session.post(f"{served.url}/tools/calculator", json={"expression": "6 * 7"}).json()
    assert answer["result"]["value"] == 42


def test_it_asks_for_less_and_gets_less(served: House, authlib: Program) -> None:
    assert authlib.fetched(scope="files:read")["scope"] == "files:read"
    assert [tool["name"] for tool in authlib.session.get(f"{served.url}/tools").json()] == ["file_reader"]


def test_it_learns_what_a_token_is_worth_and_takes_it_back(served: House, authlib: Program) -> None:
    token = authlib.fetched()["access_token"]
    worth = authlib.worth(token)
    assert (worth["active"], worth["client_id"]) == (True, authlib.session.client_id)
    gone = authlib.session.revoke_token(authlib.about["revocation_endpoint"], token=token)
    assert (gone.status_code, gone.json()) == (200, {})
    assert authlib.worth(token) == {"active": False}
    assert authlib.session.get(f"{served.url}/tools").status_code == 401


def test_our_metadata_is_what_authlib_takes_for_metadata(served: House) -> None:
    about = metadata(served.url)
    assert about["issuer"] == served.url
    for rule in AuthorizationServerMetadata.REGISTRY_KEYS:
        if rule not in UNFIT:
            getattr(about, f"validate_{rule}")()


UNFIT = {
    "issuer",  # these four want https, which a server on the loopback has not
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
}


class Bank(JWTBearerTokenValidator):  # type: ignore[misc]
    """A resource server elsewhere, which knows of us nothing but our address."""

    def get_jwks(self) -> Any:
        return KeySet.import_key_set(requests.get(f"{self.issuer}/.well-known/jwks.json", timeout=10).json())

    def accepts(self, token: str, *scopes: str) -> Any:
        claims = self.authenticate_token(token)
        self.validate_token(claims, list(scopes), SimpleNamespace())
        return claims


@pytest.fixture
def paper(signed: House) -> str:
    one = program(guest(signed), "client_secret_basic")
    assert one.about["jwks_uri"] == f"{signed.url}/.well-known/jwks.json"
    with one.session:
        token: str = one.fetched(resource=signed.url)["access_token"]
    return token


def test_a_resource_server_elsewhere_can_verify_a_token_by_our_public_key(signed: House, paper: str) -> None:
    claims = Bank(signed.url, signed.url).accepts(paper, "calculator:use")
    assert claims["aud"] == signed.url
    assert claims["scope"] == "calculator:use files:read"


def test_it_finds_a_scope_missing_and_an_audience_wrong(signed: House, paper: str) -> None:
    with pytest.raises(InsufficientScopeError):
        Bank(signed.url, signed.url).accepts(paper, "database:read")
    with pytest.raises(InvalidTokenError):
        Bank(signed.url, f"{signed.url}/mcp").accepts(paper)


def test_it_finds_a_token_forged(signed: House, paper: str) -> None:
    head, claims, signature = paper.split(".")
    wider = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"scope": "database:read"}
    forged = f"{head}.{base64.urlsafe_b64encode(json.dumps(wider).encode()).decode().rstrip('=')}.{signature}"
    with pytest.raises(InvalidTokenError):
        Bank(signed.url, signed.url).accepts(forged)
