"""Which model speaks: the one that was asked for, else what is found, else the simulated crew."""

from collections.abc import Generator
from typing import Any

import httpx2
import pytest
import respx

from heist.errors import ModelError, ModelUnreachable
from heist.llm.source import AGAIN_SECONDS, Source
from tests.conftest import FakeModel
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S17", "S19")]


def source(llm: str, clock: HandClock | None = None, name: str | None = None) -> Source:
    return Source(llm, name, None, "auto", (1, 1, 1), clock or HandClock())


@pytest.fixture
def network() -> Generator[Any]:
    with respx.mock(using="httpcore2", assert_all_called=False) as network:
        yield network


async def test_without_a_server_the_crew_is_simulated_and_it_is_said_how_to_connect(network: Any) -> None:
    network.get(url__regex=".*").mock(side_effect=httpx2.ConnectError("refused"))
    found = source("auto")
    assert (await found.model()).simulated
    assert "set HEIST_LLM to a base URL" in found.notice


async def test_a_server_that_comes_up_later_speaks_in_later_sessions(network: Any) -> None:
    clock = HandClock()
    found = source("auto", clock)
    network.get(url__regex=".*").mock(side_effect=httpx2.ConnectError("refused"))
    first = await found.model()
    network.reset()
    network.routes.clear()
    network.get("http://127.0.0.1:8080/v1/models").respond(200, json={"data": [{"id": "m", "owned_by": "llamacpp"}]})
    network.get(url__regex=".*").mock(side_effect=httpx2.ConnectError("refused"))
    assert await found.model() is first
    clock.advance(AGAIN_SECONDS + 1)
    second = await found.model()
    assert (second.name, second.simulated, second.server) == ("m", False, "llama.cpp at http://127.0.0.1:8080/v1")
    assert found.notice == ""
    assert await found.model() is second
    await found.close()


async def test_a_found_server_without_a_model_leaves_the_crew_simulated_and_says_why(network: Any) -> None:
    network.get("http://127.0.0.1:1234/api/v1/models").respond(200, json={"models": []})
    network.get(url__regex=".*").mock(side_effect=httpx2.ConnectError("refused"))
    found = source("auto")
    assert (await found.model()).simulated
    assert found.notice.startswith("LM Studio at http://127.0.0.1:1234/v1 names no model")


async def test_a_given_address_that_is_down_is_an_error_until_it_is_up(network: Any) -> None:
    route = network.get("http://lm/v1/models").mock(side_effect=httpx2.ConnectError("refused"))
    found = source("http://lm/v1")
    with pytest.raises(ModelUnreachable):
        await found.model()
    route.respond(200, json={"data": [{"id": "m"}]})
    assert (await found.model()).name == "m"
    await found.close()


async def test_a_model_that_is_not_there_is_an_error(fake_model: FakeModel) -> None:
    with pytest.raises(ModelError, match="has no model 'big'; it has: fake-1"):
        await source(fake_model.url, name="big").model()


async def test_simulated_asks_nobody(network: Any) -> None:
    assert (await source("simulated").model()).simulated
    assert not network.calls
