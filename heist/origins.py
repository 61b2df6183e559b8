"""Where each setting comes from, and which variables say nothing."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from heist.configfile import line, load
from heist.settings import PREFIX, Flags, Settings, layer, layer_file, masked, variable

OTHERS = frozenset({"HEIST_CACHE", "HEIST_FLAGS", "HEIST_TEST_DATABASE_URL"})
"""Variables that are no rows of the table: where the weights of models are kept, all flags at once, and where the tests
keep their audit."""


class Origin(NamedTuple):
    """Where a value comes from: `default`, a variable, or a layer's file and line. What is secret is masked."""

    variable: str
    value: str
    source: str


def origins(chosen: Settings, environment: Mapping[str, str] = os.environ) -> list[Origin]:
    """Each setting, with flags one by one."""
    path = layer_file(chosen.env, chosen.config)
    said = load(path, layer()).model_dump(exclude_unset=True) if path else {}
    given = {name.upper() for name, value in environment.items() if value}
    return [
        Origin(variable(*place), _shown(reduce(getattr, place, chosen)), _source(place, given, path, said))
        for place in places()
    ]


def places() -> list[tuple[str, ...]]:
    """The settings by name, and each flag below `flags`."""
    plain = [(name,) for name in Settings.model_fields if name != "flags"]
    return [*plain, *(("flags", name) for name in Flags.model_fields)]


def _source(place: tuple[str, ...], given: set[str], path: Path | None, said: Mapping[str, Any]) -> str:
    for deep in (place, place[:1]):
        if variable(*deep) in given:
            return variable(*deep)
    for step in place:
        said = said.get(step, {}) if isinstance(said, Mapping) else {}
    return "default" if path is None or said == {} else f"{path}, line {line(path, place)}"


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return "********"
        case bool():
            return str(value).lower()
    return masked(str(value))


class Stranger(NamedTuple):
    """A `HEIST_*` variable that is no setting, and so says nothing; `near` is the one that is probably meant."""

    name: str
    near: str

    def __str__(self) -> str:
        return f"{self.name} is no setting" + (f"; is {self.near} meant?" if self.near else "")


def strangers(environment: Mapping[str, str] = os.environ) -> list[Stranger]:
    """Those of the environment."""
    known = {variable(*place) for place in places()} | OTHERS
    unknown = sorted({name.upper() for name in environment if name.upper().startswith(PREFIX)} - known)
    return [Stranger(name, next(iter(get_close_matches(name, known, 1, 0.85)), "")) for name in unknown]
