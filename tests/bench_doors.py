"""What it costs to verify a token and call a tool, by each of the three doors, in one run.

In process it is what an agent does in its turn; over HTTP and MCP it is a whole request over one kept connection to a
server in a process of its own, by a client from the database, on record before it is answered.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httpx2

from heist.agents.agent import Agent
from heist.clock import SystemClock, stamp
from heist.events import Seat
from heist.runtime import Runtime
from heist.services.clients import hashed, new_credentials
from heist.settings import Settings
from heist.store.clients import Registrations

ARGUMENTS = {"expression": "45 * 60 / 12"}
MODERN = "2026-07-28"


class Door(NamedTuple):
    """Milliseconds per call, and how many were timed."""

    milliseconds: float
    calls: int


async def in_process(runtime: Runtime) -> Callable[[], Awaitable[bool]]:
    seat = Seat(name="safecracker", role="", persona="", scopes=("calculator:use",))
    agent = Agent(seat, "bench", runtime.clients, runtime.server, runtime.auth, runtime.registry)

    async def call() -> bool:
        return (await agent.use("calculator", ARGUMENTS)).success

    return call


def over_http(http: httpx2.AsyncClient) -> Callable[[], Awaitable[bool]]:
    async def call() -> bool:
        return (await http.post("/tools/calculator", json=ARGUMENTS)).status_code == 200

    return call


def over_mcp(http: httpx2.AsyncClient) -> Callable[[], Awaitable[bool]]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "calculator", "arguments": ARGUMENTS, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "calculator",
    }

    async def call() -> bool:
        answer = await http.post("/mcp", json=message, headers=headers)
        return bool(json.loads(answer.content)["result"]["structuredContent"]["value"] == 225.0)

    return call


async def timed(call: Callable[[], Awaitable[bool]], calls: int) -> Door:
    assert await call()
    started = time.perf_counter()
    for _ in range(calls):
        assert await call()
    return Door((time.perf_counter() - started) / calls * 1000, calls)


async def doors() -> dict[str, Door]:
    """The best of three passes through each door."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        database = f"sqlite:///{folder}/doors.db"
        runtime = Runtime(Settings(llm="simulated", database_url=database))
        async with runtime.opened():
            client_id, secret = new_credentials("bench")
            at = stamp(SystemClock().now())
            Registrations(runtime.engine).add(client_id, "bench", hashed(secret).hex(), "calculator:use", at)
            server = _serve(database, port)
            try:
                async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                    await _token(http, client_id, secret)
                    calls = {
                        "in process": (await in_process(runtime), 5000),
                        "HTTP": (over_http(http), 400),
                        "MCP": (over_mcp(http), 400),
                    }
                    passes = [{name: await timed(call, n) for name, (call, n) in calls.items()} for _ in range(3)]
            finally:
                server.terminate()
                server.wait()
    return {name: min(one[name] for one in passes) for name in calls}


def _serve(database: str, port: int) -> "subprocess.Popen[bytes]":
    told = {"HEIST_LLM": "simulated", "HEIST_DATABASE_URL": database, "HEIST_PORT": str(port)}
    command = [sys.executable, "-m", "heist", "serve"]
    return subprocess.Popen(command, env={**os.environ, **told}, stdout=subprocess.DEVNULL)


async def _token(http: httpx2.AsyncClient, client_id: str, secret: str) -> None:
    """Waits for the server, and lets all further requests carry a token."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    deadline = time.monotonic() + 20
    while True:
        try:
            answer = await http.post("/oauth/token", data=form)
            break
        except httpx2.TransportError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
