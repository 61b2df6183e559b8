"""Whoever watches over the house is told that it lives, and how its model servers are."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from heist.agents.sessions import Order
from heist.app import create_app
from heist.runtime import Runtime
from heist.settings import Settings
from tests import fake_server
from tests.conftest import USER, Announced, FakeModel, announcing

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S17", "S18")]


@asynccontextmanager
async def inside(settings: Settings) -> AsyncGenerator[tuple[httpx2.AsyncClient, Runtime]]:
    """A caller without a token, and the house."""
    announced: Announced = []
    app: FastAPI = create_app(settings, announcing(announced))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8008") as http:
            yield http, announced[0][0]


async def models(http: httpx2.AsyncClient) -> list[dict[str, Any]]:
    answer = await http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    found: list[dict[str, Any]] = answer.json()["models"]
    return found


async def until(http: httpx2.AsyncClient, *states: str) -> dict[str, Any]:
    """What is told of the one server when its breaker is in one of these states."""
    async with asyncio.timeout(10):
        while (await models(http))[0]["state"] not in states:  # noqa: ASYNC110 - a watcher asks
            await asyncio.sleep(0.02)
    return (await models(http))[0]


async def test_a_model_server_that_dies_is_told_of_and_the_house_lives(settings: Settings) -> None:
    connections: set[asyncio.Transport] = set()
    server, url = await fake_server.listen(connections=connections)
    async with inside(settings.model_copy(update={"llm": url})) as (http, runtime):
        assert await models(http) == []
        session_id = await runtime.sessions.start(USER, Order(paused=True, rounds=1))
        told = {"server": f"the model server at {url}", "state": "closed", "reason": ""}
        assert await models(http) == [told]
        server.close()
        for connection in connections:
            connection.abort()
        await runtime.sessions.resume(USER, session_id)
        down = await until(http, "open")
        assert (down["server"], "cannot be reached" in down["reason"]) == (told["server"], True)
        assert (await until(http, "half_open"))["reason"] == down["reason"]
        server, _ = await fake_server.listen(port=int(url.rsplit(":", 1)[1].removesuffix("/v1")))
        async with server:
            await runtime.sessions.finished(session_id)
            assert await models(http) == [told]
            server.close()


async def test_the_password_in_an_address_is_told_to_nobody(settings: Settings, fake_model: FakeModel) -> None:
    named = fake_model.url.replace("//", "//clerk:geheim@")
    async with inside(settings.model_copy(update={"llm": named})) as (http, runtime):
        await runtime.source.model()
        told = {"server": f"the model server at {fake_model.url}", "state": "closed", "reason": ""}
        assert await models(http) == [told]


def test_openapi_knows_it_and_asks_for_no_token(client: TestClient) -> None:
    route = client.get("/openapi.json").json()["paths"]["/health"]["get"]
    assert "security" not in route
    assert client.get("/health").json() == {"status": "ok", "models": []}
