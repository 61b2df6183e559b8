"""What other packages bring by entry points: loaded, and taken in or turned away with a reason."""

import logging
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, NamedTuple, Protocol, TypeVar

from heist.errors import ConfigError

log = logging.getLogger(__name__)


class Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


class Found(NamedTuple, Generic[N]):
    """What there is by name, the house's own first; and for each that was turned away its name and why."""

    parts: dict[str, N]
    refused: Sequence[tuple[str, str]]


def of(group: str) -> list[EntryPoint]:
    """The entry points of a group, by name."""
    return sorted(entry_points(group=group), key=lambda entry: entry.name)


def loaded(entry: EntryPoint) -> object:
    """What the entry point names; raises `ConfigError` whatever somebody else's module does when it is imported."""
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{entry.value} cannot be loaded: {told(error)}") from None


def find(group: str, builtin: Sequence[N], taken: Callable[[EntryPoint], N]) -> Found[N]:
    """The house's parts and those of other packages. `taken` makes one of an entry point, or raises `ConfigError`; one
    that is wrong is left out, and nothing else suffers from it."""
    parts = {part.name: part for part in builtin}
    refused = []
    for entry in of(group):
        try:
            part = taken(entry)
            if part.name in parts:
                raise ConfigError(f"there is already one with the name {part.name!r}")
        except ConfigError as error:
            log.info("%s of %s is left out: %s", entry.name, group, error)
            refused.append((entry.name, str(error)))
        else:
            parts[part.name] = part
    return Found(parts, refused)


def told(error: BaseException) -> str:
    """An error of somebody else's in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
