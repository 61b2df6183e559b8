"""What other processes write is told once, and in the order of the log."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from heist import events as e
from heist.bus import Bus
from heist.clock import SystemClock
from heist.store.audit import Audit
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.queries import Logged, Queries
from heist.web import elsewhere
from heist.web.elsewhere import Elsewhere
from tests.strategies import message, session_started

pytestmark = [pytest.mark.anyio, pytest.mark.mission("B9")]


class Both(NamedTuple):
    """Two processes over one database; `told` is what the streams of the first hear, by number and whence."""

    here: Bus
    there: Bus
    elsewhere: Elsewhere
    told: list[tuple[int | None, str]]

    async def until(self, count: int) -> list[tuple[int | None, str]]:
        async with asyncio.timeout(10):
            while len(self.told) < count:  # noqa: ASYNC110 - nobody is told when all is told
                await asyncio.sleep(0.01)
        return self.told


def opened(engine: Engine) -> Audit:
    audit = Audit(engine)
    audit.open()
    return audit


@pytest.fixture
async def both(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Both]:
    monkeypatch.setattr(elsewhere, "LOOK_SECONDS", 0.05)
    engine = connect(database_url)
    upgrade(engine)
    mine, other = opened(engine), opened(engine)
    told: list[tuple[int | None, str]] = []
    woven = Elsewhere(
        Queries(engine), lambda one: told.append((one.seq, "here")), lambda row: told.append((row.seq, "there"))
    )
    here, there = Bus(mine, SystemClock()), Bus(other, SystemClock())
    here.watch(woven.hear)
    await here.publish(session_started("a"))
    await there.publish(session_started("b"))
    told.clear()
    await woven.begin()
    yield Both(here, there, woven, told)
    woven.end()
    await asyncio.sleep(0.05)
    mine.close()
    other.close()
    engine.dispose()


async def test_a_number_that_is_missing_is_read_and_told_before_the_next(both: Both) -> None:
    await both.there.publish(message("b", 1, "x"))
    await both.there.publish(message("b", 2, "x"))
    await both.here.publish(message("a", 1, "x"))
    await both.here.publish(message("a", 2, "x"))
    assert await both.until(4) == [(3, "there"), (4, "there"), (5, "here"), (6, "here")]


async def test_what_is_written_elsewhere_while_all_is_quiet_here_is_told_soon(both: Both) -> None:
    await both.there.publish(message("b", 1, "x"))
    assert await both.until(1) == [(3, "there")]
    await both.here.publish(message("a", 1, "x"))
    assert await both.until(2) == [(3, "there"), (4, "here")]


async def test_of_two_that_write_at_once_everything_is_told_once_and_in_order(both: Both) -> None:
    async def write(bus: Bus, session_id: str) -> None:
        for turn in range(1, 61):
            delta = e.MessageDelta(session_id=session_id, turn=turn, agent="a", offset=0, text="x")
            bus.post(delta)
            await bus.publish(message(session_id, turn, "x"))

    await asyncio.gather(write(both.here, "a"), write(both.there, "b"))
    await both.until(180)
    await asyncio.sleep(0.2)
    numbers = [seq for seq, _ in both.told if seq is not None]
    assert numbers == list(range(3, 123))
    assert [whence for _, whence in both.told].count("there") == 60
    assert both.told.count((None, "here")) == 60


async def test_who_does_not_listen_any_more_costs_nothing(both: Both) -> None:
    both.elsewhere.end()
    await both.there.publish(message("b", 1, "x"))
    await asyncio.sleep(0.2)
    assert both.told == []
    await both.here.publish(message("a", 1, "x"))
    assert both.told == [(4, "here")]


async def test_what_is_written_while_the_log_is_read_is_told_in_its_place(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.elsewhere._looking.cancel()  # type: ignore[union-attr]
    read, reading, go_on = both.elsewhere._queries.log, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slowly(after: int, session_id: str | None) -> list[Logged]:
        rows = read(after, session_id)
        loop.call_soon_threadsafe(reading.set)
        go_on.wait(5)
        return rows

    monkeypatch.setattr(both.elsewhere._queries, "log", slowly)
    await both.there.publish(message("b", 1, "x"))
    await both.here.publish(message("a", 1, "x"))
    await reading.wait()
    await both.there.publish(message("b", 2, "x"))
    await both.here.publish(message("a", 2, "x"))
    go_on.set()
    assert await both.until(4) == [(3, "there"), (4, "here"), (5, "there"), (6, "here")]
