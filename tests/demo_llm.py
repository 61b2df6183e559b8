"""How a real, small model does as a crew: one session, measured from its events alone.

`python -m tests.demo_llm` (or `make demo-llm`) plays six agents by three rounds with a pulled model, served here, and
prints one table. The transcript goes to standard error, so that one can read what the figures are about.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from rich.console import Console
from rich.table import Table

from heist import events as e
from heist.agents.sessions import Order
from heist.llm import local
from heist.runtime import Runtime
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings

USER = Principal("demo", USER_SCOPES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen1.5b", help="one that was pulled")
    parser.add_argument("--crew", default="crew")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--tools", default="auto", choices=("auto", "native", "schema", "text"))
    given = parser.parse_args()
    with local.start(replace(local.pulled(given.model), threads=given.threads, slots=1)) as running:
        began = time.monotonic()
        order = Order(crew=given.crew, rounds=given.rounds, seed=given.seed)
        events = asyncio.run(play(running.base_url, order, given.tools))
        seconds = time.monotonic() - began
    table = Table("", f"{given.model}, {given.rounds} rounds, seed {given.seed}", title="A session with a real model")
    for row in figures(events, seconds):
        table.add_row(*row)
    Console(width=100).print(table)


async def play(url: str, order: Order, tools: str) -> list[e.Event]:
    """The events of a whole session, which are also told as they come."""
    kept: list[e.Event] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate(
            {"llm": url, "llm_tools": tools, "database_url": f"sqlite:///{folder}/demo.db"}
        )
        runtime = Runtime(settings)
        runtime.bus.watch(lambda recorded: _hear(recorded.event, kept))
        async with runtime.opened():
            session_id = await runtime.sessions.start(USER, order)
            await runtime.sessions.finished(session_id)
    return kept


def _hear(event: e.Event, kept: list[e.Event]) -> None:
    if not event.durable:
        return
    kept.append(event)
    match event:
        case e.MessageCompleted():
            line = f"\n{event.agent} ({event.milliseconds / 1000:.0f} s): {event.text}"
        case e.MessageFailed():
            line = f"\n{event.agent} failed: {event.detail}"
        case e.ToolCalled():
            line = f"\n  {event.agent} {event.tool}({event.arguments}) [{event.fault or 'ok'}] {event.result[:100]!r}"
        case _:
            return
    print(line, file=sys.stderr, flush=True)


def figures(events: Sequence[e.Event], seconds: float) -> list[tuple[str, str]]:
    """The rows of the table. A turn is valid when something was said in it; a tool call is allowed when the tool was
    offered in that turn, whether it then succeeds or not."""
    begun = [event for event in events if isinstance(event, e.MessageStarted)]
    offered = {event.turn: event.tools for event in begun}
    spoken = [event for event in events if isinstance(event, e.MessageCompleted)]
    calls = [event for event in events if isinstance(event, e.ToolCalled)]
    allowed = [call for call in calls if call.turn is not None and call.tool in offered[call.turn]]
    prompt, said = sum(event.prompt_tokens for event in spoken), sum(event.completion_tokens for event in spoken)
    cached = [event.cached_tokens for event in spoken if event.cached_tokens is not None]
    spent = sum(event.milliseconds for event in spoken) / 1000
    guessed = "about " if any(event.estimated for event in spoken) else ""
    kept = f"{sum(cached)} of {prompt} ({share(sum(cached), prompt)})" if cached else "not told"
    return [
        ("turns, valid of all", f"{len(spoken)} of {len(offered)}"),
        ("of them a tool call that nobody took for one", str(sum(_is_call(event.text) for event in spoken))),
        ("turns with an allowed tool", f"{len({call.turn for call in allowed})} of {len(offered)}"),
        ("tool calls, allowed of all", f"{len(allowed)} of {len(calls)}"),
        ("tool calls that succeeded", f"{sum(call.success for call in calls)} of {len(calls)}"),
        ("tools offered as", ", ".join(sorted({event.form for event in begun}))),
        ("trigrams said before", share(*repeated([event.text for event in spoken]))),
        ("tokens said", f"{guessed}{said}"),
        ("tokens per second of a turn", f"{guessed}{said / spent:.1f}" if spent else "-"),
        ("prompt tokens from the cache", kept),
        ("seconds per turn", f"{spent / len(spoken):.1f}" if spoken else "-"),
        ("seconds in all", f"{seconds:.0f}"),
    ]


def _is_call(text: str) -> bool:
    return re.search(r"[\"']name[\"']\s*:.*[\"']arguments[\"']\s*:|\[TOOL|<tool_call", text, re.DOTALL) is not None


def repeated(texts: Sequence[str]) -> tuple[int, int]:
    """(trigrams of words that were said before in the session, all trigrams)."""
    before: set[tuple[str, str, str]] = set()
    again = total = 0
    for text in texts:
        words = text.lower().split()
        for (first, second), (_, third) in pairwise(pairwise(words)):
            again += (first, second, third) in before
            total += 1
            before.add((first, second, third))
    return again, total


def share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


if __name__ == "__main__":
    main()
