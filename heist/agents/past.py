"""The past of a session: all that is on record of it, what is sealed too, so never to be shown as it is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from heist import events as e
from heist.agents.conversation import Conversation
from heist.errors import Conflict
from heist.store.queries import Queries, SessionRow, parsed
from heist.world import scenario as scenarios
from heist.world.game import Game, draw
from heist.world.scenario import Scenario


class Past(NamedTuple):
    """The log with its row numbers (`places`), and what is sealed."""

    log: Sequence[e.Event]
    places: Sequence[int]
    secret: Sequence[e.Event]
    truth: e.MoleAssigned
    game: Game

    @property
    def revealed(self) -> bool:
        """Whether all that was sealed has been told."""
        return any(isinstance(event, e.MoleRevealed) for event in self.log)

    def conversation(self) -> Conversation:
        first, *rest = self.log
        assert isinstance(first, e.SessionStarted)
        conversation = Conversation(first, self.truth, self.game)
        for event in rest:
            conversation.apply(event)
        return conversation


def past(queries: Queries, config: Path, row: SessionRow) -> Past:
    """Blocks. Raises `Conflict` where nothing is sealed or this version does not know what is in the log, and what
    `scenarios.read` raises."""
    scenario = scenarios.read(config, row.scenario)
    rows = queries.log(0, row.session_id)
    secret = parsed(row.session_id, queries.sealed(row.session_id))
    truth = next((event for event in secret if isinstance(event, e.MoleAssigned)), None)
    if truth is None:
        raise Conflict(f"what was sealed of the session {row.session_id} is missing, so it cannot be brought back")
    events = parsed(row.session_id, [one.body for one in rows])
    return Past(events, [one.seq for one in rows], secret, truth, bank(scenario, truth))


def bank(scenario: Scenario, truth: e.MoleAssigned) -> Game:
    """The bank of a session, with the facts that it began with; one that its scenario has got since is as it is drawn
    now."""
    drawn = draw(scenario, None if truth.fixed else truth.seed)
    return replace(drawn, values={**drawn.values, **truth.facts})
