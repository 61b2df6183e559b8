"""What travels compressed: the pages, their files, and what they ask for."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

LEAST = 500
"""Bytes; less is not worth it."""
LEVEL = 5
_ROOMS = ("/static/", "/s/", "/play", "/lab", "/api/sessions", "/api/scenarios/", "/detection/", "/analytics/")


class Compressed(GZipMiddleware):
    """Not where tokens are given out: beside words that somebody else may choose, a compressed token could be told by
    its length. And no stream, which would keep a compressor for every reader."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, minimum_size=LEAST, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = scope["type"] == "http" and (scope["path"] == "/" or scope["path"].startswith(_ROOMS))
        await (super().__call__ if inside else self.app)(scope, receive, send)
