"""Models around a model, for servers as they are."""

import asyncio
from collections.abc import AsyncGenerator

from heist.errors import ModelUnreachable
from heist.llm.model import Completion, Model, Prompt, Wrapper

PAUSES = (0.0, 0.2, 0.5)
"""Seconds before each new try. The first is none: a server that has closed an idle connection is there all the same."""


class Retrying(Wrapper):
    """Tries again when the server could not be reached, as long as it has not begun to answer."""

    def __init__(self, model: Model, pauses: tuple[float, ...] = PAUSES) -> None:
        super().__init__(model)
        self._pauses = pauses

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        for pause in self._pauses:
            begun = False
            try:
                async for chunk in self._model.complete(prompt):
                    begun = True
                    yield chunk
                return
            except ModelUnreachable:
                if begun:
                    raise
                await asyncio.sleep(pause)
        async for chunk in self._model.complete(prompt):
            yield chunk
