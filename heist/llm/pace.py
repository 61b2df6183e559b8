"""A model slowed down to the speed of speech, for people who watch."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from heist.llm.model import Completion, Model, Prompt, Wrapper

_WORD = re.compile(r"\S+\s*|\s+")


class Paced(Wrapper):
    """The same model, at no more than `words_per_second`. What it says does not change."""

    def __init__(self, model: Model, words_per_second: float) -> None:
        super().__init__(model)
        self._pause = 1 / words_per_second

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        async with aclosing(self._model.complete(prompt)) as answer:
            async for chunk in answer:
                if isinstance(chunk, Completion):
                    yield chunk
                    continue
                for word in _WORD.findall(chunk):
                    yield word
                    await asyncio.sleep(self._pause)
