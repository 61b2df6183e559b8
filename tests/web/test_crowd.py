"""Many who follow one session, each cut off three times: nobody misses a row, or has one twice."""

import asyncio
from pathlib import Path

import pytest

from tests.bench_streams import CUTS, Server, session

pytestmark = pytest.mark.mission("S22")


def test_fifty_clients_get_every_row_in_order_over_three_lost_connections(tmp_path: Path) -> None:
    server = Server(str(tmp_path), 60)
    try:
        told = asyncio.run(session(server, 50, CUTS))
    finally:
        server.close()
    assert told.events >= 50 * CUTS[-1]
