"""A scenario: the job, the facts of the bank, and the sources that state them, as a YAML file."""

import datetime
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from heist.configfile import Section, load
from heist.errors import ConfigError

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
Value = str | int | float
Cell = Value | None
PLACE = re.compile(r"\{(\w+)\}")


class Fact(Section):
    """Something true about the bank. `unit` is what the value counts, for people: minutes, cameras, …"""

    value: Value
    unit: str = ""


class Document(Section):
    """A paper that states facts by `{name}`. What it states wrongly, because it is old, stands in `outdated`."""

    title: Line
    date: datetime.date
    outdated: Mapping[Word, Value] = Field(default_factory=dict)
    text: Prose


class Table(Section):
    """A table of the security database; a cell that is text may state facts by `{name}`."""

    columns: tuple[Word, ...] = Field(min_length=1)
    rows: tuple[tuple[Cell, ...], ...]

    @field_validator("columns")
    @classmethod
    def _columns_differ(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column stands twice")
        return columns

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(f"row {number} has {len(row)} cells, expected {len(self.columns)}")
            if any(isinstance(cell, int) and cell.bit_length() > 63 for cell in row):
                raise ValueError(f"row {number} holds a number that is too large for the database")
        return self


class Phase(Section):
    """A stretch of the session: what it is called, and what a turn in it is for."""

    name: Line
    purpose: Prose


class Scenario(Section):
    title: Line
    brief: Prose
    goal: Prose
    phases: tuple[Phase, ...] = Field(min_length=1)
    facts: Mapping[Word, Fact]
    documents: Mapping[Word, Document] = Field(min_length=1)
    database: Mapping[Word, Table] = Field(min_length=1)

    @field_validator("documents")
    @classmethod
    def _papers_state_facts(cls, documents: Mapping[str, Document], known: ValidationInfo) -> Mapping[str, Document]:
        if "index" in documents:
            raise ValueError("no document may be called index, the list of documents has that name")
        for name, document in documents.items():
            _check_facts(name, [*document.outdated, *PLACE.findall(document.text)], known)
        return documents

    @field_validator("database")
    @classmethod
    def _tables_state_facts(cls, database: Mapping[str, Table], known: ValidationInfo) -> Mapping[str, Table]:
        for name, table in database.items():
            if name.startswith("sqlite_"):
                raise ValueError(f"{name}: the database keeps names that begin with sqlite_ for itself")
            cells = [cell for row in table.rows for cell in row if isinstance(cell, str)]
            _check_facts(name, [fact for cell in cells for fact in PLACE.findall(cell)], known)
        return database

    def phase(self, round_: int, rounds: int) -> Phase:
        """The phase of a round (from 1). The phases share the rounds evenly, and the last round is always of the last
        phase."""
        if round_ == rounds:
            return self.phases[-1]
        return self.phases[(round_ - 1) * len(self.phases) // rounds]


def _check_facts(where: str, stated: Iterable[str], known: ValidationInfo) -> None:
    """Raises when something that is stated is no fact; facts that are wrong themselves are complained of elsewhere."""
    for name in stated:
        if "facts" in known.data and name not in known.data["facts"]:
            raise ValueError(f"{where} names the fact {name!r}, which is not among the facts")


def read(folder: Path, name: str) -> Scenario:
    """Reads `folder/scenarios/name.yaml`; raises `ConfigError`."""
    path = folder / "scenarios" / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"there is no scenario {name!r} in {path.parent}; there are: {there}")
    return load(path, Scenario)
