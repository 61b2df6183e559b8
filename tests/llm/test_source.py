"""Which model speaks: the one that was asked for, else what is found, else the simulated crew."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx2
import pytest
import respx

from heist.errors import ModelDown, ModelError, ModelUnreachable
from heist.llm.endpoint import Patience
from heist.llm.faults import Kind
from heist.llm.model import Completion, Form, Message, Model, Prompt
from heist.llm.network import Live, Wanted, parted
from heist.llm.observed import Observed
from heist.llm.resilience import UNKNOWN_SLOTS, State
from heist.llm.source import AGAIN_SECONDS, Source, Told
from tests import fake_server
from tests.conftest import FakeModel
from tests.llm.test_server import Parrot, serving
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S17", "S19")]


def told_nobody(server: str, state: State, reason: str) -> None:
    raise AssertionError(f"{server} is {state}")


def source(llm: str, clock: HandClock | None = None, told: Told = told_nobody, **given: Any) -> Source:
    wanted = Wanted(llm, patience=Patience(1, 1, 1), **given)
    return Source(wanted, Live(wanted), clock or HandClock(), told)


@pytest.fixture
def network() -> Generator[Any]:
    with respx.mock(using="httpcore2", assert_all_called=False) as network:
        yield network


def within(model: Model) -> Model:
    """What is watched, which is the same for all who speak by it."""
    assert isinstance(model, Observed)
    return model._model


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
    assert within(await found.model()) is within(first)
    clock.advance(AGAIN_SECONDS + 1)
    second = await found.model()
    assert (second.name, second.simulated, second.server) == ("m", False, "llama.cpp at http://127.0.0.1:8080/v1")
    assert found.notice == ""
    assert within(await found.model()) is within(second)
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
    network.get(url__regex="http://lm/.*").respond(404)
    assert (await found.model()).name == "m"
    await found.close()


async def test_a_model_that_is_not_there_is_an_error(fake_model: FakeModel) -> None:
    with pytest.raises(ModelError, match="has no model 'big'; it has: fake-1"):
        await source(fake_model.url, name="big").model()


async def test_simulated_asks_nobody(network: Any) -> None:
    assert (await source("simulated").model()).simulated
    assert not network.calls


async def said(model: Model) -> str:
    *_, last = [chunk async for chunk in model.complete(Prompt((Message("user", "Who was late?"),)))]
    assert isinstance(last, Completion)
    return last.text.strip()


async def test_a_model_is_had_by_name_and_by_address(network: Any) -> None:
    for host in ("one", "two"):
        listed = {"data": [{"id": f"{host}-a"}, {"id": f"{host}-b"}]}
        network.get(f"http://{host}/v1/models").respond(200, json=listed)
    network.get(url__regex=".*").respond(404)
    found = source("http://one/v1")
    assert (await found.model()).name == "one-a"
    assert (await found.model("one-b")).name == "one-b"
    assert (await found.model(llm="http://two/v1")).name == "two-a"
    assert (await found.model("two-b", "http://two/v1/")).name == "two-b"
    assert (await found.model(llm="simulated")).simulated
    with pytest.raises(ModelError, match="has no model 'two-b'; it has: one-a, one-b"):
        await found.model("two-b")
    assert within(await found.model("one-a")) is within(await found.model())
    assert within(await found.model(llm="http://two/v1")) is within(await found.model("two-a", "http://two/v1/"))
    await found.close()


async def test_a_name_from_the_settings_is_no_name_at_another_address(network: Any) -> None:
    for host in ("one", "two"):
        network.get(f"http://{host}/v1/models").respond(200, json={"data": [{"id": f"{host}-a"}]})
    network.get(url__regex=".*").respond(404)
    found = source("http://one/v1", name="one-a")
    assert (await found.model(llm="http://two/v1")).name == "two-a"
    await found.close()


async def test_a_wanted_name_that_a_found_server_lacks_is_an_error_for_who_named_it(network: Any) -> None:
    network.get("http://127.0.0.1:8080/v1/models").respond(200, json={"data": [{"id": "m", "owned_by": "llamacpp"}]})
    network.get(url__regex=".*").mock(side_effect=httpx2.ConnectError("refused"))
    found = source("auto")
    with pytest.raises(ModelError, match="has no model 'big'"):
        await found.model("big")
    assert (await found.model()).name == "m"
    await found.close()
    found = source("auto", name="big")
    assert (await found.model()).simulated
    assert (
        found.notice == "llama.cpp at http://127.0.0.1:8080/v1 has no model 'big'; it has: m, so the crew is simulated"
    )
    await found.close()


async def test_a_server_is_asked_for_its_models_once(network: Any) -> None:
    route = network.get("http://lm/v1/models").respond(200, json={"data": [{"id": "m"}]})
    network.get(url__regex=".*").respond(404)
    found = source("http://lm/v1")
    await asyncio.gather(*(found.model() for _ in range(5)))
    asked = route.call_count
    await found.model()
    assert route.call_count == asked
    await found.close()


async def test_the_key_goes_to_the_server_with_every_question(network: Any) -> None:
    network.get("http://lm/v1/models").respond(200, json={"data": [{"id": "m"}]})
    network.get(url__regex=".*").respond(404)
    found = source("http://lm/v1", key="geheim")
    await found.model()
    assert {call.request.headers["authorization"] for call in network.calls} == {"Bearer geheim"}
    await found.close()


@pytest.mark.parametrize("tools", ["native", "schema", "text"])
async def test_the_settings_say_how_tools_are_offered(fake_model: FakeModel, tools: Form) -> None:
    found = source(fake_model.url, tools=tools)
    assert (await found.model()).form == tools
    await found.close()


class Slow(Parrot):
    """A parrot that waits for `gate`, and counts who waits with it; `arrived` is set when they are `expected`."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected = expected
        self.gate, self.arrived = asyncio.Event(), asyncio.Event()
        self.flying = self.most = 0

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self.flying += 1
        self.most = max(self.most, self.flying)
        if self.flying == self.expected:
            self.arrived.set()
        await self.gate.wait()
        async for chunk in super().complete(prompt):
            yield chunk
        self.flying -= 1


@pytest.mark.parametrize(
    ("kind", "slots", "most"),
    [("llamacpp", None, 2), ("lmstudio", None, 1), (None, None, UNKNOWN_SLOTS), ("vllm", 3, 3)],
)
async def test_all_models_of_a_server_share_its_lanes(kind: Kind | None, slots: int | None, most: int) -> None:
    slow = Slow(most)
    async with serving(slow, kind) as url:
        found = source(url, slots=slots)
        models = [await found.model(), await found.model(llm=url), await found.model(slow.name, f"{url}/")]
        calls = [asyncio.create_task(said(model)) for model in models * 4]
        async with asyncio.timeout(5):
            await slow.arrived.wait()
        await asyncio.sleep(0.1)
        flying = slow.flying
        slow.gate.set()
        assert set(await asyncio.gather(*calls)) == {"Who was late?"}
        await found.close()
    assert flying == most
    assert most <= slow.most <= (most if kind else len(calls))


async def test_two_models_of_a_server_share_one_lane() -> None:
    server, url = await fake_server.listen(delay=0.05, models=("a", "b"))
    async with server:
        found = source(url, slots=1)
        models = [await found.model("a"), await found.model("b")]
        assert within(models[0]) is not within(models[1])
        begun = time.monotonic()
        await asyncio.gather(*map(said, models))
        assert time.monotonic() - begun >= 0.095
        await found.close()
        server.close()


async def test_the_models_of_a_server_share_one_breaker_and_it_is_told_of() -> None:
    clock = HandClock()
    heard: list[tuple[str, State, str]] = []
    connections: set[asyncio.Transport] = set()
    server, url = await fake_server.listen(models=("a", "b"), connections=connections)
    found = source(url, clock, lambda *told: heard.append(told))
    one, other = await found.model("a"), await found.model("b")
    name = f"the model server at {url}"
    assert await said(one)
    assert (found.states(), heard) == ({name: "closed"}, [])
    server.close()
    for connection in connections:
        connection.abort()
    with pytest.raises(ModelDown, match="cannot be reached"):
        await said(one)
    assert found.states() == {name: "open"}
    with pytest.raises(ModelDown, match="cannot be reached"):
        await said(other)
    [(who, state, reason)] = heard
    assert (who, state) == (name, "open")
    assert "cannot be reached" in reason
    clock.advance(3)
    assert found.states() == {name: "half-open"}
    server, _ = await fake_server.listen(port=int(url.rsplit(":", 1)[1].removesuffix("/v1")))
    async with server:
        assert await said(other)
        assert await said(one)
        assert (found.states(), heard[1:]) == ({name: "closed"}, [(name, "closed", "")])
        await found.close()
        server.close()


async def test_a_server_that_is_gone_does_not_stop_another(fake_model: FakeModel) -> None:
    heard: list[State] = []
    connections: set[asyncio.Transport] = set()
    found = source(fake_model.url, told=lambda _server, state, _reason: heard.append(state))
    fine = await found.model()
    server, url = await fake_server.listen(connections=connections)
    gone = await found.model(llm=url)
    server.close()
    for connection in connections:
        connection.abort()
    with pytest.raises(ModelDown):
        await said(gone)
    assert await said(fine)
    states = {f"the model server at {fake_model.url}": "closed", f"the model server at {url}": "open"}
    assert (found.states(), heard) == (states, ["open"])
    await found.close()


@pytest.mark.parametrize(
    ("told", "base_url", "login"),
    [
        ("http://clerk:geheim@h:1/v1/", "http://h:1/v1", "clerk:geheim"),
        ("https://clerk:ge%40h%3Aeim@[::1]:1/v1", "https://[::1]:1/v1", "clerk:ge@h:eim"),
        ("http://token@h/v1", "http://h/v1", "token:"),
        ("http://h:1/v1/", "http://h:1/v1", ""),
        ("auto", "auto", ""),
        ("local:qwen", "local:qwen", ""),
    ],
)
def test_a_login_in_an_address_becomes_a_header(told: str, base_url: str, login: str) -> None:
    header = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""
    assert parted(told) == (base_url, header)


class Doorkeeper(fake_server.Connection):
    """Answers 401 to whoever does not show `clerk:ge@heim`."""

    def data_received(self, data: bytes) -> None:
        shown = base64.b64encode(b"clerk:ge@heim")
        if b"HTTP/1.1" in data and b"basic " + shown.lower() not in data.lower():
            self.reply(fake_server.error("401 Unauthorized", "who are you?"))
        else:
            super().data_received(data)


@pytest.mark.mission("S16")
async def test_a_server_behind_a_password_is_spoken_to_and_the_password_is_in_no_name() -> None:
    listening = await asyncio.get_running_loop().create_server(lambda: Doorkeeper(0.0), "127.0.0.1", 0)
    async with listening:
        host = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        found = source(f"http://clerk:ge%40heim@{host}")
        model = await found.model()
        *_, last = [chunk async for chunk in model.complete(Prompt((Message("user", "Who was late?"),)))]
        assert isinstance(last, Completion)
        assert last.text.startswith("The guards change")
        assert model.server == f"the model server at http://{host}"
        again = await found.model(llm=f"http://{host}")
        assert (again.name, again.server) == (model.name, model.server)
        with pytest.raises(ModelError, match="answered 401"):
            await source(f"http://clerk:wrong@{host}").model()
        await found.close()
        listening.close()
