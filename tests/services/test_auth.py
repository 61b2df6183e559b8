"""Tokens: their shape, and every way in which one can be bad, at each door of a house that runs."""

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import InsufficientScope, InvalidToken
from heist.services.auth import LEEWAY, LIFETIME, Auth, Principal, Resource, Scope, challenge
from heist.services.clients import Client, Clients
from heist.services.keys import Key, Keys
from heist.store.clients import Registrations
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.queries import Queries
from tests.conftest import SECRET
from tests.services.oauth import AT, MCP, SITE, STREAMING, Door, Known, bearing, opened
from tests.times import START, HandClock

pytestmark = [pytest.mark.mission("S1"), pytest.mark.anyio]

SCOPES = frozenset({Scope.CALCULATOR, Scope.FILES})
ASKED = {"scope": "calculator:use files:read"}
NOW = int(START.timestamp())
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
scopes = st.frozensets(st.sampled_from(Scope))


class Forge(NamedTuple):
    """Makes tokens for one client, with whatever key and claims; a claim or a header that is None is left out."""

    key: Key
    client_id: str
    site: str
    audience: list[str]
    now: int
    door: Door | None = None

    def token(self, **changed: Any) -> str:
        """A token that our own key signed, with `changed` claims."""
        return self.signed(self.claims(**changed))

    def claims(self, **changed: Any) -> dict[str, Any]:
        good = {
            "iss": self.site,
            "aud": self.audience,
            "sub": self.client_id,
            "client_id": self.client_id,
            "iat": self.now,
            "exp": self.now + LIFETIME,
            "jti": "0" * 32,
            "scope": "calculator:use files:read",
        }
        return {name: value for name, value in (good | changed).items() if value is not None}

    def signed(self, claims: object = None, key: bytes | None = None, digest: str = "sha256", **header: object) -> str:
        """A token as its pieces say, whatever they say, sealed by HMAC."""
        head = {"alg": "HS256", "typ": "at+jwt", "kid": self.key.kid} | header
        first = coded(json.dumps({name: value for name, value in head.items() if value is not None}).encode())
        second = coded(json.dumps(self.claims() if claims is None else claims).encode())
        return self.sealed(f"{first}.{second}", key, digest)

    def sealed(self, content: str, key: bytes | None = None, digest: str = "sha256") -> str:
        return f"{content}.{coded(hmac.digest(key or self.key.signs, content.encode(), digest))}"

    def of(self, known: Known, **changed: Any) -> str:
        """The same for another client."""
        return self._replace(client_id=known.client_id).token(**changed)

    def outsider(self) -> tuple[Door, Known]:
        assert self.door is not None
        return self.door, self.door.outsider(*SCOPES)

    def agent(self) -> tuple[Door, Known]:
        assert self.door is not None
        return self.door, self.door.agent(*SCOPES)


def coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class House(NamedTuple):
    """The validation alone, in process, at a moment that stands still."""

    auth: Auth
    clients: Clients
    keys: Keys
    clock: HandClock
    client: Client
    forge: Forge


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Queries, Registrations]:
    engine = connect(f"sqlite:///{tmp_path_factory.mktemp('auth')}/heist.db")
    upgrade(engine)
    return Queries(engine), Registrations(engine)


Stored = tuple[Queries, Registrations]


def built(stored: Stored, granted: frozenset[str] = SCOPES) -> House:
    clock, keys = HandClock(), Keys(SECRET)
    clients = Clients(*stored, clock)
    client_id, _ = clients.register("mole", granted, "heist_1")
    client = clients.agent(client_id)
    assert client is not None
    forge = Forge(keys.first, client_id, Auth.here.site, [Auth.here.uri], NOW)
    return House(Auth(keys, clients, clock), clients, keys, clock, client, forge)


@pytest.fixture
def house(stored: Stored) -> House:
    return built(stored)


def test_a_token_has_the_header_of_rfc_9068(house: House) -> None:
    header = jwt.get_unverified_header(house.auth.issue(house.client, SCOPES))
    assert header == {"typ": "at+jwt", "alg": "HS256", "kid": house.keys.first.kid}


def test_a_token_holds_exactly_the_eight_claims(house: House) -> None:
    claims = opened_up(house.auth.issue(house.client, SCOPES))
    assert set(claims) == {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"}
    assert claims | {"jti": "0" * 32, "aud": [claims["aud"]]} == house.forge.claims()


def test_a_token_lives_five_minutes(house: House) -> None:
    claims = opened_up(house.auth.issue(house.client, SCOPES))
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 300)


def test_no_two_tokens_share_a_jti(house: House) -> None:
    tokens = [house.auth.issue(house.client, SCOPES) for _ in range(50)]
    assert len({opened_up(token)["jti"] for token in tokens}) == 50


def opened_up(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_good_token_gives_its_principal(house: House) -> None:
    principal = await house.auth.verify(house.auth.issue(house.client, SCOPES))
    assert principal == Principal("mole", SCOPES, "heist_1", house.client.client_id)


REST = Resource("https://heist.example")
OVER_MCP = Resource("https://heist.example", "/mcp")


@pytest.mark.parametrize("resource", [REST, OVER_MCP])
async def test_a_token_opens_the_part_that_it_is_for_and_no_other(house: House, resource: Resource) -> None:
    token = house.auth.issue(house.client, SCOPES, resource)
    assert opened_up(token)["aud"] == resource.uri
    assert (await house.auth.verify(token, resource)).name == "mole"
    for other in {REST, OVER_MCP, Resource("https://heist.example:8443"), Auth.here} - {resource}:
        with pytest.raises(InvalidToken, match="for another address, or another part"):
            await house.auth.verify(token, None if other is Auth.here else other)


async def test_a_token_for_both_parts_names_both_and_opens_both(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES, REST, OVER_MCP)
    assert (opened_up(token)["iss"], opened_up(token)["aud"]) == (REST.uri, [REST.uri, OVER_MCP.uri])
    for place in (REST, OVER_MCP):
        assert (await house.auth.verify(token, place)).name == "mole"


async def test_a_token_of_the_crew_opens_nothing_outside(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    for place in (REST, OVER_MCP):
        with pytest.raises(InvalidToken):
            await house.auth.verify(token, place)


async def test_a_token_made_by_hand_like_ours_is_good_so_that_the_bad_ones_below_are_bad_for_their_own_reason(
    house: House, door: Door, forge: Forge
) -> None:
    assert (await house.auth.verify(house.forge.token())).scopes == SCOPES
    assert [answer.status_code for answer in knocked(door, forge.token())[:2]] == [200, 200]
    assert door.mcp(forge.token(), INITIALIZE).status_code == 200
    for alike in (forge.token(jti="another"), forge.token(aud=MCP), forge.token(colour="red"), forge.token(aud=[MCP])):
        assert door.mcp(alike, INITIALIZE).status_code == 200


def unsigned(forge: Forge, alg: str) -> str:
    return forge.signed(alg=alg).rpartition(".")[0] + "."


def with_payload(forge: Forge, payload: str | bytes) -> str:
    payload = payload.encode() if isinstance(payload, str) else payload
    return forge.sealed(f"{forge.token().partition('.')[0]}.{coded(payload)}")


def with_header(forge: Forge, header: str) -> str:
    return forge.sealed(f"{coded(header.encode())}.{forge.token().split('.')[1]}")


def doubled(forge: Forge, name: str, last: object) -> str:
    """A payload in which a claim stands twice; the last one counts (RFC 7519, section 4)."""
    return with_payload(forge, json.dumps(forge.claims())[:-1] + f", {json.dumps(name)}: {json.dumps(last)}}}")


def of_an_agent_that_left(forge: Forge) -> str:
    door, known = forge.agent()
    door.runtime.clients.remove(known.client_id)
    return forge.of(known)


def of_an_agent_in_quarantine(forge: Forge) -> str:
    door, known = forge.agent()
    token = door.token(known)
    door.runtime.clients.suspend(known.client_id)
    return token


def of_an_agent_that_was_released(forge: Forge) -> str:
    """It came back as a new client: what it held before stays dead."""
    token = of_an_agent_in_quarantine(forge)
    door, _ = forge.agent()
    door.runtime.clients.remove(opened_up(token)["sub"])
    return token


def of_a_disabled_client(forge: Forge) -> str:
    door, known = forge.outsider()
    token = door.token(known)
    Registrations(door.runtime.engine).disable(known.client_id, AT)
    return token


def revoked(forge: Forge, made: Callable[[Forge], tuple[Door, Known]]) -> str:
    door, known = made(forge)
    token = door.token(known)
    assert door.ask(known, "/oauth/revoke", token=token).json() == {}
    return token


def without(name: str) -> Callable[[Forge], str]:
    return lambda forge: forge.token(**{name: None})


def with_claim(name: str, value: object) -> Callable[[Forge], str]:
    return lambda forge: forge.signed(forge.claims() | {name: value})


HOSTILE: dict[str, Callable[[Forge], str]] = {
    "alg none without a signature": lambda f: unsigned(f, "none"),
    "alg None in title case": lambda f: unsigned(f, "None"),
    "alg NONE in capitals": lambda f: unsigned(f, "NONE"),
    "alg nOnE": lambda f: unsigned(f, "nOnE"),
    "alg none with our signature": lambda f: f.signed(alg="none"),
    "alg missing": lambda f: f.signed(alg=None),
    "alg empty": lambda f: f.signed(alg=""),
    "alg a number": lambda f: f.signed(alg=256),
    "alg a list": lambda f: f.signed(alg=["HS256"]),
    "alg HS256 and no signature": lambda f: unsigned(f, "HS256"),
    "alg HS512 with our key": lambda f: f.signed(alg="HS512", digest="sha512"),
    "alg HS384 with our key": lambda f: f.signed(alg="HS384", digest="sha384"),
    "alg RS256 with our key": lambda f: f.signed(alg="RS256"),
    "alg EdDSA with our key": lambda f: f.signed(alg="EdDSA"),
    "alg in small letters": lambda f: f.signed(alg="hs256"),
    "alg twice, none last": lambda f: with_header(
        f, f'{{"alg":"HS256","typ":"at+jwt","kid":"{f.key.kid}","alg":"none"}}'
    ),
    "a null signature": lambda f: f.token().rpartition(".")[0] + "." + coded(b"\0" * 32),
    "half a signature": lambda f: f.token()[:-22],
    "the signature of another token": lambda f: f.token().rpartition(".")[0] + f.token(jti="x")[-44:],
    "another key": lambda f: f.signed(key=Keys(SECRET + "x").first.signs),
    "the key of another server, by its own kid": lambda f: f.signed(
        key=Keys(SECRET + "x").first.signs, kid=Keys(SECRET + "x").first.kid
    ),
    "the key of the cookies": lambda f: f.signed(key=Keys(SECRET).derive("browser cookie")),
    "the key of the login token": lambda f: f.signed(key=Keys(SECRET).derive("login token")),
    "the secret itself as the key": lambda f: f.signed(key=SECRET.encode()),
    "an empty-looking key": lambda f: f.signed(key=b"\0" * 32),
    "the key id as the key": lambda f: f.signed(key=f.key.kid.encode()),
    "typ JWT": lambda f: f.signed(typ="JWT"),
    "typ missing": lambda f: f.signed(typ=None),
    "typ a list": lambda f: f.signed(typ=["at+jwt"]),
    "typ of an id token": lambda f: f.signed(typ="id+jwt"),
    "kid of nobody": lambda f: f.signed(kid="0123456789abcdef"),
    "kid missing": lambda f: f.signed(kid=None),
    "kid empty": lambda f: f.signed(kid=""),
    "kid a number": lambda f: f.signed(kid=1),
    "kid a list": lambda f: f.signed(kid=[f.key.kid]),
    "kid a mapping": lambda f: f.signed(kid={"kid": f.key.kid}),
    "kid a path": lambda f: f.signed(kid="../../dev/null"),
    "kid an injection": lambda f: f.signed(kid="x' UNION SELECT 'key"),
    "kid in capitals": lambda f: f.signed(kid=f.key.kid.upper() + "A"),
    "a critical header": lambda f: f.signed(crit=["exp"]),
    "a critical header that nobody knows": lambda f: f.signed(crit=["heist"], heist=True),
    "an unencoded payload": lambda f: f.signed(b64=False, crit=["b64"]),
    "its own key in the header": lambda f: f.signed(key=b"k" * 32, jwk={"kty": "oct", "k": coded(b"k" * 32)}),
    "its own key at an address": lambda f: f.signed(key=b"k" * 32, kid="k", jku="http://127.0.0.1:9/jwks.json"),
    "its own certificate": lambda f: f.signed(key=b"k" * 32, x5c=["MIIB"], x5u="http://127.0.0.1:9/x.pem"),
    "aud of another service": lambda f: f.token(aud="https://bank.example"),
    "aud a list of others": lambda f: f.token(aud=["bank", "police"]),
    "aud with odd types beside us": lambda f: f.token(aud=[*f.audience, 7]),
    "aud with null beside us": lambda f: f.token(aud=[*f.audience, None]),
    "aud of lists": lambda f: f.token(aud=[f.audience]),
    "aud a number": lambda f: f.token(aud=7),
    "aud a mapping": lambda f: f.token(aud={SITE: True, MCP: True}),
    "aud empty": lambda f: f.token(aud=""),
    "aud an empty list": lambda f: f.token(aud=[]),
    "aud the beginning of ours": lambda f: f.token(aud=[SITE[:-1], SITE + "/", MCP + "/"]),
    "aud of the crew": lambda f: f.token(aud=Auth.here.uri),
    "aud twice, a foreign one last": lambda f: doubled(f, "aud", "https://bank.example"),
    "iss another": lambda f: f.token(iss="https://heist.example"),
    "iss of another port": lambda f: f.token(iss="http://127.0.0.1:8009"),
    "iss over https": lambda f: f.token(iss=SITE.replace("http", "https")),
    "iss by another name": lambda f: f.token(iss="http://localhost:8008"),
    "iss of the crew": lambda f: f.token(iss=Auth.here.site),
    "iss a list with ours": lambda f: f.token(iss=[SITE]),
    "iss longer than ours": lambda f: f.token(iss=SITE + "/"),
    "iss in capitals": lambda f: f.token(iss=SITE.upper()),
    "iss a number": lambda f: f.token(iss=1),
    "iss twice, a foreign one last": lambda f: doubled(f, "iss", "https://bank.example"),
    "everything of another server with our name": lambda f: f._replace(key=Keys("y" * 40).first).token(),
    **{f"{name} missing": without(name) for name in Auth.claims},
    **{f"{name} null": with_claim(name, None) for name in Auth.claims},
    **{f"{name} true": with_claim(name, True) for name in Auth.claims},
    "sub a number": lambda f: f.token(sub=1, client_id=1),
    "sub a list": lambda f: f.token(sub=["mole"], client_id=["mole"]),
    "sub empty": lambda f: f.token(sub="", client_id=""),
    "sub the client's name": lambda f: f.token(sub="mole", client_id="mole"),
    "sub an injection": lambda f: f.token(sub="x' OR '1'='1", client_id="x' OR '1'='1"),
    "sub of one megabyte": lambda f: f.token(sub="a" * 1_000_000, client_id="a" * 1_000_000),
    "sub not in ASCII": lambda f: f.token(sub="mölé", client_id="mölé"),
    "sub with half of a character": lambda f: f.token(sub="\ud800", client_id="\ud800"),
    "sub and client_id differ": lambda f: f.token(client_id="planner-1"),
    "sub of the user at the browser": lambda f: f.token(sub="user", client_id="user"),
    "jti a number": lambda f: f.token(jti=1),
    "scope a list": lambda f: f.token(scope=["calculator:use"]),
    "scope a number": lambda f: f.token(scope=1),
    "scope a mapping": lambda f: f.token(scope={"calculator:use": True}),
    "iat a text": lambda f: f.token(iat=str(f.now)),
    "iat a fraction": lambda f: f.token(iat=f.now + 0.5),
    "iat a whole fraction": lambda f: f.token(iat=float(f.now)),
    "iat true, exp soon after": lambda f: f.token(iat=True, exp=200),
    "iat infinite": lambda f: f.token(iat=float("-inf")),
    "iat not a number": lambda f: f.token(iat=float("nan")),
    "iat a minute ahead": lambda f: f.token(iat=f.now + 60, exp=f.now + 120),
    "iat in milliseconds": lambda f: f.token(iat=f.now * 1000, exp=f.now * 1000 + 300),
    "exp a text": lambda f: f.token(exp=str(f.now + 60)),
    "exp a fraction": lambda f: f.token(exp=f.now + 60.5),
    "exp a list": lambda f: f.token(exp=[f.now + 60]),
    "exp infinite": lambda f: f.token(exp=float("inf")),
    "exp in a thousand years": lambda f: f.token(exp=f.now + 86_400 * 365_000),
    "exp with 400 digits": lambda f: f.token(exp=10**400),
    "iat and exp with 400 digits": lambda f: f.token(iat=10**400, exp=10**400 + 60),
    "exp a second too long": lambda f: f.token(exp=f.now + LIFETIME + 1),
    "exp before iat": lambda f: f.token(exp=f.now - 1),
    "exp at iat": lambda f: f.token(exp=f.now),
    "exp negative": lambda f: f.token(iat=-200, exp=-100),
    "exp in the year zero": lambda f: f.token(iat=-100, exp=0),
    "expired": lambda f: f.token(iat=f.now - 200, exp=f.now - 100),
    "expired by the leeway": lambda f: f.token(iat=f.now - 200, exp=f.now - LEEWAY),
    "exp twice, the past one last": lambda f: doubled(f, "exp", f.now - 100),
    "two tokens": lambda f: f"{f.token()} {f.token()}",
    "a token and a comma": lambda f: f"{f.token()},",
    "a word": lambda _: "token",
    "dots": lambda _: "..",
    "null": lambda _: "null",
    "one part too many": lambda f: f.token() + ".x",
    "not ASCII": lambda _: "ÿ.ÿ.ÿ",
    "a lone surrogate": lambda _: "\ud800.\ud800.\ud800",
    "a null byte": lambda f: f.token().replace(".", "\0."),
    "an encrypted one of five parts": lambda f: f.token() + ".a.b",
    "an encrypted one with its header": lambda f: ".".join(
        [
            coded(b'{"alg":"dir","enc":"A256GCM","typ":"at+jwt"}'),
            "",
            coded(b"i" * 12),
            coded(b"c" * 99),
            coded(b"t" * 16),
        ]
    ),
    "one inside another": lambda f: with_payload(f, json.dumps(f.token())),
    "one inside another by cty": lambda f: f.signed(cty="JWT", typ="JWT"),
    "one megabyte": lambda _: "a" * 1_000_000,
    "one megabyte of dots": lambda _: "." * 1_000_000,
    "a scope of one megabyte with a foreign signature": lambda f: f.signed(f.claims(scope="a " * 500_000), b"k" * 32),
    "the header alone": lambda f: f.token().partition(".")[0],
    "no signature part": lambda f: f.token().rpartition(".")[0],
    "payload empty": lambda f: with_payload(f, ""),
    "payload a list": lambda f: with_payload(f, "[]"),
    "payload null": lambda f: with_payload(f, "null"),
    "payload an empty mapping": lambda f: with_payload(f, "{}"),
    "payload not JSON": lambda f: with_payload(f, "{"),
    "payload nested deeply": lambda f: with_payload(f, '{"iss":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "payload of mappings nested deeply": lambda f: with_payload(f, '{"a":' * 50_000 + "1" + "}" * 50_000),
    "payload with a number of 10000 digits": lambda f: with_payload(f, '{"exp":' + "9" * 10_000 + "}"),
    "payload not UTF-8": lambda f: with_payload(f, b"\xff\xfe"),
    "payload in UTF-16": lambda f: with_payload(f, json.dumps(f.claims()).encode("utf-16")[:-1]),
    "payload compressed by zip": lambda f: f.signed(zip="DEF", claims=[1]),
    "header a list": lambda f: with_header(f, "[]"),
    "header null": lambda f: with_header(f, "null"),
    "header not JSON": lambda f: with_header(f, "{"),
    "header nested deeply": lambda f: with_header(f, '{"alg":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "of an agent that left": of_an_agent_that_left,
    "of an agent in quarantine": of_an_agent_in_quarantine,
    "of an agent from before its quarantine": of_an_agent_that_was_released,
    "of a client that is disabled": of_a_disabled_client,
    "revoked by an agent": lambda f: revoked(f, Forge.agent),
    "revoked by a client from outside": lambda f: revoked(f, Forge.outsider),
}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Generator[Door]:
    with opened(tmp_path_factory.mktemp("door")) as one:
        yield one


@pytest.fixture(scope="module")
def owner(door: Door) -> Known:
    return door.agent(*SCOPES)


@pytest.fixture
def forge(door: Door, owner: Known) -> Forge:
    return Forge(door.runtime.keys.first, owner.client_id, SITE, [SITE, MCP], int(time.time()), door)


def knocked(door: Door, token: str) -> list[httpx2.Response]:
    """The answers of the three doors to a token, byte for byte as it is."""
    sent = {b"Authorization": b"Bearer " + token.encode("utf-8", "surrogatepass")}
    mcp = {**{name.encode(): value.encode() for name, value in STREAMING.items()}, **sent}
    return [
        door.http.get("/tools", headers=sent),
        door.http.post("/tools/calculator", json={"expression": "1 + 1"}, headers=sent),
        door.http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=mcp),
    ]


def refused(answer: httpx2.Response, part: str) -> bool:
    where = f'resource_metadata="{SITE}/.well-known/oauth-protected-resource{part}"'
    expected = f'Bearer realm="heist", error="invalid_token", {where}'
    return (answer.status_code, answer.headers["www-authenticate"]) == (401, expected)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_refused_at_every_door(name: str, door: Door, forge: Forge) -> None:
    answers = knocked(door, HOSTILE[name](forge))
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert refused(answers[0], "")
    assert refused(answers[1], "")
    assert refused(answers[2], "/mcp")
    assert {answer.json()["error"] for answer in answers} == {"invalid_token"}
    assert all(len(answer.json()["detail"]) < 170 for answer in answers)


def test_a_token_for_the_tools_over_http_is_refused_over_mcp(door: Door, forge: Forge) -> None:
    first, second, third = knocked(door, forge.token(aud=SITE))
    assert (first.status_code, second.status_code) == (200, 200)
    assert refused(third, "/mcp")
    assert f"ask {SITE}/oauth/token for one" in third.json()["detail"]


def test_a_token_for_mcp_is_refused_by_the_tools_over_http(door: Door, forge: Forge) -> None:
    first, second, _ = knocked(door, forge.token(aud=MCP))
    assert refused(first, "")
    assert refused(second, "")
    assert door.mcp(forge.token(aud=MCP), INITIALIZE).status_code == 200


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "bearer", "Basic eDp5", "Token x", "x"])
def test_who_sends_no_token_hears_of_no_error_code(door: Door, sent: str) -> None:
    for answer, part in (
        (door.http.get("/tools", headers={"Authorization": sent}), ""),
        (door.http.post("/mcp", json={}, headers=STREAMING | {"Authorization": sent}), "/mcp"),
    ):
        assert answer.status_code == 401
        where = f"{SITE}/.well-known/oauth-protected-resource{part}"
        assert answer.headers["www-authenticate"] == f'Bearer realm="heist", resource_metadata="{where}"'


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_no_method_of_mcp_is_open_without_a_token(door: Door, method: str) -> None:
    assert door.http.request(method, "/mcp", headers=STREAMING).status_code == 401


def test_a_token_is_never_read_from_anywhere_but_its_header(door: Door, forge: Forge) -> None:
    token = forge.token()
    door.http.cookies.set("access_token", token)
    door.http.cookies.set("Authorization", f"Bearer {token}")
    try:
        for path in ("/tools", "/mcp"):
            assert door.http.get(f"{path}?access_token={token}", headers=STREAMING).status_code == 401
        assert door.http.post("/tools/calculator", data={"access_token": token}).status_code == 401
        assert door.http.post("/mcp", json={"access_token": token}, headers=STREAMING).status_code == 401
    finally:
        door.http.cookies.clear()


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_may_be_written_in_any_case(door: Door, forge: Forge, scheme: str) -> None:
    assert door.http.get("/tools", headers={"Authorization": f"{scheme} {forge.token()}"}).status_code == 200


def test_of_a_claim_that_stands_twice_the_last_one_counts(door: Door, forge: Forge) -> None:
    assert [tool["name"] for tool in door.tools(doubled(forge, "scope", "files:read")).json()] == ["file_reader"]


def test_a_call_of_a_tool_named_by_half_a_character_with_a_bad_token_is_refused_too(door: Door, forge: Forge) -> None:
    message = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\\ud800","arguments":{}}}'
    headers = STREAMING | bearing(of_an_agent_in_quarantine(forge)) | {"Content-Type": "application/json"}
    assert refused(door.http.post("/mcp", content=message, headers=headers), "/mcp")


@given(sent=st.binary(max_size=40).filter(lambda sent: not {0, 10, 13} & set(sent)))
def test_no_authorization_header_opens_a_door_or_breaks_it(door: Door, sent: bytes) -> None:
    for value in (sent, b"Bearer " + sent, b"Basic " + sent, b"Basic " + base64.b64encode(sent)):
        headers = {b"Authorization": value}
        assert door.http.get("/tools", headers=headers).status_code == 401
        assert door.http.post("/mcp", json={}, headers=headers).status_code == 401
        assert door.http.post(
            "/oauth/token", data={"grant_type": "client_credentials"}, headers=headers
        ).is_client_error


# A ring of public keys: the first signs by RS256, the second by EdDSA, and an attacker knows all that is published.


class Ring(NamedTuple):
    door: Door
    forge: Forge
    first: RSAPrivateKey
    second: Ed25519PrivateKey

    def signed(self, key: Any, algorithm: str, kid: str | None = None, **header: Any) -> str:
        return jwt.encode(
            self.forge.claims(), key, algorithm, {"typ": "at+jwt", "kid": kid or self.forge.key.kid, **header}
        )

    def kid(self, algorithm: str) -> str:
        return next(key.kid for key in self.door.runtime.keys.ring.values() if key.algorithm == algorithm)

    def public(self, encoding: str) -> bytes:
        """The first key's public half, as an attacker would use it for a shared key."""
        key = self.first.public_key()
        match encoding:
            case "PEM":
                form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            case "PKCS#1":
                form = serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
            case "DER":
                form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            case _:
                jwks = self.door.http.get("/.well-known/jwks.json").json()["keys"]
                return json.dumps(jwks[0]).encode() if encoding == "JWK" else str(jwks[0]["n"]).encode()
        return key.public_bytes(*form)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Generator[Ring]:
    folder = tmp_path_factory.mktemp("ring")
    first, second = generate_private_key(65537, 2048), Ed25519PrivateKey.generate()
    (folder / "first.pem").write_bytes(in_pem(first))
    (folder / "second.pem").write_bytes(in_pem(second))
    with opened(folder, signing_keys=f"{folder}/first.pem, {folder}/second.pem") as door:
        client_id = door.agent(*SCOPES).client_id
        key = door.runtime.keys.first
        yield Ring(door, Forge(key, client_id, SITE, [SITE, MCP], int(time.time())), first, second)


def in_pem(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    nothing = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, nothing)


def test_each_key_of_the_ring_verifies_by_its_own_algorithm(ring: Ring) -> None:
    for token in (ring.signed(ring.first, "RS256"), ring.signed(ring.second, "EdDSA", ring.kid("EdDSA"))):
        assert [answer.status_code for answer in knocked(ring.door, token)[:2]] == [200, 200]
        assert ring.door.mcp(token, INITIALIZE).status_code == 200


def confused(form: str) -> Callable[[Ring], str]:
    return lambda ring: ring.forge.signed(key=ring.public(form))


ON_A_RING: dict[str, Callable[[Ring], str]] = {
    **{f"HS256 keyed by the public {form}": confused(form) for form in ("PEM", "PKCS#1", "DER", "JWK", "modulus")},
    "HS256 keyed by the public PEM without its last line break": lambda r: r.forge.signed(key=r.public("PEM").strip()),
    "HS256 keyed by the secret": lambda r: r.forge.signed(key=Keys(SECRET).first.signs),
    "HS256 as it would be without key files": lambda r: r.forge._replace(key=Keys(SECRET).first).token(),
    "HS256 by the public Ed25519 key": lambda r: r.forge.signed(
        key=r.second.public_key().public_bytes_raw(), kid=r.kid("EdDSA")
    ),
    "RS384 by the right key": lambda r: r.signed(r.first, "RS384"),
    "PS256 by the right key": lambda r: r.signed(r.first, "PS256"),
    "RS256 by another key": lambda r: r.signed(another_rsa(), "RS256"),
    "RS256 by another key that it brings": lambda r: r.signed(
        another_rsa(), "RS256", jwk=jwt.algorithms.RSAAlgorithm.to_jwk(another_rsa().public_key(), as_dict=True)
    ),
    "EdDSA by another key": lambda r: r.signed(Ed25519PrivateKey.generate(), "EdDSA", r.kid("EdDSA")),
    "RS256 under the kid of the other key": lambda r: r.signed(r.first, "RS256", r.kid("EdDSA")),
    "EdDSA under the kid of the other key": lambda r: r.signed(r.second, "EdDSA", r.kid("RS256")),
    "alg none": lambda r: r.forge.signed(key=b"k", alg="none").rpartition(".")[0] + ".",
    "a null signature": lambda r: r.signed(r.first, "RS256").rpartition(".")[0] + "." + coded(b"\0" * 256),
    "a signature of ones": lambda r: r.signed(r.first, "RS256").rpartition(".")[0] + "." + coded(b"\1" * 256),
    "no signature": lambda r: r.signed(r.first, "RS256").rpartition(".")[0] + ".",
}
_ANOTHER: list[RSAPrivateKey] = []


def another_rsa() -> RSAPrivateKey:
    """One key for all who need just any."""
    if not _ANOTHER:
        _ANOTHER.append(generate_private_key(65537, 2048))
    return _ANOTHER[0]


@pytest.mark.parametrize("name", ON_A_RING)
def test_a_ring_of_public_keys_refuses_what_none_of_its_private_keys_signed(name: str, ring: Ring) -> None:
    answers = knocked(ring.door, ON_A_RING[name](ring))
    assert [refused(answers[0], ""), refused(answers[1], ""), refused(answers[2], "/mcp")] == [True] * 3


# In process, where the moment stands still.


@given(token=st.text())
async def test_no_text_is_a_token(stored: Stored, token: str) -> None:
    with pytest.raises(InvalidToken):
        await built(stored).auth.verify(token)


@given(data=st.data())
async def test_a_token_with_one_character_changed_is_never_good(stored: Stored, data: st.DataObject) -> None:
    house = built(stored)
    token = house.forge.token()
    place = data.draw(st.integers(0, token.rindex(".") - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda one: one != token[place]))
    with pytest.raises(InvalidToken):
        await house.auth.verify(token[:place] + other + token[place + 1 :])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(name=st.sampled_from(Auth.claims), value=json_values)
async def test_a_claim_of_any_type_never_breaks_the_validation(stored: Stored, name: str, value: object) -> None:
    house = built(stored)
    token = house.forge.signed(house.forge.claims() | {name: value})
    try:
        principal = await house.auth.verify(token)
    except InvalidToken:
        return
    assert name in ("jti", "scope", "iat", "exp")
    assert principal.scopes <= SCOPES


async def test_an_expired_token_says_whose_it_was(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    house.clock.advance(LIFETIME + LEEWAY)
    with pytest.raises(InvalidToken, match="expired") as refusal:
        await house.auth.verify(token)
    assert refusal.value.client == house.client.client_id


async def test_a_token_is_good_until_its_leeway_is_over(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    house.clock.advance(LIFETIME + LEEWAY - 1)
    assert (await house.auth.verify(token)).name == "mole"


async def test_a_token_from_a_clock_that_is_slightly_ahead_is_good(house: House) -> None:
    assert (await house.auth.verify(house.forge.token(iat=NOW + LEEWAY, exp=NOW + 60))).name == "mole"


async def test_a_forged_token_never_says_whose_it_was(house: House) -> None:
    forged = house.forge.signed(house.forge.claims(iat=NOW - 200, exp=NOW - 100), key=b"k" * 32)
    with pytest.raises(InvalidToken) as refusal:
        await house.auth.verify(forged)
    assert refusal.value.client == ""


async def test_a_token_dies_with_its_client(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    house.clients.remove(house.client.client_id)
    with pytest.raises(InvalidToken, match="no longer exists"):
        await house.auth.verify(token)


async def test_a_token_in_quarantine_says_so_and_whose_it_is(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    house.clients.suspend(house.client.client_id)
    with pytest.raises(InvalidToken, match="mole is in quarantine") as refusal:
        await house.auth.verify(token)
    assert refusal.value.client == house.client.client_id


async def test_a_revoked_token_is_refused_and_the_others_of_its_client_are_not(house: House) -> None:
    bad, good = (house.auth.issue(house.client, SCOPES) for _ in range(2))
    await house.clients.revoke(house.client, opened_up(bad)["jti"], opened_up(bad)["exp"])
    with pytest.raises(InvalidToken, match="revoked"):
        await house.auth.verify(bad)
    assert (await house.auth.verify(good)).name == "mole"


async def test_inspecting_gives_the_claims_whatever_part_the_token_is_for(house: House) -> None:
    for resource in (REST, OVER_MCP):
        claims, client = await house.auth.inspect(house.auth.issue(house.client, SCOPES, resource))
        assert (claims["aud"], client) == (resource.uri, house.client)
    with pytest.raises(InvalidToken):
        await house.auth.inspect(house.auth.issue(house.client, SCOPES))


@given(held=scopes, issued=scopes)
async def test_a_token_never_opens_a_scope_that_it_was_not_issued_or_that_its_client_lacks(
    stored: Stored, held: frozenset[Scope], issued: frozenset[Scope]
) -> None:
    house = built(stored, held)
    assert (await house.auth.verify(house.auth.issue(house.client, issued))).scopes == held & issued


@given(written=st.text(alphabet="acdeflorstu:*, \n", max_size=40))
async def test_a_scope_claim_never_opens_what_it_does_not_name_word_for_word(stored: Stored, written: str) -> None:
    house = built(stored, frozenset(Scope))
    assert (await house.auth.verify(house.forge.token(scope=written))).scopes <= set(written.split())


@pytest.mark.parametrize("near", ["calculator", "CALCULATOR:USE", "calculator:use,files:read", "calculator:*", "*"])
async def test_a_scope_that_is_only_nearly_a_name_opens_nothing(near: str, house: House) -> None:
    assert (await house.auth.verify(house.forge.token(scope=near))).scopes == frozenset()


@given(held=scopes, asked=st.sampled_from(Scope))
def test_a_principal_passes_exactly_the_scopes_that_it_holds(held: frozenset[Scope], asked: Scope) -> None:
    principal = Principal("mole", held, client_id="mole-1")
    if asked in held:
        principal.require(asked)
        return
    with pytest.raises(InsufficientScope, match=asked.value) as refusal:
        principal.require(asked)
    assert (refusal.value.scope, refusal.value.client) == (asked.value, "mole-1")


def test_a_challenge_says_which_scope_is_missing_and_where_to_read_on() -> None:
    error = InsufficientScope("mole lacks it", "files:read")
    assert challenge(error, OVER_MCP) == (
        'Bearer realm="heist", error="insufficient_scope", scope="files:read", '
        'resource_metadata="https://heist.example/.well-known/oauth-protected-resource/mcp"'
    )


def test_a_server_that_was_told_its_address_gives_and_takes_tokens_for_that_one(tmp_path: Path) -> None:
    with opened(tmp_path, url="https://heist.example/") as door:
        token = door.token(door.outsider(*SCOPES))
        claims = opened_up(token)
        assert (claims["iss"], claims["aud"]) == ("https://heist.example", [REST.uri, OVER_MCP.uri])
        assert door.tools(token).status_code == 200
        assert door.mcp(token, INITIALIZE).status_code == 200
        where = "https://heist.example/.well-known/oauth-protected-resource"
        assert where in door.http.get("/tools").headers["www-authenticate"]


def test_a_token_from_another_house_with_another_secret_is_refused(tmp_path: Path, door: Door) -> None:
    with opened(tmp_path, secrets.token_hex(32)) as other:
        foreign = other.token(other.outsider(*SCOPES))
        assert other.tools(foreign).status_code == 200
    assert [answer.status_code for answer in knocked(door, foreign)] == [401, 401, 401]


def test_a_token_is_good_under_no_other_name_of_the_server(door: Door, owner: Known) -> None:
    token = door.token(owner)
    assert door.http.get("/tools", headers=bearing(token)).status_code == 200
    assert door.http.get("/tools", headers=bearing(token) | {"Host": "localhost:8008"}).status_code == 401
