"""Tokens: their shape, and every way in which one can be bad."""

import base64
import hashlib
import hmac
import json
from typing import Any, NamedTuple

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import InsufficientScope, InvalidToken
from heist.services.auth import LEEWAY, LIFETIME, Auth, Client, Clients, Keys, Principal, Scope
from tests.times import START, HandClock

pytestmark = pytest.mark.mission("S1")

SECRET = "thirty-two bytes for tests alone!"
SCOPES = frozenset({Scope.CALCULATOR, Scope.FILES})
NOW = int(START.timestamp())
scopes = st.frozensets(st.sampled_from(Scope))


class House(NamedTuple):
    auth: Auth
    clients: Clients
    keys: Keys
    clock: HandClock
    client: Client

    def token(self, **changed: Any) -> str:
        """A token that our own key signed, with `changed` claims; a claim that is None is left out."""
        return self.signed(claims=self.claims(**changed))

    def claims(self, **changed: Any) -> dict[str, Any]:
        good = {
            "iss": Auth.issuer,
            "aud": Auth.audience,
            "sub": self.client.client_id,
            "client_id": self.client.client_id,
            "iat": NOW,
            "exp": NOW + LIFETIME,
            "jti": "0" * 32,
            "scope": "calculator:use files:read",
        }
        return {name: value for name, value in (good | changed).items() if value is not None}

    def signed(self, claims: object = None, key: bytes | None = None, digest: str = "sha256", **header: object) -> str:
        """A token as its pieces say, whatever they say; a header that is None is left out."""
        head = {"alg": "HS256", "typ": "at+jwt", "kid": self.keys.kid} | header
        first = coded(json.dumps({name: value for name, value in head.items() if value is not None}).encode())
        second = coded(json.dumps(self.claims() if claims is None else claims).encode())
        return self.sealed(f"{first}.{second}", key, digest)

    def sealed(self, content: str, key: bytes | None = None, digest: str = "sha256") -> str:
        return f"{content}.{coded(hmac.digest(key or self.keys.signing, content.encode(), digest))}"


def coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def opened(granted: frozenset[Scope] = SCOPES) -> House:
    clock, clients, keys = HandClock(), Clients(), Keys(SECRET)
    client_id, _ = clients.register("mole", granted, "heist_1")
    client = clients.get(client_id)
    assert client is not None
    return House(Auth(keys, clients, clock), clients, keys, clock, client)


@pytest.fixture
def house() -> House:
    return opened()


def test_a_token_has_the_header_of_rfc_9068(house: House) -> None:
    header = jwt.get_unverified_header(house.auth.issue(house.client, SCOPES))
    assert header == {"typ": "at+jwt", "alg": "HS256", "kid": house.keys.kid}


def test_a_token_holds_exactly_the_eight_claims(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert set(claims) == {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"}
    assert claims | {"jti": "0" * 32} == house.claims()


def test_a_token_lives_five_minutes(house: House) -> None:
    claims = jwt.decode(house.auth.issue(house.client, SCOPES), options={"verify_signature": False})
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 300)


def test_no_two_tokens_share_a_jti(house: House) -> None:
    tokens = [house.auth.issue(house.client, SCOPES) for _ in range(50)]
    assert len({jwt.decode(token, options={"verify_signature": False})["jti"] for token in tokens}) == 50


def test_a_good_token_gives_its_principal(house: House) -> None:
    principal = house.auth.verify(house.auth.issue(house.client, SCOPES))
    assert principal == Principal("mole", SCOPES, "heist_1")


def test_a_token_made_by_hand_like_ours_is_good_so_that_the_bad_ones_below_are_bad_for_their_own_reason(
    house: House,
) -> None:
    assert house.auth.verify(house.token()).scopes == SCOPES


def test_keys_from_one_secret_are_the_same_keys() -> None:
    first, second = Keys(SECRET), Keys(SECRET)
    assert (first.signing, first.kid) == (second.signing, second.kid)


def test_keys_without_a_secret_are_new_each_time() -> None:
    assert Keys(None).signing != Keys(None).signing


def test_keys_for_two_purposes_differ() -> None:
    keys = Keys(SECRET)
    assert len({keys.derive("one"), keys.derive("another"), keys.signing}) == 3


def test_a_clients_secret_has_256_bits_and_only_its_hash_is_kept(house: House) -> None:
    client_id, secret = house.clients.register("planner", SCOPES, None)
    client = house.clients.get(client_id)
    assert client is not None
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    assert client.secret_hash == hashlib.sha256(secret.encode()).digest()
    assert secret not in repr(client)


def unsigned(house: House, alg: str) -> str:
    return house.signed(alg=alg).rpartition(".")[0] + "."


def with_payload(house: House, payload: str) -> str:
    head = coded(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": house.keys.kid}).encode())
    return house.sealed(f"{head}.{coded(payload.encode())}")


def with_header(house: House, header: str) -> str:
    return house.sealed(f"{coded(header.encode())}.{coded(json.dumps(house.claims()).encode())}")


def of_a_client_that_is_gone(house: House) -> str:
    token = house.token()
    house.clients.remove(house.client.client_id)
    return token


def of_another_client_with_the_same_name(house: House) -> str:
    client_id, _ = house.clients.register("mole", SCOPES, "heist_1")
    house.clients.remove(client_id)
    return house.token(sub=client_id, client_id=client_id)


HOSTILE: dict[str, Any] = {
    "alg none without a signature": lambda h: unsigned(h, "none"),
    "alg None in capitals": lambda h: unsigned(h, "NONE"),
    "alg none with our signature": lambda h: h.signed(alg="none"),
    "alg missing": lambda h: h.signed(alg=None),
    "alg a number": lambda h: h.signed(alg=256),
    "alg null signature": lambda h: unsigned(h, "HS256"),
    "alg HS512 with our key": lambda h: h.signed(alg="HS512", digest="sha512"),
    "alg HS384 with our key": lambda h: h.signed(alg="HS384", digest="sha384"),
    "alg RS256 with our key": lambda h: h.signed(alg="RS256"),
    "alg EdDSA with our key": lambda h: h.signed(alg="EdDSA"),
    "alg in small letters": lambda h: h.signed(alg="hs256"),
    "another key": lambda h: h.signed(key=Keys(SECRET + "x").signing),
    "the key of the cookies": lambda h: h.signed(key=h.keys.derive("browser cookie")),
    "the secret itself as the key": lambda h: h.signed(key=SECRET.encode()),
    "an empty-looking key": lambda h: h.signed(key=b"\0" * 32),
    "the key id as the key": lambda h: h.signed(key=h.keys.kid.encode()),
    "typ JWT": lambda h: h.signed(typ="JWT"),
    "typ missing": lambda h: h.signed(typ=None),
    "typ a list": lambda h: h.signed(typ=["at+jwt"]),
    "kid of nobody": lambda h: h.signed(kid="0123456789abcdef"),
    "kid missing": lambda h: h.signed(kid=None),
    "kid a number": lambda h: h.signed(kid=1),
    "kid a path": lambda h: h.signed(kid="../../dev/null"),
    "kid an injection": lambda h: h.signed(kid="x' UNION SELECT 'key"),
    "a critical header": lambda h: h.signed(crit=["exp"]),
    "an unencoded payload": lambda h: h.signed(b64=False, crit=["b64"]),
    "its own key in the header": lambda h: h.signed(key=b"k" * 32, jwk={"kty": "oct", "k": coded(b"k" * 32)}),
    "aud of another service": lambda h: h.token(aud="heist/mcp"),
    "aud a list of others": lambda h: h.token(aud=["bank", "police"]),
    "aud a list with ours": lambda h: h.token(aud=["heist/tools", "heist/mcp"]),
    "aud a number": lambda h: h.token(aud=7),
    "aud a mapping": lambda h: h.token(aud={"heist/tools": True}),
    "aud empty": lambda h: h.token(aud=""),
    "iss another": lambda h: h.token(iss="https://heist"),
    "iss a list with ours": lambda h: h.token(iss=["heist"]),
    "iss longer than ours": lambda h: h.token(iss="heist/"),
    "iss a number": lambda h: h.token(iss=1),
    **{f"{name} missing": lambda h, name=name: h.token(**{name: None}) for name in Auth.claims},
    "sub a number": lambda h: h.token(sub=1, client_id=1),
    "sub a list": lambda h: h.token(sub=["mole"], client_id=["mole"]),
    "sub empty": lambda h: h.token(sub="", client_id=""),
    "sub the client's name": lambda h: h.token(sub="mole", client_id="mole"),
    "sub and client_id differ": lambda h: h.token(client_id="planner-1"),
    "jti a number": lambda h: h.token(jti=1),
    "scope a list": lambda h: h.token(scope=["calculator:use"]),
    "scope a number": lambda h: h.token(scope=1),
    "scope a mapping": lambda h: h.token(scope={"calculator:use": True}),
    "iat a text": lambda h: h.token(iat=str(NOW)),
    "iat a fraction": lambda h: h.token(iat=NOW + 0.5),
    "iat true": lambda h: h.token(iat=True, exp=200),
    "iat infinite": lambda h: h.token(iat=float("-inf")),
    "iat not a number": lambda h: h.token(iat=float("nan")),
    "iat a minute ahead": lambda h: h.token(iat=NOW + 60, exp=NOW + 120),
    "exp a text": lambda h: h.token(exp=str(NOW + 60)),
    "exp a fraction": lambda h: h.token(exp=NOW + 60.5),
    "exp a list": lambda h: h.token(exp=[NOW + 60]),
    "exp infinite": lambda h: h.token(exp=float("inf")),
    "exp in a thousand years": lambda h: h.token(exp=NOW + 86_400 * 365_000),
    "exp with 400 digits": lambda h: h.token(exp=10**400),
    "iat and exp with 400 digits": lambda h: h.token(iat=10**400, exp=10**400 + 60),
    "exp a second too long": lambda h: h.token(exp=NOW + LIFETIME + 1),
    "exp before iat": lambda h: h.token(exp=NOW - 1),
    "exp at iat": lambda h: h.token(exp=NOW),
    "exp in the year zero": lambda h: h.token(iat=-100, exp=0),
    "expired": lambda h: h.token(iat=NOW - 200, exp=NOW - 100),
    "expired by the leeway": lambda h: h.token(iat=NOW - 200, exp=NOW - LEEWAY),
    "client gone": of_a_client_that_is_gone,
    "client of the same name gone": of_another_client_with_the_same_name,
    "empty": lambda _: "",
    "a word": lambda _: "token",
    "dots": lambda _: "..",
    "more dots": lambda h: h.token() + ".x",
    "a blank": lambda _: " ",
    "not ASCII": lambda _: "ÿ.ÿ.ÿ",
    "a lone surrogate": lambda _: "\ud800.\ud800.\ud800",
    "a null byte": lambda h: h.token().replace(".", "\0."),
    "an encrypted one": lambda h: h.token() + ".a.b",
    "one megabyte": lambda _: "a" * 1_000_000,
    "one megabyte of dots": lambda _: "." * 1_000_000,
    "a scope of one megabyte with a foreign signature": lambda h: h.signed(h.claims(scope="a " * 500_000), b"k" * 32),
    "the header alone": lambda h: h.token().partition(".")[0],
    "no signature part": lambda h: h.token().rpartition(".")[0],
    "payload empty": lambda h: with_payload(h, ""),
    "payload a list": lambda h: with_payload(h, "[]"),
    "payload null": lambda h: with_payload(h, "null"),
    "payload not JSON": lambda h: with_payload(h, "{"),
    "payload nested deeply": lambda h: with_payload(h, '{"iss":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "payload of mappings nested deeply": lambda h: with_payload(h, '{"a":' * 50_000 + "1" + "}" * 50_000),
    "payload with a number of 10000 digits": lambda h: with_payload(h, '{"exp":' + "9" * 10_000 + "}"),
    "payload not UTF-8": lambda h: h.sealed(f"{h.token().partition('.')[0]}.{coded(bytes([0xFF, 0xFE]))}"),
    "header a list": lambda h: with_header(h, "[]"),
    "header null": lambda h: with_header(h, "null"),
    "header not JSON": lambda h: with_header(h, "{"),
    "header nested deeply": lambda h: with_header(h, '{"alg":' + "[" * 100_000 + "]" * 100_000 + "}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_an_invalid_token_and_nothing_else(name: str, house: House) -> None:
    with pytest.raises(InvalidToken) as refusal:
        house.auth.verify(HOSTILE[name](house))
    assert not refusal.value.missing
    assert len(str(refusal.value)) < 100


@given(token=st.text())
def test_no_text_is_a_token(token: str) -> None:
    with pytest.raises(InvalidToken):
        opened().auth.verify(token)


@given(data=st.data())
def test_a_token_with_one_character_changed_is_never_good(data: st.DataObject) -> None:
    house = opened()
    token = house.token()
    place = data.draw(st.integers(0, token.rindex(".") - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda one: one != token[place]))
    with pytest.raises(InvalidToken):
        house.auth.verify(token[:place] + other + token[place + 1 :])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(name=st.sampled_from(Auth.claims), value=json_values)
def test_a_claim_of_any_type_never_breaks_the_validation(name: str, value: object) -> None:
    house = opened()
    token = house.signed(house.claims() | {name: value})
    try:
        principal = house.auth.verify(token)
    except InvalidToken:
        return
    assert name in ("jti", "scope", "iat", "exp")
    assert principal.scopes <= SCOPES


def test_an_expired_token_says_whose_it_was(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    house.clock.advance(LIFETIME + LEEWAY)
    with pytest.raises(InvalidToken, match="expired") as refusal:
        house.auth.verify(token)
    assert refusal.value.subject == house.client.client_id


def test_a_token_is_good_until_its_leeway_is_over(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    house.clock.advance(LIFETIME + LEEWAY - 1)
    assert house.auth.verify(token).name == "mole"


def test_a_token_from_a_clock_that_is_slightly_ahead_is_good(house: House) -> None:
    assert house.auth.verify(house.token(iat=NOW + LEEWAY, exp=NOW + 60)).name == "mole"


def test_a_forged_token_never_says_whose_it_was(house: House) -> None:
    forged = house.signed(house.claims(iat=NOW - 200, exp=NOW - 100), key=b"k" * 32)
    with pytest.raises(InvalidToken) as refusal:
        house.auth.verify(forged)
    assert refusal.value.subject is None


def test_a_token_dies_with_its_client(house: House) -> None:
    token = house.auth.issue(house.client, SCOPES)
    house.clients.remove(house.client.client_id)
    with pytest.raises(InvalidToken, match="no longer exists"):
        house.auth.verify(token)


@given(held=scopes, issued=scopes)
def test_a_token_never_opens_a_scope_that_it_was_not_issued_or_that_its_client_lacks(
    held: frozenset[Scope], issued: frozenset[Scope]
) -> None:
    house = opened(held)
    assert house.auth.verify(house.auth.issue(house.client, issued)).scopes == held & issued


@given(written=st.text(alphabet="acdeflorstu:*, \n", max_size=40))
def test_a_scope_claim_never_opens_what_it_does_not_name_word_for_word(written: str) -> None:
    house = opened(frozenset(Scope))
    assert {scope.value for scope in house.auth.verify(house.token(scope=written)).scopes} <= set(written.split())


@pytest.mark.parametrize("near", ["calculator", "CALCULATOR:USE", "calculator:use,files:read", "calculator:*", "*"])
def test_a_scope_that_is_only_nearly_a_name_opens_nothing(near: str, house: House) -> None:
    assert house.auth.verify(house.token(scope=near)).scopes == frozenset()


@given(held=scopes, asked=st.sampled_from(Scope))
def test_a_principal_passes_exactly_the_scopes_that_it_holds(held: frozenset[Scope], asked: Scope) -> None:
    principal = Principal("mole", held)
    if asked in held:
        principal.require(asked)
        return
    with pytest.raises(InsufficientScope, match=asked.value) as refusal:
        principal.require(asked)
    assert refusal.value.scope == asked.value
