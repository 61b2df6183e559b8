"""Calibrations: what was measured on games that are over, as JSON files with their source."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heist.configfile import first_error, sentence
from heist.errors import ConfigError
from heist.services.detection.bayes import Baseline
from heist.services.detection.config import Alarm, Belief
from heist.services.detection.evidence import Check, Count

FOLDER = "calibration"
STRONGEST = 200.0
"""No baseline is held with more certainty than so many cases would give, whatever was seen: the next crew is
another."""


class Seen(BaseModel):
    """How often agents were hit, of how often they could be."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    hits: int = Field(ge=0)
    of: int = Field(ge=0)


class Measured(BaseModel):
    """One check: of honest agents in all and by role, how strongly they agree, and what moles add."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    pooled: Seen
    roles: dict[str, Seen] = {}
    strength: float = Field(gt=0)
    excess: tuple[float, ...] = ()
    share: float | None = None


class Calibration(BaseModel):
    """What was measured, on what. `checks` are by family and check, `alarm` is the threshold of the highest e-value
    that the honest games reached, `temperature` and `roles` are the judge's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str = ""
    model: str = Field("", description="who spoke; empty is anybody")
    scenario: str = Field("", description="empty is any")
    games: dict[str, int] = Field(default={}, description="how many games of each arm")
    checks: dict[str, Measured] = {}
    alarm: float | None = None
    temperature: float = Field(1.0, gt=0)
    roles: dict[str, float] = Field(default={}, description="how the judge's suspicion falls on honest roles")
    holders: dict[str, float] = Field(
        default={}, description="nats by which a role was the mole more often than others"
    )
    metrics: dict[str, float] = {}

    @cached_property
    def id(self) -> str:
        """The same for the same numbers; empty where nothing was measured."""
        if not self.source:
            return ""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @cached_property
    def baselines(self) -> Mapping[str, Baseline]:
        return {
            name: Baseline(
                Count(*_bounded(one.pooled)), {role: Count(*_bounded(seen)) for role, seen in one.roles.items()}
            )
            for name, one in self.checks.items()
        }

    def beliefs(self, defaults: Mapping[Check, Belief]) -> Mapping[Check, Belief]:
        """The defaults with what was measured of moles in their place."""
        return {check: self._belief(check, belief) for check, belief in defaults.items()}

    def _belief(self, check: Check, belief: Belief) -> Belief:
        measured = next((one for name, one in self.checks.items() if name.endswith(f".{check}")), None)
        if measured is None or measured.share is None or not measured.excess:
            return belief
        return belief.model_copy(
            update={"strength": measured.strength, "excess": measured.excess, "share": measured.share}
        )

    def threshold(self, alarm: Alarm) -> tuple[float, Literal["ville", "calibrated"]]:
        """Calibrated when there were honest games enough, else what is always valid."""
        if self.alarm is not None and self.games.get("none", 0) >= alarm.games:
            return self.alarm, "calibrated"
        return 1 / alarm.alpha, "ville"


def _bounded(seen: Seen) -> tuple[int, int]:
    """The counts, scaled down where they would outweigh everything else."""
    if seen.of <= STRONGEST:
        return seen.hits, seen.of
    return round(seen.hits * STRONGEST / seen.of), round(STRONGEST)


class Calibrations(NamedTuple):
    """All that there are; the one that names the model and the scenario goes before one that names less."""

    known: Sequence[Calibration] = ()

    def of(self, model: str, scenario: str) -> Calibration:
        fitting = [one for one in self.known if one.model in ("", model) and one.scenario in ("", scenario)]
        return max(fitting, key=lambda one: (bool(one.model), bool(one.scenario)), default=Calibration())


def read(folder: Path) -> Calibrations:
    """All files of the folder's `calibration`; raises `ConfigError` that names the file."""
    return Calibrations(tuple(_read(path) for path in sorted((folder / FOLDER).glob("*.json"))))


def _read(path: Path) -> Calibration:
    try:
        return Calibration.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = first_error(error)
        raise ConfigError(f"{path}: {sentence(first['loc'], first['msg'])}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the file cannot be read: {error}") from None
