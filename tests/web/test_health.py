"""Whoever watches over the house is told that it lives, how its model servers are, and whether it can serve."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event
from starlette.testclient import TestClient

from heist import checkup
from heist.agents.sessions import Order
from heist.app import create_app
from heist.checkup import examine
from heist.errors import StoreError
from heist.runtime import Runtime
from heist.settings import Settings
from heist.web import health
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


async def missing(http: httpx2.AsyncClient) -> dict[str, str]:
    """What is told to be missing, by part; and the status agrees with it."""
    answer = await http.get("/ready")
    told = answer.json()
    lacks = {one["part"]: one["missing"] for one in told["parts"] if not one["ready"]}
    assert (answer.status_code, told["status"]) == ((503, "not_ready") if lacks else (200, "ready"))
    assert answer.headers["cache-control"] == "no-store"
    return lacks


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "AGAIN_SECONDS", 0.0)


async def test_a_house_with_all_its_parts_is_ready(settings: Settings) -> None:
    async with inside(settings) as (http, runtime):
        told = (await http.get("/ready")).json()
        assert [one["part"] for one in told["parts"]] == ["database", "model", "oauth", "tools", "memory"]
        assert (await missing(http), told["simulated"]) == ({}, True)
        assert runtime.clients._agents == {}
        assert list(runtime.queries.log(0, None, 100)) == []


async def test_a_model_server_that_is_gone_is_missing_until_it_is_back(settings: Settings) -> None:
    server, url = await fake_server.listen()
    named = url.replace("//", "//clerk:geheim@")
    async with inside(settings.model_copy(update={"llm": named})) as (http, runtime):
        assert await missing(http) == {}
        assert (await http.get("/ready")).json()["simulated"] is False
        server.close()
        await server.wait_closed()
        assert await missing(http) == {"model": "does not answer (model_unreachable)"}
        found = await examine(runtime)
        [finding] = [one for one in found if one.part == "model"]
        assert (finding.well, "does not answer" in finding.found, "geheim" in str(found)) == (False, True, False)
        server, _ = await fake_server.listen(port=int(url.rsplit(":", 1)[1].removesuffix("/v1")))
        assert await missing(http) == {}
        server.close()


async def test_a_database_that_is_gone_or_of_another_version_is_missing(settings: Settings, tmp_path: Path) -> None:
    async with inside(settings) as (http, runtime):
        with runtime.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        assert (await missing(http))["database"] == "is not at the schema of this version"
        with runtime.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'newer'")
        lacks = await missing(http)
        assert lacks["database"] == "does not answer (store_unavailable)"
        assert str(tmp_path) not in (await http.get("/ready")).text


async def test_a_database_that_can_be_read_and_not_written_is_missing(settings: Settings) -> None:
    async with inside(settings) as (http, runtime):
        assert await missing(http) == {}
        event.listen(runtime.engine, "begin", lambda begun: begun.exec_driver_sql("PRAGMA query_only = ON"))
        assert await missing(http) == {"database": "does not answer (store_unavailable)"}


async def test_tools_that_are_switched_off_or_broken_are_missing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inside(settings) as (http, runtime):
        for name in list(runtime.registry.tools):
            runtime.registry.switch(name, name == "plan")
        assert await missing(http) == {}
        runtime.registry.switch("plan", False)
        assert await missing(http) == {"tools": "are all switched off"}


async def test_a_part_that_hangs_is_missing_and_keeps_nobody_waiting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "SECONDS", 0.5)
    async with inside(settings) as (http, runtime):
        never = asyncio.Event()
        monkeypatch.setattr(runtime.memory, "_settled", never.wait)
        monkeypatch.setattr(runtime.server, "grant", AsyncMock(side_effect=StoreError("/secret/place is full")))
        lacks = await missing(http)
        assert (lacks["oauth"], lacks["memory"]) == (
            "does not answer (store_unavailable)",
            "does not answer within 0.5 s",
        )
        assert "secret" not in (await http.get("/ready")).text


async def test_many_who_ask_at_once_cause_one_look(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "AGAIN_SECONDS", 60.0)
    async with inside(settings) as (http, runtime):
        looks = AsyncMock(wraps=runtime.source.reach)
        monkeypatch.setattr(runtime.source, "reach", looks)
        await asyncio.gather(*(http.get("/ready") for _ in range(20)))
        assert looks.await_count == 1


async def test_the_checkup_has_a_line_for_every_service_and_says_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEIST_SECRT", "x")
    for name in ("crew.yaml", "strategies.yaml"):
        (tmp_path / name).write_text((settings.config / name).read_text())
    (tmp_path / "detection.yaml").write_text("live: rules\n")
    async with inside(settings.model_copy(update={"config": tmp_path})) as (_, runtime):
        found = {one.part: one for one in await examine(runtime)}
    services = {
        "settings",
        "address",
        "database",
        "oauth",
        "tools",
        "memory",
        "detection",
        "crew.yaml",
        "game",
        "model",
    }
    assert set(found) >= services
    ill = {name for name, one in found.items() if not one.well}
    assert ill == {"settings", "detection", "crew.yaml"}
    assert all(found[name].advice for name in ill)
    assert "HEIST_SECRT is no setting; is HEIST_SECRET meant?" in found["settings"].found


async def test_a_session_that_begins_without_something_says_so(settings: Settings, tmp_path: Path) -> None:
    for name in ("crew.yaml", "strategies.yaml"):
        (tmp_path / name).write_text((settings.config / name).read_text())
    shutil.copytree(settings.config / "scenarios", tmp_path / "scenarios")
    (tmp_path / "detection.yaml").write_text("live: rules\n")
    chosen = settings.model_copy(update={"config": tmp_path})
    async with inside(chosen) as (_, runtime):
        runtime.registry.switch("routes", False)
        runtime.source.notice = "no model server found"
        begun = await runtime.sessions.begin(USER, Order(rounds=1))
        told = [(one.part, one.why) for one in begun.missing]
        assert told[:2] == [("model", "no model server found"), ("tools", "routes is switched off")]
        assert told[2][0] == "detection"
        assert "families: field required" in told[2][1]
        await runtime.sessions.finished(begun.session_id)
        logged = [row.kind for row in runtime.queries.log(0, begun.session_id, 1000)]
        assert logged[:4] == ["session.started", *["service.missing"] * 3]
        assert logged[-1] == "session.completed"


def test_the_start_answers_what_is_missing(browser: TestClient) -> None:
    assert browser.post("/api/sessions", json={"rounds": 1}).json()["missing"] == []
