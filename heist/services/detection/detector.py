"""Detectors: what judges a case; those of other packages are found by the entry point `heist.detectors`."""

import inspect
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Protocol, cast, runtime_checkable

from heist.errors import ConfigError
from heist.services import plugins
from heist.services.detection.case import Case
from heist.services.detection.verdict import Verdict
from heist.services.plugins import Found, told

GROUP = "heist.detectors"


@runtime_checkable
class Detector(Protocol):
    """Judges any case, live or long after. One that cannot judge a case abstains, and says why; it never raises for
    what a case holds, and the order of the agents changes nothing."""

    @property
    def name(self) -> str:
        """Small letters, digits, _ and -."""

    @property
    def about(self) -> str:
        """One sentence for people."""

    async def assess(self, case: Case) -> Verdict: ...


def find(builtin: Sequence[Detector]) -> Found[Detector]:
    """The house's detectors and those of other packages."""
    return plugins.find(GROUP, builtin, _taken)


def _taken(entry: EntryPoint) -> Detector:
    detector = plugins.loaded(entry)
    if inspect.isclass(detector):
        try:
            detector = detector()
        except (Exception, SystemExit) as error:  # whatever somebody else's class does when it is made
            raise ConfigError(f"{entry.value} cannot be loaded: {told(error)}") from None
    check(detector, entry.value)
    return cast(Detector, detector)


def check(detector: object, value: str) -> None:
    """Raises `ConfigError` when it could not be used as it is."""
    assess = getattr(detector, "assess", None)
    if not inspect.iscoroutinefunction(assess):
        raise ConfigError(f"{value} is {type(detector).__name__}, which has no async assess(case)")
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", str(getattr(detector, "name", ""))):
        raise ConfigError(
            f"a detector's name is small letters, digits, _ and -, found {getattr(detector, 'name', None)!r}"
        )
    if not str(getattr(detector, "about", "")).strip():
        raise ConfigError("it needs `about`, a sentence that says what it goes by")
