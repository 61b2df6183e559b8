"""Analytics: houses whose logs are made up, and what is counted in them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import cast

from sqlalchemy import Engine, delete

from heist import events as e
from heist.clock import stamp
from heist.store import tables
from heist.store.audit import Waiting, Writer

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(minutes: int) -> str:
    return stamp(BEGIN + timedelta(minutes=minutes))


def keep(engine: Engine, told: Sequence[e.Event]) -> None:
    """Writes the events as the audit does, a minute apart, after whatever there was is gone; for what is sealed no
    clock is read."""
    with engine.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(delete(table))
    writer = Writer(engine)
    nobody_waits = cast("asyncio.Future[int]", None)
    moments = accumulate(not event.sealed for event in told)
    waiting = [
        Waiting(event, at(minutes), e.body_of(event), nobody_waits)
        for event, minutes in zip(told, moments, strict=True)
    ]
    results = writer.write(waiting)
    writer.close()
    assert all(isinstance(result, int) for result in results), results
