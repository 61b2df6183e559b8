"""A crew as a YAML file gives it."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from heist.configfile import Misplaced, S, Section, load
from heist.errors import NotFound
from heist.events import Seat
from heist.seeds import stream
from heist.services.auth import AGENT_SCOPES
from heist.world.scenario import Line, Prose, Word


def check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", name):
        raise ValueError("a name is a letter and up to 31 more letters, digits, - and _")
    return name


def check_llm(llm: str) -> str:
    if re.match(r"https?://[^/]*@", llm):
        raise ValueError("a name and password would stand in every log of the crew; put the address into HEIST_LLM")
    if llm.startswith("http") and "?" in llm:
        raise ValueError("expected a base URL without a query: it would stand in every log; a key is HEIST_LLM_KEY")
    if llm != "simulated" and not re.fullmatch(r"https?://[!-~]+|local(:.+)?", llm):
        raise ValueError(f"expected simulated or a base URL such as http://127.0.0.1:1234/v1, found {llm!r}")
    return llm


def _check_scopes(scopes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    known = info.context["known"] if info.context else AGENT_SCOPES
    for scope in scopes:
        if scope not in known:
            raise ValueError(f"unknown scope {scope!r}; expected some of: {', '.join(sorted(known))}")
    return scopes


Scopes = Annotated[tuple[str, ...], AfterValidator(_check_scopes)]


class ModelSettings(Section):
    """Who speaks, and how. `name` and `llm` left out are what HEIST_MODEL and HEIST_LLM say."""

    name: Line | None = None
    llm: Annotated[str, AfterValidator(check_llm)] | None = None
    temperature: float = Field(0.7, ge=0, le=2)
    max_tokens: int = Field(300, ge=16, le=32_768)


class Speaker(Section):
    """The same for one member; what is left out is the crew's."""

    name: Line | None = None
    llm: Annotated[str, AfterValidator(check_llm)] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=16, le=32_768)

    def own(self, common: ModelSettings) -> ModelSettings | None:
        """What the member speaks by, completed by what is the crew's; None when nothing is its own."""
        given = self.model_dump(exclude_none=True)
        return common.model_copy(update=given) if given else None


class MemorySettings(Section):
    """All in tokens. A prompt holds at most `prompt`. When the messages since the last block hold more than
    `threshold`, the older half is folded into a block of at most `block`; an agent's own notes likewise. `summariser`
    names the model that writes the blocks; left out, it is the crew's."""

    prompt: int = Field(3500, ge=500, le=1_000_000)
    threshold: int = Field(1000, ge=100, le=1_000_000)
    block: int = Field(200, ge=50, le=10_000)
    summariser: ModelSettings | None = None


class BudgetSettings(Section):
    """What a session may spend; it ends when one of them is reached. `money` is by the prices in `prices.yaml`."""

    tokens: int | None = Field(None, ge=1)
    calls: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, gt=0)
    money: float | None = Field(None, gt=0)


class Member(Section):
    """One agent. The name is what the others call it and what every row in the audit says. `duty` is the scenario's
    role that it answers for; left out, it is the one of its name."""

    name: Annotated[str, AfterValidator(check_name)]
    role: Line
    duty: Word | None = None
    scopes: Scopes
    persona: Prose
    model: Speaker = Field(default_factory=lambda: Speaker())

    @property
    def seat(self) -> Seat:
        duty = self.duty or ""
        return Seat(name=self.name, role=self.role, persona=self.persona, scopes=self.scopes, duty=duty)


class MemoryChange(Section):
    """What of the memory is different."""

    prompt: int | None = Field(None, ge=500, le=1_000_000)
    threshold: int | None = Field(None, ge=100, le=1_000_000)
    block: int | None = Field(None, ge=50, le=10_000)
    summariser: ModelSettings | None = None


class MemberChange(Section):
    """What of one agent is different."""

    role: Line | None = None
    scopes: Scopes | None = None
    persona: Prose | None = None
    model: Speaker = Field(default_factory=lambda: Speaker())


class Variant(Section):
    """How a share of the sessions differs; what is left out is the crew's. Shares are numbers that stand in proportion
    to each other."""

    share: float = Field(1, ge=0, le=1_000_000, allow_inf_nan=False)
    order: Literal["round_robin", "random"] | None = None
    rounds: int | None = Field(None, ge=1, le=1000)
    context: int | None = Field(None, ge=1, le=200)
    tool_calls: int | None = Field(None, ge=0, le=10)
    model: Speaker = Field(default_factory=lambda: Speaker())
    memory: MemoryChange = Field(default_factory=lambda: MemoryChange())
    budget: BudgetSettings | None = None
    agents: Mapping[str, MemberChange] = Field(default_factory=dict)


class Crew(Section):
    """`context` is how many of the last messages are never told in short, `tool_calls` how many calls a turn may
    hold. With `variants` each session is of one of them."""

    name: Line
    scenario: Word
    order: Literal["round_robin", "random"] = "round_robin"
    rounds: int = Field(5, ge=1, le=1000)
    context: int = Field(5, ge=1, le=200)
    tool_calls: int = Field(2, ge=0, le=10)
    model: ModelSettings = Field(default_factory=lambda: ModelSettings())
    memory: MemorySettings = Field(default_factory=lambda: MemorySettings())
    budget: BudgetSettings = Field(default_factory=lambda: BudgetSettings())
    agents: tuple[Member, ...] = Field(min_length=2, max_length=50)
    variants: Mapping[Annotated[str, AfterValidator(check_name)], Variant] = Field(default_factory=dict, max_length=50)

    @field_validator("agents")
    @classmethod
    def _names_differ(cls, agents: tuple[Member, ...]) -> tuple[Member, ...]:
        name, count = Counter(member.name.lower() for member in agents).most_common(1)[0]
        if count > 1:
            raise ValueError(f"the name {name!r} stands {count} times; each agent needs its own")
        return agents

    @model_validator(mode="after")
    def _variants_fit(self) -> Self:
        names = [member.name for member in self.agents]
        for name, variant in self.variants.items():
            if unknown := [agent for agent in variant.agents if agent not in names]:
                place = ("variants", name, "agents", unknown[0])
                raise Misplaced(f"there is no such agent; there are: {', '.join(names)}", *place)
        if self.variants and not any(variant.share for variant in self.variants.values()):
            raise Misplaced("at least one variant must have a share", "variants")
        return self


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


def varied(crew: Crew, name: str | None, seed: int) -> tuple[Crew, str | None]:
    """The crew as a session has it, and its variant: the one of this name, else the one that the seed draws by their
    shares; a crew without variants is as it is. Raises `NotFound`."""
    if name is None:
        if not crew.variants:
            return crew, None
        shares = [variant.share for variant in crew.variants.values()]
        name = stream(seed, "variant").choices(list(crew.variants), shares)[0]
    if name not in crew.variants:
        raise NotFound(
            f"there is no variant {name[:64]!r} of this crew; there are: {', '.join(crew.variants) or 'none'}"
        )
    change = crew.variants[name]
    plain = change.model_dump(include={"order", "rounds", "context", "tool_calls"}, exclude_none=True)
    parts = {
        "model": _changed(crew.model, change.model),
        "memory": _changed(crew.memory, change.memory),
        "budget": change.budget or crew.budget,
        "agents": tuple(_member(member, change.agents.get(member.name)) for member in crew.agents),
    }
    return crew.model_copy(update={**plain, **parts}), name


def _member(member: Member, change: MemberChange | None) -> Member:
    if change is None:
        return member
    return _changed(member, change).model_copy(update={"model": _changed(member.model, change.model)})


def _changed(part: S, change: Section) -> S:
    """The part with what the change says."""
    said = {name: getattr(change, name) for name in type(change).model_fields}
    return part.model_copy(update={name: value for name, value in said.items() if value is not None})


def prices(folder: Path) -> dict[str, tuple[float, float]]:
    """Money per million tokens by model, as `folder/prices.yaml` says; none when there is no such file."""
    path = folder / "prices.yaml"
    if not path.is_file():
        return {}
    return {model: (price.prompt, price.completion) for model, price in load(path, Prices).models.items()}


class Price(Section):
    """Money per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Prices(Section):
    models: dict[str, Price]
