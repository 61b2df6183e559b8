"""The simulated crew: plays any agent from its prompt alone, without a language model.

It reads the same prompt that a language model would get: who it is, which slots the plan has and how they follow, what
was said, what its tools gave, what its private brief asks for. It looks things up, tells what the others need with
source and date, sets the slots that it answers for, corrects itself and the others, and now and then slips, as people
do. The same prompt and seed give the same answer. It tests that the house works and shows what a session looks like; it
proves nothing about language models.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from heist import seeds
from heist.llm.model import Ability, Call, Completion, Form, Prompt, estimate, guess
from heist.llm.simulated import chat
from heist.llm.simulated.play import Deed, Player, call
from heist.llm.simulated.scene import Scene, read
from heist.llm.simulated.sources import ARGUMENTS
from heist.llm.simulated.turn import speak


class Simulated:
    """A model that is none; whatever it says is labelled as simulated by whoever shows it."""

    name = "simulated crew"
    server = "this program"
    simulated = True
    ability = Ability("simulated", slots=None, tools=True, schemas=True)
    form: Form = "native"
    warm = True

    async def ready(self) -> None:
        """Always."""

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        return [guess(text) for text in texts], True

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        scene = read(prompt)
        deed = _deed(scene, prompt.seed)
        text = deed.text
        calls: tuple[Call, ...] = ()
        if prompt.schema is not None:
            text = _held_to(prompt.schema, deed)
        elif deed.tool and prompt.tools:
            calls = (_native(scene, deed),)
        elif deed.tool:
            text = f"[TOOL:{deed.tool}:{deed.argument}]"
        if text:
            yield text
        written = text or "".join(one.arguments for one in calls)
        yield Completion(text, calls, estimate(prompt, written), self.name, deed.did)


def _deed(scene: Scene, seed: int) -> Deed:
    """A call or a word. Questions of the boss are answered from memory."""
    if scene.order.rstrip('"').endswith("?"):
        return Deed("", "", chat.remembered(scene))
    if not scene.job.slots:
        return chat.deed(scene, seeds.stream(seed, "call", scene.given))
    player = Player(scene, seed)
    return call(player) or speak(player, chat.ordered(scene))


def _native(scene: Scene, deed: Deed) -> Call:
    name = scene.tools.get(deed.tool) or ARGUMENTS.get(deed.tool, "argument")
    return Call(f"call_{len(scene.fresh)}", deed.tool, json.dumps({name: deed.argument}))


def _held_to(schema: Mapping[str, Any], deed: Deed) -> str:
    """The answer as the JSON object that a turn's schema asks for."""
    longest = ((schema.get("properties") or {}).get("message") or {}).get("maxLength", len(deed.text))
    wanted = {"message": deed.text[:longest], "tool": deed.tool or "none", "argument": deed.argument}
    properties = schema.get("properties") or {}
    return json.dumps({name: value for name, value in wanted.items() if name in properties}, ensure_ascii=False)
