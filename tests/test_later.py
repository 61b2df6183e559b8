"""Work that nobody waits for: begun, held, waited for at the end."""

import asyncio
import gc

import pytest

from heist.later import Later

pytestmark = pytest.mark.anyio


async def test_what_is_begun_goes_on_unheld_and_the_end_waits_for_it_and_tells_what_went_wrong() -> None:
    later, heard, go = Later(), [], asyncio.Event()

    async def work(number: int) -> None:
        await go.wait()
        if number == 2:
            raise ValueError("the second")
        heard.append(number)

    for number in range(1, 4):
        later.begin(work(number))
    gc.collect()
    waiting = asyncio.ensure_future(later.done())
    await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    assert [str(error) for error in await waiting] == ["the second"]
    assert heard == [1, 3]
    assert await later.done() == []
