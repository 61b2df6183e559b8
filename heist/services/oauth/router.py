"""The authorization server over HTTP, and the documents by which a client finds its way (RFC 8414, 9728, 7517)."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from heist.errors import GrantError, NotFound
from heist.services.auth import LIFETIME, Auth, written
from heist.services.documented import OAuthRefusal, refusals
from heist.services.keys import Keys
from heist.services.oauth import form
from heist.services.oauth.server import AuthorizationServer

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_REFUSALS = refusals(429, 503) | refusals(400, 401, model=OAuthRefusal)
_BY_SECRET = ["client_secret_basic", "client_secret_post"]


class Token(BaseModel):
    """RFC 6749, section 5.1; `expires_in` is in seconds."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class Introspection(BaseModel):
    """RFC 7662, section 2.2. Just `active` when it is false."""

    active: bool
    token_type: str | None = None
    username: str | None = None
    client_id: str | None = None
    scope: str | None = None
    iss: str | None = None
    sub: str | None = None
    aud: str | list[str] | None = None
    iat: int | None = None
    exp: int | None = None
    jti: str | None = None


class Nothing(BaseModel):
    pass


def router(server: AuthorizationServer, auth: Auth, keys: Keys, tool_scopes: frozenset[str]) -> APIRouter:
    """`tool_scopes` are those that open tools, and so those that mean something over MCP."""
    routes = APIRouter(tags=["oauth"])

    @routes.post(
        "/oauth/token",
        summary="A token by client credentials",
        response_model=Token,
        responses=_REFUSALS,
        openapi_extra=_form_of("grant_type", "scope", "resource"),
    )
    async def token(request: Request) -> JSONResponse:
        asked = await form.read(request)
        if asked.required("grant_type") != "client_credentials":
            raise GrantError("unsupported_grant_type", "only client_credentials is supported", asked.client_id)
        client = await server.authenticate(asked.client_id, asked.secret, asked.address)
        places = asked.places(auth.place(request), auth.place(request, "/mcp"))
        grant = server.give(client, asked.values.get("scope"), *places)
        answer = {
            "access_token": grant.access_token,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "scope": written(grant.scopes),
        }
        return JSONResponse(answer, headers=NO_STORE)

    @routes.post(
        "/oauth/introspect",
        summary="What a token is worth",
        response_model=Introspection,
        responses=_REFUSALS,
        openapi_extra=_form_of("token", "token_type_hint"),
    )
    async def introspect(request: Request) -> JSONResponse:
        asked = await form.read(request)
        client = await server.authenticate(asked.client_id, asked.secret, asked.address)
        worth = await server.introspect(client, asked.required("token"))
        return JSONResponse(worth, headers=NO_STORE)

    @routes.post(
        "/oauth/revoke",
        summary="A token is no longer good",
        response_model=Nothing,
        responses=_REFUSALS,
        openapi_extra=_form_of("token", "token_type_hint"),
    )
    async def revoke(request: Request) -> JSONResponse:
        asked = await form.read(request)
        client = await server.authenticate(asked.client_id, asked.secret, asked.address)
        await server.revoke(client, asked.required("token"))
        return JSONResponse({}, headers=NO_STORE)

    @routes.get("/oauth/authorize", summary="Not offered", status_code=400, response_model=OAuthRefusal)
    async def authorize() -> None:
        """Here because clients of MCP refuse a server whose metadata names no such address."""
        raise GrantError("unsupported_response_type", "nobody logs in here; use client_credentials at /oauth/token")

    @routes.get("/.well-known/oauth-authorization-server", summary="RFC 8414", responses=refusals())
    async def about_server(request: Request) -> dict[str, Any]:
        site = auth.place(request).site
        return {
            "issuer": site,
            "authorization_endpoint": f"{site}/oauth/authorize",
            "token_endpoint": f"{site}/oauth/token",
            "introspection_endpoint": f"{site}/oauth/introspect",
            "revocation_endpoint": f"{site}/oauth/revoke",
            **({"jwks_uri": f"{site}/.well-known/jwks.json"} if keys.public() else {}),
            "scopes_supported": sorted(server.known),
            "response_types_supported": ["none"],  # RFC 8414 wants the list, and wants it not empty
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": _BY_SECRET,
            "introspection_endpoint_auth_methods_supported": _BY_SECRET,
            "revocation_endpoint_auth_methods_supported": _BY_SECRET,
        }

    @routes.get("/.well-known/oauth-protected-resource", summary="RFC 9728: the HTTP API", responses=refusals())
    async def about_api(request: Request) -> dict[str, Any]:
        place = auth.place(request)
        return _about(place.uri, place.site, server.known, "the tools and the sessions over HTTP")

    @routes.get("/.well-known/oauth-protected-resource/mcp", summary="RFC 9728: MCP", responses=refusals())
    async def about_mcp(request: Request) -> dict[str, Any]:
        place = auth.place(request, "/mcp")
        return _about(place.uri, place.site, tool_scopes, "the tools over the Model Context Protocol")

    @routes.get("/.well-known/jwks.json", summary="RFC 7517: the public keys", responses=refusals(404))
    async def jwks() -> dict[str, Any]:
        if not (public := keys.public()):
            raise NotFound("the tokens are signed with a key that is not public; HEIST_SIGNING_KEYS can change that")
        return {"keys": public}

    return routes


def _about(uri: str, site: str, scopes: frozenset[str], name: str) -> dict[str, Any]:
    return {
        "resource": uri,
        "authorization_servers": [site],
        "scopes_supported": sorted(scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": f"heist: {name}",
    }


def _form_of(first: str, *rest: str) -> dict[str, Any]:
    """The form in OpenAPI's words; FastAPI would parse it too, but not as strictly as RFC 6749 wants it."""
    names = (first, *rest, "client_id", "client_secret")
    schema = {"type": "object", "required": [first], "properties": {name: {"type": "string"} for name in names}}
    return {
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}},
        "security": [],
    }
