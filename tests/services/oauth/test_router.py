"""The authorization server over HTTP against its RFCs: 6749, 6750, 7009, 7517, 7662, 8414, 8707, 9068, 9728."""

import base64
from collections.abc import Generator
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.services.auth import AGENT_SCOPES, Scope
from heist.services.oauth.server import FAILURES, WINDOW
from heist.store.clients import Registrations
from tests.services.oauth import AT, FORM, MCP, SITE, STREAMING, Door, Known, bearing, opened

pytestmark = pytest.mark.mission("S1")

BOTH = ("calculator:use", "files:read")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Generator[Door]:
    with opened(tmp_path_factory.mktemp("router")) as one:
        yield one


@pytest.fixture
def me(door: Door) -> Known:
    """A client whose id holds what has to be escaped."""
    client_id, secret = door.runtime.clients.register("o'neil + son & co: 100%", frozenset(BOTH), door.session_id)
    return Known(client_id, secret)


def basic(client_id: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: each half form-encoded, then both in base64."""
    return plain_basic(quote_plus(client_id), quote_plus(secret))


def plain_basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


GRANT = "grant_type=client_credentials"
ME = "client_id={id}&client_secret={secret}"
BASIC = "{basic}"
TYPE = FORM["Content-Type"]


class Case(NamedTuple):
    """A request and its answer: `error` None is a token. {id}, {secret}, {basic} and so on stand for the client's own;
    `scope` and `aud` are those of the token."""

    body: str
    authorization: str | None = None
    status: int = 400
    error: str | None = "invalid_request"
    content_type: str = TYPE
    scope: str = "calculator:use files:read"
    aud: object = None


def token(body: str, authorization: str | None = None, content_type: str = TYPE) -> Case:
    return Case(body, authorization, 200, None, content_type)


def scoped(asked: str, got: str = "calculator:use files:read") -> Case:
    return Case(f"{GRANT}&{ME}&{asked}", None, 200, None, scope=got)


def placed(asked: str, aud: object) -> Case:
    return Case(f"{GRANT}&{ME}&{asked}", None, 200, None, aud=aud)


def unknown(body: str, authorization: str | None = None) -> Case:
    return Case(body, authorization, 401, "invalid_client")


def scopeless(asked: str) -> Case:
    return Case(f"{GRANT}&{ME}&scope={asked}", None, 400, "invalid_scope")


def misplaced(asked: str) -> Case:
    return Case(f"{GRANT}&{ME}&{asked}", None, 400, "invalid_target")


CASES = {
    # RFC 6749, section 2.3.1: who asks
    "credentials in the body": token(f"{GRANT}&{ME}"),
    "credentials by Basic": token(GRANT, BASIC),
    "the scheme in small letters": token(GRANT, "basic {encoded}"),
    "the scheme in capitals": token(GRANT, "BASIC {encoded}"),
    "Basic and the same id in the body": token(f"{GRANT}&client_id={{id}}", BASIC),
    "Basic and a secret without a value": token(f"{GRANT}&client_secret=", BASIC),
    "Basic and a secret in the body": Case(f"{GRANT}&{ME}", BASIC),
    "Basic and only a secret in the body": Case(f"{GRANT}&client_secret={{secret}}", BASIC),
    "Basic and another id in the body": Case(f"{GRANT}&client_id=another", BASIC),
    "no credentials": unknown(GRANT),
    "an id without a secret": unknown(f"{GRANT}&client_id={{id}}"),
    "a secret without an id": unknown(f"{GRANT}&client_secret={{secret}}"),
    "a secret without a value": unknown(f"{GRANT}&client_id={{id}}&client_secret="),
    "a wrong secret": unknown(f"{GRANT}&client_id={{id}}&client_secret=wrong"),
    "a secret and a bit more": unknown(f"{GRANT}&{ME}x"),
    "a wrong secret by Basic": unknown(GRANT, "{wrong}"),
    "an unknown client": unknown(f"{GRANT}&client_id=nobody&client_secret={{secret}}"),
    "the client's name for its id": unknown(f"{GRANT}&client_id={{name}}&client_secret={{secret}}"),
    "Basic that is not form-encoded": unknown(GRANT, "{unescaped}"),
    "Basic without a colon": unknown(GRANT, "Basic bm9ib2R5"),
    "Basic that is not base64": unknown(GRANT, "Basic ~~~~"),
    "Basic that is not UTF-8": unknown(GRANT, "Basic //79"),
    "Basic of nothing": unknown(GRANT, "Basic"),
    "Basic of a colon": unknown(GRANT, "Basic Og=="),
    "a bearer token in place of a secret": unknown(GRANT, "Bearer {encoded}"),
    "Digest": unknown(GRANT, "Digest {encoded}"),
    "an Authorization header without a value": unknown(GRANT, ""),
    # RFC 6749, section 3.2: how to ask
    "a charset beside the type": token(f"{GRANT}&{ME}", None, f"{TYPE}; charset=UTF-8"),
    "the type in capitals": token(f"{GRANT}&{ME}", None, TYPE.upper()),
    "unknown parameters": token(f"{GRANT}&{ME}&colour=red&answer=42"),
    "unknown parameters without a value": token(f"{GRANT}&{ME}&colour=&colour="),
    "JSON": Case('{{"grant_type": "client_credentials"}}', BASIC, content_type="application/json"),
    "JSON under the form's name": Case('{{"grant_type": "client_credentials"}}', BASIC),
    "multipart": Case(f"{GRANT}&{ME}", content_type="multipart/form-data; boundary=x"),
    "plain text": Case(f"{GRANT}&{ME}", content_type="text/plain"),
    "no type": Case(f"{GRANT}&{ME}", content_type=""),
    "grant_type twice": Case(f"{GRANT}&{GRANT}&{ME}"),
    "client_id twice": Case(f"{GRANT}&{ME}&client_id=another"),
    "client_secret twice": Case(f"{GRANT}&{ME}&client_secret=another"),
    "scope twice": Case(f"{GRANT}&{ME}&scope=files:read&scope=calculator:use"),
    "an unknown parameter twice": Case(f"{GRANT}&{ME}&colour=red&colour=blue"),
    "not ASCII": Case(f"{GRANT}&{ME}&scope=ÿ"),
    "escaped bytes that are not UTF-8": Case(f"{GRANT}&{ME}&scope=%ff%fe"),
    "a hundred parameters": Case(f"{GRANT}&{ME}&" + "&".join(f"p{number}=1" for number in range(100))),
    "a body of 60 kB": Case(f"{GRANT}&{ME}&colour=" + "a" * 60_000),
    # RFC 6749, section 4.4: what for
    "grant_type missing": Case(ME),
    "grant_type missing, by Basic": Case("", BASIC),
    "grant_type without a value": Case(f"grant_type=&{ME}"),
    "another grant_type": Case(f"grant_type=password&{ME}", None, 400, "unsupported_grant_type"),
    "grant_type of refreshing": Case(f"grant_type=refresh_token&{ME}", None, 400, "unsupported_grant_type"),
    "grant_type of a code": Case(f"grant_type=authorization_code&code=x&{ME}", None, 400, "unsupported_grant_type"),
    "grant_type in capitals": Case(f"grant_type=CLIENT_CREDENTIALS&{ME}", None, 400, "unsupported_grant_type"),
    # RFC 6749, section 3.3: which rights
    "scope absent": token(f"{GRANT}&{ME}"),
    "scope without a value": scoped("scope="),
    "one scope": scoped("scope=calculator:use", "calculator:use"),
    "both scopes": scoped("scope=files:read+calculator:use"),
    "both scopes, escaped": scoped("scope=files%3Aread%20calculator%3Ause"),
    "every scope there is": scoped(f"scope={'+'.join(Scope)}"),
    "one that it may have and one that it may not": scoped("scope=files:read+session:control", "files:read"),
    "a scope twice in one": scoped("scope=files:read+files:read", "files:read"),
    "an unknown scope": scopeless("vault:open"),
    "an unknown scope beside a known one": scopeless("files:read+vault:open"),
    "a scope in capitals": scopeless("FILES:READ"),
    "scopes separated by a comma": scopeless("files:read,calculator:use"),
    "scopes separated by a line break": scopeless("files:read%0Acalculator:use"),
    "a blank": scopeless("+"),
    "a star": scopeless("*"),
    "only scopes of others": scopeless("session:control"),
    # RFC 8707: what for
    "no resource": placed("resource=", [SITE, MCP]),
    "the tools over HTTP": placed(f"resource={SITE}", SITE),
    "MCP": placed(f"resource={MCP}", MCP),
    "MCP, escaped": placed(f"resource={quote_plus(MCP)}", MCP),
    "with a slash at the end": placed(f"resource={SITE}/", SITE),
    "both": placed(f"resource={MCP}&resource={SITE}", [SITE, MCP]),
    "another server": misplaced("resource=https://bank.example"),
    "another port": misplaced("resource=http://127.0.0.1:8009"),
    "another name of this server": misplaced("resource=http://localhost:8008"),
    "another part": misplaced(f"resource={SITE}/admin"),
    "a part of a part": misplaced(f"resource={MCP}/x"),
    "with a fragment": misplaced(f"resource={MCP}%23x"),
    "with a query": misplaced(f"resource={MCP}?x=y"),
    "no address at all": misplaced("resource=mcp"),
    "ours and another": misplaced(f"resource={MCP}&resource=https://bank.example"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_token_endpoint_answers_as_the_rfcs_say(name: str, door: Door, me: Known) -> None:
    case = CASES[name]
    own = {
        "id": quote_plus(me.client_id),
        "name": quote_plus("o'neil + son & co: 100%"),
        "secret": quote_plus(me.secret),
        "basic": basic(*me),
        "encoded": basic(*me).removeprefix("Basic "),
        "wrong": basic(me.client_id, "wrong"),
        "unescaped": plain_basic(*me),
    }
    headers = {"Content-Type": case.content_type, "X-Address": name.replace(" ", "-")}
    if case.authorization is not None:
        headers["Authorization"] = case.authorization.format(**own)
    answer = door.http.post("/oauth/token", content=case.body.format(**own).encode(), headers=headers)
    told = answer.json()
    assert (answer.status_code, told.get("error")) == (case.status, case.error)
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    challenge = answer.headers.get("www-authenticate")
    assert challenge == ('Basic realm="heist"' if case.status == 401 else None)
    if case.error is not None:
        assert set(told) == {"error", "error_description"}
        assert me.secret not in answer.text
        return
    assert set(told) == {"access_token", "token_type", "expires_in", "scope"}
    assert (told["token_type"], told["expires_in"], told["scope"]) == ("Bearer", 300, case.scope)
    claims = claims_of(told["access_token"])
    assert (claims["scope"], claims["aud"]) == (case.scope, case.aud or [SITE, MCP])


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect", "/oauth/revoke"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_not_allowed_and_hears_which_one_is(method: str, path: str, door: Door) -> None:
    response = door.http.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect", "/oauth/revoke"])
def test_credentials_in_the_url_are_never_read(path: str, door: Door, me: Known) -> None:
    asked = urlencode({"grant_type": "client_credentials", "token": "x"})
    answer = door.http.post(f"{path}?{urlencode(me.form)}", content=asked, headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_grant_type_in_the_url_is_never_read(door: Door, me: Known) -> None:
    answer = door.http.post(f"/oauth/token?{GRANT}", content=urlencode(me.form), headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope", "resource", "token"])
@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect", "/oauth/revoke"])
def test_an_error_never_repeats_what_was_sent(name: str, path: str, door: Door, me: Known) -> None:
    answer = door.ask(me, path, **{"token": "x", "scope": "vault:open", name: "<zebra>"})
    assert answer.status_code in (200, 400, 401)
    assert "zebra" not in answer.text + str(answer.headers)


def test_a_wrong_secret_and_an_unknown_client_look_the_same(door: Door, me: Known) -> None:
    answers = [door.ask(who) for who in (Known(me.client_id, "x"), Known("nobody-else", me.secret))]
    assert (answers[0].status_code, answers[0].json()) == (answers[1].status_code, answers[1].json())


def test_the_answer_is_a_token_that_opens_both_parts(door: Door, me: Known) -> None:
    token = door.token(me)
    assert [card["name"] for card in door.tools(token).json()] == ["calculator", "file_reader"]
    assert door.use(token).json()["text"] == "1 + 1 = 2"
    assert door.mcp(token).status_code != 401


def test_a_token_of_the_narrower_scope_opens_the_narrower_door(door: Door, me: Known) -> None:
    narrow = door.token(me, scope="files:read session:control")
    answer = door.use(narrow)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    where = f'resource_metadata="{SITE}/.well-known/oauth-protected-resource"'
    challenge = f'Bearer realm="heist", error="insufficient_scope", scope="calculator:use", {where}'
    assert answer.headers["www-authenticate"] == challenge


def test_a_call_over_mcp_without_the_scope_is_challenged_for_it(door: Door, me: Known) -> None:
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "calculator", "arguments": {}}}
    answer = door.mcp(door.token(me, scope="files:read"), call)
    where = f'resource_metadata="{SITE}/.well-known/oauth-protected-resource/mcp"'
    challenge = f'Bearer realm="heist", error="insufficient_scope", scope="calculator:use", {where}'
    assert (answer.status_code, answer.headers["www-authenticate"]) == (403, challenge)
    assert answer.json()["id"] == 7


def test_every_challenge_of_a_resource_leads_to_metadata_that_answers(door: Door) -> None:
    asked = [door.http.get(path) for path in ("/tools", "/tools/stats", "/api/sessions", "/admin/tools")]
    asked += [door.http.post("/tools/calculator", json={"expression": "1"}), door.mcp(None)]
    asked += [door.http.get("/mcp", headers=STREAMING), door.http.get("/api/sessions", headers=bearing("x"))]
    for answer in asked:
        assert answer.status_code == 401
        where = answer.headers["www-authenticate"].split('resource_metadata="')[1].removesuffix('"')
        about = door.http.get(where)
        assert about.status_code == 200
        over_mcp = answer.request.url.path == "/mcp"
        assert about.json()["resource"] == (MCP if over_mcp else SITE)


def test_the_metadata_of_the_server_is_what_rfc_8414_asks_for(door: Door) -> None:
    about = door.http.get("/.well-known/oauth-authorization-server").json()
    assert about["issuer"] == SITE
    assert about["grant_types_supported"] == ["client_credentials"]
    assert about["response_types_supported"] == ["none"]
    assert set(about["scopes_supported"]) == {scope.value for scope in Scope}
    for endpoint in ("token", "introspection", "revocation"):
        methods = about[f"{endpoint}_endpoint_auth_methods_supported"]
        assert methods == ["client_secret_basic", "client_secret_post"]
    assert "jwks_uri" not in about
    assert None not in about.values()


def test_each_address_in_the_metadata_answers_and_does_what_it_says(door: Door, me: Known) -> None:
    about = door.http.get("/.well-known/oauth-authorization-server").json()
    found = {name for name, value in about.items() if isinstance(value, str) and value.startswith(SITE + "/")}
    kinds = ("authorization", "token", "introspection", "revocation")
    assert found == {f"{kind}_endpoint" for kind in kinds}
    token = door.http.post(about["token_endpoint"], data={"grant_type": "client_credentials", **me.form}).json()
    sent = {"token": token["access_token"], **me.form}
    assert door.http.post(about["introspection_endpoint"], data=sent).json()["active"] is True
    assert door.http.post(about["revocation_endpoint"], data=sent).json() == {}
    assert door.http.post(about["introspection_endpoint"], data=sent).json() == {"active": False}
    assert door.http.get(about["authorization_endpoint"]).json()["error"] == "unsupported_response_type"


@pytest.mark.parametrize(("part", "resource"), [("", SITE), ("/mcp", MCP)])
def test_the_metadata_of_a_resource_is_what_rfc_9728_asks_for(door: Door, part: str, resource: str) -> None:
    about = door.http.get(f"/.well-known/oauth-protected-resource{part}").json()
    assert (about["resource"], about["authorization_servers"]) == (resource, [SITE])
    assert about["bearer_methods_supported"] == ["header"]
    assert set(about["scopes_supported"]) == (AGENT_SCOPES if part else {scope.value for scope in Scope})
    [server] = about["authorization_servers"]
    assert door.http.get(f"{server}/.well-known/oauth-authorization-server").json()["issuer"] == server


def test_under_another_name_the_metadata_names_that_one(door: Door) -> None:
    about = door.http.get("/.well-known/oauth-authorization-server", headers={"Host": "localhost:8008"}).json()
    assert about["issuer"] == "http://localhost:8008"
    assert about["token_endpoint"] == "http://localhost:8008/oauth/token"


def test_the_metadata_can_be_had_by_anybody(door: Door) -> None:
    for path in ("oauth-authorization-server", "oauth-protected-resource", "oauth-protected-resource/mcp"):
        assert door.http.get(f"/.well-known/{path}", headers=bearing("nonsense")).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "?response_type=code&client_id=x&redirect_uri=https://evil.example&state=s",
        "?response_type=token",
        "?redirect_uri=" + "a" * 4000,
        "?a=%ff&a=%00",
    ],
)
def test_nobody_is_ever_sent_on_by_the_authorization_endpoint(door: Door, asked: str) -> None:
    answer = door.http.get(f"/oauth/authorize{asked}", follow_redirects=False)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_response_type")
    assert "location" not in answer.headers
    assert "evil" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_a_shared_key_is_never_published(door: Door) -> None:
    answer = door.http.get("/.well-known/jwks.json")
    assert answer.status_code == 404
    assert "HEIST_SIGNING_KEYS" in answer.json()["detail"]


def test_introspection_tells_a_client_about_its_own_token(door: Door) -> None:
    mine = door.outsider(*BOTH, name="introspector")
    token = door.token(mine, scope="files:read", resource=MCP)
    answer = door.ask(mine, "/oauth/introspect", token=token, token_type_hint="refresh_token")
    told = {"active": True, "token_type": "Bearer", "username": "introspector", **claims_of(token)}
    assert (answer.json(), answer.headers["cache-control"]) == (told, "no-store")
    assert (told["scope"], told["aud"], told["client_id"]) == ("files:read", MCP, mine.client_id)


def test_introspection_by_basic_is_as_good(door: Door, me: Known) -> None:
    headers = {"Authorization": basic(*me)}
    answer = door.http.post("/oauth/introspect", data={"token": door.token(me)}, headers=headers)
    assert answer.json()["active"] is True


def test_introspection_says_nothing_of_the_tokens_of_others_but_to_whom_may_know(door: Door, me: Known) -> None:
    token = door.token(me)
    stranger, auditor = door.outsider(*BOTH, "session:control"), door.outsider("tokens:introspect")
    assert door.ask(stranger, "/oauth/introspect", token=token).json() == {"active": False}
    told = door.ask(auditor, "/oauth/introspect", token=token).json()
    assert (told["active"], told["client_id"]) == (True, me.client_id)


def test_what_is_not_good_is_not_active_and_no_reason_is_given(door: Door, me: Known) -> None:
    auditor = door.outsider("tokens:introspect")
    revoked, quarantined, disabled = door.outsider(*BOTH), door.agent(*BOTH), door.outsider(*BOTH)
    tokens = [door.token(known) for known in (revoked, quarantined, disabled)]
    door.ask(revoked, "/oauth/revoke", token=tokens[0])
    door.runtime.clients.suspend(quarantined.client_id)
    Registrations(door.runtime.engine).disable(disabled.client_id, AT)
    in_process = door.runtime.auth.issue(door.runtime.clients._agents[me.client_id], frozenset(BOTH))
    elsewhere = door.http.post(
        "/oauth/token", data={"grant_type": "client_credentials", **me.form}, headers={"Host": "localhost:8008"}
    ).json()["access_token"]
    assert door.ask(auditor, "/oauth/introspect", token=elsewhere).json()["iss"] == "http://localhost:8008"
    for token in (*tokens, in_process, "garbage", "a.b.c", "ÿ", "x" * 5000):
        answer = door.ask(auditor, "/oauth/introspect", token=token)
        assert (answer.status_code, answer.json()) == (200, {"active": False})


@pytest.mark.parametrize("path", ["/oauth/introspect", "/oauth/revoke"])
def test_what_takes_a_token_refuses_who_does_not_say_who_it_is_or_which_token(door: Door, me: Known, path: str) -> None:
    token = door.token(me)
    for sent, headers, status, error in (
        ({"token": token}, {}, 401, "invalid_client"),
        ({"token": token}, bearing(token), 401, "invalid_client"),
        ({"token": token, **me.form, "client_secret": "wrong"}, {}, 401, "invalid_client"),
        (me.form, {}, 400, "invalid_request"),
        ({"token": "", **me.form}, {}, 400, "invalid_request"),
    ):
        answer = door.http.post(path, data=sent, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert answer.headers.get("www-authenticate", "").startswith("Basic") == (status == 401)
        assert answer.headers["cache-control"] == "no-store"
    assert door.http.post(path, json={"token": token}, headers={"Authorization": basic(*me)}).status_code == 400
    assert door.tools(token).status_code == 200


@pytest.mark.parametrize("inside", [True, False])
def test_a_token_that_its_client_gives_back_is_dead_at_once_and_no_other_is(door: Door, inside: bool) -> None:
    known = door.agent(*BOTH) if inside else door.outsider(*BOTH)
    bad, good = door.token(known), door.token(known)
    for _ in range(2):
        answer = door.ask(known, "/oauth/revoke", token=bad)
        assert (answer.status_code, answer.json(), answer.headers["cache-control"]) == (200, {}, "no-store")
    assert [door.tools(token).status_code for token in (bad, good)] == [401, 200]
    assert door.mcp(bad).status_code == 401
    assert door.tools(bad).json()["detail"] == "the token was revoked"


@pytest.mark.parametrize("worthless", ["garbage", "a.b.c", "x" * 5000, "ÿ"])
def test_giving_back_what_is_no_token_is_fine(door: Door, me: Known, worthless: str) -> None:
    answer = door.ask(me, "/oauth/revoke", token=worthless)
    assert (answer.status_code, answer.json()) == (200, {})


def test_nobody_takes_the_token_of_another(door: Door, me: Known) -> None:
    token = door.token(me)
    for other in (door.outsider(*BOTH), door.outsider("tokens:introspect"), door.agent(*BOTH)):
        answer = door.ask(other, "/oauth/revoke", token=token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert door.tools(token).status_code == 200


def fail(door: Door, known: Known, address: str, times: int = FAILURES, path: str = "/oauth/token") -> list[int]:
    wrong = Known(known.client_id, "wrong")
    return [door.ask(wrong, path, address, token="x").status_code for _ in range(times)]


def test_after_ten_wrong_secrets_even_the_right_one_has_to_wait(door: Door, me: Known) -> None:
    assert fail(door, me, "10.0.0.1") == [401] * 10
    answer = door.ask(me, address="10.0.0.1")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= WINDOW + 1
    assert answer.headers["cache-control"] == "no-store"
    assert me.client_id not in answer.text


def test_a_mole_that_guesses_locks_out_nobody_but_itself(door: Door, me: Known) -> None:
    other = door.outsider(*BOTH)
    fail(door, me, "10.0.0.2")
    assert door.ask(me, address="10.0.0.2").status_code == 429
    assert door.ask(other, address="10.0.0.2").status_code == 200
    assert door.ask(me, address="10.0.0.3").status_code == 200


@pytest.mark.parametrize("path", ["/oauth/introspect", "/oauth/revoke"])
def test_guesses_are_counted_wherever_they_are_made(door: Door, me: Known, path: str) -> None:
    assert fail(door, me, f"10.0.1.{len(path)}", path=path) == [401] * 10
    assert door.ask(me, address=f"10.0.1.{len(path)}").status_code == 429


def test_guesses_by_basic_and_in_the_body_are_counted_together(door: Door, me: Known) -> None:
    fail(door, me, "10.0.0.4", 5)
    headers = {"Authorization": basic(me.client_id, "wrong"), "X-Address": "10.0.0.4"}
    for _ in range(5):
        assert door.http.post("/oauth/token", content=GRANT, headers=headers | FORM).status_code == 401
    assert door.ask(me, address="10.0.0.4").status_code == 429


anything = st.text(max_size=60) | st.sampled_from(
    ["\0", "files:read", SITE, MCP, "‮", "😀", "a\r\nb: c", '"', "%", "\\"]
)


@given(name=st.sampled_from(["scope", "resource", "client_id", "client_secret", "grant_type", "token"]), value=anything)
def test_whatever_is_asked_for_the_server_stands(door: Door, name: str, value: str) -> None:
    mine = door.agent(*BOTH)
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        sent = mine.form | {"grant_type": "client_credentials", "token": "x", name: value}
        answer = door.http.post(path, data=sent)
        assert answer.status_code in (200, 400, 401, 429)
        if "access_token" in answer.json():
            assert set(answer.json()["scope"].split()) <= set(BOTH)
    door.runtime.clients.remove(mine.client_id)


@given(body=st.binary(max_size=60))
def test_whatever_the_body_is_the_server_stands(door: Door, body: bytes) -> None:
    answer = door.http.post("/oauth/token", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["error"]) in ((400, "invalid_request"), (401, "invalid_client"))
