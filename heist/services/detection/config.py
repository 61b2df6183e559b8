"""The configuration of detection: every number of `config/detection.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from heist.configfile import Section, load
from heist.services.detection.evidence import COUNTED, FAMILIES, Check, Family
from heist.settings import shipped

Share = Annotated[float, Field(ge=0, le=1)]
Arm = Literal["off", "blind", "evidence", "scores"]


class Belief(Section):
    """What is held of one check before anything is seen. A mole that shows in it is hit `honest + (1 - honest) * x` of
    the time, each `x` of `excess` as likely as the other."""

    honest: float = Field(gt=0, lt=1)
    strength: float = Field(gt=0, le=10_000)
    excess: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(min_length=1, max_length=8)
    share: Share


class Alarm(Section):
    alpha: float = Field(0.05, gt=0, lt=1)
    games: int = Field(100, ge=1)


class JudgeSettings(Section):
    """`weight` is its part of the verdict when all samples are valid. The limits are for one session."""

    arm: Arm = "off"
    form: Literal["ranking", "each"] = "ranking"
    weight: Share = 0.4
    samples: int = Field(3, ge=1, le=25)
    whole: bool = True
    model: str | None = None
    llm: str | None = None
    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(900, ge=16)
    calls: int = Field(60, ge=0)
    tokens: int = Field(400_000, ge=0)
    seconds: float = Field(60, gt=0)


class Detection(Section):
    live: str = "rules"
    every: int = Field(3, ge=1)
    prior: float = Field(0.6, gt=0, lt=1)
    coverage: float = Field(0.9, gt=0, le=1)
    families: Mapping[Family, Share]
    checks: Mapping[Check, Belief]
    rest: Share = 0.5
    honeytokens: tuple[str, ...] = ()
    strategies: Mapping[str, tuple[Check, ...]] = Field(default_factory=dict)
    alarm: Alarm = Field(default_factory=lambda: Alarm())
    judge: JudgeSettings = Field(default_factory=lambda: JudgeSettings())
    keywords: Mapping[Family, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if missing := [family for family in FAMILIES if family not in self.families]:
            raise ValueError(f"families lacks {missing[0]}")
        if missing_checks := [check for check in COUNTED if check not in self.checks]:
            raise ValueError(f"checks lacks {missing_checks[0]}")
        return self


def read(folder: Path) -> Detection:
    """`detection.yaml` of the config folder, the shipped one if it has none; raises `ConfigError`."""
    own = folder / "detection.yaml"
    return load(own if own.exists() else shipped("config") / "detection.yaml", Detection)
