"""A model behind an OpenAI-compatible server, by the `openai` client."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

import httpx2
import openai

from heist.errors import ModelError, ModelTimeout, ModelUnreachable
from heist.llm.model import Call, Completion, Message, Prompt, Usage, estimate
from heist.llm.passages import Passages

CONNECT_SECONDS = 2.0


def client(base_url: str, key: str | None = None) -> openai.AsyncOpenAI:
    """The one client of a server: its connections are shared by every session. Nothing is retried in here."""
    http = openai.DefaultAioHttpClient(
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=256),
    )
    return openai.AsyncOpenAI(base_url=base_url, api_key=key or "none", http_client=http, max_retries=0)


class Endpoint:
    """Streams chat completions. What the server sends is read by hand: that costs a fifth of building the client's
    objects for every chunk, and what servers really send (errors inside a stream, reasoning in three places, usage
    that never comes) does not fit those objects anyway.

    `tools` is native, text, or auto: native until the server refuses a request that offers tools.
    """

    simulated = False

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        name: str,
        server: str,
        tools: Literal["auto", "native", "text"] = "auto",
        first_seconds: float = 120.0,
        chunk_seconds: float = 60.0,
    ) -> None:
        self.name = name
        self.server = server
        self._client = client
        self._tools = tools
        self._first_seconds = first_seconds
        self._chunk_seconds = chunk_seconds

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        answer = _Answer(prompt, self.name)
        response = await self._ask(prompt)
        try:
            async with aclosing(self._lines(response)) as lines:
                async for line in lines:
                    if piece := answer.read(line):
                        yield piece
        finally:
            await response.aclose()
        if piece := answer.rest():
            yield piece
        yield answer.completion()

    async def _ask(self, prompt: Prompt) -> httpx2.Response:
        native = bool(prompt.tools) and self._tools != "text"
        try:
            return await self._post(_body(prompt, self.name, native))
        except openai.APIStatusError as error:
            if (
                native
                and self._tools == "auto"
                and error.status_code in (400, 422, 500, 501)
                and "tool" in _said(error)
            ):
                self._tools = "text"
                return await self._ask(prompt)
            raise ModelError(f"{self.server} answered {error.status_code}: {_said(error)}") from None

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._first_seconds):
                return await self._client.post(
                    "/chat/completions",
                    body=body,
                    cast_to=httpx2.Response,
                    stream=True,
                    stream_cls=openai.AsyncStream[Any],
                )  # type: ignore[return-value]  # a response class in cast_to is answered as it is, stream or not
        except (TimeoutError, openai.APITimeoutError):
            raise ModelTimeout(f"{self.server} sent nothing for {self._first_seconds:g} s") from None
        except openai.APIConnectionError as error:
            raise ModelUnreachable(f"{self.server} cannot be reached: {_cause(error)}") from None

    async def _lines(self, response: httpx2.Response) -> AsyncGenerator[bytes]:
        """The lines of the body. Patience begins anew with each chunk."""
        buffer = b""
        chunks = response.aiter_bytes()
        while True:
            try:
                async with asyncio.timeout(self._chunk_seconds):
                    chunk = await anext(chunks, b"")
            except TimeoutError:
                raise ModelTimeout(f"{self.server} stopped in the middle for {self._chunk_seconds:g} s") from None
            except (httpx2.HTTPError, OSError) as error:
                raise ModelError(f"{self.server} broke off in the middle: {_cause(error)}") from None
            if not chunk:
                yield buffer
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                yield line


class _Answer:
    """One answer while it comes in: text, tool calls by their index, usage, and whose model it was."""

    def __init__(self, prompt: Prompt, model: str) -> None:
        self._prompt = prompt
        self._model = model
        self._thoughts = Passages("<think>", "</think>")
        self._text: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._thought = False

    def read(self, line: bytes) -> str:
        """The text that a line of the stream adds; raises `ModelError` when it is an error or cannot be read."""
        line = line.strip()
        if not line or line.startswith(b":") or not line.startswith((b"data:", b"{")):
            return self._other(line)
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return ""
        try:
            chunk = json.loads(data)
            return self._read(chunk)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            raise ModelError(f"{self._model} sent what cannot be read: {data[:80]!r}") from None

    def _other(self, line: bytes) -> str:
        if not line or line.startswith((b":", b"event:", b"id:", b"retry:")):
            return ""
        raise ModelError(f"{self._model} sent what cannot be read: {line[:80]!r}")

    def _read(self, chunk: dict[str, Any]) -> str:
        if "error" in chunk or chunk.get("object") == "error":
            raise ModelError(f"{self._model} failed while it spoke: {_error_text(chunk)}")
        self._model = chunk.get("model") or self._model
        if usage := chunk.get("usage"):
            self._usage = Usage(int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0), False)
        text = ""
        for choice in chunk.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or choice.get("message") or {}
            self._thought |= bool(delta.get("reasoning_content") or delta.get("reasoning"))
            for call in delta.get("tool_calls") or ():
                self._add_call(call)
            text += self._say(self._thoughts.feed(delta.get("content") or ""))
        return text

    def _add_call(self, piece: dict[str, Any]) -> None:
        call = self._calls.setdefault(int(piece.get("index") or 0), {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        call["id"] = piece.get("id") or call["id"]
        call["name"] = function.get("name") or call["name"]
        arguments = function.get("arguments") or ""
        call["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _say(self, text: str) -> str:
        if not self._text:
            text = text.lstrip()
        if text:
            self._text.append(text)
        return text

    def rest(self) -> str:
        return self._say(self._thoughts.end())

    def completion(self) -> Completion:
        """What was said in all; saying nothing and calling nothing is an error that tells why, where that is known."""
        text = "".join(self._text)
        calls = tuple(
            Call(call["id"] or f"call_{index}", call["name"], call["arguments"])
            for index, call in sorted(self._calls.items())
        )
        if not text.strip() and not calls:
            if self._finish == "length":
                raise ModelError(f"{self._model} ran out of tokens before it said anything: raise max_tokens")
            if self._thought or self._thoughts.cut:
                raise ModelError(f"{self._model} only thought and said nothing: raise max_tokens")
            raise ModelError(f"{self._model} answered with nothing; the prompt may be longer than its context")
        return Completion(text, calls, self._usage or estimate(self._prompt, text), self._model)


def _body(prompt: Prompt, model: str, native: bool) -> dict[str, Any]:
    """The request, with only what every known server accepts."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [_wire(message) for message in prompt.messages],
        "temperature": prompt.temperature,
        "max_tokens": prompt.max_tokens,
        "seed": prompt.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if native:
        body["tools"] = [{"type": "function", "function": tool._asdict()} for tool in prompt.tools]
    return body


def _wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.call_id:
        wire["tool_call_id"] = message.call_id
    return wire


def _said(error: openai.APIStatusError) -> str:
    return _error_text(error.body) or error.message


def _error_text(body: object) -> str:
    """The sentence in an error, in whichever of its three shapes it comes."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        return str(inner.get("message") or inner) if isinstance(inner, dict) else str(inner)
    return str(body or "")


def _cause(error: BaseException) -> str:
    """The innermost reason with any words in it."""
    words = ""
    cause: BaseException | None = error
    while cause is not None:
        words = str(cause) or words
        cause = cause.__cause__ or cause.__context__
    return words or type(error).__name__
