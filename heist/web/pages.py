"""The pages: one document for all of them, its files, and the way in."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from heist.errors import InvalidToken
from heist.web.guard import DAYS, Gate, cookie_name
from heist.web.refusals import Refusals

STATIC = Path(__file__).parent / "static"
_FRESH = {"Cache-Control": "no-cache"}


class Files(StaticFiles):
    """Static files that a browser asks about each time, so that a new version is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_FRESH)
        return response


def files() -> ASGIApp:
    """The static files, compressed for every browser that takes them so."""
    return GZipMiddleware(Files(directory=STATIC), minimum_size=500)


def router(gate: Gate, refusals: Refusals) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    @routes.get("/s/{session_id}")
    @routes.get("/s/{session_id}/report")
    @routes.get("/lab")
    @routes.get("/lab/compare")
    @routes.get("/play")
    @routes.get("/play/{session_id}")
    async def page(request: Request) -> Response:
        try:
            await gate.user(request)
        except InvalidToken as error:
            if not error.missing:
                await refusals.tell(request, error, error.status)
            return FileResponse(STATIC / "login.html", 401, headers=_FRESH)
        return FileResponse(STATIC / "index.html", headers=_FRESH)

    @routes.get("/login")
    async def login(request: Request, token: str = "", next: str = "/") -> Response:
        """The address that is printed at the start: gives the cookie and leads on."""
        if not gate.opens(token):
            await refusals.tell(
                request, InvalidToken("that is not the login token of this server"), InvalidToken.status
            )
            return FileResponse(STATIC / "login.html", 401, headers=_FRESH)
        inside = next.startswith("/") and not next.startswith(("//", "/\\"))
        response = RedirectResponse(next if inside else "/", 303, headers={"Cache-Control": "no-store"})
        response.set_cookie(
            cookie_name(request), gate.cookie(), max_age=DAYS * 86_400, httponly=True, samesite="strict", path="/"
        )
        return response

    return routes
