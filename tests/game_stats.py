"""What the simulated crew makes of the game: scores by arm and strategy, each seed played in every one of them.

`python -m tests.game_stats --games 200` (or `make game-stats`) plays whole sessions, audited like any other, on as
many processors as there are, and prints a table. Intervals are 95 %, by bootstrap over games; `less than without` is
the difference to the same seed without a mole.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from heist import events as e
from heist.agents import mole
from heist.agents.sessions import Order
from heist.runtime import Runtime, spare_collector
from heist.services.auth import USER_SCOPES, Principal
from heist.settings import Settings, shipped

USER = Principal("stats", USER_SCOPES)
AT_ONCE = 25
RESAMPLES = 2000


class Ended(NamedTuple):
    """A game that is over."""

    seed: int
    row: str
    score: float
    reference: float
    outcome: str
    damage: float | None
    acts: int


def rows() -> dict[str, dict[str, str]]:
    """Each line of the table as what is asked of a session."""
    strategies = sorted(mole.read(shipped("config")).strategies)
    arms = {arm: {"arm": arm} for arm in ("none", "placebo", "incompetent")}
    return {**arms, **{name: {"mole": "random", "strategy": name} for name in strategies}}


async def _play(seeds: Sequence[int], crew: str) -> list[Ended]:
    """Every row of every seed."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(llm="simulated", database_url=f"sqlite:///{folder}/stats.db")
        async with Runtime(settings).opened() as runtime:
            spare_collector()
            gate = asyncio.Semaphore(AT_ONCE)
            games = [_one(runtime, gate, seed, row, crew) for seed in seeds for row in rows()]
            return list(await asyncio.gather(*games))


async def _one(runtime: Runtime, gate: asyncio.Semaphore, seed: int, row: str, crew: str) -> Ended:
    async with gate:
        session_id = await runtime.sessions.start(
            USER, Order.model_validate({"crew": crew, "seed": seed, **rows()[row]})
        )
        await runtime.sessions.finished(session_id)
        await runtime.games.reveal(USER, session_id)
    past = await runtime.sessions.past(session_id)
    [told] = [event for event in past.log if isinstance(event, e.MoleRevealed)]
    acted = sum(isinstance(event, e.SabotageDone) for event in past.secret)
    return Ended(seed, row, told.score, told.reference, told.outcome, told.damage, acted)


def play(seeds: Sequence[int], crew: str) -> list[Ended]:
    return asyncio.run(_play(seeds, crew))


def interval(values: Sequence[float], of: Callable[[Sequence[float]], float] = fmean) -> tuple[float, float]:
    """95 % of the bootstrap over games."""
    chance = random.Random(1)
    means = sorted(of(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[int(RESAMPLES * 0.025)], means[int(RESAMPLES * 0.975)]


def shown(values: Sequence[float], digits: int = 1) -> str:
    low, high = interval(values)
    return f"{fmean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=200, help="seeds; each is played once for every row")
    parser.add_argument("--crew", default="crew")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    began = time.monotonic()
    parts = [range(1, given.games + 1)[number :: given.processes] for number in range(given.processes)]
    with ProcessPoolExecutor(given.processes) as pool:
        ended = [game for part in pool.map(play, parts, [given.crew] * len(parts)) for game in part]
    console = Console(width=150)
    console.print(table(ended, given.games))
    console.print(f"{len(ended)} games in {time.monotonic() - began:.0f} s")


def table(ended: Sequence[Ended], games: int) -> Table:
    drawn = Table(title=f"Simulated crew, {games} redrawn banks, each played in every row", title_justify="left")
    for column in ("", "score", "less than without", "within 10 of the best", "clean", "busted", "damage", "acted in"):
        drawn.add_column(column, justify="left" if not column else "right", no_wrap=True)
    honest = {game.seed: game for game in ended if game.row == "none"}
    for row in rows():
        some = [game for game in ended if game.row == row]
        less = [honest[game.seed].score - game.score for game in some]
        damage = [game.damage for game in some if game.damage is not None]
        drawn.add_row(
            row,
            shown([game.score for game in some]),
            "" if row == "none" else shown(less),
            f"{fmean(game.score >= game.reference - 10 for game in some):.0%}",
            f"{fmean(game.outcome == 'clean' for game in some):.0%}",
            f"{fmean(game.outcome == 'busted' for game in some):.0%}",
            shown(damage) if damage else "",
            f"{fmean(game.acts > 0 for game in some):.0%}" if row in mole.read(shipped("config")).strategies else "",
        )
    return drawn


if __name__ == "__main__":
    main()
