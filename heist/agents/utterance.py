"""What a model wrote, taken apart while it streams: words for the others, and tool calls in whichever form they
came."""

import json
import re
from typing import Any

from pydantic_core import from_json

from heist.events import sound
from heist.llm.model import Call, Form
from heist.llm.passages import Passage, Passages

MARKS = {"[TOOL:": "]", "<tool_call>": "</tool_call>", "[TOOL_REQUEST]": "[END_TOOL_REQUEST]", "```": "```"}
"""How models write a call into the text: ours first, then the forms that they were trained on."""
NO_TOOL = ("", "none", "null", "no", "nothing")
_WRITTEN = re.compile(r"\s*(\w+)\s*:(.*)", re.DOTALL)
_LANGUAGE = re.compile(r"\A\w*\s*")


class Utterance:
    """Feed it the pieces of one answer. What `feed` and `end` give back is speech; afterwards `calls` holds what is to
    be called, and `form` how that was written. An answer that begins with a brace is read as JSON: `{message, tool,
    argument}`, or a bare `{name, arguments}`. Whatever cannot be read is speech, never lost."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._passages = Passages(MARKS, self._instead)
        self._json: str | None = None
        self._begun = False
        self._told = 0
        self.calls: list[Call] = []
        self.form: Form | None = None

    def feed(self, piece: str) -> str:
        if not self._begun:
            piece = piece.lstrip()
            if not piece:
                return ""
            self._begun = True
            self._json = "" if piece.startswith("{") else None
        if self._json is None:
            return self._passages.feed(piece)
        self._json += piece
        return self._news(_message_so_far(self._json))

    def end(self) -> str:
        if self._json is None:
            return self._passages.end()
        answer, rest = _object(self._json)
        if answer is None:
            spoken = _message_so_far(self._json)
            return self._news(spoken) if spoken or self._told else self._json
        if "message" not in answer and self._is_call(answer, "text"):
            return rest
        self.form = "schema"
        tool = answer.get("tool")
        if isinstance(tool, str) and tool.strip().lower() not in NO_TOOL:
            self._call(tool, answer.get("argument", answer.get("arguments", "")))
        message = answer.get("message")
        return self._news(sound(message)) if isinstance(message, str) else ""

    def _news(self, spoken: str) -> str:
        news, self._told = spoken[self._told :], max(self._told, len(spoken))
        return news

    def _instead(self, passage: Passage) -> str:
        """Nothing for a passage that is a call, or was meant as one; for a fence that holds something else, itself."""
        if passage.opening == "[TOOL:":
            if written := _WRITTEN.fullmatch(passage.text):
                self._call(written[1], written[2].strip())
                self.form = "text"
            return ""
        answer, _ = _object(_LANGUAGE.sub("", passage.text, count=1))
        if (answer is not None and self._is_call(answer, "text")) or passage.opening != "```":
            return ""
        return f"```{passage.text}```"

    def _is_call(self, answer: dict[str, Any], form: Form) -> bool:
        name = answer.get("name", answer.get("tool"))
        arguments = answer.get("arguments", answer.get("parameters", answer.get("argument")))
        if not isinstance(name, str) or not name or arguments is None:
            return False
        self._call(name, arguments)
        self.form = form
        return True

    def _call(self, name: str, arguments: object) -> None:
        written = arguments if isinstance(arguments, str) else json.dumps(arguments)
        self.calls.append(Call(f"{self._number}_{len(self.calls)}", sound(name.strip()), sound(written)))


def _object(text: str) -> tuple[dict[str, Any] | None, str]:
    """(the JSON object that the text begins with, what comes after it); None when there is none. Some templates teach
    their model to double the braces."""
    text = text.lstrip()
    for begin in (text, text[1:]) if text.startswith("{{") else (text,):
        try:
            found, end = json.JSONDecoder(strict=False).raw_decode(begin)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            rest = begin[end:].strip()
            return found, rest.removeprefix("}").strip() if begin is not text else rest
    return None, text


def _message_so_far(text: str) -> str:
    """What `message` holds of a JSON object that is not complete yet."""
    try:
        found = from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return ""
    message = found.get("message") if isinstance(found, dict) else None
    return message if isinstance(message, str) else ""
