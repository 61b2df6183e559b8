"""A request to the authorization server, read as RFC 6749 says: the form, and who sends it."""

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request

from heist.errors import GrantError
from heist.services.auth import Resource

_LARGEST = 8192


class Form(NamedTuple):
    """The parameters, who claims to send them, and from where."""

    values: dict[str, str]
    resources: tuple[str, ...]
    client_id: str
    secret: str
    address: str

    def required(self, name: str) -> str:
        if name not in self.values:
            raise GrantError("invalid_request", f"{name} is missing", self.client_id)
        return self.values[name]

    def places(self, *served: Resource) -> tuple[Resource, ...]:
        """The parts of this server that the client named by `resource` (RFC 8707); all of them if it named none."""
        found = {place.uri: place for place in served}
        wanted = [uri.removesuffix("/") for uri in self.resources]
        if not found.keys() >= set(wanted):
            raise GrantError(
                "invalid_target", "a resource that was asked for is not one of this server", self.client_id
            )
        return tuple(place for uri, place in found.items() if uri in wanted or not wanted)


async def read(request: Request) -> Form:
    """Raises `GrantError` (invalid_request, invalid_client) for what cannot be read."""
    pairs = _pairs(request.headers.get("content-type", ""), await _body(request))
    values = {name: value for name, value in pairs if name != "resource"}
    resources = tuple(value for name, value in pairs if name == "resource")
    if len(values) + len(resources) != len(pairs):
        raise GrantError("invalid_request", "a parameter stands twice")
    client_id, secret = _credentials(request.headers.get("authorization"), values)
    address = request.client.host if request.client else "unknown"
    return Form(values, resources, client_id, secret, address)


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST:
            raise GrantError("invalid_request", "the request is too large")
    return body


def _pairs(content_type: str, body: bytes) -> Sequence[tuple[str, str]]:
    """The parameters; one without a value counts as absent (RFC 6749, section 3.2)."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise GrantError("invalid_request", "the request must be application/x-www-form-urlencoded")
    try:
        return parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=50)
    except ValueError:
        raise GrantError("invalid_request", "the form cannot be read") from None


def _credentials(authorization: str | None, form: dict[str, str]) -> tuple[str, str]:
    """(client id, secret), by HTTP Basic or in the form, never by both."""
    if authorization is None:
        if "client_id" not in form or "client_secret" not in form:
            raise GrantError("invalid_client", "client authentication is missing", form.get("client_id", ""))
        return form["client_id"], form["client_secret"]
    if "client_secret" in form:
        raise GrantError("invalid_request", "the client authenticates twice")
    scheme, _, encoded = authorization.partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise GrantError("invalid_client", "the Authorization header cannot be read") from None
    if scheme.lower() != "basic" or not colon:
        raise GrantError("invalid_client", "the Authorization header is not HTTP Basic")
    client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    if form.get("client_id", client_id) != client_id:
        raise GrantError("invalid_request", "the client authenticates twice, under two names")
    return client_id, secret
