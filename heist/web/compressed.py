"""What travels compressed: the pages, their files, and what they ask for."""

import re

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST = 500
"""Bytes; less is not worth it."""
LEVEL = 5
_ROOMS = ("/static/", "/s/", "/play", "/lab", "/api/sessions", "/api/scenarios/", "/detection/", "/analytics/")
_TAKES = re.compile(rb"(?:^|,)\s*gzip\s*(?:,|$|;\s*q=(?:1|0\.0*[1-9]))", re.IGNORECASE)


class Compressed(GZipMiddleware):
    """Not where tokens are given out: beside words that somebody else may choose, a compressed token could be told by
    its length. And no stream, which would keep a compressor for every reader. What is asked for in parts is given
    whole, as parts of one coding are none of another, and a file's tag is a weak one, as it is the same for both."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, minimum_size=LEAST, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["path"] != "/" and not scope["path"].startswith(_ROOMS)):
            await self.app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"accept-encoding")]
        if any(name == b"accept-encoding" and _TAKES.search(value) for name, value in scope["headers"]):
            headers.append((b"accept-encoding", b"gzip"))

        async def weakly(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                if "etag" in told:
                    told["etag"] = f"W/{told['etag']}"
            await send(message)

        await super().__call__({**scope, "headers": headers}, receive, weakly)
