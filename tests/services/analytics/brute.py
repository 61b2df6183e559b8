"""Brute force: every figure again, straight from the log, in plain Python."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heist import events as e
from heist.store.figures import Chosen
from heist.store.queries import Logged

ENDS = {"session.completed": "completed", "session.stopped": "stopped", "session.failed": "failed"}


@dataclass
class Played:
    """A session as its log tells it."""

    started: e.SessionStarted
    at: str
    end: str | None = None
    status: str = "running"
    said: list[e.MessageCompleted] = field(default_factory=list)
    failed: list[e.MessageFailed] = field(default_factory=list)
    calls: list[e.ToolCalled] = field(default_factory=list)
    revealed: e.MoleRevealed | None = None

    @property
    def turns(self) -> int:
        return max([one.turn for one in (*self.said, *self.failed)], default=0)


def played(log: Sequence[Logged]) -> list[Played]:
    """The sessions of a log, oldest first."""
    found: dict[str, Played] = {}
    for row in log:
        event = e.parse(row.body)
        if isinstance(event, e.SessionStarted):
            found[event.session_id] = Played(event, row.at)
        if event.session_id is None:
            continue
        one = found[event.session_id]
        match event:
            case e.MessageCompleted():
                one.said.append(event)
            case e.MessageFailed():
                one.failed.append(event)
            case e.ToolCalled():
                one.calls.append(event)
            case e.MoleRevealed():
                one.revealed = event
            case e.SessionPaused():
                one.status = "paused"
            case _ if event.kind in ENDS:
                one.status, one.end = ENDS[event.kind], row.at
    return list(found.values())


def fits(one: Played, chosen: Chosen) -> bool:
    given = {"crew": chosen.crew, "model": chosen.model, "variant": chosen.variant}
    return (
        all(value is None or getattr(one.started, name) == value for name, value in given.items())
        and (chosen.since is None or one.at >= chosen.since)
        and (chosen.until is None or one.at < chosen.until)
        and (chosen.strategy is None or (one.revealed is not None and one.revealed.strategy == chosen.strategy))
    )


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def agents(some: Sequence[Played]) -> list[dict[str, Any]]:
    said = [message for one in some for message in one.said]
    failed = [turn for one in some for turn in one.failed]
    calls = [call for one in some for call in one.calls]
    found = []
    spoken: list[e.Turn | e.ToolCalled] = [*said, *failed, *calls]
    for name in {event.agent for event in spoken}:
        own = [message for message in said if message.agent == name]
        found.append(
            {
                "agent": name,
                "messages": len(own),
                "share": mean([float(message.agent == name) for message in said]),
                "failed_turns": sum(turn.agent == name for turn in failed),
                "prompt_tokens": sum(message.prompt_tokens for message in own),
                "completion_tokens": sum(message.completion_tokens for message in own),
                "milliseconds": mean([message.milliseconds for message in own]),
                "tool_calls": sum(call.agent == name for call in calls),
                "tool_success_rate": mean([call.success for call in calls if call.agent == name]),
            }
        )
    return sorted(found, key=lambda one: (-one["messages"], one["agent"]))


def tools(some: Sequence[Played]) -> list[dict[str, Any]]:
    calls = [call for one in some for call in one.calls]
    found = []
    for name in {call.tool for call in calls}:
        own = [call for call in calls if call.tool == name]
        found.append(
            {
                "tool": name,
                "calls": len(own),
                "successes": sum(call.success for call in own),
                "success_rate": mean([call.success for call in own]),
                "milliseconds": mean([call.milliseconds for call in own]),
                "faults": dict(Counter(call.fault for call in own if call.fault)),
                "agents": dict(Counter(call.agent for call in own)),
            }
        )
    return sorted(found, key=lambda one: (-one["calls"], one["tool"]))


def follows(some: Sequence[Played]) -> list[dict[str, Any]]:
    counted = Counter(
        (before.agent, after.agent) for one in some for before, after in zip(one.said, one.said[1:], strict=False)
    )
    return [{"agent": one, "next": other, "times": times} for (one, other), times in _ranked(counted)]


def names(some: Sequence[Played]) -> list[dict[str, Any]]:
    counted: Counter[tuple[str, str]] = Counter()
    for one in some:
        for message in one.said:
            words = set(re.split(r"\W+", message.text.lower()))
            crew = {seat.name for seat in one.started.seats} - {message.agent}
            counted.update((message.agent, name) for name in crew & words)
    return [{"agent": one, "named": other, "messages": many} for (one, other), many in _ranked(counted)]


def _ranked(counted: Counter[tuple[str, str]]) -> list[tuple[tuple[str, str], int]]:
    return sorted(counted.items(), key=lambda one: (-one[1], one[0]))


def session(one: Played) -> dict[str, Any]:
    game = ("arm", "strategy", "holder", "guess", "result", "outcome", "score", "reference", "damage")
    copied = ("session_id", "crew", "scenario", "title", "model", "simulated", "variant", "rounds")
    return {
        **{name: getattr(one.started, name) for name in copied},
        "start_time": one.at,
        "end_time": one.end,
        "status": one.status,
        "turns": one.turns,
        **_totals([one]),
        "game": one.revealed and {name: getattr(one.revealed, name) for name in game},
    }


def _totals(some: Sequence[Played]) -> dict[str, Any]:
    said = [message for one in some for message in one.said]
    calls = [call for one in some for call in one.calls]
    return {
        "messages": len(said),
        "failed_turns": sum(len(one.failed) for one in some),
        "prompt_tokens": sum(message.prompt_tokens for message in said),
        "completion_tokens": sum(message.completion_tokens for message in said),
        "milliseconds": mean([message.milliseconds for message in said]),
        "tool_calls": len(calls),
        "tool_success_rate": mean([call.success for call in calls]),
    }


def summary(some: Sequence[Played], group: str | None = None) -> dict[str, Any]:
    over = [one for one in some if one.end is not None]
    games = [one.revealed for one in some if one.revealed is not None]
    counted = Counter(one.status for one in some)
    return {
        "group": group,
        "sessions": len(some),
        "ongoing": len(some) - len(over),
        **{status: counted[status] for status in ENDS.values()},
        "completion_rate": mean([one.status == "completed" for one in over]),
        "average_turns": mean([one.turns for one in over]),
        **_totals(some),
        "games": {
            "revealed": len(games),
            **{word.lower(): sum(game.result == word for game in games) for word in ("SUCCESS", "FAILURE", "BUSTED")},
            "guess_accuracy": mean([game.result == "SUCCESS" for game in games]),
            "score": mean([game.score for game in games]),
            "reference": mean([game.reference for game in games]),
            "damage": mean([game.damage for game in games if game.damage is not None]),
        },
        "detection": None,
    }
