"""Faults: what real model servers do wrong, each by a name, for our own model server to do on request.

A fault takes hold of a chat request in one of three places: it refuses the request before the model is asked, it bends
the prompt on its way in, or it spoils the chunks on their way out. Those are the chunks of the API
(`chat.completion.chunk`), before they are written as a stream or folded into one answer. Where a server's own words are
known, the fault uses them: clients decide by them.
"""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, get_args

from heist.errors import ConfigError
from heist.llm.model import Message, Prompt, guess

Kind = Literal["lmstudio", "ollama", "llamacpp", "vllm"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Chunk = dict[str, Any]
Chunks = AsyncGenerator[Chunk | bytes]
"""Chunks of one answer; bytes go out as they are."""
SLICE = 5
"""Characters of a tool call's arguments in each piece, where they come in pieces."""


class Cut(Exception):
    """The connection is to be closed here, in the middle of an answer."""


class Asked(NamedTuple):
    """A chat request as faults see it: `format` is the type of its `response_format`, `up` the seconds since the server
    started."""

    prompt: Prompt
    model: str
    format: str
    up: float


class Refusal(NamedTuple):
    """A body that is text is HTML."""

    status: int
    body: Mapping[str, Any] | str
    headers: Mapping[str, str] = {}


async def _lets_pass(_asked: Asked, _number: float) -> Refusal | None:
    return None


def _leaves(prompt: Prompt, _number: float) -> Prompt:
    return prompt


def _keeps(chunks: Chunks, _number: float) -> Chunks:
    return chunks


@dataclass(frozen=True, slots=True)
class Fault:
    """`sentence` says what happens and whose habit it is, `servers` are the kinds that are known for it, and `number`
    is the number that may be given with it, as in `cold=3`; `counts` says what that is."""

    name: str
    sentence: str
    servers: tuple[Kind, ...] = ()
    refuse: Callable[[Asked, float], Awaitable[Refusal | None]] = _lets_pass
    bend: Callable[[Prompt, float], Prompt] = _leaves
    spoil: Callable[[Chunks, float], Chunks] = _keeps
    number: float = 0.0
    counts: str = ""


class Chosen(NamedTuple):
    """A fault with its number, and the calls that it strikes: the first so many, every so manyeth, or all."""

    fault: Fault
    number: float
    first: int | None = None
    every: int | None = None

    def strikes(self, call: int) -> bool:
        """Whether it strikes this call; they are counted from 1."""
        return (self.first is None or call <= self.first) and (self.every is None or call % self.every == 0)


def choose(text: str, first: int | None = None, every: int | None = None) -> Chosen:
    """Reads `name` or `name=number`; raises `ConfigError`."""
    name, equals, given = text.partition("=")
    fault = FAULTS.get(name)
    if fault is None:
        raise ConfigError(f"there is no fault {name!r}; `heist model faults` lists them")
    if not equals:
        return Chosen(fault, fault.number, first, every)
    if not fault.counts:
        raise ConfigError(f"the fault {name} takes no number, found {given!r}")
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1e9:
        raise ConfigError(f"the fault {name} takes a number ({fault.counts}), found {given!r}")
    return Chosen(fault, number, first, every)


def size(prompt: Prompt) -> int:
    """Its tokens, as far as this server knows."""
    return sum(guess(message.content) for message in prompt.messages)


def delta(chunk: Chunk) -> dict[str, Any]:
    """What a chunk adds to the message; nothing if it is of another kind."""
    return next((choice["delta"] for choice in chunk.get("choices", ())), {})


def _with(chunk: Chunk, added: dict[str, Any], finish: str | None = None) -> Chunk:
    return {**chunk, "choices": [{"index": 0, "delta": added, "finish_reason": finish}]}


def _finish(chunk: Chunk) -> str | None:
    return next((choice["finish_reason"] for choice in chunk.get("choices", ())), None)


def _speaks(chunk: Chunk) -> bool:
    return bool(delta(chunk).get("content") or delta(chunk).get("tool_calls"))


# Refusals


def _always(status: int, body: Mapping[str, Any] | str) -> Callable[[Asked, float], Awaitable[Refusal | None]]:
    return _when(lambda _asked: True, status, body)


def _when(
    applies: Callable[[Asked], bool], status: int, body: Mapping[str, Any] | str
) -> Callable[[Asked, float], Awaitable[Refusal | None]]:
    async def refuse(asked: Asked, _number: float) -> Refusal | None:
        return Refusal(status, body) if applies(asked) else None

    return refuse


def _openai(message: str, kind: str, code: int | str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _llamacpp(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": kind}}


def _has_tools(asked: Asked) -> bool:
    return bool(asked.prompt.tools)


async def _loading(asked: Asked, number: float) -> Refusal | None:
    body = _llamacpp("Loading model", "unavailable_error", 503)
    return Refusal(503, body) if asked.up < number else None


async def _busy(_asked: Asked, number: float) -> Refusal | None:
    body = _openai("Too many requests, try again later", "rate_limit_error", 429)
    return Refusal(429, body, {"retry-after": f"{number:g}"})


async def _cold(_asked: Asked, number: float) -> Refusal | None:
    await asyncio.sleep(number)
    return None


async def _hang(_asked: Asked, _number: float) -> Refusal | None:
    await asyncio.Event().wait()
    return None


def _overflow(say: Callable[[int, int], dict[str, Any]]) -> Callable[[Asked, float], Awaitable[Refusal | None]]:
    async def refuse(asked: Asked, number: float) -> Refusal | None:
        tokens, context = size(asked.prompt), int(number)
        return Refusal(400, say(tokens, context)) if tokens > context else None

    return refuse


def _overflow_llamacpp(tokens: int, context: int) -> dict[str, Any]:
    message = f"request ({tokens} tokens) exceeds the available context size ({context} tokens), try increasing it"
    body = _llamacpp(message, "exceed_context_size_error", 400)
    return {"error": {**body["error"], "n_prompt_tokens": tokens, "n_ctx": context}}


def _overflow_lmstudio(tokens: int, context: int) -> dict[str, Any]:
    return {
        "error": f"Trying to keep the first {tokens} tokens when context the overflows. However, the model is loaded "
        f"with context length of only {context} tokens, which is not enough. Try to load the model with a larger "
        "context length, or provide a shorter input"
    }


def _overflow_vllm(tokens: int, context: int) -> dict[str, Any]:
    message = (
        f"This model's maximum context length is {context} tokens. However, your request has {tokens} input tokens. "
        "Please reduce the length of the input messages."
    )
    return _openai(message, "BadRequestError", 400)


# What happens to the prompt


def _truncate(prompt: Prompt, number: float) -> Prompt:
    """Without the oldest exchanges beyond the context; the system's words and the last exchange stay."""
    system = [message for message in prompt.messages if message.role == "system"]
    exchanges = _exchanges(message for message in prompt.messages if message.role != "system")
    tokens = size(prompt)
    while tokens > number and len(exchanges) > 1:
        tokens -= sum(guess(message.content) for message in exchanges.pop(0))
    kept = [message for exchange in exchanges for message in exchange]
    return replace(prompt, messages=(*system, *kept))


def _exchanges(messages: Iterable[Message]) -> list[list[Message]]:
    """Each message with the tools' answers to it."""
    exchanges: list[list[Message]] = []
    for message in messages:
        if message.role == "tool" and exchanges:
            exchanges[-1].append(message)
        else:
            exchanges.append([message])
    return exchanges


# What happens to the answer


def _each(change: Callable[[Chunk], Iterable[Chunk]]) -> Callable[[Chunks, float], Chunks]:
    """A fault that makes other chunks, or none, of each chunk."""

    async def spoil(chunks: Chunks, _number: float) -> Chunks:
        async with aclosing(chunks):
            async for chunk in chunks:
                if isinstance(chunk, bytes):
                    yield chunk
                else:
                    for changed in change(chunk):
                        yield changed

    return spoil


def _other_model(chunk: Chunk) -> Iterable[Chunk]:
    return [{**chunk, "model": "another-model"} if "model" in chunk else chunk]


def _empty(chunk: Chunk) -> Iterable[Chunk]:
    if _finish(chunk):
        return [_with(chunk, {}, "stop")]
    return [] if _speaks(chunk) else [chunk]


def _length(chunk: Chunk) -> Iterable[Chunk]:
    if _finish(chunk):
        return [_with(chunk, {}, "length")]
    return [] if _speaks(chunk) else [chunk]


def _no_usage(chunk: Chunk) -> Iterable[Chunk]:
    return [] if "usage" in chunk else [chunk]


THOUGHT = "The others must not know what I think."


def _thinks(field: str) -> Callable[[Chunk], Iterable[Chunk]]:
    def change(chunk: Chunk) -> Iterable[Chunk]:
        yield chunk
        if "role" in delta(chunk):
            for word in THOUGHT.split():
                yield _with(chunk, {field: f"{word} "})

    return change


def _thinks_aloud(*pieces: str) -> Callable[[Chunk], Iterable[Chunk]]:
    def change(chunk: Chunk) -> Iterable[Chunk]:
        yield chunk
        if "role" in delta(chunk):
            for piece in pieces:
                yield _with(chunk, {"content": piece})

    return change


def _whole_calls(chunk: Chunk) -> list[dict[str, Any]]:
    """The calls of a chunk that no other fault has touched yet."""
    calls = delta(chunk).get("tool_calls", [])
    whole = all("name" in call["function"] and isinstance(call["function"]["arguments"], str) for call in calls)
    return calls if whole else []


def _tool_index(chunk: Chunk) -> Iterable[Chunk]:
    calls = _whole_calls(chunk)
    if not calls:
        return [chunk]
    pair = [{**call, "id": f"{call['id']}_{number}", "index": 0} for number, call in enumerate((calls * 2)[:2])]
    return [_with(chunk, {"tool_calls": [call]}) for call in pair]


def _tool_pieces(chunk: Chunk) -> Iterable[Chunk]:
    """Two calls, a few characters of the one and of the other in turn; a single call is asked for twice."""
    calls = _whole_calls(chunk)
    if not calls:
        yield chunk
        return
    pair = (calls * 2)[:2]
    for index, call in enumerate(pair):
        function = {"name": call["function"]["name"], "arguments": ""}
        opening = {"index": index, "id": f"{call['id']}_{index}", "type": "function", "function": function}
        yield _with(chunk, {"tool_calls": [opening]})
    for slices in zip_longest(*(_slices(call["function"]["arguments"]) for call in pair)):
        for index, piece in enumerate(slices):
            if piece is not None:
                yield _with(chunk, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})


def _slices(text: str) -> list[str]:
    return [text[start : start + SLICE] for start in range(0, len(text), SLICE)]


def _tool_object(chunk: Chunk) -> Iterable[Chunk]:
    calls = _whole_calls(chunk)
    if not calls:
        return [chunk]
    functions = [{**call["function"], "arguments": _value(call["function"]["arguments"])} for call in calls]
    opened = [{**call, "function": function} for call, function in zip(calls, functions, strict=True)]
    return [_with(chunk, {"tool_calls": opened})]


def _value(arguments: str) -> object:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _text_tools(write: Callable[[str, str], str]) -> Callable[[Chunks, float], Chunks]:
    """Calls as text: `write` is given a tool's name and its arguments as JSON."""

    def change(chunk: Chunk) -> Iterable[Chunk]:
        if functions := [call["function"] for call in _whole_calls(chunk)]:
            text = "\n".join(write(function["name"], function["arguments"]) for function in functions)
            return [_with(chunk, {"content": piece}) for piece in _slices(text)]
        return [_with(chunk, {}, "stop")] if _finish(chunk) == "tool_calls" else [chunk]

    return _each(change)


def _named(name: str, arguments: str) -> str:
    return f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}'


def _bracket(name: str, arguments: str) -> str:
    value = _value(arguments)
    first = next(iter(value.values()), "") if isinstance(value, dict) else value
    return f"[TOOL:{name}:{first}]"


def _half(chunk: Chunk) -> Chunk:
    """The first half of what a chunk says; of a tool call only its name."""
    added = delta(chunk)
    if text := added.get("content"):
        return _with(chunk, {"content": text[: len(text) // 2 + 1]})
    calls = [{**call, "function": {**call["function"], "arguments": '{"'}} for call in added["tool_calls"]]
    return _with(chunk, {"tool_calls": calls})


async def _begun(chunks: Chunks) -> Chunks:
    """An answer up to the middle of the first chunk that says something."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if not isinstance(chunk, bytes) and _speaks(chunk):
                yield _half(chunk)
                return
            yield chunk


async def _stall(chunks: Chunks, _number: float) -> Chunks:
    async with aclosing(_begun(chunks)) as begun:
        async for chunk in begun:
            yield chunk
    await asyncio.Event().wait()


async def _cut(chunks: Chunks, _number: float) -> Chunks:
    async with aclosing(_begun(chunks)) as begun:
        async for chunk in begun:
            yield chunk
    raise Cut


async def _flood(chunks: Chunks, _number: float) -> Chunks:
    last: Chunk = {}
    async with aclosing(_begun(chunks)) as begun:
        async for chunk in begun:
            yield chunk
            last = last if isinstance(chunk, bytes) else chunk
    while True:
        yield _with(last, {"content": "and so on " * 100})
        await asyncio.sleep(0)


async def _rubbish(chunks: Chunks, _number: float) -> Chunks:
    await chunks.aclose()
    yield b'data: {"choices": [{"delta": {"content": "I was\n\n'


async def _overflow_stream(chunks: Chunks, _number: float) -> Chunks:
    """The beginning of an answer, and then the error."""
    message = "The number of tokens to keep from the initial prompt is greater than the context length"
    async with aclosing(_begun(chunks)) as begun:
        async for chunk in begun:
            if isinstance(chunk, bytes) or not _speaks(chunk):
                yield chunk
    yield _openai(message, "invalid_request_error", 400)


async def _usage_late(chunks: Chunks, number: float) -> Chunks:
    async with aclosing(chunks):
        async for chunk in chunks:
            if not isinstance(chunk, bytes) and "usage" in chunk:
                await asyncio.sleep(number)
            yield chunk


_CONTEXT = "the tokens of its context; each fourth character counts as one"
_ALL = (
    Fault(
        "other-model",
        "Another model answers than was asked, and says so only in `model`, as in LM Studio and llama.cpp.",
        ("lmstudio", "llamacpp"),
        spoil=_each(_other_model),
    ),
    Fault(
        "no-json-object",
        "400 to a `response_format` of type `json_object`, as in LM Studio.",
        ("lmstudio",),
        refuse=_when(
            lambda asked: asked.format == "json_object",
            400,
            {"error": "'response_format.type' must be 'json_schema' or 'text'"},
        ),
    ),
    Fault(
        "no-schema",
        "400 to a `response_format` with a schema, as in llama.cpp when it cannot make a grammar of it.",
        ("llamacpp",),
        refuse=_when(
            lambda asked: asked.format == "json_schema",
            400,
            _llamacpp("Failed to initialize samplers: failed to parse grammar", "invalid_request_error", 400),
        ),
    ),
    Fault(
        "no-tools-vllm",
        "400 to any request with tools, as in vLLM started without a tool parser.",
        ("vllm",),
        refuse=_when(
            _has_tools,
            400,
            _openai(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
                "BadRequestError",
                400,
            ),
        ),
    ),
    Fault(
        "no-tools-llamacpp",
        "500 to any request with tools, as in llama.cpp started without its template engine.",
        ("llamacpp",),
        refuse=_when(_has_tools, 500, _llamacpp("tools param requires --jinja flag", "server_error", 500)),
    ),
    Fault(
        "no-tools-ollama",
        "400 to any request with tools, as in Ollama with a model that was not made for them.",
        ("ollama",),
        refuse=_when(
            _has_tools,
            400,
            _openai("registry.ollama.ai/library/gemma3:1b does not support tools", "invalid_request_error"),
        ),
    ),
    Fault(
        "loading",
        '503 "Loading model" while the model is read from the disk, as in llama.cpp.',
        ("llamacpp",),
        refuse=_loading,
        number=math.inf,
        counts="seconds since the start; for ever if not given",
    ),
    Fault(
        "busy",
        "429 with `Retry-After`, as from a proxy or a hosted server in front of vLLM.",
        ("vllm",),
        refuse=_busy,
        number=1,
        counts="seconds of Retry-After",
    ),
    Fault(
        "queue-full",
        "503 when too many requests wait, as in Ollama.",
        ("ollama",),
        refuse=_always(
            503, _openai("server busy, please try again.  maximum pending requests exceeded", "api_error", None)
        ),
    ),
    Fault(
        "cold",
        "The first byte comes late, as in LM Studio and Ollama, which load a model when it is first asked.",
        ("lmstudio", "ollama"),
        refuse=_cold,
        number=20,
        counts="seconds until the first byte",
    ),
    Fault("hang", "Not a byte ever comes, as from a server whose runner died.", ("ollama", "lmstudio"), refuse=_hang),
    Fault("stall", "The answer stops in the middle and the connection stays open.", ("lmstudio",), spoil=_stall),
    Fault("cut", "The connection is closed in the middle of the answer, as when a server crashes.", KINDS, spoil=_cut),
    Fault(
        "empty", "200 and not a word, as in Ollama when the prompt fills its context.", ("ollama",), spoil=_each(_empty)
    ),
    Fault(
        "length",
        "Not a word and `finish_reason: length`, as of models that think until their tokens are used up.",
        KINDS,
        spoil=_each(_length),
    ),
    Fault(
        "overflow-llamacpp",
        "400 to a prompt that is longer than the context, in llama.cpp's words.",
        ("llamacpp",),
        refuse=_overflow(_overflow_llamacpp),
        number=1,
        counts=_CONTEXT,
    ),
    Fault(
        "overflow-lmstudio",
        "400 to a prompt that is longer than the context, in LM Studio's words and its short form of an error.",
        ("lmstudio",),
        refuse=_overflow(_overflow_lmstudio),
        number=1,
        counts=_CONTEXT,
    ),
    Fault(
        "overflow-vllm",
        "400 to a prompt that is longer than the context, in vLLM's words.",
        ("vllm",),
        refuse=_overflow(_overflow_vllm),
        number=1,
        counts=_CONTEXT,
    ),
    Fault(
        "overflow-stream",
        "200, and the error that the prompt is too long comes inside the stream, as in LM Studio.",
        ("lmstudio",),
        spoil=_overflow_stream,
    ),
    Fault(
        "truncate",
        "The oldest messages beyond the context are dropped without a word, as in Ollama.",
        ("ollama",),
        bend=_truncate,
        number=4096,
        counts=_CONTEXT,
    ),
    Fault("no-usage", "No usage, though it was asked for, as in older Ollama.", ("ollama",), spoil=_each(_no_usage)),
    Fault(
        "usage-late",
        "Usage comes in a chunk of its own some time after the last word, so that who stops there misses it.",
        ("llamacpp", "vllm"),
        spoil=_usage_late,
        number=1,
        counts="seconds between the last word and the usage",
    ),
    Fault(
        "thinks",
        "Thoughts come first, in `reasoning_content`, as in llama.cpp, LM Studio and older vLLM.",
        ("llamacpp", "lmstudio", "vllm"),
        spoil=_each(_thinks("reasoning_content")),
    ),
    Fault(
        "thinks-reasoning",
        "Thoughts come first, in `reasoning`, as in Ollama and newer vLLM.",
        ("ollama", "vllm"),
        spoil=_each(_thinks("reasoning")),
    ),
    Fault(
        "think-tags",
        "Thoughts come first, in the text between `<think>` and `</think>`, as where no reasoning parser is set.",
        KINDS,
        spoil=_each(_thinks_aloud("<thi", f"nk>{THOUGHT}", "</th", "ink>", "\n\n")),
    ),
    Fault(
        "think-end",
        "Thoughts come first, in the text, and only `</think>` marks them, as of templates that open them before.",
        ("llamacpp", "vllm", "lmstudio"),
        spoil=_each(_thinks_aloud(THOUGHT, "</th", "ink>", "\n\n")),
    ),
    Fault(
        "tool-index",
        "Two tool calls come one after the other, both with the index 0, as in older Ollama.",
        ("ollama",),
        spoil=_each(_tool_index),
    ),
    Fault(
        "tool-pieces",
        "Two tool calls come in turns, a few characters each, told apart by their index, as in vLLM and llama.cpp.",
        ("vllm", "llamacpp"),
        spoil=_each(_tool_pieces),
    ),
    Fault(
        "tool-object",
        "A tool call's arguments are an object instead of text, as in Ollama's own API and proxies in front of it.",
        ("ollama",),
        spoil=_each(_tool_object),
    ),
    Fault(
        "text-tools-tag",
        "Tool calls come as text, `<tool_call>{…}</tool_call>`, as of Qwen and Hermes models where no parser is set.",
        ("vllm", "llamacpp", "ollama"),
        spoil=_text_tools(lambda name, arguments: f"<tool_call>\n{_named(name, arguments)}\n</tool_call>"),
    ),
    Fault(
        "text-tools-fenced",
        "Tool calls come as text, JSON between fences, as of small models everywhere.",
        KINDS,
        spoil=_text_tools(lambda name, arguments: f"```json\n{_named(name, arguments)}\n```"),
    ),
    Fault(
        "text-tools-request",
        "Tool calls come as text, `[TOOL_REQUEST]…[END_TOOL_REQUEST]`, as in LM Studio's default form.",
        ("lmstudio",),
        spoil=_text_tools(lambda name, arguments: f"[TOOL_REQUEST]{_named(name, arguments)}[END_TOOL_REQUEST]"),
    ),
    Fault(
        "text-tools-bracket",
        "Tool calls come as text, `[TOOL:name:argument]`, as of models that were told of them in words.",
        spoil=_text_tools(_bracket),
    ),
    Fault(
        "error-nested",
        '404 in the form `{"error": {"message": …}}`, as in Ollama.',
        ("ollama", "llamacpp", "vllm"),
        refuse=_always(404, _openai("model 'llama3' not found", "not_found_error")),
    ),
    Fault(
        "error-text",
        '400 in the form `{"error": "text"}`, as in LM Studio.',
        ("lmstudio",),
        refuse=_always(
            400, {"error": "The model has crashed without additional information. (Exit code: 18446744072635810000)"}
        ),
    ),
    Fault(
        "error-object",
        '404 in the form `{"object": "error", "message": …}`, as in older vLLM.',
        ("vllm",),
        refuse=_always(
            404,
            {
                "object": "error",
                "message": "The model `llama3` does not exist.",
                "type": "NotFoundError",
                "param": None,
                "code": 404,
            },
        ),
    ),
    Fault(
        "error-html",
        "502 and a page of HTML in several lines, as from a proxy whose server is gone.",
        refuse=_always(502, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<hr>nginx\r\n</html>\r\n"),
    ),
    Fault("rubbish", "200 and bytes that are no JSON, as from a proxy in between.", spoil=_rubbish),
    Fault(
        "flood",
        "The answer never ends, whatever `max_tokens` says, as in Ollama's endless loops.",
        ("ollama",),
        spoil=_flood,
    ),
    Fault(
        "server-error",
        "500, as when the runner behind the server dies.",
        KINDS,
        refuse=_always(500, _openai("llama runner process has terminated: exit status 2", "api_error")),
    ),
)
FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ALL}
PROFILES: Mapping[Kind, tuple[str, ...]] = {
    kind: tuple(fault.name for fault in _ALL if kind in fault.servers) for kind in KINDS
}
"""What each kind of server is known for. Not all at once: most of it is a bad day."""
HABITS: Mapping[Kind, tuple[str, ...]] = {
    "lmstudio": ("no-json-object",),
    "ollama": ("truncate",),
    "llamacpp": (),
    "vllm": ("no-tools-vllm",),
}
"""What each kind does on a good day too, until somebody sets it up otherwise."""
