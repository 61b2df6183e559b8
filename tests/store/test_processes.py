"""Processes over one database: each knows which of the others live, and none writes for another."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Engine, update

from heist import events as e
from heist.agents import sessions
from heist.agents.conversation import Conversation
from heist.agents.orchestrator import Orchestrator
from heist.agents.past import Past
from heist.agents.sessions import Order
from heist.errors import Conflict, StoreError
from heist.runtime import Runtime
from heist.settings import Settings
from heist.store import tables
from heist.store.audit import Audit
from heist.store.engine import connect
from heist.store.migrate import upgrade
from heist.store.processes import DEAD_SECONDS, Place, Processes, here
from tests.conftest import USER
from tests.strategies import message, session_started

pytestmark = pytest.mark.anyio
ELSEWHERE = Place("web-2", "another machine", 1, 77)


@pytest.fixture
def engine(database_url: str) -> Engine:
    engine = connect(database_url)
    upgrade(engine)
    return engine


def grow_old(engine: Engine, number: int, seconds: float) -> None:
    seen = tables.processes.c.seen
    with engine.begin() as connection:
        connection.execute(
            update(tables.processes).where(tables.processes.c.number == number).values(seen=seen - seconds)
        )


def test_a_process_lives_from_its_first_beat_until_it_leaves(engine: Engine) -> None:
    mine, other = Processes(engine, 1, here()), Processes(engine, 2, ELSEWHERE)
    assert mine.living(2) is None
    other.beat()
    assert mine.living(2) == "process 1 of web-2"
    other.leave()
    assert mine.living(2) is None


def test_on_another_machine_one_that_is_silent_is_held_for_dead_until_it_beats_again(engine: Engine) -> None:
    mine, other = Processes(engine, 1, here()), Processes(engine, 2, ELSEWHERE)
    other.beat()
    grow_old(engine, 2, DEAD_SECONDS - 5)
    assert mine.living(2) is not None
    grow_old(engine, 2, 6)
    assert mine.living(2) is None
    other.beat()
    assert mine.living(2) is not None


def test_on_this_machine_the_system_knows_and_no_silence_counts(engine: Engine) -> None:
    place = here()
    mine, twin = Processes(engine, 1, place), Processes(engine, 2, place)
    twin.beat()
    grow_old(engine, 2, DEAD_SECONDS * 9)
    assert mine.living(2) is not None
    later = Processes(engine, 3, place._replace(begun=place.begun + 1))  # the same pid, given to another process
    later.beat()
    assert mine.living(3) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    gone = Processes(engine, 4, place._replace(pid=child.pid))
    gone.beat()
    assert mine.living(4) is None


def test_the_same_pid_in_another_container_is_another_process(engine: Engine) -> None:
    mine = Processes(engine, 1, ELSEWHERE)
    other = Processes(engine, 2, ELSEWHERE._replace(space="a container", host="web-3"))
    other.beat()
    assert mine.living(2) == "process 1 of web-3"


def test_who_is_silent_for_a_day_is_forgotten(engine: Engine) -> None:
    old, new = Processes(engine, 1, ELSEWHERE), Processes(engine, 2, here())
    old.beat()
    grow_old(engine, 1, 90_000)
    new.beat()
    with engine.connect() as connection:
        assert connection.scalars(tables.processes.select().with_only_columns(tables.processes.c.number)).all() == [2]


@asynccontextmanager
async def writer(engine: Engine) -> AsyncGenerator[Audit]:
    audit = Audit(engine)
    audit.open()
    yield audit
    audit.flush()
    audit.close()


async def keep(audit: Audit, *events: e.Event) -> list[int | BaseException]:
    kept = [audit.keep(event, "2026-01-01T00:00:00.000000Z", e.body_of(event)) for event in events]
    audit.flush()
    return await asyncio.gather(*kept, return_exceptions=True)


@pytest.mark.mission("B8", "B9")
async def test_who_was_held_for_dead_writes_nothing_more_into_a_session_that_was_taken_over(engine: Engine) -> None:
    async with writer(engine) as slow, writer(engine) as quick:
        assert await keep(slow, session_started("s1"), session_started("s2"), message("s1", 1, "a")) == [1, 2, 3]
        recovered = e.SessionRecovered(session_id="s1", process=2, before=1)
        assert await keep(quick, recovered, message("s1", 2, "b")) == [4, 5]
        late: list[e.Event] = [
            message("s1", 2, "late"),
            message("s2", 1, "mine"),
            e.SessionFailed(session_id="s1", turns=1, error="x"),
        ]
        first, second, third = await keep(slow, *late)
        assert (str(first), second, type(third)) == ("another process has taken the session s1 over", 6, StoreError)
        again = e.SessionRecovered(session_id="s1", process=1, before=2)
        assert await keep(slow, again, message("s1", 3, "c")) == [7, 8]
        assert isinstance((await keep(quick, message("s1", 3, "late")))[0], StoreError)


async def test_a_guess_may_be_told_by_any_process(engine: Engine) -> None:
    async with writer(engine) as drives, writer(engine) as other:
        await keep(drives, session_started("s1"))
        assert await keep(other, e.GuessMade(session_id="s1", by="user", turns=0, agent=None)) == [2]
        assert await keep(drives, message("s1", 1, "a")) == [3]


@pytest.mark.mission("B9")
async def test_two_houses_over_one_database_each_drive_their_own(settings: Settings) -> None:
    async with Runtime(settings).opened() as first, Runtime(settings).opened() as second:
        ids = [await house.sessions.start(USER, Order(paused=True, rounds=1)) for house in (first, second)]
        for house in (first, second):
            assert {row.session_id for row in await house.sessions.newest(USER, 9, None)} == set(ids)
            assert await house.sessions.recover() == []
        with pytest.raises(Conflict, match=rf"runs in another process \(process {os.getpid()} of .+\); steer it there"):
            await second.sessions.resume(USER, ids[0])
        await asyncio.gather(first.sessions.resume(USER, ids[0]), second.sessions.resume(USER, ids[1]))
        await asyncio.gather(first.sessions.finished(ids[0]), second.sessions.finished(ids[1]))
        log = first.queries.log(0, None, 1000)
        assert [entry.seq for entry in log] == list(range(1, len(log) + 1))
        assert {row.status for row in await second.sessions.newest(USER, 9, None)} == {"completed"}


@pytest.mark.mission("B8", "B9")
async def test_a_house_brings_back_the_sessions_of_one_that_falls_silent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Runtime(settings)
    far.sessions._house.processes._place = ELSEWHERE
    monkeypatch.setattr(sessions, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(sessions, "DEAD_SECONDS", 0.1)
    async with far.opened(recover=False), Runtime(settings).opened() as near:
        session_id = await far.sessions.start(USER, Order(paused=True))
        await asyncio.sleep(0.3)
        assert [entry.kind for entry in near.queries.log(0, session_id, 9)][-1] == "session.paused"
        for watch in far.sessions._watches:
            watch.cancel()
        async with asyncio.timeout(10):
            while near.queries.log(0, session_id, 9)[-1].kind != "session.recovered":
                # Each time anew: a beat that was on its way when the patrol ended may still come in.
                grow_old(near.engine, far.sessions._house.processes.number, DEAD_SECONDS + 1)
                await asyncio.sleep(0.02)
        with pytest.raises(StoreError, match="another process has taken the session"):
            await far.sessions.resume(USER, session_id)
        await near.sessions.resume(USER, session_id)
        await near.sessions.finished(session_id)
        assert [entry.kind for entry in near.queries.log(0, session_id, 1000)][-1] == "session.completed"
        await far.games.guess(USER, session_id, None)
        assert [entry.kind for entry in near.queries.log(0, session_id, 1000)][-1] == "mole.revealed"
        assert await far.sessions.recover() == []
        with pytest.raises(Conflict, match="is over"):
            await far.sessions.resume(USER, session_id)
        assert far.sessions._running == {}


async def test_who_lost_a_paused_session_takes_it_again_when_the_other_one_is_gone(settings: Settings) -> None:
    far = Runtime(settings)
    far.sessions._house.processes._place = ELSEWHERE
    async with far.opened(recover=False):
        session_id = await far.sessions.start(USER, Order(paused=True, rounds=1))
        async with Runtime(settings).opened(recover=False) as near:
            grow_old(near.engine, far.sessions._house.processes.number, DEAD_SECONDS + 1)
            assert await near.sessions.recover() == [session_id]
        await far.sessions.recover()
        await far.sessions.resume(USER, session_id)
        await far.sessions.finished(session_id)
        kinds = [entry.kind for entry in far.queries.log(0, session_id, 1000)]
        assert kinds.count("session.recovered") == 2
        assert kinds[-1] == "session.completed"


@asynccontextmanager
async def held_for_dead(settings: Settings) -> AsyncGenerator[tuple[Runtime, Runtime, str]]:
    """A house on another machine that was silent for too long, though it lives, one that may take it over, and the
    paused session that it drives."""
    far, near = Runtime(settings), Runtime(settings)
    far.sessions._house.processes._place = ELSEWHERE
    async with far.opened(recover=False), near.opened(recover=False):
        session_id = await far.sessions.start(USER, Order(paused=True, rounds=1))
        grow_old(near.engine, far.sessions._house.processes.number, DEAD_SECONDS + 1)
        yield far, near, session_id


async def test_a_session_that_ends_while_it_is_taken_over_stays_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_for_dead(settings) as (far, near, session_id):
        seat = near.sessions._seat

        async def slowly(conversation: Conversation) -> Orchestrator:
            await far.sessions.stop(USER, session_id, now=True)
            return await seat(conversation)

        monkeypatch.setattr(near.sessions, "_seat", slowly)
        assert await near.sessions.recover() == []
        assert [entry.kind for entry in near.queries.log(0, session_id, 1000)][-1] == "session.stopped"
        assert (await near.sessions.row(session_id)).status == "stopped"


async def test_a_session_that_goes_on_while_it_is_taken_over_is_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_for_dead(settings) as (far, near, session_id):
        seat = near.sessions._seat

        async def slowly(conversation: Conversation) -> Orchestrator:
            await far.sessions.resume(USER, session_id)
            await far.sessions.finished(session_id)
            return await seat(conversation)

        monkeypatch.setattr(near.sessions, "_seat", slowly)
        with pytest.raises(StoreError, match="has just gone on in another process; try again"):
            await near.sessions.resume(USER, session_id)
        kinds = [entry.kind for entry in near.queries.log(0, session_id, 1000)]
        assert kinds[-1] == "session.completed"
        assert "session.recovered" not in kinds


@pytest.mark.parametrize("accused", [("hacker", "intel"), None])
async def test_of_two_processes_one_tells_the_game(settings: Settings, accused: tuple[str, str] | None) -> None:
    async with Runtime(settings).opened() as first, Runtime(settings).opened() as second:
        houses = (first, second)
        for seed in range(4):
            session_id = await first.sessions.start(USER, Order(rounds=1, seed=seed))
            await first.sessions.finished(session_id)
            ends = [
                house.games.guess(USER, session_id, accused[number])
                if accused
                else house.games.reveal(USER, session_id)
                for number, house in enumerate(houses)
            ]
            outcomes = await asyncio.gather(*ends, return_exceptions=True)
            assert [type(one) for one in outcomes if one is not None] == [Conflict]
            kinds = [entry.kind for entry in first.queries.log(0, session_id, 1000)]
            assert kinds.count("guess.made") == (accused is not None)
            assert kinds.count("outcome.decided") == kinds.count("mole.revealed") == 1
            assert kinds[-1] == "mole.revealed"


async def test_a_guess_counts_whose_end_another_process_tells(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(settings).opened() as one, Runtime(settings).opened() as other:
        session_id = await one.sessions.start(USER, Order(rounds=1))
        await one.sessions.finished(session_id)
        end = one.games._end

        async def late(past: Past, conversation: Conversation, by: str) -> None:
            await other.games.recover()
            await end(past, conversation, by)

        monkeypatch.setattr(one.games, "_end", late)
        await one.games.guess(USER, session_id, "hacker")
        kinds = [entry.kind for entry in one.queries.log(0, session_id, 1000)]
        assert kinds.count("guess.made") == kinds.count("outcome.decided") == kinds.count("mole.revealed") == 1


async def test_a_guess_that_meets_the_end_in_another_process_is_answered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(settings).opened() as drives, Runtime(settings).opened() as other:
        session_id = await drives.sessions.start(USER, Order(rounds=1, paused=True))
        open_ = other.games._open

        async def slowly(session: str) -> Past:
            past = await open_(session)
            await drives.sessions.stop(USER, session_id, now=True)
            await drives.games.close()
            monkeypatch.setattr(other.games, "_open", open_)
            return past

        monkeypatch.setattr(other.games, "_open", slowly)
        await other.games.guess(USER, session_id, "hacker")
        await other.games.close()
        assert [entry.kind for entry in other.queries.log(0, session_id, 1000)][-1] == "mole.revealed"


async def test_a_session_that_vanishes_while_it_is_looked_for_stops_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(settings).opened(recover=False) as first:
        ids = [await first.sessions.start(USER, Order(paused=True, rounds=1)) for _ in range(2)]
    house = Runtime(settings)
    session = house.queries.session
    monkeypatch.setattr(house.queries, "session", lambda one: None if one == ids[0] else session(one))
    async with house.opened():
        assert list(house.sessions._running) == ids[1:]
        assert house.sessions._left == set()


async def test_who_lost_the_race_for_a_session_may_have_it_another_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(settings).opened(recover=False) as first:
        session_id = await first.sessions.start(USER, Order(paused=True, rounds=1))
    wins, loses = Runtime(settings), Runtime(settings)
    seat = loses.sessions._seat

    async def slowly(conversation: Conversation) -> Orchestrator:
        assert await wins.sessions.recover() == [session_id]
        return await seat(conversation)

    monkeypatch.setattr(loses.sessions, "_seat", slowly)
    async with loses.opened(recover=False):
        async with wins.opened(recover=False):
            assert await loses.sessions.recover() == []
        monkeypatch.setattr(loses.sessions, "_seat", seat)
        assert await loses.sessions.recover() == [session_id]


async def test_a_process_says_that_it_lives_while_it_brings_sessions_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "BEAT_SECONDS", 0.02)
    async with Runtime(settings).opened(recover=False) as first:
        await first.sessions.start(USER, Order(paused=True, rounds=1))
    house = Runtime(settings)
    beats: list[int] = []
    beat, seat = house.sessions._beat, house.sessions._seat

    async def counted() -> None:
        beats.append(1)
        await beat()

    async def slowly(conversation: Conversation) -> Orchestrator:
        await asyncio.sleep(0.5)
        return await seat(conversation)

    monkeypatch.setattr(house.sessions, "_beat", counted)
    monkeypatch.setattr(house.sessions, "_seat", slowly)
    async with house.opened():
        assert len(beats) > 3
