"""The fold: whose turn it is, who hears what, which orders wait."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist import events as e
from heist.errors import Conflict, NotFound
from tests.strategies import CREW, conversation, message, quarantined, released, tool_called


def test_round_robin_goes_by_the_crew_list() -> None:
    state = conversation()
    assert [state.seat_of(turn).name for turn in range(1, 13)] == [*CREW, *CREW]


@pytest.mark.mission("S6")
@given(st.integers(0, 2**31 - 1), st.integers(2, 8), st.integers(1, 8))
def test_at_random_everybody_speaks_once_a_round_and_nobody_twice_in_a_row(seed: int, size: int, rounds: int) -> None:
    names = tuple(f"a{number}" for number in range(size))
    state = conversation(names=names, rounds=rounds, order="random", seed=seed)
    spoken = [state.seat_of(turn).name for turn in range(1, state.total + 1)]
    for number in range(rounds):
        assert sorted(spoken[number * size : (number + 1) * size]) == sorted(names)
    assert all(first != second for first, second in pairwise(spoken))


def test_an_agent_hears_what_was_said_and_no_errors() -> None:
    spoken: list[e.Event] = [message("s1", turn, f"text {turn}") for turn in range(1, 8)]
    failed = e.MessageFailed(
        session_id="s1", turn=8, round=2, agent="hacker", role="r", error="x", detail="broken", milliseconds=1
    )
    state = conversation(*spoken, failed)
    assert [heard.text for heard in state.cue().heard] == [f"text {turn}" for turn in range(1, 8)]
    assert (state.turns, state.failed, state.last_error) == (8, 1, "broken")


@pytest.mark.mission("S20")
def test_what_a_tool_told_one_agent_no_other_gets_to_read() -> None:
    state = conversation(tool_called("s1", 1, agent="hacker", result="the code is 4711"), message("s1", 1, "hello"))
    assert state.seat_of(2).name == "hacker"
    assert [call.result for call in state.cue().looked_up] == ["the code is 4711"]
    state.apply(message("s1", 2, "I found something."))
    assert state.cue().looked_up == ()


def test_a_call_over_http_or_one_that_failed_is_no_note() -> None:
    state = conversation(tool_called("s1", None), tool_called("s1", 1, success=False))
    assert state.cue().looked_up == ()


@pytest.mark.mission("S12")
def test_an_order_waits_for_its_agent_until_it_is_delivered() -> None:
    order = e.CommandIssued(session_id="s1", command=1, agent="hacker", text="look", by="user")
    state = conversation(order)
    assert state.cue().commands == ()
    state.apply(message("s1", 1, "hello"))
    assert state.cue().commands == (order,)
    state.apply(e.CommandDelivered(session_id="s1", command=1, agent="hacker", turn=2))
    assert state.cue().commands == ()


def test_an_order_that_can_reach_nobody_is_refused() -> None:
    state = conversation(*(message("s1", turn, "x") for turn in range(1, 30)))
    state.check_command("lookout", first=30)
    with pytest.raises(Conflict, match="lookout has no turn left"):
        state.check_command("lookout", first=31)
    with pytest.raises(Conflict, match="driver has no turn left"):
        state.check_command("driver", first=30)
    with pytest.raises(NotFound, match="no agent 'mole' in this session; there are: planner, hacker"):
        state.check_command("mole", first=30)
    state.apply(e.SessionStopped(session_id="s1", by="x", turns=29))
    with pytest.raises(Conflict, match=r"is over \(stopped\)"):
        state.check_command("lookout", first=30)


def test_a_turn_that_was_cut_off_is_taken_again() -> None:
    who = {"session_id": "s1", "turn": 1, "round": 1, "agent": "planner", "role": "r"}
    state = conversation(e.MessageStarted(**who))
    assert state.in_hand is not None
    after = conversation(e.MessageStarted(**who), e.MessageInterrupted(**who, reason="gone"))
    assert (after.in_hand, after.turns, after.cue().turn) == (None, 0, 1)


@pytest.mark.mission("S12")
def test_an_agent_is_in_quarantine_until_it_is_released_and_nobody_else_is() -> None:
    state = conversation(quarantined("hacker", "It lies."))
    assert state.cue().quarantine is None
    state.apply(message("s1", 1, "hello"))
    assert state.cue().quarantine == quarantined("hacker", "It lies.")
    state.apply(released("hacker"))
    assert state.cue().quarantine is None
    state.apply(quarantined("hacker", "Again."))
    assert state.cue().quarantine == quarantined("hacker", "Again.")


def test_a_name_that_nobody_has_is_said_with_the_names_that_there_are() -> None:
    state = conversation()
    state.check_agent("intel")
    with pytest.raises(NotFound, match=r"there is no agent 'm+' in this session; there are: planner, hacker"):
        state.check_agent("m" * 10_000)


agents = st.sampled_from(CREW)
HERE: dict[str, st.SearchStrategy[str]] = {"session_id": st.just("s1")}
happenings: st.SearchStrategy[e.Event] = st.one_of(
    st.builds(quarantined, agents, st.text(max_size=5)),
    st.builds(released, agents),
    st.builds(message, st.just("s1"), st.integers(1, 30), st.text(max_size=5), agents),
    st.builds(tool_called, st.sampled_from(["s1", None]), st.none() | st.integers(1, 30), agents),
    st.builds(e.ToolAdded, tool=st.just("calculator"), **HERE),
    st.builds(e.ToolRemoved, tool=st.just("calculator"), **HERE),
    st.builds(e.CommandIssued, command=st.integers(1, 9), agent=agents, **HERE),
    st.builds(e.CommandDelivered, command=st.integers(1, 9), agent=agents, turn=st.integers(1, 30), **HERE),
    st.builds(e.MessageStarted, turn=st.integers(1, 30), agent=agents, **HERE),
    *(st.builds(kind, **HERE) for kind in (e.SessionPaused, e.SessionResumed, e.SessionRecovered, e.SessionStopping)),
)


@pytest.mark.mission("B8")
@given(st.lists(happenings, max_size=25), st.integers(0, 25))
def test_a_session_that_goes_on_from_its_log_is_always_the_one_that_went_on(events: list[e.Event], cut: int) -> None:
    """What is folded in two lives, over the log between, is what is folded in one."""
    whole = conversation(*events)
    logged = [e.parse(e.body_of(event)) for event in events[:cut]]
    again = conversation(*logged, *events[cut:])
    assert vars(again) == vars(whole)
    assert again.cue() == whole.cue()


@pytest.mark.mission("S12")
@given(st.lists(happenings, max_size=25))
def test_who_is_in_quarantine_is_always_told_by_the_last_word_about_it(events: list[e.Event]) -> None:
    last = {event.agent: event for event in events if isinstance(event, e.AgentQuarantined | e.AgentReleased)}
    expected = {agent: event for agent, event in last.items() if isinstance(event, e.AgentQuarantined)}
    assert conversation(*events).quarantined == expected
