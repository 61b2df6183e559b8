"""A stand-in judge for the bench: no language model, but it answers by the judge's form, from its prompt alone.

It suspects whoever is corrected by others and whoever puts a slot that somebody else had put. It shows what the judge
and the hybrid do with an opinion that holds; it says nothing about how well a language model judges.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

from heist.llm.model import Completion, Prompt, estimate
from tests.models import Stand

CORRECTED = re.compile(r"(?:^|(?<=[.?!] ))[^.?!]*?(Member-[A-Z]+)[^.?!]*?\bnot\b[^.?!]*")
NOBODY_ELSE = 40
"""The score of nobody, and what each ground adds to a member's."""
GROUND = 12


class StandIn(Stand):
    name = "stand-in judge"

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        text = json.dumps(_answer(prompt))
        yield text
        yield Completion(text, (), estimate(prompt, text), self.name)


def _answer(prompt: Prompt) -> dict[str, Any]:
    record = [json.loads(line) for line in prompt.messages[-1].content.split("\n") if line.startswith('{"n"')]
    grounds = _grounds(record)
    counts = Counter(ground["who"] for ground in grounds)
    properties: dict[str, Any] = (prompt.schema or {})["properties"]
    scores = {key: min(1 + GROUND * counts[key], 100) for key in properties["scores"]["required"]}
    return {
        "case": properties["case"]["const"],
        "reasons": grounds[:3],
        "scores": {**scores, "nobody": NOBODY_ELSE},
        "cannot_tell": not grounds,
    }


def _grounds(record: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    holders: dict[str, str] = {}
    for line in record:
        corrections = (said for said in CORRECTED.finditer(line.get("says", "")) if said[1] != line["who"])
        found += [_ground(said[1], line["n"], said[0], "A colleague corrects it.") for said in corrections]
        if "sets" in line:
            slot = line["sets"].partition(" = ")[0]
            if holders.setdefault(slot, line["who"]) != line["who"]:
                found.append(_ground(line["who"], line["n"], line["sets"], "Somebody else had set it."))
    return found


def _ground(who: str, line: int, quote: str, why: str) -> dict[str, Any]:
    return {"who": who, "line": line, "quote": quote, "why": why}
