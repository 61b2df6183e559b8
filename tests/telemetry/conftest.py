"""A house whose spans are kept in memory."""

import pytest

from heist.runtime import Runtime
from tests.telemetry.traces import Collector


@pytest.fixture
def collector(runtime: Runtime) -> Collector:
    """That of `runtime`."""
    collector = Collector()
    collector.watch(runtime)
    return collector
