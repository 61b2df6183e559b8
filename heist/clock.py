"""Time, from one source that is passed in."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The moment, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.perf_counter()


class SteppedClock:
    """Begins at the same moment each time, and each reading is a millisecond after the one before: what happens in the
    same order happens at the same times. Its durations say nothing."""

    BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __init__(self) -> None:
        self._readings = 0

    def now(self) -> datetime:
        self._readings += 1
        return self.BEGIN + timedelta(milliseconds=self._readings)

    def monotonic(self) -> float:
        self._readings += 1
        return self._readings / 1000


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and `Z`, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def milliseconds(since: float, clock: Clock) -> float:
    """Milliseconds from `since` (a reading of `clock.monotonic`) until now, to a tenth."""
    return round((clock.monotonic() - since) * 1000, 1)
