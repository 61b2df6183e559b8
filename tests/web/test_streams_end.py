"""A stream of events ends when the right to it does."""

import asyncio

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from heist.store.clients import Registrations
from tests.conftest import House
from tests.outside.conftest import STAMP, Guest, guest

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S1", "S22")]


async def login(known: Guest) -> dict[str, str]:
    form = {"grant_type": "client_credentials", "client_id": known.client_id, "client_secret": known.secret}
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{known.url}/oauth/token", data=form)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_an_event_stream_ends_soon_after_its_client_is_disabled(served: House) -> None:
    known = guest(served, scopes="session:read")
    headers = await login(known)
    async with (
        asyncio.timeout(10),
        httpx2.AsyncClient(headers=headers, timeout=20) as http,
        http.stream("GET", f"{known.url}/api/events") as stream,
    ):
        pieces = stream.aiter_bytes()
        assert b"retry" in await anext(pieces)
        Registrations(served.runtime.engine).disable(known.client_id, STAMP)
        rest = [piece async for piece in pieces]  # it comes to a proper end
    assert b"data: {" not in b"".join(rest)


async def test_a_socket_ends_soon_after_its_token_is_revoked(served: House) -> None:
    known = guest(served, scopes="session:read")
    headers = await login(known)
    token = headers["Authorization"].removeprefix("Bearer ")
    async with (
        asyncio.timeout(10),
        connect(f"{known.url.replace('http', 'ws')}/api/ws", additional_headers=headers) as ws,
    ):
        form = {"token": token, "client_id": known.client_id, "client_secret": known.secret}
        async with httpx2.AsyncClient() as http:
            other_name = known.url.replace(
                "127.0.0.1", "localhost"
            )  # a token is one's own whatever the server is called
            assert (await http.post(f"{other_name}/oauth/revoke", data=form)).json() == {}
        with pytest.raises(ConnectionClosed):
            await ws.recv()
