"""Suspicions, one guess, and the reveal; until then nothing public tells of the mole."""

import asyncio
import json
import re

import pytest
from sqlalchemy import text

from heist import events as e
from heist.agents.reveal import result
from heist.agents.sessions import Order
from heist.errors import Conflict, HeistError, Invalid, NotFound
from heist.runtime import Runtime
from heist.services.auth import Principal
from heist.settings import Settings
from tests.conftest import USER

pytestmark = pytest.mark.anyio
SHORT = {"rounds": 2, "seed": 7}


async def play(runtime: Runtime, **order: object) -> str:
    """A session that is over, its game not."""
    session_id = await runtime.sessions.start(USER, Order.model_validate({**SHORT, **order}))
    await runtime.sessions.finished(session_id)
    return session_id


def public(runtime: Runtime, session_id: str) -> list[e.Event]:
    return [e.parse(row.body) for row in runtime.queries.log(0, session_id, 10_000)]


def revealed(runtime: Runtime, session_id: str) -> e.MoleRevealed:
    [told] = [event for event in public(runtime, session_id) if isinstance(event, e.MoleRevealed)]
    return told


@pytest.mark.parametrize(
    ("mole", "guess", "expected"),
    [
        ("hacker", "hacker", "SUCCESS"),
        ("hacker", "intel", "FAILURE"),
        ("hacker", None, "BUSTED"),
        (None, None, "SUCCESS"),
        (None, "hacker", "FAILURE"),
    ],
)
def test_what_a_guess_comes_to(mole: str | None, guess: str | None, expected: str) -> None:
    assert result(mole, guess) == expected


@pytest.mark.mission("S10")
async def test_a_right_guess_ends_the_game_and_all_is_told(runtime: Runtime) -> None:
    session_id = await play(runtime, mole="hacker", strategy="false_info")
    await runtime.games.guess(USER, session_id, "hacker")
    kinds = [event.kind for event in public(runtime, session_id)]
    end = kinds.index("session.completed")
    assert kinds[end + 1] == "guess.made"
    assert set(kinds[end + 2 : -2]) == {"outcome.step"}
    assert kinds[-2:] == ["outcome.decided", "mole.revealed"]
    told = revealed(runtime, session_id)
    assert (told.result, told.mole, told.strategy, told.title) == (
        "SUCCESS",
        "hacker",
        "false_info",
        "False information",
    )
    assert (told.seed, told.arm, told.guess) == (7, "mole", "hacker")
    assert "You are the mole" in told.briefs["hacker"]
    assert len(told.briefs) == 6


@pytest.mark.mission("S10")
async def test_who_gives_up_has_accused_nobody(runtime: Runtime) -> None:
    there, gone = await play(runtime, mole="intel"), await play(runtime, mole="none")
    for session_id in (there, gone):
        await runtime.games.reveal(USER, session_id)
    assert (revealed(runtime, there).result, revealed(runtime, gone).result) == ("BUSTED", "SUCCESS")
    assert revealed(runtime, gone).mole is None


async def test_a_guess_while_they_talk_is_answered_when_they_are_done(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(rounds=1, seed=7, mole="driver", paused=True))
    await runtime.games.guess(USER, session_id, "driver")
    kinds = [event.kind for event in public(runtime, session_id)]
    assert "guess.made" in kinds
    assert "mole.revealed" not in kinds
    await runtime.sessions.resume(USER, session_id)
    await runtime.sessions.finished(session_id)
    await runtime.games.close()
    assert revealed(runtime, session_id).result == "SUCCESS"
    [made] = [event for event in public(runtime, session_id) if isinstance(event, e.GuessMade)]
    assert (made.turns, made.by) == (0, "user")


@pytest.mark.mission("B3")
@pytest.mark.parametrize("arm", ["placebo", "incompetent"])
async def test_an_innocent_with_a_brief_of_its_own_is_no_mole(runtime: Runtime, arm: str) -> None:
    session_id = await play(runtime, arm=arm, mole="lookout")
    await runtime.games.guess(USER, session_id, "lookout")
    told = revealed(runtime, session_id)
    assert (told.result, told.mole, told.holder, told.strategy, told.acts) == ("FAILURE", None, "lookout", None, ())


@pytest.mark.mission("B1")
async def test_damage_is_what_is_missing_to_the_plan_by_the_truth(runtime: Runtime) -> None:
    session_id = await play(runtime, mole="planner", rate=10, rounds=5)
    await runtime.games.reveal(USER, session_id)
    [decided] = [event for event in public(runtime, session_id) if isinstance(event, e.OutcomeDecided)]
    assert sum(decided.damage.values()) == pytest.approx(decided.reference - decided.score, abs=0.5)
    assert decided.score <= decided.reference


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (("guess", "hacker"), ("guess", "intel"), "the game of .* is over: its log tells all"),
        (("reveal",), ("reveal",), "the game of .* is over"),
        (("reveal",), ("guess", None), "the game of .* is over"),
        (("guess", None), ("suspect", {"hacker": 1.0}, 0.0), "the game of .* is over"),
    ],
)
async def test_a_game_ends_once(
    runtime: Runtime, first: tuple[object, ...], second: tuple[object, ...], sentence: str
) -> None:
    session_id = await play(runtime)
    await _do(runtime, session_id, first)
    before = len(public(runtime, session_id))
    with pytest.raises(Conflict, match=sentence):
        await _do(runtime, session_id, second)
    assert len(public(runtime, session_id)) == before


async def _do(runtime: Runtime, session_id: str, what: tuple[object, ...]) -> None:
    verb, *given = what
    await getattr(runtime.games, str(verb))(USER, session_id, *given)


async def test_two_reveals_at_once_are_one(runtime: Runtime) -> None:
    session_id = await play(runtime)
    both = [runtime.games.reveal(USER, session_id), runtime.games.guess(USER, session_id, None)]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert [type(one) for one in done if one] == [Conflict]
    revealed(runtime, session_id)


async def test_a_guess_twice_in_a_session_that_runs_is_refused(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(rounds=1, seed=7, paused=True))
    await runtime.games.guess(USER, session_id, "driver")
    with pytest.raises(Conflict, match=r"the guess of .* is made; the answer comes when the session is over"):
        await runtime.games.guess(USER, session_id, "hacker")
    with pytest.raises(Conflict, match="is not over; stop it, or wait for its end"):
        await runtime.games.reveal(USER, session_id)


@pytest.mark.parametrize(
    ("verb", "given", "error", "sentence"),
    [
        ("guess", ("nemo",), NotFound, "there is no agent 'nemo' in this session"),
        ("suspect", ({"nemo": 1.0}, 0.0), Invalid, "there is no agent 'nemo' in this session"),
        ("suspect", ({"hacker": 0.0}, 0.0), Invalid, "not all of them are 0"),
        ("suspect", ({"hacker": -1.0}, 2.0), Invalid, "numbers from 0"),
        ("suspect", ({"hacker": float("nan")}, 0.0), Invalid, "numbers from 0"),
        ("suspect", ({"hacker": float("inf")}, 0.0), Invalid, "numbers from 0"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_a_sentence(
    runtime: Runtime, verb: str, given: tuple[object, ...], error: type[HeistError], sentence: str
) -> None:
    session_id = await play(runtime)
    with pytest.raises(error, match=sentence):
        await _do(runtime, session_id, (verb, *given))


async def test_suspicions_are_shares(runtime: Runtime) -> None:
    session_id = await play(runtime)
    await runtime.games.suspect(USER, session_id, {"hacker": 3, "intel": 4}, 1)
    [stated] = [event for event in public(runtime, session_id) if isinstance(event, e.SuspicionStated)]
    assert (stated.suspicions["hacker"], stated.suspicions["intel"], stated.nobody) == (0.375, 0.5, 0.125)
    assert (stated.suspicions["driver"], stated.turns) == (0, 12)


async def test_whoever_may_only_read_can_neither_guess_nor_reveal(runtime: Runtime) -> None:
    session_id = await play(runtime)
    reader = Principal("reader", frozenset({"session:read"}))
    for call in (
        runtime.games.guess(reader, session_id, None),
        runtime.games.reveal(reader, session_id),
        runtime.games.suspect(reader, session_id, {}, 1.0),
    ):
        with pytest.raises(HeistError, match="lacks the scope 'session:control'"):
            await call


@pytest.mark.mission("S10")
async def test_games_that_are_over_are_counted_by_arm_and_strategy(runtime: Runtime) -> None:
    for strategy, guess in (("false_info", "hacker"), ("false_info", None), ("wrong_tools", "intel")):
        await runtime.games.guess(USER, await play(runtime, mole="hacker", strategy=strategy), guess)
    await runtime.games.guess(USER, await play(runtime, mole="none"), None)
    await play(runtime, mole="hacker", strategy="subtle_delays")  # not over, so not counted
    tally = {(row.arm, row.strategy): row for row in await runtime.games.tally(USER)}
    assert set(tally) == {("mole", "false_info"), ("mole", "wrong_tools"), ("none", None)}
    both = tally["mole", "false_info"]
    assert (both.games, both.success, both.failure, both.busted) == (2, 1, 0, 1)
    assert (tally["mole", "wrong_tools"].failure, tally["none", None].success) == (1, 1)
    assert tally["none", None].damage is None


@pytest.mark.mission("S10")
async def test_what_is_sealed_takes_no_place_in_the_log(runtime: Runtime) -> None:
    session_id = await play(runtime, mole="hacker", rate=10)
    with runtime.engine.connect() as connection:
        places = [row.seq for row in connection.execute(text("SELECT seq FROM events ORDER BY seq"))]
        kinds = {row.kind for row in connection.execute(text("SELECT kind FROM sealed"))}
    assert places == list(range(1, len(places) + 1))
    assert "mole.assigned" in kinds
    assert not {event.kind for event in public(runtime, session_id)} & kinds


@pytest.mark.mission("S10")
async def test_no_watcher_hears_of_what_is_sealed(runtime: Runtime, heard: list[e.Event]) -> None:
    await play(runtime, mole="hacker", rate=10)
    assert not [event for event in heard if event.sealed]


async def test_a_server_that_was_stopped_knows_its_game_again(settings: Settings) -> None:
    async with Runtime(settings).opened() as before:
        session_id = await before.sessions.start(USER, Order(rounds=2, seed=7, mole="hacker", paused=True))
        await before.sessions.step(USER, session_id)
        await asyncio.sleep(0.2)
    async with Runtime(settings).opened() as after:
        await after.sessions.resume(USER, session_id)
        await after.sessions.finished(session_id)
        await after.games.guess(USER, session_id, "hacker")
        assert revealed(after, session_id).result == "SUCCESS"


async def test_what_an_agent_saw_does_not_show_its_brief_before_the_reveal(runtime: Runtime) -> None:
    session_id = await play(runtime, mole="hacker")
    seen = [await runtime.sessions.seen(USER, session_id, turn) for turn in range(1, 7)]
    briefs = [part for one in seen for part in one.parts if part.name == "brief"]
    assert {part.text for part in briefs} == {"YOUR BRIEF\n(sealed until the reveal)"}
    assert len({part.tokens for part in briefs}) == 1
    await runtime.games.reveal(USER, session_id)
    told = await runtime.sessions.seen(USER, session_id, 2)
    assert told.agent == "hacker"
    assert "You are the mole" in next(part.text for part in told.parts if part.name == "brief")


@pytest.mark.mission("S10")
async def test_nothing_public_of_fifty_games_names_a_part_or_a_way_before_the_reveal(runtime: Runtime) -> None:
    rules = await runtime.games.rules(USER)
    words = [*rules.strategies, *(way.title for way in rules.strategies.values()), "placebo", "incompetent", "mole"]
    sealed_words = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
    ids = [await runtime.sessions.start(USER, Order(seed=seed, rounds=1)) for seed in range(50)]
    await asyncio.gather(*(runtime.sessions.finished(session_id) for session_id in ids))
    for session_id in ids:
        body = "\n".join(row.json for row in runtime.queries.log(0, session_id, 10_000))
        row = json.dumps(runtime.queries.session(session_id), default=str)
        seen = [await runtime.sessions.seen(USER, session_id, turn) for turn in range(1, 7)]
        saw = "".join(one.model_dump_json() for one in seen)
        for told in (body, row, saw):
            assert not sealed_words.search(told)


@pytest.mark.mission("B8")
async def test_a_kill_between_the_guess_and_the_reveal_loses_no_game(settings: Settings) -> None:
    async with Runtime(settings).opened() as before:
        session_id = await play(before, mole="hacker")
        made = e.GuessMade(session_id=session_id, by="user", turns=12, agent="hacker")
        await before.bus.publish(made)  # and then the process is gone
    async with Runtime(settings).opened() as after:
        assert revealed(after, session_id).result == "SUCCESS"
    async with Runtime(settings).opened() as again:
        assert len([one for one in public(again, session_id) if isinstance(one, e.OutcomeDecided)]) == 1
