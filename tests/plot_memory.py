"""How long prompts are in a long session, as a picture: `python -m tests.plot_memory` writes docs/memory.svg.

The simulated crew talks for 200 turns with the shipped crew's file. Each turn's prompt is worked out again from the log
and measured (a quarter of its characters, as everywhere without a tokenizer), beside the budget of the file, and beside
what the same prompt would hold if every message were told word by word.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from heist import events as e
from heist.agents.hindsight import moment
from heist.agents.past import Past
from heist.agents.prompts import one_line
from heist.agents.sessions import Order
from heist.llm.model import guess
from heist.runtime import Runtime
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings

TURNS = 200
PICTURE = Path(__file__).parent.parent / "docs" / "memory.svg"
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 340, 64, 28, 20, 46
"""Pixels: of the picture, and of the margins around the plot."""


class Session(NamedTuple):
    """Tokens of each turn's prompt as it was and with every message word by word, of the budget, and the turns after
    which something was told in short."""

    prompts: list[int]
    whole: list[int]
    budget: int
    folded: list[int]


def main() -> None:
    session = asyncio.run(play())
    PICTURE.write_text(drawn(session))
    table = Table("", "tokens", title=f"{TURNS} turns, seed 7, simulated crew")
    for row in figures(session):
        table.add_row(*row)
    Console(width=100).print(table)
    print(f"written: {PICTURE.relative_to(Path.cwd()) if PICTURE.is_relative_to(Path.cwd()) else PICTURE}")


async def play() -> Session:
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(Settings(llm="simulated", database_url=f"sqlite:///{folder}/plot.db"))
        async with runtime.opened():
            user = Principal("plot", USER_SCOPES)
            session_id = await runtime.sessions.start(user, Order(seed=7, rounds=-(-TURNS // 6)))
            await runtime.sessions.finished(session_id)
            return measured(await runtime.sessions.past(session_id), runtime)


def measured(past: Past, runtime: Runtime) -> Session:
    log = past.log
    first = log[0]
    assert isinstance(first, e.SessionStarted)
    spoken = {event.turn: event for event in log if isinstance(event, e.MessageCompleted)}
    prompts, whole, said = [], [], 0
    for turn in range(1, TURNS + 1):
        at = moment(log, past.truth, past.game, turn, runtime.registry.tools)
        tokens = sum(guess(message.content) for message in at.prompt().messages)
        heard = sum(guess(one_line(entry.text)) for entry in at.heard.heard)
        record = sum(guess(block.text) for block in at.cue.blocks)
        prompts.append(tokens)
        whole.append(tokens - heard - record + said)
        said += guess(one_line(spoken[turn].text))
    folded = [event.last for event in log if isinstance(event, e.MemoryCompressed) and not event.owner]
    return Session(prompts, whole, first.memory.prompt, [turn for turn in folded if turn <= TURNS])


def figures(session: Session) -> list[tuple[str, str]]:
    prompts = session.prompts
    rows = [
        (f"turns {first + 1} to {first + 50}, mean", f"{mean(prompts[first : first + 50]):.0f}")
        for first in range(0, TURNS, 50)
    ]
    return [
        *rows,
        ("longest", f"{max(prompts)}, in turn {prompts.index(max(prompts)) + 1}"),
        ("budget", str(session.budget)),
        (f"turn {TURNS}, every message word by word", str(session.whole[-1])),
        (f"turn {TURNS}", str(prompts[-1])),
        ("times that turns were told in short", str(len(session.folded))),
    ]


def drawn(session: Session) -> str:
    """The picture, readable on light and on dark."""
    top = max(session.budget, *session.prompts, *session.whole)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">',
        f'<title id="title">Tokens of each prompt over {TURNS} turns: at most {max(session.prompts)} of a budget of '
        f"{session.budget}; word by word it would be {session.whole[-1]} at the end</title>",
        "<style>text{font:13px system-ui,sans-serif;fill:#57606a}.grid{stroke:#8b949e;stroke-opacity:.3}"
        ".line{fill:none;stroke-width:2}.prompt{stroke:#0969da}.whole{stroke:#bf6a02}.budget{stroke:#cf222e;"
        "stroke-dasharray:6 4}@media(prefers-color-scheme:dark){text{fill:#9da7b1}.prompt{stroke:#58a6ff}"
        ".whole{stroke:#e3a04f}.budget{stroke:#ff7b72}}</style>",
    ]
    for tokens in range(0, top + 1, 2000):
        y = _y(tokens, top)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tokens}</text>')
    below = HEIGHT - BOTTOM + 18
    lines += [
        f'<text x="{_x(turn)}" y="{below}" text-anchor="middle">{turn}</text>'
        for turn in (1, *range(25, TURNS + 1, 25))
    ]
    budget, last, level = (_y(y, top) for y in (session.budget, session.whole[-1], max(session.prompts[-40:])))
    lines += [
        _line("whole", session.whole, top),
        _line("prompt", session.prompts, top),
        f'<path class="line budget" d="M{LEFT} {budget}H{WIDTH - RIGHT}"/>',
        f'<text x="{LEFT + 8}" y="{budget - 7:.1f}">the budget, {session.budget}</text>',
        f'<text x="{WIDTH - RIGHT - 70}" y="{last + 10:.1f}" text-anchor="end">every message word by word</text>',
        f'<text x="{WIDTH - RIGHT - 8}" y="{level + 84:.1f}" text-anchor="end">the prompts</text>',
        f'<text x="{LEFT}" y="16">tokens of the prompt</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">turn</text>',
        "</svg>\n",
    ]
    return "\n".join(lines)


def _line(name: str, values: Sequence[int], top: int) -> str:
    points = " ".join(f"{_x(turn)},{_y(value, top)}" for turn, value in enumerate(values, 1))
    return f'<polyline class="line {name}" points="{points}"/>'


def _x(turn: int) -> float:
    return round(LEFT + (turn - 1) / (TURNS - 1) * (WIDTH - LEFT - RIGHT), 1)


def _y(tokens: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - tokens / top * (HEIGHT - TOP - BOTTOM), 1)


if __name__ == "__main__":
    main()
