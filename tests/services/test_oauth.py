"""The token endpoint against RFC 6749, over HTTP."""

import base64
import contextlib
from collections.abc import Generator
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from heist.errors import GrantError
from heist.services import oauth
from heist.services.auth import Auth, Clients, Keys, Scope
from heist.services.oauth import FAILURES, WINDOW, AuthorizationServer
from heist.web import refusals
from tests.times import HandClock

pytestmark = pytest.mark.mission("S1")

FORM = "application/x-www-form-urlencoded"
BOTH = frozenset({Scope.CALCULATOR, Scope.FILES})


class House(NamedTuple):
    http: TestClient
    app: FastAPI
    auth: Auth
    clients: Clients
    clock: HandClock
    client_id: str
    secret: str

    def post(self, body: str = "", basic: str | None = None, content_type: str = FORM) -> "Answer":
        """What the endpoint answers; `basic` is the `Authorization` header, whole."""
        return self.post_from(self.http, body, basic, content_type)

    def post_from(
        self, http: TestClient, body: str = "", basic: str | None = None, content_type: str = FORM
    ) -> "Answer":
        headers = {"Content-Type": content_type} | ({"Authorization": basic} if basic is not None else {})
        response = http.post("/oauth/token", content=body, headers=headers)
        return Answer(response.status_code, response.json(), dict(response.headers), response.text)

    def good(self, **more: str) -> str:
        """The body of a request that gets a token, with `more` parameters."""
        who = {"client_id": self.client_id, "client_secret": self.secret}
        return urlencode({"grant_type": "client_credentials"} | who | more)


class Answer(NamedTuple):
    status: int
    json: dict[str, object]
    headers: dict[str, str]
    text: str


def basic(client_id: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: each half form-encoded, then both in base64."""
    return plain_basic(quote_plus(client_id), quote_plus(secret))


def plain_basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


@pytest.fixture
def house() -> Generator[House]:
    clock, clients = HandClock(), Clients()
    auth = Auth(Keys(None), clients, clock)
    client_id, secret = clients.register("o'neil + son & co: 100%", BOTH, None)
    app = FastAPI()
    refusals.install(app)
    app.include_router(oauth.router(AuthorizationServer(auth, clients, clock)))
    with TestClient(app) as http:
        yield House(http, app, auth, clients, clock, client_id, secret)


GRANT = "grant_type=client_credentials"
ME = "client_id={id}&client_secret={secret}"
BASIC = "{basic}"


class Case(NamedTuple):
    """A request and its answer: `error` None is a token. {id}, {secret} and {basic} stand for the client's own."""

    body: str
    authorization: str | None = None
    status: int = 400
    error: str | None = "invalid_request"
    content_type: str = FORM


def token(body: str, authorization: str | None = None, content_type: str = FORM) -> Case:
    return Case(body, authorization, 200, None, content_type)


def unknown(body: str, authorization: str | None = None) -> Case:
    return Case(body, authorization, 401, "invalid_client")


CASES = {
    "credentials in the body": token(f"{GRANT}&{ME}"),
    "credentials by Basic": token(GRANT, BASIC),
    "the scheme in small letters": token(GRANT, "basic {encoded}"),
    "the scheme in capitals": token(GRANT, "BASIC {encoded}"),
    "Basic and the same id in the body": token(f"{GRANT}&client_id={{id}}", BASIC),
    "Basic and a secret without a value": token(f"{GRANT}&client_secret=", BASIC),
    "a charset beside the type": token(f"{GRANT}&{ME}", None, f"{FORM}; charset=UTF-8"),
    "the type in capitals": token(f"{GRANT}&{ME}", None, FORM.upper()),
    "unknown parameters": token(f"{GRANT}&{ME}&colour=red&answer=42"),
    "unknown parameters without a value": token(f"{GRANT}&{ME}&colour=&colour="),
    "resource twice": token(f"{GRANT}&{ME}&resource=https://a.example&resource=https://b.example"),
    "scope without a value": token(f"{GRANT}&{ME}&scope="),
    "scope absent": token(f"{GRANT}&{ME}"),
    "one scope": token(f"{GRANT}&{ME}&scope=calculator:use"),
    "both scopes": token(f"{GRANT}&{ME}&scope=files:read+calculator:use"),
    "every scope there is": token(f"{GRANT}&{ME}&scope={'+'.join(Scope)}"),
    "a scope twice": token(f"{GRANT}&{ME}&scope=files:read+files:read"),
    "JSON": Case('{{"grant_type": "client_credentials"}}', BASIC, content_type="application/json"),
    "JSON under the form's name": Case('{{"grant_type": "client_credentials"}}', BASIC),
    "multipart": Case(f"{GRANT}&{ME}", content_type="multipart/form-data; boundary=x"),
    "plain text": Case(f"{GRANT}&{ME}", content_type="text/plain"),
    "no type": Case(f"{GRANT}&{ME}", content_type=""),
    "grant_type missing": Case(ME),
    "grant_type missing, by Basic": Case("", BASIC),
    "grant_type without a value": Case(f"grant_type=&{ME}"),
    "grant_type twice": Case(f"{GRANT}&{GRANT}&{ME}"),
    "client_id twice": Case(f"{GRANT}&{ME}&client_id=another"),
    "client_secret twice": Case(f"{GRANT}&{ME}&client_secret=another"),
    "scope twice": Case(f"{GRANT}&{ME}&scope=files:read&scope=calculator:use"),
    "an unknown parameter twice": Case(f"{GRANT}&{ME}&colour=red&colour=blue"),
    "Basic and a secret in the body": Case(f"{GRANT}&{ME}", BASIC),
    "Basic and only a secret in the body": Case(f"{GRANT}&client_secret={{secret}}", BASIC),
    "Basic and another id in the body": Case(f"{GRANT}&client_id=another", BASIC),
    "not ASCII": Case(f"{GRANT}&{ME}&scope=ÿ"),
    "escaped bytes that are not UTF-8": Case(f"{GRANT}&{ME}&scope=%ff%fe"),
    "a hundred parameters": Case(f"{GRANT}&{ME}&" + "&".join(f"p{number}=1" for number in range(100))),
    "a body of 100 kB": Case(f"{GRANT}&{ME}&colour=" + "a" * 100_000),
    "another grant_type": Case(f"grant_type=password&{ME}", None, 400, "unsupported_grant_type"),
    "grant_type of refreshing": Case(f"grant_type=refresh_token&{ME}", None, 400, "unsupported_grant_type"),
    "grant_type in capitals": Case(f"grant_type=CLIENT_CREDENTIALS&{ME}", None, 400, "unsupported_grant_type"),
    "an unknown scope": Case(f"{GRANT}&{ME}&scope=vault:open", None, 400, "invalid_scope"),
    "an unknown scope beside a known one": Case(
        f"{GRANT}&{ME}&scope=files:read+vault:open", None, 400, "invalid_scope"
    ),
    "a scope in capitals": Case(f"{GRANT}&{ME}&scope=FILES:READ", None, 400, "invalid_scope"),
    "scopes separated by a comma": Case(f"{GRANT}&{ME}&scope=files:read,calculator:use", None, 400, "invalid_scope"),
    "only scopes of others": Case(f"{GRANT}&{ME}&scope=session:control", None, 400, "invalid_scope"),
    "no credentials": unknown(GRANT),
    "an id without a secret": unknown(f"{GRANT}&client_id={{id}}"),
    "a secret without an id": unknown(f"{GRANT}&client_secret={{secret}}"),
    "a secret without a value": unknown(f"{GRANT}&client_id={{id}}&client_secret="),
    "a wrong secret": unknown(f"{GRANT}&client_id={{id}}&client_secret=wrong"),
    "a wrong secret by Basic": unknown(GRANT, "{wrong}"),
    "an unknown client": unknown(f"{GRANT}&client_id=nobody&client_secret={{secret}}"),
    "Basic that is not form-encoded": unknown(GRANT, "{unescaped}"),
    "Basic without a colon": unknown(GRANT, "Basic bm9ib2R5"),
    "Basic that is not base64": unknown(GRANT, "Basic ~~~~"),
    "Basic that is not UTF-8": unknown(GRANT, "Basic //79"),
    "Basic of nothing": unknown(GRANT, "Basic"),
    "Basic of a colon": unknown(GRANT, "Basic Og=="),
    "a bearer token in place of a secret": unknown(GRANT, "Bearer {encoded}"),
    "Digest": unknown(GRANT, "Digest {encoded}"),
    "an Authorization header without a value": unknown(GRANT, ""),
}


@pytest.mark.parametrize("name", CASES)
def test_the_token_endpoint_answers_as_rfc_6749_says(name: str, house: House) -> None:
    case = CASES[name]
    own = {
        "id": quote_plus(house.client_id),
        "secret": quote_plus(house.secret),
        "basic": basic(house.client_id, house.secret),
        "encoded": basic(house.client_id, house.secret).removeprefix("Basic "),
        "wrong": basic(house.client_id, "wrong"),
        "unescaped": plain_basic(house.client_id, house.secret),
    }
    authorization = None if case.authorization is None else case.authorization.format(**own)
    answer = house.post(case.body.format(**own), authorization, case.content_type)
    assert (answer.status, answer.json.get("error")) == (case.status, case.error)
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert answer.headers.get("www-authenticate", "").startswith("Basic") == (case.status == 401)
    if case.error is None:
        assert set(answer.json) == {"access_token", "token_type", "expires_in", "scope"}
    else:
        assert set(answer.json) == {"error", "error_description"}
        assert house.secret not in answer.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_not_allowed_and_hears_which_one_is(method: str, house: House) -> None:
    response = house.http.request(method, "/oauth/token")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_credentials_in_the_url_are_never_read(house: House) -> None:
    response = house.http.post(f"/oauth/token?{house.good()}", content=GRANT, headers={"Content-Type": FORM})
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_a_grant_type_in_the_url_is_never_read(house: House) -> None:
    who = urlencode({"client_id": house.client_id, "client_secret": house.secret})
    response = house.http.post(f"/oauth/token?{GRANT}", content=who, headers={"Content-Type": FORM})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


def test_the_answer_is_a_bearer_token_that_verifies(house: House) -> None:
    answer = house.post(house.good())
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 300)
    assert house.auth.verify(str(answer.json["access_token"])).scopes == BOTH


def test_no_scope_asked_for_gives_all_of_the_clients(house: House) -> None:
    assert house.post(house.good()).json["scope"] == "calculator:use files:read"


def test_asking_for_everything_gives_the_intersection_and_says_so(house: House) -> None:
    assert house.post(house.good(scope=" ".join(Scope))).json["scope"] == "calculator:use files:read"


def test_asking_for_one_scope_gives_that_one_alone(house: House) -> None:
    answer = house.post(house.good(scope="files:read database:read"))
    assert answer.json["scope"] == "files:read"
    assert house.auth.verify(str(answer.json["access_token"])).scopes == {Scope.FILES}


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope"])
def test_an_error_never_repeats_what_was_sent(name: str, house: House) -> None:
    answer = house.post(house.good(**{name: "<zebra>"}))
    assert answer.status in (400, 401)
    assert "zebra" not in answer.text + str(answer.headers)


def test_a_wrong_secret_and_an_unknown_client_look_the_same(house: House) -> None:
    wrong, nobody = house.post(house.good(client_secret="x")), house.post(house.good(client_id="x"))
    assert (wrong.status, wrong.json) == (nobody.status, nobody.json)


def fail(house: House, times: int, http: TestClient | None = None) -> list[int]:
    wrong = house.good(client_secret="wrong")
    return [house.post_from(http or house.http, wrong).status for _ in range(times)]


def test_after_ten_wrong_secrets_even_the_right_one_has_to_wait(house: House) -> None:
    assert fail(house, FAILURES) == [401] * 10
    answer = house.post(house.good())
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= WINDOW + 1


def test_a_throttled_client_does_not_keep_another_one_out(house: House) -> None:
    planner, secret = house.clients.register("planner", BOTH, None)
    fail(house, FAILURES)
    assert house.post(house.good()).status == 429
    assert house.post(house.good(client_id=planner, client_secret=secret)).status == 200


def test_guesses_from_one_address_do_not_keep_the_client_out_at_another(house: House) -> None:
    fail(house, FAILURES)
    elsewhere = TestClient(house.app, client=("10.0.0.2", 4711))
    assert house.post(house.good()).status == 429
    assert house.post_from(elsewhere, house.good()).status == 200


def test_nine_wrong_secrets_are_forgiven(house: House) -> None:
    fail(house, FAILURES - 1)
    assert house.post(house.good()).status == 200


def test_who_waits_as_long_as_the_answer_says_is_let_in(house: House) -> None:
    fail(house, FAILURES)
    wait = int(house.post(house.good()).headers["retry-after"])
    house.clock.advance(wait - 2)
    assert house.post(house.good()).status == 429
    house.clock.advance(2)
    assert house.post(house.good()).status == 200


def test_waiting_at_a_closed_door_does_not_make_the_wait_longer(house: House) -> None:
    fail(house, FAILURES)
    house.clock.advance(WINDOW / 2)
    assert fail(house, 20) == [429] * 20
    house.clock.advance(WINDOW / 2)
    assert house.post(house.good()).status == 200


def test_guesses_at_unknown_clients_are_counted_too(house: House) -> None:
    assert [house.post(house.good(client_id="nobody")).status for _ in range(FAILURES + 1)] == [401] * 10 + [429]


def test_refusals_of_a_scope_are_not_counted_as_guesses(house: House) -> None:
    for _ in range(FAILURES + 1):
        assert house.post(house.good(scope="vault:open")).status == 400
    assert house.post(house.good()).status == 200


scopes = st.frozensets(st.sampled_from(Scope))


@given(held=scopes, asked=st.lists(st.sampled_from(Scope), min_size=1))
def test_asking_for_more_never_gives_more_than_the_client_has(held: frozenset[Scope], asked: list[Scope]) -> None:
    clock, clients = HandClock(), Clients()
    auth = Auth(Keys(None), clients, clock)
    server = AuthorizationServer(auth, clients, clock)
    client_id, secret = clients.register("mole", held, None)
    if not held & set(asked):
        with pytest.raises(GrantError) as refusal:
            server.grant(client_id, secret, " ".join(asked))
        assert refusal.value.error == "invalid_scope"
        return
    grant = server.grant(client_id, secret, " ".join(asked))
    assert grant.scopes == auth.verify(grant.access_token).scopes == held & set(asked)


@given(asked=st.text())
def test_no_text_asked_for_gives_more_than_the_client_has(asked: str) -> None:
    clock, clients = HandClock(), Clients()
    server = AuthorizationServer(Auth(Keys(None), clients, clock), clients, clock)
    client_id, secret = clients.register("mole", BOTH, None)
    with contextlib.suppress(GrantError):
        assert server.grant(client_id, secret, asked).scopes <= BOTH


def test_the_answer_to_wait_is_not_stored(house: House) -> None:
    fail(house, FAILURES)
    assert house.post(house.good()).headers.get("cache-control") == "no-store"
