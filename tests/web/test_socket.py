"""The WebSocket for programs, on a real port: the same events, and a place that is given back."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from websockets.sync.client import ClientConnection, connect

from heist.settings import Settings
from tests.conftest import House, serving

pytestmark = pytest.mark.mission("S22")


class Program:
    """Logged in like a browser, and then on its own."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.http = httpx2.Client(base_url=house.url, headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=True)
        self.http.get(house.login)
        self.cookie = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())

    def start(self, **order: object) -> str:
        session_id: str = self.http.post("/api/sessions", json=order).json()["session_id"]
        return session_id

    @contextmanager
    def listening(self, query: str) -> Iterator[ClientConnection]:
        url = f"{self.house.url.replace('http', 'ws')}/api/ws?{query}"
        with connect(url, additional_headers={"Cookie": self.cookie}) as socket:
            yield socket


def test_a_program_follows_a_session_and_resumes_where_it_was(served: House) -> None:
    program = Program(served)
    session_id = program.start(rounds=1, seed=5, words_per_second=200)
    events = []
    with program.listening(f"session={session_id}") as socket:
        events += [json.loads(socket.recv(5)) for _ in range(4)]
    last = max(event["seq"] for event in events if "seq" in event)
    with program.listening(f"session={session_id}&after={last}") as socket:
        while events[-1]["kind"] != "session.completed":
            events.append(json.loads(socket.recv(10)))
    seqs = [event["seq"] for event in events if "seq" in event]
    assert seqs == sorted(set(seqs))
    assert [event["kind"] for event in events].count("message.completed") == 6
    assert "message.delta" in [event["kind"] for event in events]
    program.http.close()


def test_a_program_that_speaks_or_goes_gives_its_place_back(settings: Settings) -> None:
    with serving(settings.model_copy(update={"streams": 2})) as house:
        program = Program(house)
        session_id = program.start(paused=True)
        for _ in range(6):
            with program.listening(f"session={session_id}") as socket:
                assert json.loads(socket.recv(5))["kind"] == "session.started"
                socket.send(b"x")
                socket.send("hello")
        with program.listening(""), program.listening(""):
            answer = program.http.get("/api/events")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        program.http.close()
