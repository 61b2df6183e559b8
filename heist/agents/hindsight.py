"""What an agent saw: the prompt of a turn that is over, worked out again from the log."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, Field

from heist import events as e
from heist.agents.conversation import Conversation
from heist.agents.prompts import Cue, compose, parts
from heist.errors import NotFound
from heist.llm.model import Form, Prompt, guess
from heist.services.tools.registry import AnyTool
from heist.world.game import Game

SEALED = "YOUR BRIEF\n(sealed until the reveal)"


class Part(BaseModel):
    name: str
    text: str
    tokens: int = Field(description="estimated")


class Seen(BaseModel):
    """The prompt of one turn by its parts, in their order. Messages of `left_out` turns were neither heard word by word
    nor part of the record; those of `in_short` are told by the record. The agent's brief is sealed until the reveal;
    all briefs are equally long."""

    turn: int
    agent: str
    form: Form
    tools: tuple[str, ...]
    parts: list[Part]
    tokens: int = Field(description="of all parts, estimated")
    in_short: list[tuple[int, int]]
    left_out: list[int]


class Moment(NamedTuple):
    """A turn as its agent met it."""

    cue: Cue
    heard: Cue
    tools: Sequence[AnyTool]
    form: Form

    def prompt(self) -> Prompt:
        return compose(self.heard, self.tools, self.form)


def moment(
    log: Sequence[e.Event], truth: e.MoleAssigned, game: Game, turn: int, tools: Mapping[str, AnyTool]
) -> Moment:
    """The turn as it was begun last, if it was begun more than once. Raises `NotFound` for one that never began."""
    first, *rest = log
    assert isinstance(first, e.SessionStarted)
    conversation = Conversation(first, truth, game)
    found: Moment | None = None
    for event in rest:
        if isinstance(event, e.MessageStarted) and event.turn == turn:
            cue = conversation.cue()
            offered = [tools[name] for name in event.tools if name in tools]
            found = Moment(cue, cue.shortened(event.left_out, event.without), offered, event.form)
        elif found is not None and conversation.turns >= turn:
            break
        conversation.apply(event)
    if found is None:
        raise NotFound(f"turn {turn} of the session {first.session_id} has not begun")
    return found


def seen(at: Moment, revealed: bool) -> Seen:
    prompt = at.prompt()
    named = {"shared": prompt.messages[0].content, **parts(at.heard, at.tools, at.form)}
    return Seen(
        turn=at.cue.turn,
        agent=at.cue.seat.name,
        form=at.form,
        tools=tuple(tool.name for tool in at.tools),
        parts=[
            Part(name=name, text=SEALED if name == "brief" and not revealed else text, tokens=guess(text))
            for name, text in named.items()
        ],
        tokens=sum(guess(message.content) for message in prompt.messages),
        in_short=[(block.first, block.last) for block in at.cue.blocks],
        left_out=[entry.turn for entry in at.cue.heard[: len(at.cue.heard) - len(at.heard.heard)]],
    )
