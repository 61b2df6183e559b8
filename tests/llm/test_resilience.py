"""What is tried again, what waits, and what is not asked for a while."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.errors import ModelBroke, ModelBusy, ModelDown, ModelError, ModelTimeout, ModelUnreachable
from heist.llm.model import Ability, Completion, Form, Model, Prompt, Usage
from heist.llm.resilience import FAILURES, UNKNOWN_SLOTS, Breaker, Breaking, Lanes, Limited, Retrying, State
from tests.models import Stand
from tests.times import HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S18")]


class Shaky(Stand):
    """Fails with these errors, one a call, and then speaks; `begun` is said before each error. A call waits for `gate`
    if there is one."""

    name = server = "shaky"
    ability = Ability("shaky", context=77)
    form: Form = "schema"

    def __init__(self, *errors: Exception, begun: str = "", gate: asyncio.Event | None = None) -> None:
        self.errors = list(errors)
        self.begun = begun
        self.gate = gate
        self.calls = self.flying = self.most = 0

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self.calls += 1
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.errors:
                if self.begun:
                    yield self.begun
                raise self.errors.pop(0)
            yield "hello"
            yield Completion("hello", (), Usage(1, 1, False), "shaky")
        finally:
            self.flying -= 1


async def said(model: Model) -> list[str]:
    return [chunk async for chunk in model.complete(Prompt(())) if isinstance(chunk, str)]


async def answer(model: Shaky) -> list[str]:
    return await said(Retrying(model, pauses=(0, 0, 0)))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited before each new try, without the waiting."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("heist.llm.resilience.asyncio.sleep", sleep)
    return pauses


async def test_a_model_around_a_model_goes_by_its_name_and_abilities() -> None:
    around = Breaking(Retrying(Limited(Shaky(), Lanes())), Breaker(HandClock(), lambda state, reason: None))
    assert (around.name, around.server, around.simulated, around.form, around.warm) == (
        "shaky",
        "shaky",
        False,
        "schema",
        True,
    )
    assert around.ability.context == 77
    assert await around.count(["12345678"]) == ([2], True)


async def test_a_connection_is_tried_again_three_times() -> None:
    model = Shaky(*[ModelUnreachable("closed")] * 3)
    assert (await answer(model), model.calls) == (["hello"], 4)
    model = Shaky(*[ModelUnreachable("closed")] * 4)
    with pytest.raises(ModelUnreachable):
        await answer(model)


@pytest.mark.parametrize("error", [ModelUnreachable("lost"), ModelBusy("full", 0.0)])
async def test_nothing_is_said_twice(error: ModelError) -> None:
    model = Shaky(error, begun="hel")
    with pytest.raises(type(error)):
        await answer(model)
    assert model.calls == 1


@pytest.mark.parametrize("error", [ModelError("answered 400"), ModelBroke("answered 500"), ModelTimeout("silent")])
async def test_a_refusal_is_not_tried_again(error: ModelError) -> None:
    model = Shaky(error)
    with pytest.raises(type(error)):
        await answer(model)
    assert model.calls == 1


async def test_a_server_that_is_loading_is_asked_again_with_ever_longer_pauses(slept: list[float]) -> None:
    model = Shaky(*[ModelBusy("loading")] * 6)
    assert await said(Retrying(model)) == ["hello"]
    assert len(slept) == 6
    for number, pause in enumerate(slept):
        assert 0.5 * min(0.5 * 2**number, 15) <= pause <= 1.5 * min(0.5 * 2**number, 15)


async def test_what_a_server_asks_to_wait_is_waited(slept: list[float]) -> None:
    await said(Retrying(Shaky(ModelBusy("full", 7.0), ModelBusy("full", 9.0))))
    assert slept == [7.0, 9.0]


async def test_patience_with_a_busy_server_has_an_end(slept: list[float]) -> None:
    model = Shaky(*[ModelBusy("loading")] * 1000)
    with pytest.raises(ModelBusy):
        await said(Retrying(model, patience=60))
    assert sum(slept) <= 60


@pytest.mark.parametrize("slots", [1, 3])
async def test_a_server_never_gets_more_calls_than_it_has_slots(slots: int) -> None:
    model, gate = Shaky(), asyncio.Event()
    model.gate = gate
    limited = Limited(model, Lanes(slots))
    calls = [asyncio.create_task(said(limited)) for _ in range(10)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*calls) == [["hello"]] * 10
    assert model.most == slots


async def test_calls_are_let_in_in_the_order_in_which_they_came() -> None:
    lanes, order = Lanes(1), []

    async def call(number: int) -> None:
        await lanes.enter()
        order.append(number)
        await asyncio.sleep(0)
        lanes.leave()

    await asyncio.gather(*(call(number) for number in range(20)))
    assert order == list(range(20))


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 4))
async def test_a_call_that_is_called_off_leaves_no_lane_taken(called_off: list[int], slots: int) -> None:
    model, lanes = Shaky(gate=asyncio.Event()), Lanes(slots)
    limited = Limited(model, lanes)
    calls = [asyncio.create_task(said(limited)) for _ in range(10)]
    await asyncio.sleep(0)
    for number in called_off:
        calls[number].cancel()
        await asyncio.sleep(0)
    assert model.gate is not None
    model.gate.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert model.most <= slots
    assert await said(limited) == ["hello"]


async def test_an_unknown_limit_grows_while_others_wait_and_halves_when_the_server_is_busy() -> None:
    lanes = Lanes()
    model = Shaky(gate=asyncio.Event())
    calls = [asyncio.create_task(said(Limited(model, lanes))) for _ in range(40)]
    await asyncio.sleep(0)
    assert model.gate is not None
    model.gate.set()
    await asyncio.gather(*calls)
    grown = lanes.limit
    assert grown > UNKNOWN_SLOTS
    with pytest.raises(ModelBusy):
        await said(Limited(Shaky(ModelBusy("full")), lanes))
    assert lanes.limit == grown // 2


async def test_a_limit_that_the_server_told_stays() -> None:
    lanes = Lanes(2)
    await asyncio.gather(*(said(Limited(Shaky(), lanes)) for _ in range(10)), return_exceptions=True)
    with pytest.raises(ModelBusy):
        await said(Limited(Shaky(ModelBusy("full")), lanes))
    assert lanes.limit == 2


class House:
    """A breaker around a shaky model, with what it told."""

    def __init__(self, *errors: Exception) -> None:
        self.clock = HandClock()
        self.told: list[tuple[State, str]] = []
        self.breaker = Breaker(self.clock, lambda state, reason: self.told.append((state, reason)), cool=2.0)
        self.inner = Shaky(*errors)
        self.model = Breaking(self.inner, self.breaker)


async def test_a_server_that_cannot_be_reached_is_not_asked_until_it_has_cooled() -> None:
    house = House(ModelUnreachable("nobody there"))
    with pytest.raises(ModelDown, match="nobody there"):
        await said(house.model)
    assert (house.breaker.state, house.told) == ("open", [("open", "nobody there")])
    with pytest.raises(ModelDown, match="nobody there"):
        await said(house.model)
    assert house.inner.calls == 1
    house.clock.advance(2.1)
    assert house.breaker.state == "half-open"
    assert await said(house.model) == ["hello"]
    assert (house.breaker.state, house.told[1:]) == ("closed", [("closed", "")])


async def test_failures_of_its_own_open_it_only_in_a_row() -> None:
    house = House(*[ModelBroke("500")] * (FAILURES - 1))
    for _ in range(FAILURES - 1):
        with pytest.raises(ModelBroke):
            await said(house.model)
    assert await said(house.model) == ["hello"]
    house.inner.errors = [ModelTimeout("silent") for _ in range(FAILURES)]
    for _ in range(FAILURES - 1):
        with pytest.raises(ModelTimeout):
            await said(house.model)
    with pytest.raises(ModelDown):
        await said(house.model)
    assert house.breaker.state == "open"


@pytest.mark.parametrize("error", [ModelError("answered 400"), ModelBusy("full")])
async def test_what_is_not_the_servers_fault_never_opens_it(error: ModelError) -> None:
    house = House(*[error] * 10)
    for _ in range(10):
        with pytest.raises(type(error)):
            await said(house.model)
    assert house.breaker.state == "closed"


async def test_a_try_that_fails_doubles_the_pause_and_tells_nobody_again() -> None:
    house = House(*[ModelUnreachable("gone")] * 3)
    for pause in (2.0, 4.0, 8.0):
        with pytest.raises(ModelDown):
            await said(house.model)
        states = []
        for seconds in (pause - 0.1, 0.2):
            house.clock.advance(seconds)
            states.append(house.breaker.state)
        assert states == ["open", "half-open"]
    assert len(house.told) == 1


async def test_of_many_who_wait_one_tries_first() -> None:
    house = House(ModelUnreachable("gone"))
    with pytest.raises(ModelDown):
        await said(house.model)
    house.clock.advance(3)
    house.inner.gate = asyncio.Event()
    first = asyncio.create_task(said(house.model))
    await asyncio.sleep(0)
    with pytest.raises(ModelDown):
        await said(house.model)
    house.inner.gate.set()
    assert await first == ["hello"]


async def test_ready_returns_when_the_server_is_back_for_all_who_wait() -> None:
    house = House(ModelUnreachable("gone"))
    with pytest.raises(ModelDown):
        await said(house.model)
    waiting = [asyncio.create_task(house.model.ready()) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in waiting)
    house.clock.advance(3)
    house.breaker.end()  # whoever waits looks again
    await asyncio.sleep(0.01)
    assert sum(task.done() for task in waiting) == 1
    await said(house.model)
    await asyncio.gather(*waiting)
