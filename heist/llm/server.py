"""A model server: any model behind the API that OpenAI's clients speak, with faults on request."""

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from heist.clock import Clock, SystemClock
from heist.configfile import first_error, sentence
from heist.errors import HeistError, Invalid, ModelBusy, ModelOverflow
from heist.llm.faults import Asked, Chosen, Chunk, Chunks, Cut, Kind, Refusal
from heist.llm.model import Call, Completion, Message, Model, Prompt, ToolSpec, Usage, guess

CONTEXT = 32_768
"""Tokens that the server says its context has; the faults `truncate` and `overflow-…` have numbers of their own."""
LARGEST = 16 * 2**20
"""Bytes of a request."""
ANY_NAME: tuple[Kind, ...] = ("lmstudio", "llamacpp")
"""Whoever is asked for, these answer with the model that they have."""
OWNERS: Mapping[Kind | None, str] = {"llamacpp": "llamacpp", "vllm": "vllm", "ollama": "library"}
_JSON = {"content-type": "application/json"}
_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


def create(
    model: Model, kind: Kind | None = None, faults: Sequence[Chosen] = (), clock: Clock | None = None
) -> Starlette:
    """The ASGI app. With a `kind` it also answers where that kind of server is known by its fingerprint."""
    chat = _Chat(model, kind, faults, clock or SystemClock())
    routes = [Route("/v1/chat/completions", chat, methods=["POST"])]
    routes += [Route(path, _Fixed(content)) for path, content in _fingerprint(model, kind).items()]
    if kind in ("llamacpp", "vllm"):
        routes.append(Route("/tokenize", _tokenize, methods=["POST"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error})


# What is wrong


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


def _refusal(status: int, message: str, kind: str, headers: Mapping[str, str] = {}) -> Refusal:
    return Refusal(status, _shaped(status, message, kind), headers)


def _shaped(status: int, message: str, kind: str) -> dict[str, Any]:
    """An error as OpenAI shapes it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


# What a request says


class _Part(BaseModel):
    type: Literal["text"]
    text: str


class _Function(BaseModel):
    name: str
    arguments: str


class _Call(BaseModel):
    id: str
    function: _Function


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[_Part, ...] | None = None
    tool_calls: tuple[_Call, ...] | None = None
    tool_call_id: str = ""


class _Declaration(BaseModel):
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(BaseModel):
    type: Literal["function"]
    function: _Declaration


class _Held(BaseModel):
    held_to: dict[str, Any] = Field(alias="schema")


class _Format(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Held | None = None


class _StreamOptions(BaseModel):
    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The part of a chat request that is understood; the rest is ignored, as servers do."""

    model_config = ConfigDict(frozen=True, strict=True)

    model: str
    messages: tuple[_Message, ...] = Field(min_length=1)
    tools: tuple[_Tool, ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: _Format | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | tuple[str, ...] | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


async def _body(request: Request) -> bytes:
    """All of it up to one byte more than LARGEST, which `_request` refuses."""
    body = bytearray()
    async for piece in request.stream():
        body += piece[: LARGEST + 1 - len(body)]
    return bytes(body)


def _request(body: bytes) -> ChatRequest:
    if len(body) > LARGEST:
        raise _Refused(_refusal(413, f"a request has at most {LARGEST} bytes", "invalid_request_error"))
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = first_error(error)
        raise Invalid(sentence(first["loc"], first["msg"])) from None


def _prompt(request: ChatRequest) -> Prompt:
    """Raises `Invalid` for what no single field shows to be wrong."""
    _check_results(request.messages)
    plain = Prompt(())
    return Prompt(
        tuple(map(_message, request.messages)),
        () if request.tool_choice == "none" else tuple(map(_tool, request.tools or ())),
        plain.temperature if request.temperature is None else request.temperature,
        request.max_tokens or request.max_completion_tokens or plain.max_tokens,
        request.seed or plain.seed,
        _schema(request.response_format),
        (request.stop,) if isinstance(request.stop, str) else request.stop or (),
    )


def _check_results(messages: Sequence[_Message]) -> None:
    called: set[str] = set()
    for index, message in enumerate(messages):
        called |= {call.id for call in message.tool_calls or ()}
        if message.role == "tool" and message.tool_call_id not in called:
            raise Invalid(f"messages.{index}.tool_call_id: no message before it has a call {message.tool_call_id!r}")
        if message.role != "assistant" and message.tool_calls:
            raise Invalid(f"messages.{index}.tool_calls: only an assistant calls tools, found role {message.role!r}")


def _message(message: _Message) -> Message:
    content = message.content or ""
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    calls = tuple(Call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ())
    role = "system" if message.role == "developer" else message.role
    return Message(role, text, calls, message.tool_call_id if role == "tool" else "")


def _tool(tool: _Tool) -> ToolSpec:
    told = tool.function
    return ToolSpec(told.name, told.description or "", told.parameters or {"type": "object", "properties": {}})


def _schema(wanted: _Format | None) -> Mapping[str, Any] | None:
    match wanted:
        case _Format(type="json_object"):
            return {"type": "object"}
        case _Format(type="json_schema", json_schema=None):
            raise Invalid("response_format.json_schema: field required")
        case _Format(type="json_schema", json_schema=_Held(held_to=schema)):
            return schema
    return None


# What the answer says


def _of(error: HeistError) -> Refusal:
    """What the model could not do, or the client did wrong."""
    match error:
        case Invalid():
            return _refusal(400, str(error), "invalid_request_error")
        case ModelOverflow():
            return _refusal(400, str(error), "exceed_context_size_error")
        case ModelBusy(retry_after=float(seconds)):
            return _refusal(error.status, str(error), error.code, {"retry-after": f"{seconds:g}"})
    return _refusal(error.status, str(error), error.code)


class _Chat:
    """POST /v1/chat/completions. When the client goes away, the model is cancelled."""

    def __init__(self, model: Model, kind: Kind | None, faults: Sequence[Chosen], clock: Clock) -> None:
        self._model = model
        self._kind = kind
        self._faults = faults
        self._clock = clock
        self._started = clock.monotonic()
        self._calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _body(Request(scope, receive))
        except ClientDisconnect:
            return
        await _while_there(receive, self._answer(body, send))

    async def _answer(self, body: bytes, send: Send) -> None:
        try:
            request = _request(body)
            async with aclosing(await self._chunks(request)) as chunks:
                await (_stream if request.stream else _whole)(chunks, request, send)
        except HeistError as error:
            await _refuse(_of(error), send)
        except _Refused as refused:
            await _refuse(refused.refusal, send)

    async def _chunks(self, request: ChatRequest) -> Chunks:
        prompt = _prompt(request)
        if self._kind not in ANY_NAME and request.model != self._model.name:
            raise _Refused(_refusal(404, f"The model `{request.model}` does not exist.", "NotFoundError"))
        self._calls += 1
        struck = [(chosen.fault, chosen.number) for chosen in self._faults if chosen.strikes(self._calls)]
        form = request.response_format.type if request.response_format else ""
        asked = Asked(prompt, request.model, form, self._clock.monotonic() - self._started)
        for fault, number in struck:
            if refusal := await fault.refuse(asked, number):
                raise _Refused(refusal)
        for fault, number in struck:
            prompt = fault.bend(prompt, number)
        chunks = _speak(self._model, prompt, f"chatcmpl-{self._calls}", int(self._clock.now().timestamp()))
        for fault, number in struck:
            chunks = fault.spoil(chunks, number)
        return chunks


async def _while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Does the work, or cancels it when the client goes away first."""
    tasks = (asyncio.ensure_future(work), asyncio.ensure_future(_goes_away(receive)))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _goes_away(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _speak(model: Model, prompt: Prompt, name: str, created: int) -> Chunks:
    """The answer in chunks: the role, the words, the calls all at once, why it ended, the usage."""
    head: Chunk = {"id": name, "object": "chat.completion.chunk", "created": created, "model": model.name}
    begun = False
    async with aclosing(model.complete(prompt)) as answer:
        async for piece in answer:
            if not begun:
                yield _chunk(head, {"role": "assistant", "content": ""})
                begun = True
            if isinstance(piece, str):
                yield _chunk(head, {"content": piece})
                continue
            head = {**head, "model": piece.model}
            if piece.calls:
                yield _chunk(head, {"tool_calls": [_call(*numbered) for numbered in enumerate(piece.calls)]})
            yield _chunk(head, {}, _finish(piece))
            yield {**head, "choices": [], "usage": _usage(piece.usage)}


def _chunk(head: Chunk, delta: dict[str, Any], finish: str | None = None) -> Chunk:
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _finish(completion: Completion) -> str:
    return "tool_calls" if completion.calls else "stop"


def _call(index: int, call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": index, "id": call.id, "type": "function", "function": function}


def _usage(usage: Usage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }
    return told if usage.cached is None else {**told, "prompt_tokens_details": {"cached_tokens": usage.cached}}


async def _stream(chunks: Chunks, request: ChatRequest, send: Send) -> None:
    """Events as they come; the status waits for the first, so that a model that fails at once is an error."""
    first = await anext(chunks)
    counted = request.stream_options is not None and bool(request.stream_options.include_usage)
    await _start(send, 200, _STREAM)
    try:
        await _send_event(first, counted, send)
        async for chunk in chunks:
            await _send_event(chunk, counted, send)
    except Cut:
        return  # a response that does not end is a connection that the server closes
    except HeistError as error:
        await _send_event(_shaped(_of(error).status, str(error), error.code), counted, send)
    else:
        await _send(send, b"data: [DONE]\n\n", more=True)
    await _send(send, b"")


async def _send_event(chunk: Chunk | bytes, counted: bool, send: Send) -> None:
    if isinstance(chunk, bytes):
        await _send(send, chunk, more=True)
    elif counted or "usage" not in chunk:
        await _send(send, b"data: " + json.dumps(chunk).encode() + b"\n\n", more=True)


async def _whole(chunks: Chunks, _request: ChatRequest, send: Send) -> None:
    whole = _Whole({}, [], [], {}, [])
    try:
        async for chunk in chunks:
            if isinstance(chunk, bytes):
                return await _respond(send, 200, chunk)
            if "error" in chunk:
                return await _respond(send, 500, json.dumps(chunk).encode())
            _fold(whole, chunk)
    except Cut:
        await _start(send, 200, {**_JSON, "content-length": "1000"})
        return await _send(send, b'{"choices": [{"message": {"content": "', more=True)
    return await _respond(send, 200, json.dumps(_completion(whole)).encode())


class _Whole(NamedTuple):
    """What the chunks of an answer add up to so far."""

    head: Chunk
    text: list[str]
    thoughts: list[tuple[str, str]]
    calls: dict[int, dict[str, Any]]
    finish: list[str]


def _fold(whole: _Whole, chunk: Chunk) -> None:
    whole.head.update({field: value for field, value in chunk.items() if field != "choices"})
    for choice in chunk["choices"]:
        delta = choice["delta"]
        whole.text.append(delta.get("content") or "")
        whole.thoughts.extend((field, delta[field]) for field in ("reasoning", "reasoning_content") if field in delta)
        whole.finish.extend([choice["finish_reason"]] if choice["finish_reason"] else [])
        for call in delta.get("tool_calls", ()):
            _fold_call(whole.calls, call)


def _fold_call(calls: dict[int, dict[str, Any]], call: dict[str, Any]) -> None:
    index = call["index"]
    if index in calls and call.get("id", calls[index]["id"]) != calls[index]["id"]:
        index = max(calls) + 1  # another call under the same index
    known = calls.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    known["id"] = call.get("id") or known["id"]
    function, added = known["function"], call["function"]
    function["name"] = added.get("name") or function["name"]
    whole = isinstance(added["arguments"], str)
    function["arguments"] = function["arguments"] + added["arguments"] if whole else added["arguments"]


def _completion(whole: _Whole) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(whole.text)}
    for field, thought in whole.thoughts:
        message[field] = message.get(field, "") + thought
    if whole.calls:
        message["tool_calls"] = [call for _, call in sorted(whole.calls.items())]
    choice = {"index": 0, "message": message, "finish_reason": whole.finish[-1] if whole.finish else None}
    return {**whole.head, "object": "chat.completion", "choices": [choice]}


async def _refuse(refusal: Refusal, send: Send) -> None:
    if isinstance(refusal.body, str):
        return await _respond(send, refusal.status, refusal.body.encode(), {"content-type": "text/html"})
    return await _respond(send, refusal.status, json.dumps(refusal.body).encode(), refusal.headers)


async def _respond(send: Send, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
    await _start(send, status, {**_JSON, "content-length": str(len(body)), **headers})
    await _send(send, body)


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _send(send: Send, body: bytes, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


# What the server says of itself


class _Fixed:
    """Answers GET with the same JSON each time."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._response = JSONResponse(content)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._response if scope["method"] in ("GET", "HEAD") else _json_error(405, "Method Not Allowed")
        await response(scope, receive, send)


def _fingerprint(model: Model, kind: Kind | None) -> dict[str, Mapping[str, Any]]:
    """Path -> what is there."""
    entry: dict[str, Any] = {"id": model.name, "object": "model", "created": 0, "owned_by": OWNERS.get(kind, "heist")}
    if kind == "vllm":
        entry["max_model_len"] = CONTEXT
    listed = {"/v1/models": {"object": "list", "data": [entry]}}
    match kind:
        case "lmstudio":
            return {**listed, **_lm_studio(model.name)}
        case "ollama":
            return {**listed, **_ollama(model.name)}
        case "llamacpp":
            return {**listed, **_llama_cpp(model.name)}
        case "vllm":
            return {**listed, "/version": {"version": "0.10.2"}, "/health": {}}
    return dict(listed)


def _lm_studio(name: str) -> dict[str, Mapping[str, Any]]:
    loaded = {"id": name, "config": {"context_length": CONTEXT}}
    able = {"vision": False, "trained_for_tool_use": True}
    new = {"type": "llm", "key": name, "display_name": name, "loaded_instances": [loaded], "capabilities": able}
    old = {"id": name, "object": "model", "type": "llm", "state": "loaded", "capabilities": ["tool_use"]}
    return {
        "/api/v1/models": {"models": [{**new, "max_context_length": CONTEXT}]},
        "/api/v0/models": {"object": "list", "data": [{**old, "loaded_context_length": CONTEXT}]},
    }


def _ollama(name: str) -> dict[str, Mapping[str, Any]]:
    model = {"name": name, "model": name, "details": {"format": "gguf"}}
    return {
        "/api/version": {"version": "0.12.3"},
        "/api/ps": {"models": [{**model, "context_length": 4096}]},
        "/api/tags": {"models": [model]},
    }


def _llama_cpp(name: str) -> dict[str, Mapping[str, Any]]:
    return {
        "/props": {
            "default_generation_settings": {"n_ctx": CONTEXT},
            "total_slots": 2,
            "model_path": name,
            "chat_template_caps": {"supports_tool_calls": True, "supports_tools": True},
        },
        "/health": {"status": "ok"},
    }


class _Text(BaseModel):
    content: str | None = None
    prompt: str | None = None


async def _tokenize(request: Request) -> Response:
    """llama.cpp asks for the `content`, vLLM for the `prompt`; both are answered. The tokens have numbers only."""
    try:
        asked = _Text.model_validate_json(await _body(request), strict=True)
    except ValidationError as error:
        first = first_error(error)
        return _json_error(400, sentence(first["loc"], first["msg"]))
    tokens = list(range(guess(asked.content or asked.prompt or "")))
    return JSONResponse({"tokens": tokens, "count": len(tokens), "max_model_len": CONTEXT})


def _json_error(status: int, message: str) -> JSONResponse:
    return JSONResponse(_shaped(status, message, "invalid_request_error"), status)


def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json_error(error.status_code, error.detail)
