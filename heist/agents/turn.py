"""One turn: an agent hears, may use tools, and speaks; what happens comes out as events."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal, TypedDict

from heist.agents.agent import Agent
from heist.agents.prompts import Cue, compose
from heist.clock import Clock, milliseconds
from heist.errors import ModelError
from heist.events import (
    CommandDelivered,
    Event,
    MessageCompleted,
    MessageDelta,
    MessageFailed,
    MessageStarted,
    ToolCalled,
)
from heist.llm.model import Call, Completion, Message, Model, Prompt
from heist.llm.passages import Passages
from heist.services.tools.registry import Outcome

Form = Literal["native", "text"]
_CALL = re.compile(r"\s*(\w+)\s*:(.*)", re.DOTALL)


async def take(cue: Cue, agent: Agent, model: Model, clock: Clock) -> AsyncGenerator[Event]:
    """The events of a turn, in order: `message.started`, then deltas and tool calls as they happen, then either
    `message.completed` (after a `command.delivered` for each order that the agent has answered) or `message.failed`.
    Model errors end the turn and never come out as speech; tool errors go back to the model."""
    started = clock.monotonic()
    speech = Speech(cue)
    yield MessageStarted(**speech.who)
    prompt = compose(cue, agent.tools())
    left = cue.session.tool_calls
    try:
        while True:
            async for delta in speech.listen(model, prompt):
                yield delta
            calls = speech.calls[:left]
            if not calls:
                break
            left -= len(calls)
            outcomes = []
            for call in calls:
                outcomes.append(await agent.use(call.name, call.arguments))
                yield _called(cue, call.name, outcomes[-1], speech.form)
            prompt = _continued(prompt, speech, calls, outcomes, more=left > 0)
    except ModelError as error:
        spent = milliseconds(started, clock)
        yield MessageFailed(**speech.who, error=error.code, detail=str(error), milliseconds=spent)
        return
    if not speech.spoken():
        detail = "the model used its tools and then said nothing"
        yield MessageFailed(**speech.who, error="silent", detail=detail, milliseconds=milliseconds(started, clock))
        return
    for command in cue.commands:
        yield CommandDelivered(
            session_id=command.session_id, command=command.command, agent=cue.seat.name, turn=cue.turn
        )
    yield speech.completed(milliseconds(started, clock))


class Who(TypedDict):
    session_id: str
    turn: int
    round: int
    agent: str
    role: str


class Speech:
    """What an agent says in one turn, over all of its model calls, without the tool calls that it wrote as text.
    After `listen`, `calls` holds the tool calls that the last model call asked for, and `form` how."""

    def __init__(self, cue: Cue) -> None:
        seat = cue.seat
        self.who = Who(
            session_id=cue.session.session_id, turn=cue.turn, round=cue.round, agent=seat.name, role=seat.role
        )
        self.calls: list[Call] = []
        self.form: Form = "native"
        self.completions: list[Completion] = []
        self._text = ""
        self._begins = True

    async def listen(self, model: Model, prompt: Prompt) -> AsyncGenerator[MessageDelta]:
        """One model call; its words come out as they are certain to be speech."""
        passages = Passages("[TOOL:", "]")
        self._begins = True
        async with aclosing(model.complete(prompt)) as answer:
            async for chunk in answer:
                if isinstance(chunk, Completion):
                    self.completions.append(chunk)
                    piece = passages.end()
                else:
                    piece = passages.feed(chunk)
                offset = len(self._text)
                if added := self._add(piece):
                    who = self.who
                    yield MessageDelta(
                        session_id=who["session_id"], turn=who["turn"], agent=who["agent"], offset=offset, text=added
                    )
        native = self.completions[-1].calls
        self.form = "native" if native else "text"
        self.calls = list(native) or _written(passages.cut, len(self.completions))

    def _add(self, piece: str) -> str:
        """Appends to the speech; each model call begins on a line of its own."""
        if self._begins:
            piece = piece.lstrip()
            if not piece:
                return ""
            self._begins = False
            piece = f"\n{piece}" if self._text else piece
        self._text += piece
        return piece

    def spoken(self) -> str:
        """All that was said, without the speaker's own name in front, which models like to put there."""
        name = re.escape(self.who["agent"])
        return re.sub(rf"^(\[turn \d+, {name}\]|{name}:)\s*", "", self._text.strip(), flags=re.IGNORECASE)

    def completed(self, spent: float) -> MessageCompleted:
        usages = [completion.usage for completion in self.completions]
        return MessageCompleted(
            **self.who,
            text=self.spoken(),
            model=self.completions[-1].model,
            model_calls=len(self.completions),
            prompt_tokens=sum(usage.prompt for usage in usages),
            completion_tokens=sum(usage.completion for usage in usages),
            estimated=any(usage.estimated for usage in usages),
            milliseconds=spent,
        )


def _written(passages: list[str], number: int) -> list[Call]:
    """The calls among the passages that stood in `[TOOL:…]`; what is no `name:argument` is none."""
    found = [_CALL.fullmatch(passage) for passage in passages]
    return [Call(f"text_{number}_{index}", call[1], call[2].strip()) for index, call in enumerate(found) if call]


def _called(cue: Cue, name: str, outcome: Outcome, form: Form) -> ToolCalled:
    return ToolCalled(
        session_id=cue.session.session_id,
        turn=cue.turn,
        agent=cue.seat.name,
        tool=name[:64],
        arguments=outcome.arguments,
        result=outcome.text,
        success=outcome.success,
        fault=outcome.fault,
        form=form,
        milliseconds=outcome.milliseconds,
    )


def _continued(prompt: Prompt, speech: Speech, calls: list[Call], outcomes: list[Outcome], more: bool) -> Prompt:
    """The prompt with the results in the form in which they were asked for; without tools when none may follow."""
    said = speech.completions[-1].text
    if speech.form == "native":
        asked = Message("assistant", said, tuple(calls))
        results = [
            Message("tool", outcome.text, call_id=call.id) for call, outcome in zip(calls, outcomes, strict=True)
        ]
    else:
        asked = Message("assistant", said)
        lines = [f"Result of {outcome.tool}: {outcome.text}" for outcome in outcomes]
        closing = "Now speak." if not more else "Now speak, or use one more tool."
        results = [Message("user", "\n".join([*lines, closing]))]
    return prompt.followed_by(asked, *results).with_tools(prompt.tools if more else ())
