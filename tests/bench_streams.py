"""What it costs to tell many browsers of one session: a server in a process of its own, clients over plain sockets.

Each client follows `GET /api/events` to the session's end, and checks that it gets every row of the log once and in
order. In the second session every connection is cut three times, each time by the client's own end going away without
a word; it comes back with the last row number that it has seen.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2

CUTS = (20, 60, 100)
"""After so many rows a client loses its connection."""
LONGEST_LINE = 2**20
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Follower:
    """One client: the rows that it was told, in order, and how many events in all, words among them."""

    session_id: str
    cookie: str
    cuts: Sequence[int] = ()
    rows: list[int] = field(default_factory=list)
    row: int | None = None
    events: int = 0
    over: bool = False
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, url: str) -> None:
        """Follows to the end of the session, over as many connections as it takes."""
        cuts = [*self.cuts]
        while not self.over:
            await self._connection(url, cuts.pop(0) if cuts else None)

    async def _connection(self, url: str, cut: int | None) -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=LONGEST_LINE)
        last, self.row = self.rows[-1] if self.rows else 0, None
        writer.write(
            f"GET /api/events?session={self.session_id} HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: {self.cookie}\r\n"
            f"Last-Event-ID: {last}\r\n\r\n".encode()
        )
        try:
            while not self.over and (cut is None or len(self.rows) < cut):
                self._hear(await reader.readline())
        finally:
            writer.transport.abort()

    def _hear(self, line: bytes) -> None:
        if not line:
            raise ConnectionError("the server has ended the stream")
        if line.startswith(b"id: "):
            self.row = int(line[4:])
        elif line.startswith(b"data: {"):
            self.events += 1
            if self.row is not None:
                self.rows.append(self.row)
            self.row = None
            self.began.set()
            self.over = b'"kind":"session.completed"' in line


class Delivered(NamedTuple):
    """How many events reached the clients, and the server's CPU seconds and bytes for it."""

    events: int
    cpu: float
    memory: float


class Server:
    """A server in a process of its own, with a login."""

    def __init__(self, folder: str, streams: int) -> None:
        told = {
            "HEIST_LLM": "simulated",
            "HEIST_PORT": "0",
            "HEIST_STREAMS": str(streams),
            "HEIST_DATABASE_URL": f"sqlite:///{folder}/heist.db",
        }
        command = [sys.executable, "-m", "heist", "serve"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | told
        )
        assert self.process.stdout is not None
        login = next(found[0] for line in self.process.stdout if (found := re.search(r"http://\S+/login\?\S+", line)))
        self.url = login.partition("/login")[0]
        self.http = httpx2.Client(base_url=self.url, headers={"Sec-Fetch-Site": "same-origin"})
        self.http.get(login)
        self.cookie = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())

    def close(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.communicate()

    @property
    def cpu(self) -> float:
        """Seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def order(self, path: str, **body: object) -> dict[str, str]:
        answer = self.http.post(path, json=body)
        answer.raise_for_status()
        told: dict[str, str] = answer.json() if answer.content else {}
        return told

    def rows(self, session_id: str) -> list[int]:
        events = self.http.get(f"/api/sessions/{session_id}/log").json()["events"]
        return [event["seq"] for event in events]


async def session(server: Server, clients: int, cuts: Sequence[int] = ()) -> Delivered:
    """A session of 30 turns, followed by so many clients from before its first word."""
    session_id = server.order("/api/sessions", paused=True, seed=1)["session_id"]
    followers = [Follower(session_id, server.cookie, cuts) for _ in range(clients)]
    before = server.memory
    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        for one in followers:
            group.create_task(one.follow(server.url))
        for one in followers:
            await one.began.wait()
        memory, cpu = server.memory, server.cpu
        await asyncio.to_thread(server.order, f"/api/sessions/{session_id}/resume")
    while server.http.get(f"/api/sessions/{session_id}").json()["status"] != "completed":  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    spent = server.cpu - cpu
    rows = server.rows(session_id)
    assert all(one.rows == rows for one in followers), "a client has missed a row, or has it twice"
    return Delivered(sum(one.events for one in followers), spent, (memory - before) / max(1, clients))


async def streams(clients: int) -> tuple[Delivered, Delivered, Delivered]:
    """The same session told to nobody, to `clients`, and to as many whose connections are cut; after one to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder, clients + 10)
        try:
            await session(server, 1)
            return await session(server, 0), await session(server, clients), await session(server, clients, CUTS)
        finally:
            server.close()
