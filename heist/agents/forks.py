"""A fork: how a session begins that goes on from a moment of another."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from heist import events as e
from heist.errors import Invalid, NotFound

LAST = 2**63 - 1
_LEFT = (
    *("session.paused", "session.stepped", "session.resumed", "session.recovered", "session.stopping"),
    *("session.stopped", "session.completed", "session.failed", "budget.reached"),
    *("guess.made", "outcome.step", "outcome.decided", "mole.revealed", "service.missing"),
)
"""How a session was steered, how it ended and what it did without is its own; a fork has a guess, an end and a reveal
of its own."""


class Moment(BaseModel):
    """After a row of the log, or after a turn; where neither is said, now. A turn that is in the middle then is left
    out."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seq: int | None = Field(None, ge=0, le=LAST, description="a row of the session's log")
    turn: int | None = Field(None, ge=0, le=LAST, description="so many turns are over; 0 is before the first")
    paused: bool = Field(True, description="wait before the first turn, so that something can be changed")


class Beginning(NamedTuple):
    """How a session begins: its own start, what a fork takes over from another's log, and what is sealed with it."""

    started: e.SessionStarted
    taken: Sequence[e.Event]
    sealed: Sequence[e.Event]


def fork(
    log: Sequence[e.Event],
    places: Sequence[int],
    sealed: Sequence[e.Event],
    moment: Moment,
    session_id: str,
    by: str,
    process: int,
) -> Beginning:
    """A session that has had all that this one had had by the moment, with the same seed, bank and briefs; `places` are
    the log's row numbers. Of what else is sealed it takes over what is of turns that it has had. Raises `NotFound` for
    a moment that the session has not had, `Invalid` for one said twice."""
    first, *had = log[: _until(log, places, moment)]
    assert isinstance(first, e.SessionStarted)
    turn = max((_over(event) for event in had), default=0)
    root = first.fork and (first.fork.root or first.fork.session_id)
    origin = e.Origin(session_id=first.session_id, seq=places[len(had)], turn=turn, root=root)
    its = {"session_id": session_id}
    kept = [event for event in sealed if isinstance(event, e.MoleAssigned) or _private(event) <= turn]
    return Beginning(
        first.model_copy(update={**its, "by": by, "process": process, "fork": origin}),
        [event.model_copy(update=its) for event in had if event.kind not in _LEFT],
        [event.model_copy(update=its) for event in kept],
    )


def _until(log: Sequence[e.Event], places: Sequence[int], moment: Moment) -> int:
    """How many of the events had happened by then, without those of a turn that was not over."""
    if moment.seq is not None and moment.turn is not None:
        raise Invalid("a moment is a row of the log or a turn, and here both are given")
    if moment.turn is not None:
        return _after(log, moment.turn)
    if moment.seq is not None and not places[0] <= moment.seq <= places[-1]:
        rows = f"from row {places[0]} to {places[-1]}"
        raise NotFound(f"the log of {log[0].session_id} goes {rows}; there is no {moment.seq}")
    count = len(log) if moment.seq is None else bisect_right(places, moment.seq)
    in_hand = None
    for at, event in enumerate(log[:count]):
        match event:
            case e.MessageStarted():
                in_hand = at
            case e.MessageCompleted() | e.MessageFailed() | e.MessageInterrupted():
                in_hand = None
    return count if in_hand is None else in_hand


def _after(log: Sequence[e.Event], turn: int) -> int:
    """All that had happened when the turn after this one began."""
    over = max(map(_over, log))
    if turn > over:
        raise NotFound(f"turn {turn} of the session {log[0].session_id} is not over; it has taken {over}")
    later = (at for at, event in enumerate(log) if isinstance(event, e.MessageStarted) and event.turn > turn)
    return next(later, len(log))


def _over(event: e.Event) -> int:
    """The turn that ends with this event, or 0."""
    return event.turn if isinstance(event, e.MessageCompleted | e.MessageFailed) else 0


def _private(event: e.Event) -> int:
    return event.turn if isinstance(event, e.SabotageDone | e.ThoughtsKept) else 0
