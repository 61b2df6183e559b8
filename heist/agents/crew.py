"""A crew as a YAML file gives it."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from heist.configfile import Section, load
from heist.errors import NotFound
from heist.events import Seat
from heist.services.auth import AGENT_SCOPES
from heist.world.scenario import Line, Prose, Word


def check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", name):
        raise ValueError("a name is a letter and up to 31 more letters, digits, - and _")
    return name


class Member(Section):
    """One agent. The name is what the others call it and what every row in the audit says."""

    name: Annotated[str, AfterValidator(check_name)]
    role: Line
    scopes: tuple[str, ...]
    persona: Prose

    @field_validator("scopes")
    @classmethod
    def _scopes_exist(cls, scopes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = info.context["known"] if info.context else AGENT_SCOPES
        for scope in scopes:
            if scope not in known:
                raise ValueError(f"unknown scope {scope!r}; expected some of: {', '.join(sorted(known))}")
        return scopes

    @property
    def seat(self) -> Seat:
        return Seat(name=self.name, role=self.role, persona=self.persona, scopes=self.scopes)


class ModelSettings(Section):
    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(300, ge=16, le=32_768)


class Crew(Section):
    """`context` is how many of the last messages an agent hears again, `tool_calls` how many calls a turn may hold."""

    name: Line
    scenario: Word
    order: Literal["round_robin", "random"] = "round_robin"
    rounds: int = Field(5, ge=1, le=1000)
    context: int = Field(5, ge=1, le=200)
    tool_calls: int = Field(2, ge=0, le=10)
    model: ModelSettings = Field(default_factory=lambda: ModelSettings())
    agents: tuple[Member, ...] = Field(min_length=2, max_length=50)

    @field_validator("agents")
    @classmethod
    def _names_differ(cls, agents: tuple[Member, ...]) -> tuple[Member, ...]:
        name, count = Counter(member.name.lower() for member in agents).most_common(1)[0]
        if count > 1:
            raise ValueError(f"the name {name!r} stands {count} times; each agent needs its own")
        return agents


def crews(folder: Path) -> list[str]:
    """The crew files of a folder by name: those that have agents are meant as crews."""
    return sorted(path.stem for path in folder.glob("*.yaml") if path.is_file() and b"\nagents:" in path.read_bytes())


def read(folder: Path, name: str, scopes: frozenset[str] = AGENT_SCOPES) -> Crew:
    """Reads `folder/name.yaml`, in which members may have `scopes`; raises `NotFound` for a name without a file,
    `ConfigError` for a wrong file."""
    path = folder / f"{name}.yaml"
    if path.parent != folder or not path.is_file():
        raise NotFound(f"there is no crew {name!r} in {folder}; there are: {', '.join(crews(folder)) or 'none'}")
    return load(path, Crew, scopes)
