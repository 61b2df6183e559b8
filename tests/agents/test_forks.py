"""Forks: a session that goes on from a moment of another, with the same mole."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete

from heist import events as e
from heist.agents.forks import Moment
from heist.agents.sessions import Order
from heist.errors import Conflict, InsufficientScope, Invalid, NotFound, StoreError
from heist.runtime import Runtime
from heist.services.auth import Principal, Scope
from heist.settings import Settings
from heist.store import tables
from tests.agents.test_sessions import WHOLE, begun, log, opened, run, turns, until
from tests.conftest import USER, FakeModel, kinds
from tests.strategies import CREW

pytestmark = pytest.mark.anyio
OWN = {"session_id", "by", "process", "fork"}


def said(events: list[e.Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, e.MessageCompleted)]


def told(events: list[e.Event], without: tuple[str, ...] = ("session.",)) -> list[dict[str, object]]:
    """What the events say, wherever they stand and however long they took."""
    kept = [event for event in events if not event.kind.startswith(without)]
    return [event.model_dump(exclude={"session_id", "milliseconds"}) for event in kept]


async def forked(runtime: Runtime, session_id: str, **moment: int) -> list[e.Event]:
    """The log of a fork that has gone on to its end."""
    fork = await runtime.sessions.fork(USER, session_id, Moment(paused=False, **moment))
    await runtime.sessions.finished(fork)
    return log(runtime, fork)


@pytest.mark.mission("S13", "B6")
@pytest.mark.parametrize("turn", [0, 12, 17, 29])
async def test_a_fork_in_which_nobody_changes_anything_tells_the_same_story(runtime: Runtime, turn: int) -> None:
    events = await run(runtime, Order(seed=3, arm="mole", turn_order="random"))
    fork = await forked(runtime, begun(events).session_id, turn=turn)
    started = begun(fork)
    assert started.fork is not None
    assert (started.fork.session_id, started.fork.turn) == (begun(events).session_id, turn)
    assert started.model_dump(exclude=OWN) == begun(events).model_dump(exclude=OWN)
    assert told(fork) == told(events)
    assert len(turns(fork)) == 30


async def test_a_fork_has_the_bank_the_briefs_and_the_past_acts_of_the_other(runtime: Runtime) -> None:
    events = await run(runtime, Order(seed=3, mole="intel", strategy="false_info", rate=10))
    one = await runtime.sessions.past(begun(events).session_id)
    fork = await runtime.sessions.fork(USER, begun(events).session_id, Moment(turn=12))
    other = await runtime.sessions.past(fork)
    ids = {"session_id"}
    assert other.truth.model_dump(exclude=ids) == one.truth.model_dump(exclude=ids)
    done = [event for event in one.secret if isinstance(event, e.SabotageDone) and event.turn <= 12]
    assert done
    assert [event for event in other.secret if isinstance(event, e.SabotageDone)] == [
        event.model_copy(update={"session_id": fork}) for event in done
    ]
    assert other.game == one.game


async def test_a_fork_waits_and_what_is_changed_then_changes_the_story(runtime: Runtime) -> None:
    events = await run(runtime, Order(seed=3))
    fork = await runtime.sessions.fork(USER, begun(events).session_id, Moment(turn=12))
    assert kinds(log(runtime, fork))[-1] == "session.paused"
    await runtime.sessions.command(USER, fork, "intel", "Count the dogs")
    await runtime.sessions.resume(USER, fork)
    await runtime.sessions.finished(fork)
    assert said(log(runtime, fork))[:15] == said(events)[:15]
    assert "Count the dogs" in said(log(runtime, fork))[15]
    assert turns(log(runtime, fork)) == WHOLE
    assert log(runtime, begun(events).session_id) == events


async def test_a_moment_in_the_middle_of_a_turn_is_the_end_of_the_turn_before(runtime: Runtime) -> None:
    session_id = begun(await run(runtime)).session_id
    rows = runtime.queries.log(0, session_id, 10_000)
    for at, row in enumerate(rows):
        if row.kind != "tool.called":
            continue
        over = kinds([e.parse(one.body) for one in rows[:at]]).count("message.completed")
        fork = begun(log(runtime, await runtime.sessions.fork(USER, session_id, Moment(seq=row.seq)))).fork
        assert fork is not None
        assert fork.turn == over
        assert fork.seq < row.seq
        return
    raise AssertionError("nobody has called a tool")


async def test_a_session_that_speaks_is_forked_before_the_turn_in_hand_and_goes_on(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(words_per_second=200))
    await until(runtime, session_id, "message.started", 3)
    fork = await runtime.sessions.fork(USER, session_id, Moment())
    assert turns(log(runtime, fork)) == WHOLE[:2]
    await until(runtime, session_id, "message.completed", 4)
    await runtime.sessions.stop(USER, session_id, now=True)


async def test_a_session_that_was_paused_and_stopped_goes_on_in_its_fork(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True, seed=1))
    await runtime.sessions.step(USER, session_id)
    await until(runtime, session_id, "message.completed")
    await runtime.sessions.stop(USER, session_id)
    await runtime.sessions.finished(session_id)
    events = await forked(runtime, session_id)
    assert turns(events) == WHOLE
    assert [kind for kind in kinds(events) if kind.startswith("session.")] == ["session.started", "session.completed"]


async def test_quarantine_goes_along_and_can_be_ended(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True, seed=1))
    await runtime.sessions.quarantine(USER, session_id, "planner", "it smells")
    fork = await runtime.sessions.fork(USER, session_id, Moment())
    for count in (1, 2):
        await runtime.sessions.step(USER, fork)
        await until(runtime, fork, "message.completed", count)
    offered = {event.agent: event.tools for event in log(runtime, fork) if isinstance(event, e.MessageStarted)}
    assert offered["planner"] == () != offered["hacker"]
    await runtime.sessions.release(USER, fork, "planner")


async def test_an_order_that_waited_still_waits_in_a_fork(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True, seed=1))
    await runtime.sessions.command(USER, session_id, "planner", "Count the dogs")
    events = await forked(runtime, session_id)
    assert [event.turn for event in events if isinstance(event, e.CommandDelivered)] == [1]


async def test_a_crew_file_that_has_changed_changes_no_fork(settings: Settings, tmp_path: Path) -> None:
    config = shutil.copytree(settings.config, tmp_path / "config")
    async with opened(settings, config=config) as runtime:
        events = await run(runtime, Order(rounds=2))
        crew = (config / "crew.yaml").read_text()
        (config / "crew.yaml").write_text(crew.replace("name: lookout", "name: hawk"))
        fork = await forked(runtime, begun(events).session_id, turn=6)
    assert said(fork) == said(events)
    assert {event.agent for event in fork if isinstance(event, e.MessageCompleted)} == set(CREW)


async def test_a_moment_that_was_not_is_refused_in_one_sentence(runtime: Runtime) -> None:
    session_id = begun(await run(runtime, Order(rounds=1))).session_id
    first, *_, last = (row.seq for row in runtime.queries.log(0, session_id, 10_000))
    for moment, error, sentence in (
        (Moment(turn=7), NotFound, f"turn 7 of the session {session_id} is not over; it has taken 6"),
        (
            Moment(seq=last + 1),
            NotFound,
            f"the log of {session_id} goes from row {first} to {last}; there is no {last + 1}",
        ),
        (Moment(seq=first, turn=0), Invalid, "a moment is a row of the log or a turn, and here both are given"),
        (
            Moment(),
            Conflict,
            f"the session {session_id} had taken all of its 6 turns; go back to an earlier moment",
        ),
    ):
        with pytest.raises(error) as refused:
            await runtime.sessions.fork(USER, session_id, moment)
        assert str(refused.value) == sentence
    with pytest.raises(NotFound, match="there is no session 'heist_x'"):
        await runtime.sessions.fork(USER, "heist_x", Moment())
    with pytest.raises(InsufficientScope, match="session:control"):
        await runtime.sessions.fork(Principal("reader", frozenset({Scope.SESSION_READ})), session_id, Moment())
    assert len(runtime.queries.newest_sessions(10)) == 1


async def test_a_budget_that_was_spent_leaves_nothing_for_a_fork(settings: Settings, tmp_path: Path) -> None:
    config = shutil.copytree(settings.config, tmp_path / "config")
    crew = (config / "crew.yaml").read_text()
    (config / "crew.yaml").write_text(f"{crew}\nbudget: {{calls: 8}}\n")
    async with opened(settings, config=config) as runtime:
        events = await run(runtime)
        assert "budget.reached" in kinds(events)
        session_id = begun(events).session_id
        with pytest.raises(Conflict, match=f"{session_id} had reached its budget of 8 calls; go back to an earlier"):
            await runtime.sessions.fork(USER, session_id, Moment())
        assert said(await forked(runtime, session_id, turn=1)) == said(events)


async def test_another_model_than_it_began_with_goes_on_with_no_fork(settings: Settings, fake_model: FakeModel) -> None:
    async with opened(settings) as runtime:
        session_id = begun(await run(runtime, Order(rounds=1))).session_id
    async with opened(settings, llm=fake_model.url) as runtime:
        with pytest.raises(Conflict, match="the session began with the model 'simulated crew', and now there is"):
            await runtime.sessions.fork(USER, session_id, Moment(turn=1))
        assert len(runtime.queries.newest_sessions(10)) == 1


@pytest.mark.mission("S10")
async def test_a_fork_tells_its_mole_only_when_the_other_game_is_over(runtime: Runtime) -> None:
    session_id = begun(await run(runtime, Order(rounds=1, seed=2, arm="mole"))).session_id
    fork = begun(await forked(runtime, session_id, turn=3)).session_id
    again = begun(await forked(runtime, fork, turn=4)).session_id
    for one, other in ((fork, session_id), (again, session_id)):
        sentence = f"this is a fork of {other}, which has the same mole; end that game first"
        with pytest.raises(Conflict, match=sentence):
            await runtime.games.reveal(USER, one)
        with pytest.raises(Conflict, match=sentence):
            await runtime.games.guess(USER, one, "hacker")
        assert not {"guess.made", "mole.revealed"} & set(kinds(log(runtime, one)))
    with runtime.engine.begin() as connection:  # as after a purge
        for table in reversed(tables.metadata.sorted_tables):
            if "session_id" in table.c:
                connection.execute(delete(table).where(table.c.session_id == fork))
    with pytest.raises(Conflict, match=f"this is a fork of {session_id}"):
        await runtime.games.reveal(USER, again)
    for one in (session_id, again):
        await runtime.games.reveal(USER, one)
    reveals = [log(runtime, one)[-1] for one in (session_id, again)]
    assert [isinstance(reveal, e.MoleRevealed) and reveal.fork_of for reveal in reveals] == [None, fork]
    assert len({reveal.mole for reveal in reveals if isinstance(reveal, e.MoleRevealed)}) == 1


async def test_a_game_that_can_no_longer_be_ended_here_keeps_no_fork_of_it_sealed(runtime: Runtime) -> None:
    session_id = begun(await run(runtime, Order(rounds=1, seed=2, arm="mole"))).session_id
    fork = begun(await forked(runtime, session_id, turn=3)).session_id
    with runtime.engine.begin() as connection:  # as after a purge and an import, for which its secrets are gone
        connection.execute(delete(tables.sealed).where(tables.sealed.c.session_id == session_id))
    with pytest.raises(Conflict, match=r"what was sealed of the session .* is missing"):
        await runtime.games.reveal(USER, session_id)
    await runtime.games.reveal(USER, fork)
    assert isinstance(log(runtime, fork)[-1], e.MoleRevealed)


async def test_a_guess_in_a_fork_is_kept_until_the_other_game_is_over(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(rounds=1, paused=True))
    fork = await runtime.sessions.fork(USER, session_id, Moment())
    await runtime.games.guess(USER, fork, "hacker")
    await runtime.sessions.stop(USER, fork)
    await runtime.sessions.finished(fork)
    await asyncio.sleep(0.1)
    assert kinds(log(runtime, fork))[-1] == "session.stopped"
    await runtime.sessions.stop(USER, session_id)
    await runtime.sessions.finished(session_id)
    await runtime.games.reveal(USER, session_id)
    await until(runtime, fork, "mole.revealed")
    last = log(runtime, fork)[-1]
    assert isinstance(last, e.MoleRevealed)
    assert last.guess == "hacker"
    await runtime.games.recover()
    assert kinds(log(runtime, fork)).count("mole.revealed") == 1


async def test_a_fork_of_a_game_that_is_told_tells_nobody_of_it_and_counts_in_no_statistics(runtime: Runtime) -> None:
    session_id = begun(await run(runtime, Order(rounds=2, seed=2, arm="mole"))).session_id
    await runtime.games.guess(USER, session_id, None)
    events = log(runtime, session_id)
    assert kinds(events)[-1] == "mole.revealed"
    fork = await forked(runtime, session_id, turn=6)
    assert not {"guess.made", "outcome.step", "outcome.decided", "mole.revealed"} & set(kinds(fork))
    name = begun(fork).session_id
    for turn in (6, 7, 12):
        prompts = [await runtime.sessions.seen(USER, one, turn) for one in (session_id, name)]
        texts = [{part.name: part.text for part in seen.parts if part.name != "brief"} for seen in prompts]
        assert texts[0] == texts[1]
        assert "sealed until the reveal" in next(part.text for part in prompts[1].parts if part.name == "brief")
    await runtime.games.reveal(USER, name)
    assert [tally.games for tally in await runtime.games.tally(USER)] == [1]
    assert len(runtime.desk.over()) == 1


@pytest.mark.parametrize("broken", [lambda event: event.kind == "message.completed", lambda event: event.sealed])
async def test_a_fork_that_cannot_be_kept_has_not_begun(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, broken: Callable[[e.Event], bool]
) -> None:
    session_id = begun(await run(runtime, Order(rounds=1))).session_id
    keep = runtime.audit.keep

    def refuse(event: e.Event, at: str, body: str) -> "asyncio.Future[int]":
        if not broken(event):
            return keep(event, at, body)
        lost = asyncio.get_running_loop().create_future()
        lost.set_exception(StoreError("the disk is full"))
        return lost

    monkeypatch.setattr(runtime.audit, "keep", refuse)
    with pytest.raises(StoreError, match="the disk is full"):
        await runtime.sessions.fork(USER, session_id, Moment(turn=3))
    assert runtime.sessions._running == {}
    assert runtime.clients._agents == {}


async def test_a_fork_whose_process_was_killed_comes_back(settings: Settings) -> None:
    async with opened(settings) as first:
        events = await run(first, Order(rounds=2, seed=5))
        fork = await first.sessions.fork(USER, begun(events).session_id, Moment(turn=4))
    async with opened(settings) as second:
        await second.sessions.resume(USER, fork)
        await second.sessions.finished(fork)
        assert said(log(second, fork)) == said(events)


async def test_what_a_fork_takes_over_is_said_to_have_been_before(runtime: Runtime) -> None:
    session_id = begun(await run(runtime, Order(rounds=1))).session_id
    heard: list[e.Recorded] = []
    runtime.bus.watch(heard.append)
    fork = await forked(runtime, session_id, turn=4)
    assert [one.event for one in heard if one.seq is not None] == fork
    counted = [one.event.turn for one in heard if isinstance(one.event, e.MessageCompleted) and not one.taken]
    assert counted == [5, 6]
    assert not heard[0].taken


@pytest.mark.mission("S17")
async def test_a_fork_says_what_it_has_to_do_without_itself(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(paused=True))
    await runtime.inventory.switch(USER, "calculator", on=False)
    fork = await runtime.sessions.go_on(USER, session_id, Moment())
    assert [(one.part, one.why) for one in fork.missing] == [("tools", "calculator is switched off")]
    told = [event for event in log(runtime, fork.session_id) if isinstance(event, e.ServiceMissing)]
    assert list(fork.missing) == told
    await runtime.inventory.switch(USER, "calculator", on=True)
    again = await runtime.sessions.go_on(USER, fork.session_id, Moment(turn=0))
    assert not again.missing
    assert "service.missing" not in kinds(log(runtime, again.session_id))
