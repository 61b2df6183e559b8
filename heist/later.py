"""Work that nobody waits for now, and that is waited for at the end."""

import asyncio
from collections.abc import Coroutine


class Later:
    """Holds what goes on, since the loop itself holds a task only weakly."""

    def __init__(self) -> None:
        self._going: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def done(self) -> list[BaseException]:
        """Waits for all that goes on; answers what went wrong in it."""
        results = await asyncio.gather(*self._going, return_exceptions=True)
        return [result for result in results if result is not None]
