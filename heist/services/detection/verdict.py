"""The verdict: who it is, why, and how sure; with what would change it, and what could not be judged."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from heist.services.detection.bayes import Key
from heist.services.detection.case import Case
from heist.services.detection.evidence import Family, Item

MOST = 8
"""Items that an explanation names in each direction."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Cited(Part):
    """An item of evidence with its place: a word-by-word quote of what happened in the first of `turns`. `weight` is in
    nats, shared evenly among the items of its check; above 0 it speaks against the agent. `link` is the address of the
    turn in the session's log."""

    id: str
    agent: str
    family: Family
    check: str
    hit: bool | None = Field(description="whether it speaks against the agent; null is noted and not counted")
    turns: tuple[int, ...]
    quote: str
    span: tuple[int, int] | None = Field(None, description="where the quote stands in the message")
    reason: str
    weight: float
    link: str = ""


class Account(Part):
    """Why an agent is suspected more, and why less, the weightiest first; ids of `evidence`. `change` is what would
    change the verdict most."""

    agent: str
    more: tuple[str, ...]
    less: tuple[str, ...]
    change: str


class AlarmState(Part):
    """`value` crossing `threshold` raises it. `by` says how the threshold was set: Ville's inequality, which holds for
    any number of looks, or the games of a calibration."""

    raised: bool
    by: Literal["ville", "calibrated"]
    value: float
    threshold: float


class Reason(Part):
    """Why the judge thinks so, with a quote that was found where it says."""

    agent: str
    turn: int
    quote: str
    why: str


class JudgeState(Part):
    """How the judge did. `valid` of `samples` were whole and true to their quotes; without one it has no weight, and
    `error` says why."""

    status: Literal["off", "given", "abstained", "failed"] = "off"
    arm: str = "off"
    form: str = "ranking"
    model: str = ""
    samples: int = 0
    valid: int = 0
    error: str = ""
    posterior: dict[str, float] | None = None
    nobody: float | None = None
    reasons: tuple[Reason, ...] = ()


class Weights(Part):
    """The judge's part of the verdict as it is set, and as it came to count; the rest is the rules'."""

    configured: dict[str, float]
    effective: dict[str, float]


class Verdict(Part):
    """`posterior` and `nobody` sum to 1, unless the detector has `abstained` and says why; then there is no number at
    all. `suspicion_scores` are the posterior under the name that the first of its kind gave them, `confidence` is how
    sure the answer is, also the answer that nobody is a mole."""

    session_id: str
    detector: str
    turn: int
    model: str = Field("", description="who spoke in the session")
    abstained: str = ""
    posterior: dict[str, float] = {}
    nobody: float | None = None
    suggested_mole: str | None = None
    confidence: float | None = None
    suspicion_scores: dict[str, float] = {}
    score_breakdown: dict[str, dict[str, float]] = Field(default={}, description="nats by agent and family")
    analysis_weights: dict[str, float] = {}
    suspects: tuple[str | None, ...] = Field((), description="the fewest with `coverage` together; null is nobody")
    coverage: float | None = None
    strategies: dict[str, float] = Field(default={}, description="how the first suspect works, if it is the mole")
    alarm: AlarmState | None = None
    evidence: tuple[Cited, ...] = ()
    explanation: tuple[Account, ...] = ()
    judge: JudgeState = JudgeState()
    weights: Weights = Weights(configured={"rules": 1.0}, effective={"rules": 1.0})
    calibration: str = Field("", description="the id of the calibration; empty for the defaults")


def abstention(case: Case, detector: str, reason: str) -> Verdict:
    """No number, and why."""
    return Verdict(session_id=case.session_id, detector=detector, turn=case.turns, abstained=reason, model=case.model)


def answer(agents: Mapping[str, float], nobody: float) -> tuple[str | None, float]:
    """(who is likelier than anybody else, and than nobody; how likely). Two who are just as likely are nobody's
    name."""
    if not agents:
        return None, nobody
    first, *rest = sorted(agents, key=lambda name: (-agents[name], name))
    tied = bool(rest) and agents[rest[0]] == agents[first]
    if agents[first] > nobody and not tied:
        return first, agents[first]
    return None, nobody


def cited(items: Sequence[Item], worth: Mapping[str, Mapping[Key, float]], session_id: str) -> tuple[Cited, ...]:
    """The items with their weights, the weightiest first. What a check has added is shared among its hits where it
    speaks against the agent, among its misses where it speaks for it."""
    counts: dict[tuple[str, Family, str, bool | None], int] = {}
    for item in items:
        key = item.agent, item.family, item.check, item.hit
        counts[key] = counts.get(key, 0) + 1
    found = []
    seen: dict[str, int] = {}
    for item in items:
        added = worth.get(item.agent, {}).get((item.family, item.check), 0.0)
        speaks = item.hit is not None and (added > 0) == item.hit and added != 0
        weight = added / counts[item.agent, item.family, item.check, item.hit] if speaks else 0.0
        seen[item.id] = seen.get(item.id, 0) + 1
        found.append(
            Cited(
                id=item.id if seen[item.id] == 1 else f"{item.id}{seen[item.id]}",
                agent=item.agent,
                family=item.family,
                check=item.check,
                hit=item.hit,
                turns=item.turns,
                quote=item.quote,
                span=item.span,
                reason=item.reason,
                weight=round(weight, 4),
                link=f"/s/{session_id}#m{item.turns[0]}",
            )
        )
    return tuple(sorted(found, key=lambda one: -abs(one.weight)))


def accounts(posterior: Mapping[str, float], nobody: float, evidence: Sequence[Cited]) -> tuple[Account, ...]:
    """For each agent, most suspected first."""
    told = []
    for agent in sorted(posterior, key=lambda name: (-posterior[name], name)):
        mine = [item for item in evidence if item.agent == agent and item.hit is not None]
        more = [item for item in mine if item.hit and item.weight >= 0]
        less = [item for item in mine if not item.hit and item.weight <= 0]
        told.append(
            Account(
                agent=agent,
                more=tuple(item.id for item in more[:MOST]),
                less=tuple(item.id for item in less if item.weight)[:MOST],
                change=_change(agent, posterior[agent], nobody, more),
            )
        )
    return tuple(told)


def _change(agent: str, share: float, nobody: float, more: Sequence[Cited]) -> str:
    if not more:
        return f"Nothing speaks against {agent} so far: a figure that its own source denies would change most."
    checks: dict[tuple[str, str], float] = {}
    for item in more:
        checks[item.family, item.check] = checks.get((item.family, item.check), 0.0) + item.weight
    (_, check), weight = max(checks.items(), key=lambda one: one[1])
    first = next(item for item in more if item.check == check)
    turn = first.turns[0]
    if share <= nobody:
        return f"Another one like that of turn {turn} ({check}) would raise it most: so far nobody is likelier."
    return f"If {check}, as in turn {turn}, had an honest reason, {agent} would lose {weight:.1f} of its weight."
