"""A model that is watched at its work: each call is timed, and is a span where somebody traces."""

import json
import re
import time
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from heist.errors import ModelError
from heist.llm.model import Call, Completion, Message, Model, Prompt, Wrapper
from heist.telemetry import names as n
from heist.telemetry.here import SILENT, Attributes, Span
from heist.telemetry.telemetry import ModelCall, Telemetry

_ADDRESS = re.compile(r"https?://(?:[^/@\s]*@)?(\[[^\]\s]+\]|[^/:\s]+)(?::(\d+))?")


_PROVIDERS = {"LM Studio": "lm_studio", "Ollama": "ollama", "llama.cpp": "llama_cpp", "vLLM": "vllm"}
"""Of the rest it is known only that they speak as OpenAI does."""


class Observed(Wrapper):
    """What it says does not change. A call's prompt tokens are told of nowhere, nor is its seed: those of a private
    brief would be among them, and the seed comes of what is sealed. The turn tells of its tokens."""

    def __init__(self, model: Model, telemetry: Telemetry) -> None:
        super().__init__(model)
        self._telemetry = telemetry
        self._server = _address(model.server)

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        around = self._telemetry.span()
        span = SILENT if around is SILENT else around.inner(f"chat {self.name}", self._asked(prompt))
        began, first, ended, error = time.perf_counter(), None, None, ""
        try:
            async with aclosing(self._model.complete(prompt)) as answer:
                async for chunk in answer:
                    if first is None:
                        first = time.perf_counter() - began
                    if isinstance(chunk, Completion):
                        ended = time.perf_counter()
                        _tell(span, prompt, chunk, first)
                    yield chunk
        except ModelError as wrong:
            error = wrong.code
            raise
        except (CancelledError, GeneratorExit):
            error = "" if ended else "cancelled"
            raise
        finally:
            if error:
                span.fail(error)
            span.end()
            seconds = (ended or time.perf_counter()) - began
            self._telemetry.called(ModelCall(self.name, seconds, first, error))

    def _asked(self, prompt: Prompt) -> Attributes:
        return {
            n.OPERATION: "chat",
            n.PROVIDER: "simulated" if self.simulated else _PROVIDERS.get(self.ability.kind, "openai"),
            n.REQUEST_MODEL: self.name,
            n.REQUEST_STREAM: True,
            n.TEMPERATURE: prompt.temperature,
            n.MAX_TOKENS: prompt.max_tokens,
            n.OUTPUT_TYPE: "text" if prompt.schema is None else "json",
            **self._server,
        }


def _address(server: str) -> Attributes:
    """Host and port, without a name and a password."""
    found = _ADDRESS.search(server)
    if found is None:
        return {}
    port = {n.SERVER_PORT: int(found[2])} if found[2] else {}
    return {n.SERVER_ADDRESS: found[1].strip("[]"), **port}


def _tell(span: Span, prompt: Prompt, answer: Completion, first: float) -> None:
    span.tell({n.RESPONSE_MODEL: answer.model, n.OUTPUT_TOKENS: answer.usage.completion, n.FIRST_CHUNK: first})
    span.quote(
        "prompts",
        lambda: {
            n.INPUT_MESSAGES: json.dumps([_message(message) for message in prompt.messages]),
            n.OUTPUT_MESSAGES: json.dumps([_message(Message("assistant", answer.text, answer.calls))]),
        },
    )


def _message(message: Message) -> Mapping[str, Any]:
    """A message in the shape that the conventions have for it."""
    if message.role == "tool":
        return {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": message.call_id, "result": message.content}],
        }
    said = [{"type": "text", "content": message.content}] if message.content else []
    return {"role": message.role, "parts": [*said, *map(_call, message.calls)]}


def _call(call: Call) -> Mapping[str, str]:
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
