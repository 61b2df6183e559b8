"""The desk: the one door to detection. Each method takes the principal first and asks it for `detection:read`."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from heist import configfile
from heist import events as e
from heist.errors import ConfigError, Invalid, NotFound
from heist.llm.model import Model
from heist.llm.source import Source
from heist.services.auth import Principal, Scope
from heist.services.detection import calibration, case, config, detector, quality
from heist.services.detection.calibration import Calibrations
from heist.services.detection.case import Called, Case, Deed, Member, Put, Said, Schema
from heist.services.detection.config import Detection
from heist.services.detection.detector import Detector
from heist.services.detection.fitting import Over
from heist.services.detection.ladder import null, text
from heist.services.detection.ladder.audit import Audit
from heist.services.detection.ladder.hybrid import Bench, Hybrid, Judged
from heist.services.detection.ladder.keywords import Keywords
from heist.services.detection.ladder.rules import Rules
from heist.services.detection.metrics import Scored
from heist.services.detection.quality import Judged as JudgedGame
from heist.services.detection.quality import Quality
from heist.services.detection.verdict import JudgeState, Reason, Verdict, answer
from heist.services.plugins import Found
from heist.store.queries import Queries, parsed
from heist.switches import Switches
from heist.telemetry.telemetry import Telemetry
from heist.world import scenario as scenarios

MOST = 2000
LONGEST = 20_000


NOBODY = "nobody"
"""What verdicts call the case that there is no mole; no agent has this name."""


_MEASURED = (calibration.FOLDER, text.FOLDER)


class Spoken(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    agent: str = Field(max_length=64)
    text: str = Field(max_length=LONGEST)
    turn: int | None = Field(None, ge=0, description="its place in the order; counted if it is left out")


class Used(BaseModel):
    """A tool call; one that failed by the caller's fault says so by `fault`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    agent: str = Field(max_length=64)
    tool: str = Field(max_length=64)
    argument: str = Field("", max_length=2000)
    result: str = Field("", max_length=LONGEST)
    fault: str | None = Field(
        None, max_length=16, description="arguments, scope, unknown, service; null if it succeeded"
    )
    turn: int = Field(ge=0)


class Edited(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    agent: str = Field(max_length=64)
    slot: str = Field(max_length=64)
    value: str | int
    turn: int = Field(ge=0)


class Record(BaseModel):
    """A session told as data: from elsewhere, or made up."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    messages: tuple[Spoken, ...] = Field(max_length=MOST)
    tool_calls: tuple[Used, ...] = Field((), max_length=MOST)
    plan_edits: tuple[Edited, ...] = Field((), max_length=MOST)
    agents: tuple[str, ...] = Field((), max_length=50, description="the crew; who speaks, if it is left out")
    roles: dict[str, str] = Field(default={}, description="the scenario's role of an agent, where that is not its name")
    scenario: str | None = Field(None, max_length=200, description="one of the house's; without one rules abstain")
    model: str = Field("", max_length=200)


class Moment(BaseModel):
    """How things stood after a turn."""

    turn: int
    posterior: dict[str, float]
    nobody: float | None
    suggested_mole: str | None
    confidence: float | None
    score_breakdown: dict[str, dict[str, float]] = {}
    alarm: bool = False
    judge: str = Field("off", description="off, given, abstained or failed")
    abstained: str = ""


class Suggestion(BaseModel):
    """The verdict in a sentence."""

    session_id: str
    detector: str
    turn: int
    suggested_mole: str | None
    confidence: float | None
    suspicion_scores: dict[str, float]
    sentence: str
    abstained: str = ""


class Card(BaseModel):
    name: str
    about: str


class Stored(NamedTuple):
    """A session from the log: its case, and what the judge said while it went on."""

    case: Case
    judged: Sequence[e.JudgeAnswered]


def ladder(settings: Detection, calibrations: Calibrations, folder: Path, bench: Bench) -> Found[Detector]:
    """The house's detectors from the lowest rung up, and those of other packages."""
    rules = Rules(settings, calibrations)
    builtin: list[Detector] = [
        null.chance(settings),
        null.role_prior(settings, calibrations),
        null.length(settings),
        text.Text("bag", text.read(folder, "bag"), settings),
        Keywords(settings),
        rules,
        Judged(bench, rules),
        Hybrid(bench, rules),
        Audit(settings),
        text.Text("text", text.read(folder, "text"), settings),
    ]
    return detector.find(builtin)


class Parts(NamedTuple):
    """What detection works with, as its files are at one moment."""

    settings: Detection
    calibrations: Calibrations
    bench: Bench
    found: Found[Detector]

    @property
    def rules(self) -> Rules:
        return Rules(self.settings, self.calibrations)


class Desk:
    """Reads its files when it is asked, and again when they have changed. While one is wrong, it raises what is
    wrong with it."""

    def __init__(
        self, folder: Path, queries: Queries, source: Source, switches: Switches, telemetry: Telemetry
    ) -> None:
        self._folder = folder
        self._queries = queries
        self._source = source
        self._switches = switches
        self._telemetry = telemetry
        self._opened: tuple[object, Parts] | None = None
        self._schemas: dict[str, Schema] = {}
        self._scored: dict[str, tuple[Scored, JudgedGame] | None] = {}

    @property
    def parts(self) -> Parts:
        """Raises `ConfigError`."""
        settings = config.read(self._folder)
        if not self._switches.flags.judge:
            settings = settings.model_copy(update={"judge": settings.judge.model_copy(update={"arm": "off"})})
        measured = [path for name in _MEASURED for path in sorted((self._folder / name).glob("*.json"))]
        now = settings, [(path, configfile.state(path)) for path in measured]
        if self._opened is None or self._opened[0] != now:
            self._opened = now, self._built(settings)
        return self._opened[1]

    def _built(self, settings: Detection) -> Parts:
        calibrations = calibration.read(self._folder)
        judge = settings.judge
        bench = Bench(settings, calibrations, partial(_asked, self._source, judge.model, judge.llm))
        return Parts(settings, calibrations, bench, ladder(settings, calibrations, self._folder, bench))

    @property
    def settings(self) -> Detection:
        return self.parts.settings

    @property
    def bench(self) -> Bench:
        return self.parts.bench

    @property
    def found(self) -> Found[Detector]:
        """The detectors that there are, and those that were turned away."""
        return self.parts.found

    @property
    def rules(self) -> Rules:
        return self.parts.rules

    def problem(self) -> str:
        """Why no detector can look at anything, though one should; empty when all is well. Blocks."""
        try:
            _ = self.is_on() and self.parts
        except ConfigError as error:
            return str(error)
        return ""

    def is_on(self) -> bool:
        """Whether this house wants detection at all."""
        return self._switches.flags.detection

    def _check(self, principal: Principal) -> None:
        principal.require(Scope.DETECTION)
        self._switches.require("detection")

    def named(self, name: str) -> Detector:
        """Raises `NotFound`, or `SwitchedOff` for the judge of a house that wants none."""
        if name == "judge":
            self._switches.require("judge")
        detectors = self.found.parts
        if name not in detectors:
            raise NotFound(f"there is no detector {name[:64]!r}; there are: {', '.join(detectors)}")
        return detectors[name]

    async def detectors(self, principal: Principal) -> list[Card]:
        self._check(principal)
        found = await asyncio.to_thread(lambda: self.found)
        return [Card(name=name, about=one.about) for name, one in found.parts.items()]

    async def assess(self, principal: Principal, session_id: str, name: str = "rules") -> Verdict:
        """The verdict on a session as it stands, whether it runs or is long over."""
        self._check(principal)
        chosen = await asyncio.to_thread(self.named, name)
        stored = await asyncio.to_thread(self.stored, session_id)
        with self._telemetry.assessing(name, session_id):
            return await chosen.assess(stored.case)

    async def assess_record(self, principal: Principal, record: Record, name: str = "rules") -> Verdict:
        """The verdict on what somebody tells."""
        self._check(principal)
        chosen = await asyncio.to_thread(self.named, name)
        return await chosen.assess(await asyncio.to_thread(self._told, record))

    async def history(self, principal: Principal, session_id: str, name: str = "rules") -> list[Moment]:
        """How a detector saw the session after each of its messages; worked out again, except what a judge said."""
        self._check(principal)
        chosen = await asyncio.to_thread(self.named, name)
        stored = await asyncio.to_thread(self.stored, session_id)
        if name == "judge":
            return [_judged(event) for event in stored.judged]
        if name in ("rules", "hybrid"):
            return await asyncio.to_thread(self._went, stored, name)
        cuts = sorted({said.turn for said in stored.case.said})
        return [_moment(await chosen.assess(stored.case.until(turn))) for turn in cuts]

    async def quality(self, principal: Principal, limit: int) -> Quality:
        """How right the rules were about the newest games that are over, and the player beside them."""
        principal.require(Scope.DETECTION)
        return await asyncio.to_thread(self._quality, limit)

    def _quality(self, limit: int) -> Quality:
        """A game that is over stays as it is, so each is gone through once."""
        told = self._reveals()[-limit:]
        for one in told:
            if one.session_id not in self._scored:
                self._scored[one.session_id] = self._judged_game(one)
        known = [found for one in told if (found := self._scored[one.session_id]) is not None]
        games = [game for _, game in known]
        return Quality(detector="rules", measures=quality.measures([one for one, _ in known], games), games=games)

    def _judged_game(self, told: e.MoleRevealed) -> tuple[Scored, JudgedGame] | None:
        game = self._game(told)
        rules = quality.scored(game, self.rules)
        if rules is None:
            return None
        noted = self._queries.log(0, told.session_id, kinds="suspicion.stated")
        last = e.parse(noted[-1].body) if noted else None
        player = None
        if isinstance(last, e.SuspicionStated):
            player = rules._replace(posterior=last.suspicions, nobody=last.nobody)
        return rules, quality.judged(game, rules, player)

    def stored(self, session_id: str) -> Stored:
        """Blocks. Raises `NotFound`, or `Conflict` when the log holds what this version does not know."""
        rows = self._queries.log(0, session_id)
        if not rows:
            raise NotFound(f"there is no session {session_id[:64]!r}")
        events = parsed(session_id, [row.body for row in rows if row.kind in _SEEN])
        first = events[0]
        assert isinstance(first, e.SessionStarted)
        judged = [event for event in events if isinstance(event, e.JudgeAnswered)]
        return Stored(case.of(events, self.schema(first.scenario)), judged)

    def over(self) -> list[Over]:
        """The games that are over and revealed, oldest first; no forks, which are much like another game. Blocks."""
        return [self._game(told) for told in self._reveals()]

    def _game(self, told: e.MoleRevealed) -> Over:
        return Over(self.stored(told.session_id).case, told.arm, told.holder, told.strategy)

    def _reveals(self) -> list[e.MoleRevealed]:
        events = [e.parse(row.body) for row in self._queries.log(0, None, kinds="mole.revealed")]
        return [event for event in events if isinstance(event, e.MoleRevealed) and event.fork_of is None]

    def schema(self, scenario: str) -> Schema | None:
        """What may be said of the scenario's facts; None when its file cannot be read any more."""
        if scenario not in self._schemas:
            try:
                self._schemas[scenario] = case.schema(scenarios.read(self._folder, scenario))
            except (NotFound, ConfigError):
                return None
        return self._schemas[scenario]

    def _went(self, stored: Stored, name: str) -> list[Moment]:
        rules = self.rules
        assessment = rules.begin(stored.case)
        if assessment is None:
            return []
        moments = []
        judged = {event.turn: event for event in stored.judged}
        hybrid = Hybrid(self.bench, rules)
        state = JudgeState()
        for deed in stored.case.deeds:
            assessment.see(deed)
            if not isinstance(deed, Said):
                continue
            standing = assessment.standing()
            if name == "hybrid":
                state = state_of(judged[deed.turn]) if deed.turn in judged else state
                verdict = hybrid.pool(stored.case, assessment.verdict(standing), state)
                moments.append(_moment(verdict).model_copy(update={"turn": deed.turn}))
                continue
            told = standing.posterior
            suggested, sure = answer(told.agents, told.nobody)
            moments.append(
                Moment(
                    turn=deed.turn,
                    posterior=dict(told.agents),
                    nobody=told.nobody,
                    suggested_mole=suggested,
                    confidence=sure,
                    score_breakdown={agent: dict(added) for agent, added in standing.odds.families.items()},
                    alarm=standing.alarm.raised,
                )
            )
        return moments

    def _told(self, record: Record) -> Case:
        """Blocks. Raises `Invalid` or `NotFound`."""
        speakers = [said.agent for said in record.messages]
        names = record.agents or tuple(dict.fromkeys(speakers))
        if strangers := [name for name in speakers if name not in names]:
            raise Invalid(f"{strangers[0][:64]!r} speaks and is not among the agents")
        if len(names) < 2 or len(set(names)) < len(names):
            raise Invalid("a record needs at least two agents, each once: those who speak, or a list of all")
        if unnamed := [name for name in names if not name.strip() or not name.isprintable() or name == NOBODY]:
            raise Invalid(f"{unnamed[0][:64]!r} is no name of an agent")
        known = None
        if record.scenario is not None and (known := self.schema(record.scenario)) is None:
            raise NotFound(f"there is no scenario {record.scenario[:64]!r} that can be read")
        said = [
            (one.turn if one.turn is not None else number, 2, Said(0, one.agent, one.text))
            for number, one in enumerate(record.messages, 1)
        ]
        used = [
            (one.turn, 0, Called(one.turn, one.agent, one.tool, one.argument, one.argument, one.result, one.fault))
            for one in record.tool_calls
        ]
        edits = [(one.turn, 1, Put(one.turn, one.agent, one.slot, one.value, None)) for one in record.plan_edits]
        ordered: list[tuple[int, int, Deed]] = sorted([*used, *edits, *said], key=lambda one: one[:2])
        deeds = tuple(deed._replace(turn=turn) for turn, _, deed in ordered)
        members = tuple(Member(name, record.roles.get(name, name)) for name in names)
        return Case("", members, deeds, known, record.model, record.scenario or "")


_SEEN = frozenset(
    {"session.started", "message.completed", "tool.called", "plan.changed", "judge.answered", "outcome.decided"}
)
"""The kinds of events that a case is made of; none of them tells who it was."""


async def _asked(source: Source, model: str | None, llm: str | None, told: Case) -> Model:
    """The judge's own model, else the one that the settings name: a session's may be gone when it is judged."""
    return await source.model(model, llm)


def state_of(event: e.JudgeAnswered) -> JudgeState:
    """What the judge said while the session went on."""
    reasons = tuple(Reason(**reason.model_dump()) for reason in event.reasons)
    given = event.model_dump(exclude={"session_id", "kind", "turn", "reasons"})
    return JudgeState(**given, reasons=reasons)


def _judged(event: e.JudgeAnswered) -> Moment:
    if event.posterior is None or event.nobody is None:
        nothing = Moment(turn=event.turn, posterior={}, nobody=None, suggested_mole=None, confidence=None)
        return nothing.model_copy(update={"judge": event.status, "abstained": event.error})
    suggested, sure = answer(event.posterior, event.nobody)
    return Moment(
        turn=event.turn,
        posterior=event.posterior,
        nobody=event.nobody,
        suggested_mole=suggested,
        confidence=sure,
        judge=event.status,
    )


def _moment(verdict: Verdict) -> Moment:
    return Moment(
        turn=verdict.turn,
        posterior=verdict.posterior,
        nobody=verdict.nobody,
        suggested_mole=verdict.suggested_mole,
        confidence=verdict.confidence,
        score_breakdown=verdict.score_breakdown,
        alarm=verdict.alarm is not None and verdict.alarm.raised,
        judge=verdict.judge.status,
        abstained=verdict.abstained,
    )


def suggestion(verdict: Verdict) -> Suggestion:
    """The verdict in a sentence, with its first reason."""
    if verdict.abstained:
        sentence = f"No verdict: {verdict.abstained}."
    elif verdict.suggested_mole is None:
        sentence = f"Nobody is likelier to be the mole than that there is none ({verdict.confidence:.0%})."
    else:
        first = next((one for one in verdict.evidence if one.agent == verdict.suggested_mole and one.hit), None)
        why = f": {first.reason}" if first else "."
        sentence = f"{verdict.suggested_mole} is the mole with {verdict.confidence:.0%}{why}"
    return Suggestion(
        session_id=verdict.session_id,
        detector=verdict.detector,
        turn=verdict.turn,
        suggested_mole=verdict.suggested_mole,
        confidence=verdict.confidence,
        suspicion_scores=verdict.suspicion_scores,
        sentence=sentence,
        abstained=verdict.abstained,
    )
