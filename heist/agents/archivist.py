"""Tells old turns in short while the crew goes on talking."""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

from heist.agents.conversation import Conversation
from heist.events import MemoryCompressed
from heist.llm.model import Model
from heist.seeds import number
from heist.services.memory.record import Due
from heist.services.memory.summary import summarise
from heist.telemetry import names as n
from heist.telemetry.here import work


class Work(NamedTuple):
    """One block being written; it takes its place after turn `settles`."""

    owner: str
    due: Due
    settles: int
    written: "asyncio.Task[tuple[str, str]]"


class Archivist:
    """Writes one block at a time. A model writes in the background, for as long as a round takes: a block takes its
    place at a turn that is known when it is begun, and not when the model happens to be done, so that the same answers
    give the same session. Without a model a block is there at once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._work: Work | None = None

    async def blocks(self, conversation: Conversation) -> AsyncGenerator[MemoryCompressed]:
        """The blocks that take their place now; each is to be folded in before the next is asked for."""
        while True:
            if self._work is None and (owed := conversation.due()) is not None:
                self._work = self._begin(*owed, conversation)
            if self._work is None or conversation.turns < self._work.settles:
                return
            work, self._work = self._work, None
            text, by = await work.written
            yield MemoryCompressed(
                session_id=conversation.session.session_id,
                owner=work.owner,
                first=work.due.first,
                last=work.due.last,
                level=work.due.level,
                text=text,
                by=by,
            )

    def close(self) -> None:
        if self._work is not None:
            self._work.written.cancel()

    async def _write(self, due: Due, budget: int, seed: int) -> tuple[str, str]:
        with work("create_memory", {n.OPERATION: "create_memory", n.MEMORY_LEVEL: due.level}):
            return await summarise(due.entries, due.facts, budget, self._model, seed)

    def _begin(self, owner: str, due: Due, conversation: Conversation) -> Work:
        session = conversation.session
        seed = number(conversation.truth.seed, "block", owner, due.last, due.level)
        budget = session.memory.block // 2 if owner else session.memory.block
        writing = self._write(due, budget, seed)
        ahead = 0 if self._model.simulated else len(session.seats)
        settles = min(conversation.turns + ahead, session.rounds * len(session.seats))
        return Work(owner, due, settles, asyncio.create_task(writing))
