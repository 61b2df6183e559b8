"""A request to the authorization server, read as RFC 6749 says."""

import base64
import json
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from heist.errors import GrantError
from heist.services.auth import Resource
from heist.services.oauth import form
from heist.services.oauth.form import Form

pytestmark = [pytest.mark.mission("S1"), pytest.mark.anyio]

TYPE = "application/x-www-form-urlencoded"
REST, MCP = Resource("https://heist.example"), Resource("https://heist.example", "/mcp")
ME = "client_id=me&client_secret=s"


def request(body: bytes, authorization: str | None = None, content_type: str = TYPE, pieces: int = 1) -> Request:
    headers = [(b"content-type", content_type.encode())]
    if authorization is not None:
        headers.append((b"authorization", authorization.encode("latin-1")))
    scope = {"type": "http", "method": "POST", "path": "/oauth/token", "headers": headers, "client": ("10.0.0.7", 1)}
    size = len(body) // pieces + 1
    waiting = [body[start : start + size] for start in range(0, max(len(body), 1), size)]

    async def receive() -> dict[str, Any]:
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    return Request(scope, receive)


async def read(body: str | bytes, authorization: str | None = None, content_type: str = TYPE) -> Form:
    return await form.read(request(body.encode() if isinstance(body, str) else body, authorization, content_type))


def basic(client_id: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: each half form-encoded, then both in base64."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


async def test_a_form_holds_its_parameters_who_sent_them_and_from_where() -> None:
    asked = await read(f"{ME}&scope=files%3Aread+calculator%3Ause&resource=a&resource=b")
    assert asked.values == {"client_id": "me", "client_secret": "s", "scope": "files:read calculator:use"}
    assert asked.resources == ("a", "b")
    assert (asked.client_id, asked.secret, asked.address) == ("me", "s", "10.0.0.7")


async def test_a_form_that_comes_in_pieces_is_read_whole() -> None:
    assert (await form.read(request(f"{ME}&scope=x".encode(), pieces=7))).values["scope"] == "x"


@given(client_id=st.text(min_size=1), secret=st.text(min_size=1))
async def test_whatever_the_id_and_the_secret_are_made_of_they_arrive(client_id: str, secret: str) -> None:
    in_form = await read(urlencode({"client_id": client_id, "client_secret": secret}))
    by_basic = await read("", basic(client_id, secret))
    assert (in_form.client_id, in_form.secret) == (by_basic.client_id, by_basic.secret) == (client_id, secret)


async def test_the_secret_may_hold_colons() -> None:
    asked = await read("", "Basic " + base64.b64encode(b"me:a:b").decode())
    assert (asked.client_id, asked.secret) == ("me", "a:b")


@given(body=st.binary(max_size=60), authorization=st.none() | st.text(st.characters(max_codepoint=255), max_size=40))
async def test_no_request_breaks_the_reader(body: bytes, authorization: str | None) -> None:
    codes = []
    try:
        await read(body, authorization)
    except GrantError as refused:
        codes.append(refused.error)
    assert set(codes) <= {"invalid_request", "invalid_client"}


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x", "", TYPE + "x"])
async def test_only_a_form_is_read(kind: str) -> None:
    with pytest.raises(GrantError, match="must be application/x-www-form-urlencoded") as refused:
        await read(json.dumps({"client_id": "me"}), basic("me", "s"), kind)
    assert refused.value.error == "invalid_request"


async def test_a_form_has_a_largest_size_however_it_comes() -> None:
    most = f"{ME}&x=".encode()
    assert (await read(most + b"a" * (8192 - len(most)))).client_id == "me"
    for pieces in (1, 50):
        with pytest.raises(GrantError, match="too large"):
            await form.read(request(most + b"a" * (8193 - len(most)), pieces=pieces))


@pytest.mark.parametrize("name", ["grant_type", "token"])
async def test_what_is_required_is_missed_by_its_name(name: str) -> None:
    asked = await read(f"{ME}&{name}=")
    with pytest.raises(GrantError, match=f"{name} is missing") as refused:
        asked.required(name)
    assert (refused.value.error, refused.value.client) == ("invalid_request", "me")


PLACES = {
    "nothing": ("", (REST, MCP)),
    "an empty one": ("resource=", (REST, MCP)),
    "the tools over HTTP": (f"resource={REST.uri}", (REST,)),
    "MCP": (f"resource={MCP.uri}", (MCP,)),
    "with a slash at the end": (f"resource={REST.uri}/", (REST,)),
    "MCP with a slash at the end": (f"resource={MCP.uri}/", (MCP,)),
    "escaped": ("resource=https%3A%2F%2Fheist.example%2Fmcp", (MCP,)),
    "both": (f"resource={MCP.uri}&resource={REST.uri}", (REST, MCP)),
    "one twice": (f"resource={MCP.uri}&resource={MCP.uri}", (MCP,)),
}


@pytest.mark.parametrize("name", PLACES)
async def test_a_resource_narrows_what_the_token_is_for(name: str) -> None:
    body, places = PLACES[name]
    assert (await read(f"{ME}&{body}")).places(REST, MCP) == places


@pytest.mark.parametrize(
    "uri",
    [
        "https://bank.example",
        "http://heist.example",
        "https://heist.example:8443",
        "https://heist.example/mcp/x",
        "https://heist.example/mcp%23part",
        "https://heist.example.evil",
        "https://heist.example//",
        "/mcp",
        "mcp",
        "/",
        "*",
    ],
)
async def test_a_resource_that_is_not_ours_is_an_invalid_target_also_beside_one_that_is(uri: str) -> None:
    for body in (f"resource={uri}", f"resource={REST.uri}&resource={uri}"):
        asked = await read(f"{ME}&{body}")
        with pytest.raises(GrantError) as refused:
            asked.places(REST, MCP)
        assert (refused.value.error, refused.value.client) == ("invalid_target", "me")
        assert uri not in str(refused.value)
