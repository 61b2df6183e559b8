"""What a turn costs beside the model: heist against the bare client, in one run, against one fast fake server.

`python -m tests.bench` (or `make bench`) prints six tables:

1. CPU and wall time per turn, one conversation after another on one event loop: the bare `openai` client (last five
   messages as context; every third turn a tool call and its follow-up), the same streaming, and a whole heist turn with
   everything on: token verified, tool run, events on disk (WAL, synchronous=FULL), watchers told, words streamed.
2. Verify a token and call a tool by each of the three doors; see `tests/bench_doors.py`.
3. What it costs to tell 500 browsers of one session; see `tests/bench_streams.py`.
4. The same turn without telemetry, with it off, with figures, and with spans on their way to a collector.
5. What figures cost on a million messages; see `tests/bench_figures.py`.
6. 200 sessions at once against a model that thinks for 200 ms per call: 30 turns are 40 calls, so 8 s is ideal.

The fake server runs in a process of its own; the collector is set for all as the server sets it for itself. Timings on
shared machines are noisy: read the ratios.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import openai
import uvloop
from rich.console import Console
from rich.table import Table

from heist.agents.sessions import Order
from heist.clock import SystemClock
from heist.events import Recorded
from heist.runtime import Runtime, spare_collector
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings
from heist.web.live import Live
from heist.web.metrics import Metrics
from tests import bench_figures
from tests.bench_doors import doors
from tests.bench_streams import streams

TURNS = 30
CLIENTS = 500
CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Works out an arithmetic expression.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
    },
}
BRIEF = "You are one of a crew of six who plan a heist by talking. " * 20
CREW = """\
name: Bench
scenario: first_national_bank
rounds: 5
context: 5
agents:
"""
USER = Principal("bench", USER_SCOPES)
SINK = "from tests.bench import collect; collect()"


class Cost(NamedTuple):
    """Milliseconds per turn."""

    wall: float
    cpu: float


async def bare(client: openai.AsyncOpenAI, stream: bool) -> None:
    """One conversation of TURNS turns, as plainly as the client's documentation shows it."""
    heard: list[str] = []
    for turn in range(1, TURNS + 1):
        said = "\n".join(heard[-5:])
        messages: list[Any] = [
            {"role": "system", "content": BRIEF},
            {"role": "user", "content": f"{said}\nThis is turn {turn} of {TURNS}. Speak now."},
        ]
        text, call = await ask(client, messages, stream)
        if call is not None:
            expression, call_id = call
            result = str(45 * 60 / 12)
            function = {"name": "calculator", "arguments": f'{{"expression": "{expression}"}}'}
            messages.append(
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": call_id, "type": "function", "function": function}],
                }
            )
            messages.append({"role": "tool", "tool_call_id": call_id, "content": result})
            text, _ = await ask(client, messages, stream)
        heard.append(text)


async def ask(client: openai.AsyncOpenAI, messages: list[Any], stream: bool) -> tuple[str, tuple[str, str] | None]:
    tools: Any = [CALCULATOR]
    if not stream:
        answer = await client.chat.completions.create(
            model="fake", messages=messages, temperature=0.7, max_tokens=300, tools=tools
        )
        message = answer.choices[0].message
        asked: Any = message.tool_calls
        return message.content or "", ("45 * 60 / 12", asked[0].id) if asked else None
    text, call_id = "", None
    chunks: Any = await client.chat.completions.create(
        model="fake", messages=messages, temperature=0.7, max_tokens=300, tools=tools, stream=True
    )
    async for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                call_id = call.id or call_id
    return text, ("45 * 60 / 12", call_id) if call_id else None


@asynccontextmanager
async def house(url: str, collector: str | None = None) -> AsyncGenerator[Runtime]:
    """A runtime with every agent allowed the calculator, a database on disk, and the live log watching."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder)
        (config / "scenarios").symlink_to(Settings().config / "scenarios")
        agent = "  - {{name: agent{0}, role: helper, scopes: [calculator:use], persona: You help.}}\n"
        (config / "crew.yaml").write_text(CREW + "".join(agent.format(number) for number in range(6)))
        settings = Settings(llm=url, config=config, database_url=f"sqlite:///{folder}/bench.db", otlp=collector)
        runtime = Runtime(settings)
        runtime.bus.watch(Live(runtime.queries, SystemClock(), 1).hear)
        async with runtime.opened():
            yield runtime


async def heist(runtime: Runtime) -> None:
    session_id = await runtime.sessions.start(USER, Order(seed=1))
    await runtime.sessions.finished(session_id)
    row = await asyncio.to_thread(runtime.queries.session, session_id)
    assert row is not None
    assert (row.status, row.num_turns) == ("completed", TURNS), row


async def measure(conversation: Callable[[], Awaitable[None]], times: int) -> Cost:
    await conversation()
    spare_collector()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        await conversation()
    turns = times * TURNS
    return Cost((time.perf_counter() - wall) / turns * 1000, (time.process_time() - cpu) / turns * 1000)


async def per_turn(url: str, times: int = 12, passes: int = 3) -> dict[str, Cost]:
    """The best of several passes that alternate between the contestants, so that all meet the same machine."""
    best: dict[str, Cost] = {}
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client, house(url) as runtime:
        contestants: dict[str, Callable[[], Awaitable[None]]] = {
            "bare client": lambda: bare(client, stream=False),
            "bare client, streaming": lambda: bare(client, stream=True),
            "heist": lambda: heist(runtime),
        }
        for _ in range(passes):
            for name, conversation in contestants.items():
                cost = await measure(conversation, times)
                best[name] = min(best.get(name, cost), cost, key=lambda cost: cost.cpu)
    return best


async def watched(url: str, collector: str, times: int = 12, passes: int = 5) -> dict[str, Cost]:
    """What telemetry adds to a turn: the best of passes that alternate between houses that differ in it alone."""
    best: dict[str, Cost] = {}
    async with house(url) as without, house(url) as off, house(url) as counted, house(url, collector) as traced:
        unwatched: Any = without  # as the house would be if nothing were told of it
        unwatched.bus._keeper = without.audit
        unwatched.source.model = unwatched.source._model
        for runtime in (counted, traced):
            metrics = Metrics(runtime.registry.tools, runtime.source, Live(runtime.queries, runtime.clock, 1))
            runtime.telemetry.measure(metrics)
            runtime.bus.watch(metrics.hear)
        houses = {"no telemetry": without, "off": off, "figures": counted, "figures and spans": traced}
        for _ in range(passes):
            for name, runtime in houses.items():
                cost = await measure(partial(heist, runtime), times)
                best[name] = min(best.get(name, cost), cost, key=lambda cost: cost.cpu)
    return best


class Sink(BaseHTTPRequestHandler):
    """A collector that takes everything and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def collect() -> None:
    """A collector on a free port, until it is killed; says where it is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


@contextmanager
def running(*command: str) -> Generator[str]:
    """A server in a process of its own; the first line that it prints is where it is."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


async def crowd(url: str, sessions: int) -> tuple[float, float]:
    """(seconds until `sessions` sessions that began together are over, their CPU seconds)."""
    kept: list[Recorded] = []
    async with house(url) as runtime:
        runtime.bus.watch(lambda recorded: kept.append(recorded) if recorded.seq else None)
        spare_collector()
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(heist(runtime) for _ in range(sessions)))
        spent = time.perf_counter() - wall, time.process_time() - cpu
    completed = sum(recorded.event.kind == "message.completed" for recorded in kept)
    assert completed == sessions * TURNS, completed
    return spent


def fake_server(delay: float) -> tuple["subprocess.Popen[str]", str]:
    command = [sys.executable, "-m", "tests.fake_server", "--delay", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main() -> None:
    out = Console()
    process, url = fake_server(0)
    try:
        costs = uvloop.run(per_turn(url))
    finally:
        process.kill()
        process.wait()
    table = Table("", "CPU ms/turn", "wall ms/turn", "CPU ratio", "wall ratio", title="One turn, beside the model")
    base = costs["bare client"]
    for name, cost in costs.items():
        ratios = f"{cost.cpu / base.cpu:.2f}", f"{cost.wall / base.wall:.2f}"
        table.add_row(name, f"{cost.cpu:.2f}", f"{cost.wall:.2f}", *ratios)
    out.print(table)
    calls = asyncio.run(doors())
    table = Table("door", "ms/call", "of in process", title="Verify a token and call a tool")
    for name, door in calls.items():
        ratio = door.milliseconds / calls["in process"].milliseconds
        table.add_row(name, f"{door.milliseconds:.3f}", f"{ratio:.1f}")
    out.print(table)
    alone, followed, cut = asyncio.run(streams(CLIENTS))
    table = Table("", "events", "CPU µs/event", "KiB/client", title=f"One session told to {CLIENTS} clients")
    for name, one in (("all the time", followed), ("each cut three times", cut)):
        cpu = (one.cpu - alone.cpu) / one.events * 1e6
        table.add_row(name, f"{one.events:,}", f"{cpu:.0f}", f"{followed.memory / 1024:.0f}")
    out.print(table)
    with running("-m", "tests.fake_server", "--delay", "0") as url, running("-c", SINK) as collector:
        told = uvloop.run(watched(url, collector))
    table = Table("", "CPU ms/turn", "wall ms/turn", "CPU ratio", "wall ratio", title="One turn, and who is told of it")
    base = told["no telemetry"]
    for name, cost in told.items():
        ratios = f"{cost.cpu / base.cpu:.3f}", f"{cost.wall / base.wall:.3f}"
        table.add_row(name, f"{cost.cpu:.3f}", f"{cost.wall:.3f}", *ratios)
    out.print(table)
    out.print(bench_figures.table(asyncio.run(bench_figures.figures())))
    process, url = fake_server(0.2)
    ideal = (TURNS + TURNS // 3) * 0.2
    table = Table("sessions", "seconds", "of the ideal", "CPU s", title="Sessions at once, a model of 200 ms")
    try:
        for sessions in (1, 50, 200):
            wall, cpu = uvloop.run(crowd(url, sessions))
            table.add_row(str(sessions), f"{wall:.1f}", f"{wall / ideal:.2f}", f"{cpu:.1f}")
    finally:
        process.kill()
        process.wait()
    out.print(table)


if __name__ == "__main__":
    main()
