"""What a stream tells the world of twenty games: nothing of the mole before the reveal."""

import asyncio
import json

import httpx2
import pytest

from heist import events as e
from tests.conftest import House

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S10", "S22")]
GAMES = 20
STRATEGIES = ("timing_errors", "false_info", "coordination_chaos", "subtle_delays", "wrong_tools")


async def streamed(http: httpx2.AsyncClient, session_id: str, last: str) -> str:
    """The bytes of a session's stream up to the first event of kind `last`."""
    told = ""
    async with http.stream("GET", "/api/events", params={"session": session_id}) as answer:
        async for piece in answer.aiter_text():
            told += piece
            if f'"kind":"{last}"' in told:
                break
    return told


def sealed(house: House, session_id: str) -> set[str]:
    """Words that stand in sealed rows: whose game it is, how, from which seed, each brief, and each secret act."""
    words: set[str] = set()
    for body in house.runtime.queries.sealed(session_id):
        match e.parse(body):
            case e.MoleAssigned() as truth:
                assert truth.strategy is not None
                briefs = {json.dumps(brief, ensure_ascii=False)[1:-1] for brief in truth.briefs.values()}
                words |= {*briefs, str(truth.seed), truth.strategy, truth.strategy.replace("_", " ")}
            case e.SabotageDone() as act:
                words.add(json.dumps(act.did, ensure_ascii=False)[1:-1])
    return words


async def test_the_streams_of_twenty_games_hold_no_trace_of_the_mole_before_the_reveal(served: House) -> None:
    async with asyncio.timeout(120), httpx2.AsyncClient(base_url=served.url, timeout=60) as http:
        await http.get(served.login)
        http.headers["Sec-Fetch-Site"] = "same-origin"
        orders = [{"rounds": 2, "arm": "mole", "rate": 10, "strategy": STRATEGIES[game % 5]} for game in range(GAMES)]
        started = [(await http.post("/api/sessions", json=order)).json()["session_id"] for order in orders]
        told = await asyncio.gather(*(streamed(http, one, "session.completed") for one in started))
        for session_id, stream in zip(started, told, strict=True):
            assert stream.count('"kind":"message.completed"') == 12
            assert not [word for word in sealed(served, session_id) if word in stream]
            for word in ('"mole', '"holder"', '"arm"', '"brief', '"seed"', "sabotage", "thoughts.kept"):
                assert word not in stream
        assert sum(len(sealed(served, one)) for one in started) > 8 * GAMES
        await http.post(f"/api/sessions/{started[0]}/reveal")
        after = await streamed(http, started[0], "mole.revealed")
        assert len([word for word in sealed(served, started[0]) if word in after]) > 3
