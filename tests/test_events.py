"""Events are frozen, tagged, and the same after a journey through the log."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heist import events as e
from tests.strategies import message, session_started

KINDS = get_args(get_args(e.Event)[0])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
FIELDS = {"arguments": JSON}
st.register_type_strategy(
    float, st.floats(allow_nan=False, allow_infinity=False)
)  # a log holds JSON, which has no other
TURN = {"session_id", "turn", "round", "agent", "role"}
EVENTS = st.sampled_from(KINDS).flatmap(
    lambda kind: st.builds(kind, **{name: FIELDS[name] for name in kind.model_fields if name in FIELDS})
)


@given(EVENTS)
def test_an_event_is_the_same_after_the_log(event: e.Event) -> None:
    assert e.parse(e.body_of(event)) == event


@given(EVENTS, st.one_of(st.none(), st.integers(1, 10**9)))
def test_a_placed_event_is_one_json_object_with_its_place_first(event: e.Event, seq: int | None) -> None:
    recorded = e.Recorded(seq, "2026-01-01T00:00:00.000000Z", event, e.body_of(event))
    told = json.loads(recorded.json)
    assert told.get("seq") == seq
    assert told["at"] == recorded.at
    assert (told["kind"], told["session_id"]) == (event.kind, event.session_id)
    assert {name: value for name, value in told.items() if name not in ("seq", "at")} == json.loads(recorded.body)


def test_every_kind_is_known_once() -> None:
    kinds = [kind.model_fields["kind"].default for kind in KINDS]
    assert len(kinds) == len(set(kinds))


def test_an_event_cannot_be_changed_and_has_no_other_fields() -> None:
    event = e.RoundStarted(session_id="s", round=1)
    with pytest.raises(ValidationError):
        event.round = 2  # type: ignore[misc]
    with pytest.raises(ValidationError):
        e.parse('{"kind":"round.started","session_id":"s","round":1,"mole":"intel"}')


def test_only_what_can_be_had_again_is_never_stored() -> None:
    assert [kind for kind in KINDS if not kind.durable] == [e.MessageDelta, e.SuspicionUpdated]


SESSIONLESS = {
    e.AuditPurged,
    e.ToolCalled,
    e.ToolAdded,
    e.ToolRemoved,
    e.AccessRefused,
    e.ModelDegraded,
    e.ModelRestored,
}


@given(EVENTS)
def test_only_calls_switches_refusals_and_servers_may_belong_to_no_session(event: e.Event) -> None:
    told = json.loads(e.body_of(event)) | {"session_id": None}
    if type(event) in SESSIONLESS:
        assert e.parse(json.dumps(told)).session_id is None
        return
    with pytest.raises(ValidationError):
        e.parse(json.dumps(told))


@pytest.mark.parametrize("added", [["tools"], ["llm", "memory", "budget"]])
def test_a_log_from_before_sessions_had_these_fields_is_still_read(added: list[str]) -> None:
    body = json.loads(e.body_of(session_started()))
    for field in added:
        del body[field]
    assert e.parse(json.dumps(body)) == session_started()


def test_a_log_from_before_models_differed_is_still_read() -> None:
    started = e.MessageStarted(session_id="s1", turn=1, round=1, agent="planner", role="role")
    for event, added in (
        (started, ("tools", "form", "left_out")),
        (message("s1", 1, "Fine."), ("form", "cached_tokens")),
        (e.MessageInterrupted(**started.model_dump(include=TURN), reason="paused"), ("error",)),
    ):
        body = json.loads(e.body_of(event))
        for field in added:
            del body[field]
        assert e.parse(json.dumps(body)) == event
