"""What is tried again, and what is not."""

from collections.abc import AsyncGenerator

import pytest

from heist.errors import ModelError, ModelUnreachable
from heist.llm.model import Completion, Prompt, Usage
from heist.llm.resilience import Retrying

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S18")]


class Shaky:
    """Fails with these errors, one a call, and then speaks; `begun` is said before each error."""

    name = server = "shaky"
    simulated = False

    def __init__(self, *errors: Exception, begun: str = "") -> None:
        self.errors = list(errors)
        self.begun = begun
        self.calls = 0

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self.calls += 1
        if self.errors:
            if self.begun:
                yield self.begun
            raise self.errors.pop(0)
        yield "hello"
        yield Completion("hello", (), Usage(1, 1, False), "shaky")


async def answer(model: Shaky) -> list[str]:
    retrying = Retrying(model, pauses=(0, 0, 0))
    assert (retrying.name, retrying.server, retrying.simulated) == ("shaky", "shaky", False)
    return [chunk async for chunk in retrying.complete(Prompt(())) if isinstance(chunk, str)]


async def test_a_connection_is_tried_again_three_times() -> None:
    model = Shaky(*[ModelUnreachable("closed")] * 3)
    assert (await answer(model), model.calls) == (["hello"], 4)
    model = Shaky(*[ModelUnreachable("closed")] * 4)
    with pytest.raises(ModelUnreachable):
        await answer(model)


async def test_nothing_is_said_twice() -> None:
    model = Shaky(ModelUnreachable("lost"), begun="hel")
    with pytest.raises(ModelUnreachable):
        await answer(model)
    assert model.calls == 1


async def test_a_refusal_is_not_tried_again() -> None:
    model = Shaky(ModelError("answered 400"))
    with pytest.raises(ModelError, match="400"):
        await answer(model)
    assert model.calls == 1
