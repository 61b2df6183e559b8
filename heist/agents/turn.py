"""One turn: an agent hears, may use tools, and speaks; what happens comes out as events."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypedDict

from heist.agents.agent import Agent
from heist.agents.prompts import SPARABLE, Cue, compose, turn_schema
from heist.agents.utterance import Utterance
from heist.clock import Clock, milliseconds
from heist.errors import ModelDown, ModelError, ModelOverflow
from heist.events import (
    CommandDelivered,
    Event,
    MessageCompleted,
    MessageDelta,
    MessageFailed,
    MessageInterrupted,
    MessageStarted,
    PlanChanged,
    SabotageDone,
    ThoughtsKept,
    sound,
)
from heist.llm.model import Call, Completion, Form, Message, Model, Prompt, guess
from heist.services.tools.plan import changes
from heist.services.tools.registry import AnyTool, Outcome

SPARE = 64
"""Tokens of a context that are left free, for what a server adds to a prompt by its chat template."""
_INVENTED = re.compile(r"^\[turn \d+, ", re.MULTILINE)
"""Where a model goes on with the talk of others, which it is not asked to know."""
HALVINGS = 2
"""A prompt that the server finds too long is halved so often before the turn is given up."""


async def take(cue: Cue, agent: Agent, model: Model, clock: Clock, halvings: int = 0) -> AsyncGenerator[Event]:
    """The events of a turn, in order: `message.started`, then deltas and tool calls as they happen, then either
    `message.completed` (after a `command.delivered` for each order that the agent has answered) or `message.failed`; or
    `message.interrupted`, when the turn is to be taken again: once the model is back (`model_down`), or with a prompt
    half as long (`model_overflow`), which `halvings` counts. Model errors never come out as speech; tool errors go back
    to the model."""
    started = clock.monotonic()
    tools = agent.tools()
    heard, prompt = await fit(cue, tools, model, room(cue, model) >> halvings)
    (private,), guessed = await model.count([cue.brief])
    speech = Speech(cue, model.form, private, guessed and bool(cue.brief))
    left_out = len(cue.heard) - len(heard.heard)
    names = tuple(tool.name for tool in tools)
    yield MessageStarted(**speech.who, tools=names, form=model.form, left_out=left_out, without=heard.without)
    try:
        async with aclosing(_speak(heard, agent, model, speech, prompt)) as events:
            async for event in events:
                yield event
    except ModelDown as error:
        yield MessageInterrupted(**speech.who, reason=str(error), error=error.code)
        return
    except ModelError as error:
        if isinstance(error, ModelOverflow) and halvings < HALVINGS:
            yield MessageInterrupted(**speech.who, reason=str(error), error=error.code)
        else:
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


async def _speak(cue: Cue, agent: Agent, model: Model, speech: "Speech", prompt: Prompt) -> AsyncGenerator[Event]:
    """The deltas and tool calls; raises `ModelError`."""
    left = cue.session.tool_calls
    while True:
        async for delta in speech.listen(model, prompt):
            yield delta
        for secret in speech.secrets():
            yield secret
        calls = speech.calls[:left]
        if not calls:
            return
        left -= len(calls)
        outcomes = []
        for call in calls:
            outcomes.append(await agent.use(call.name, call.arguments))
            yield outcomes[-1].told(cue.session.session_id, cue.seat.name, speech.form, cue.turn)
            for change in speech.planned(outcomes[-1]):
                yield change
        prompt = _continued(prompt, speech, calls, outcomes, more=left > 0)


def room(cue: Cue, model: Model) -> int:
    """Tokens that a prompt of this turn may have: what the crew's file says, as far as the model's context goes."""
    voice = cue.seat.voice
    answer = voice.max_tokens if voice else cue.session.max_tokens
    context = model.ability.context
    budget = cue.session.memory.prompt
    return budget if context is None else max(min(budget, context - answer - SPARE), SPARE)


async def fit(cue: Cue, tools: Sequence[AnyTool], model: Model, tokens: int) -> tuple[Cue, Prompt]:
    """The cue with as much left out as it takes for its prompt to have no more than `tokens`, and that prompt: the
    oldest messages go first (the newest is always heard), then whole parts. Counted by the server's tokenizer where it
    has one."""
    spared = 0
    while True:
        prompt = compose(cue, tools, model.form)
        counts, _ = await model.count([message.content for message in prompt.messages])
        beyond = sum(counts) - tokens
        if beyond > 0 and len(cue.heard) > 1:
            cue = cue.shortened(_oldest(cue, beyond))
        elif beyond > 0 and spared < len(SPARABLE):
            spared += 1
            cue = cue.shortened(0, SPARABLE[:spared])
        else:
            return cue, prompt


def _oldest(cue: Cue, tokens: int) -> int:
    """How many of the oldest messages hold about so many tokens: at least one, never all."""
    for number, entry in enumerate(cue.heard[:-1], 1):
        tokens -= guess(entry.text)
        if tokens <= 0:
            return number
    return len(cue.heard) - 1


class It(TypedDict):
    session_id: str
    turn: int
    agent: str


class Who(It):
    round: int
    role: str


class Speech:
    """What an agent says in one turn, over all of its model calls, without the tool calls that it wrote into it. After
    `listen`, `calls` holds the tool calls that the last model call asked for, and `form` how. `private` is the number
    of tokens of the agent's brief, which are told of nowhere: what the server counts would tell how its brief differs
    from the others'. Where that number is `guessed` it cannot be taken from what the server counts, and the prompt's is
    guessed too."""

    def __init__(self, cue: Cue, offered: Form, private: int = 0, guessed: bool = False) -> None:
        seat = cue.seat
        self.who = Who(
            session_id=cue.session.session_id, turn=cue.turn, round=cue.round, agent=seat.name, role=seat.role
        )
        self.it = It(session_id=cue.session.session_id, turn=cue.turn, agent=seat.name)
        self.offered: Form = offered
        self.form: Form = offered
        self.calls: list[Call] = []
        self.completions: list[Completion] = []
        self._private = private
        self._guessed = guessed
        self._asked: list[int] = []
        self._plan = {slot: edit.value for slot, edit in cue.plan.items()}
        self._text = ""
        self._begins = True

    async def listen(self, model: Model, prompt: Prompt) -> AsyncGenerator[MessageDelta]:
        """One model call; its words come out as they are certain to be speech."""
        utterance = Utterance(len(self.completions) + 1)
        self._asked.append(sum(guess(message.content) for message in prompt.messages))
        self._begins = True
        async with aclosing(model.complete(prompt)) as answer:
            async for chunk in answer:
                if isinstance(chunk, Completion):
                    self.completions.append(chunk)
                    piece = utterance.end()
                else:
                    piece = utterance.feed(chunk)
                offset = len(self._text)
                if added := self._add(piece):
                    yield MessageDelta(**self.it, offset=offset, text=added)
        native = self.completions[-1].calls
        self.form = "native" if native else utterance.form or self.offered
        self.calls = list(native) or utterance.calls

    def secrets(self) -> list[Event]:
        """What the last model call told that is for nobody's eyes now."""
        last = self.completions[-1]
        kept: list[Event] = [ThoughtsKept(**self.it, text=sound(last.thoughts))] if last.thoughts else []
        return [*kept, SabotageDone(**self.it, did=sound(last.did))] if last.did else kept

    def planned(self, outcome: Outcome) -> list[Event]:
        """What a tool's result changes in the plan."""
        changed: list[Event] = []
        for slot, value in changes(outcome):
            before = self._plan.get(slot)
            if before != value:
                self._plan[slot] = value
                changed.append(PlanChanged(**self.it, slot=slot, value=value, before=before))
        return changed

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
        own = re.sub(rf"^(\[turn \d+, {name}\]|{name}:)\s*", "", self._text.strip(), flags=re.IGNORECASE)
        return _INVENTED.split(own, maxsplit=1)[0].strip()

    def completed(self, spent: float) -> MessageCompleted:
        usages = [completion.usage for completion in self.completions]
        prompts = self._asked if self._guessed else [usage.prompt for usage in usages]
        cached = usages[0].cached  # by the next call of the turn its brief is among them
        return MessageCompleted(
            **self.who,
            text=self.spoken(),
            model=self.completions[-1].model,
            model_calls=len(self.completions),
            form=self.form,
            prompt_tokens=sum(max(prompt - self._private, 0) for prompt in prompts),
            completion_tokens=sum(usage.completion for usage in usages),
            estimated=self._guessed or any(usage.estimated for usage in usages),
            cached_tokens=cached,
            milliseconds=spent,
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
        closing = "Now speak, or use one more tool." if more else "Now speak; you may use no more tools."
        results = [Message("user", "\n".join([*lines, closing]))]
    longer = prompt.followed_by(asked, *results)
    if more:
        return longer
    return replace(longer, tools=(), schema=None if prompt.schema is None else turn_schema(()))
