"""The pages: one document for all of them, its files, and the way in."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from heist.errors import InvalidToken
from heist.web.guard import DAYS, Gate, cookie_name
from heist.web.refusals import Refusals

STATIC = Path(__file__).parent / "static"
PAGES = {
    "/": "lobby",
    "/s/{session_id}": "session",
    "/s/{session_id}/report": "report",
    "/lab": "lab",
    "/lab/compare": "compare",
    "/play": "play",
    "/play/{session_id}": "session",
}
"""Path -> the script that draws the page."""
_FRESH = {"Cache-Control": "no-cache"}


class Files(StaticFiles):
    """Static files that a browser asks about each time, so that a new version is seen at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_FRESH)
        return response


def scripts(page: str) -> list[str]:
    """The scripts that a page needs, each once: its own, and all that one of them imports."""
    found = ["main", page]
    for name in found:
        imported = re.findall(r' from "\./(\w+)\.js";', (STATIC / f"{name}.js").read_text(encoding="utf-8"))
        found += [one for one in dict.fromkeys(imported) if one not in found]
    return found


def document(page: str) -> str:
    """The document as this page, with all its scripts named, so that a browser asks for them at once."""
    links = "".join(f'<link rel="modulepreload" href="/static/{name}.js">\n' for name in scripts(page))
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    return text.replace("<html ", f'<html data-page="{page}" ', 1).replace("</head>", f"{links}</head>", 1)


def router(gate: Gate, refusals: Refusals) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    def shown(text: str) -> Callable[[Request], Awaitable[Response]]:
        async def page(request: Request) -> Response:
            try:
                await gate.user(request)
            except InvalidToken as error:
                if not error.missing:
                    await refusals.tell(request, error, error.status)
                return FileResponse(STATIC / "login.html", 401, headers=_FRESH)
            return HTMLResponse(text, headers=_FRESH)

        return page

    for path, name in PAGES.items():
        routes.add_api_route(path, shown(document(name)))

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
