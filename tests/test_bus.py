"""The bus keeps first and tells then."""

import asyncio

import pytest

from heist.bus import Bus
from heist.clock import SystemClock
from heist.errors import StoreError
from heist.events import Event, MessageDelta, Recorded, RoundStarted

pytestmark = pytest.mark.anyio


class Shelf:
    """A keeper that stores when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[int]] = []
        self.flushed = 0

    def keep(self, event: Event, at: str, body: str) -> asyncio.Future[int]:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def flush(self) -> None:
        self.flushed += 1


ROUND = RoundStarted(session_id="s", round=1)


async def test_nobody_is_told_before_it_is_kept() -> None:
    shelf, told = Shelf(), list[Recorded]()
    bus = Bus(shelf, SystemClock())
    bus.watch(told.append)
    publishing = asyncio.create_task(bus.publish(ROUND))
    await asyncio.sleep(0)
    assert (told, shelf.flushed) == ([], 1)
    shelf.waiting[0].set_result(41)
    await publishing
    assert [(recorded.seq, recorded.event) for recorded in told] == [(41, ROUND)]


async def test_what_could_not_be_kept_is_told_to_nobody_but_the_publisher() -> None:
    shelf, told = Shelf(), list[Recorded]()
    bus = Bus(shelf, SystemClock())
    bus.watch(told.append)
    publishing = asyncio.create_task(bus.publish(ROUND))
    await asyncio.sleep(0)
    shelf.waiting[0].set_exception(StoreError("the disk is full"))
    with pytest.raises(StoreError, match="the disk is full"):
        await publishing
    assert told == []


async def test_a_publisher_that_is_cancelled_leaves_its_event_to_be_kept_and_told() -> None:
    shelf, told = Shelf(), list[Recorded]()
    bus = Bus(shelf, SystemClock())
    bus.watch(told.append)
    publishing = asyncio.create_task(bus.publish(ROUND))
    await asyncio.sleep(0)
    publishing.cancel()
    await asyncio.wait([publishing])
    shelf.waiting[0].set_result(7)
    await asyncio.sleep(0)
    assert [recorded.seq for recorded in told] == [7]


async def test_what_is_posted_goes_on_without_waiting_and_without_haste() -> None:
    shelf = Shelf()
    bus = Bus(shelf, SystemClock())
    bus.post(ROUND)
    bus.post(ROUND)
    assert (len(shelf.waiting), shelf.flushed) == (2, 0)


async def test_a_delta_waits_its_turn_behind_what_is_not_kept_yet() -> None:
    shelf, told = Shelf(), list[Recorded]()
    bus = Bus(shelf, SystemClock())
    bus.watch(told.append)
    first = MessageDelta(session_id="s", turn=1, agent="a", offset=0, text="We ")
    bus.post(ROUND)
    for event in (first, first.model_copy(update={"offset": 3, "text": "go"}), ROUND):
        bus.post(event)
    assert told == []
    shelf.waiting[0].set_result(1)
    await asyncio.sleep(0)
    assert [recorded.event.kind for recorded in told] == ["round.started", "message.delta", "message.delta"]
    shelf.waiting[1].set_exception(StoreError("full"))
    bus.post(first)
    await asyncio.sleep(0)
    assert len(told) == 4


async def test_a_delta_is_told_at_once_and_never_kept() -> None:
    shelf, told = Shelf(), list[Recorded]()
    bus = Bus(shelf, SystemClock())
    bus.watch(told.append)
    await bus.publish(MessageDelta(session_id="s", turn=1, agent="a", offset=0, text="x"))
    assert (shelf.waiting, [recorded.seq for recorded in told]) == ([], [None])


async def test_all_is_settled_once_the_last_that_was_posted_is_kept() -> None:
    shelf = Shelf()
    bus = Bus(shelf, SystemClock())
    await bus.settled()
    bus.post(ROUND)
    waiting = asyncio.create_task(bus.settled())
    await asyncio.sleep(0)
    assert (waiting.done(), shelf.flushed) == (False, 1)
    shelf.waiting[0].set_exception(StoreError("full"))
    await waiting


async def test_nobody_is_told_out_of_order_in_the_moment_between_kept_and_told() -> None:
    shelf, told = Shelf(), list[Recorded]()
    bus = Bus(shelf, SystemClock())
    bus.watch(told.append)
    deltas = [MessageDelta(session_id="s", turn=1, agent="a", offset=at, text="x") for at in range(3)]
    kept = bus.post(ROUND)
    bus.post(deltas[0])
    shelf.waiting[0].set_result(1)  # it is kept, and its callbacks have not run
    bus.post(deltas[1])
    await asyncio.sleep(0)
    bus.post(deltas[2])
    assert kept is not None
    assert kept.done()
    assert [recorded.event for recorded in told] == [ROUND, *deltas]


async def test_what_a_watcher_posts_comes_after_what_was_posted_before_it() -> None:
    shelf, told = Shelf(), list[Recorded]()
    bus = Bus(shelf, SystemClock())
    answer, delta = (MessageDelta(session_id="s", turn=1, agent=name, offset=0, text="x") for name in "ab")

    def reply(recorded: Recorded) -> None:
        if recorded.event is ROUND:
            bus.post(answer)

    bus.watch(reply)
    bus.watch(told.append)
    bus.post(ROUND)
    bus.post(delta)
    shelf.waiting[0].set_result(1)
    await asyncio.sleep(0)
    assert [recorded.event for recorded in told] == [ROUND, delta, answer]
