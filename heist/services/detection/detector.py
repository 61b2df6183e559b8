"""Detectors: what judges a case; those of other packages are found by the entry point `heist.detectors`."""

import inspect
import logging
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Protocol, runtime_checkable

from heist.errors import ConfigError
from heist.services.detection.case import Case
from heist.services.detection.verdict import Verdict

GROUP = "heist.detectors"
log = logging.getLogger(__name__)


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


class Found(NamedTuple):
    """What the entry points gave: detectors by name, and for each that was turned away its name and why."""

    detectors: dict[str, Detector]
    refused: Sequence[tuple[str, str]]


def find(builtin: Sequence[Detector]) -> Found:
    """The house's detectors and those of other packages. One that is wrong is left out; nothing else suffers from
    it."""
    found = {detector.name: detector for detector in builtin}
    refused = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            detector = _load(entry)
            if detector.name in found:
                raise ConfigError(f"there is already a detector {detector.name!r}")
        except ConfigError as error:
            log.info("the detector %s is left out: %s", entry.name, error)
            refused.append((entry.name, str(error)))
        else:
            found[detector.name] = detector
    return Found(found, refused)


def _load(entry: EntryPoint) -> Detector:
    try:
        detector = entry.load()
        if inspect.isclass(detector):
            detector = detector()
    except (Exception, SystemExit) as error:  # whatever somebody else's module does when it is imported
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ConfigError(f"{entry.value} cannot be loaded: {told}") from None
    check(detector, entry.value)
    return detector  # type: ignore[no-any-return]


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
