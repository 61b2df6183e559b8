"""A model behind an OpenAI-compatible server, by the `openai` client."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Literal

import httpx2
import openai
from pydantic_core import from_json, to_json

from heist.errors import ModelError, ModelTimeout, ModelUnreachable
from heist.llm.model import Call, Completion, Message, Prompt, Usage, estimate
from heist.llm.passages import Passages

CONNECT_SECONDS = 2.0
SMALLEST = 64_000
BYTES_PER_TOKEN = 1000
"""An answer may have SMALLEST bytes and so many more per token that it was allowed: servers send about 200 for each."""


class _Http(openai.DefaultAioHttpClient):
    """The transport under the client. It talks to one address with the headers that the client gives, so what httpx2
    would work out for each request is worked out once; that was a tenth of a turn."""

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        patience = {"timeout": httpx2.Timeout(given["timeout"]).as_dict()}
        return httpx2.Request(
            method, _parsed(str(url)), headers=given["headers"], content=given.get("content"), extensions=patience
        )


@lru_cache(maxsize=64)
def _parsed(url: str) -> httpx2.URL:
    return httpx2.URL(url)


def client(base_url: str, key: str | None = None) -> openai.AsyncOpenAI:
    """The one client of a server: its connections are shared by every session. Nothing is retried in here."""
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=key or "none",
        http_client=_Http(limits=httpx2.Limits(max_connections=0)),  # aiohttp reads 0 as no limit, and None as 100
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
        max_retries=0,
        default_headers={"Accept-Encoding": "identity"},  # so that a stream can be read as it comes
    )


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
        answer_seconds: float = 600.0,
    ) -> None:
        self.name = name
        self.server = server
        self._client = client
        self._url = str(client.base_url.join("chat/completions"))
        self._tools = tools
        self._first_seconds = first_seconds
        self._chunk_seconds = chunk_seconds
        self._answer_seconds = answer_seconds

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        answer = _Answer(prompt, self.name)
        response = await self._ask(prompt)
        try:
            async with aclosing(self._reads(response, prompt.max_tokens)) as reads:
                async for read in reads:
                    if piece := answer.read(read):
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

    async def _post(self, body: bytes) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._first_seconds):
                return await self._client.post(
                    self._url,
                    content=body,
                    cast_to=httpx2.Response,
                    stream=True,
                    stream_cls=openai.AsyncStream[Any],
                )  # type: ignore[return-value]  # a response class in cast_to is answered as it is, stream or not
        except TimeoutError:
            raise ModelTimeout(f"{self.server} sent nothing for {self._first_seconds:g} s") from None
        except openai.APIConnectionError as error:  # also its time-out, which here can only be the connection's
            raise ModelUnreachable(f"{self.server} cannot be reached: {_cause(error)}") from None

    async def _reads(self, response: httpx2.Response, max_tokens: int) -> AsyncGenerator[bytes]:
        """The body as it arrives, bounded in time and size. Patience begins anew with each piece."""
        pieces = response.aiter_raw()
        room = SMALLEST + BYTES_PER_TOKEN * max_tokens
        deadline = time.monotonic() + self._answer_seconds
        while True:
            if time.monotonic() > deadline:
                raise ModelTimeout(f"{self.server} did not come to an end within {self._answer_seconds:g} s")
            try:
                async with asyncio.timeout(self._chunk_seconds):
                    piece = await anext(pieces, b"")
            except TimeoutError:
                raise ModelTimeout(f"{self.server} stopped in the middle for {self._chunk_seconds:g} s") from None
            except (httpx2.HTTPError, OSError) as error:
                raise ModelError(f"{self.server} broke off in the middle: {_cause(error)}") from None
            if not piece:
                return
            room -= len(piece)
            if room < 0:
                raise ModelError(f"{self.server} says more than max_tokens allows and does not stop")
            yield piece


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
        self._rest = b""

    def read(self, piece: bytes) -> str:
        """The text that a piece of the body adds, however many lines it holds: what comes together is told together.
        Raises `ModelError` when it is an error or cannot be read."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return self._say(self._thoughts.feed("".join([self._line(line) for line in lines if line])))

    def _line(self, line: bytes) -> str:
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]" or not data or data.startswith((b":", b"event:", b"id:", b"retry:")):
            return ""
        try:
            return self._chunk(from_json(data))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise ModelError(f"{self._model} sent what cannot be read: {data[:80]!r}") from None

    def _chunk(self, chunk: dict[str, Any]) -> str:
        if "error" in chunk or chunk.get("object") == "error":
            raise ModelError(f"{self._model} failed while it spoke: {_error_text(chunk)}")
        if model := chunk.get("model"):
            self._model = _text(model)
        if usage := chunk.get("usage"):
            self._usage = Usage(_count(usage["prompt_tokens"]), _count(usage.get("completion_tokens")), False)
        text = ""
        for choice in chunk.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or choice.get("message") or {}
            if delta.get("reasoning_content") or delta.get("reasoning"):
                self._thought = True
            for call in delta.get("tool_calls") or ():
                self._add_call(call)
            text += _text(delta.get("content") or "")
        return text

    def _add_call(self, piece: dict[str, Any]) -> None:
        call = self._calls.setdefault(int(piece.get("index") or 0), {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        call["id"] = _text(piece.get("id") or call["id"])
        call["name"] = _text(function.get("name") or call["name"])
        arguments = function.get("arguments") or ""
        call["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _say(self, text: str) -> str:
        if not self._text:
            text = text.lstrip()
        if text:
            self._text.append(text)
        return text

    def rest(self) -> str:
        """What the body's end adds: a last line without a break, and what was held back."""
        last = self.read(b"\n")
        return last + self._say(self._thoughts.end())

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


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _count(value: object) -> int:
    """A number of tokens that a database can hold."""
    if value is not None and not (isinstance(value, int) and 0 <= value < 2**31):
        raise ValueError("not a number of tokens")
    return int(value or 0)


def _body(prompt: Prompt, model: str, native: bool) -> bytes:
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
    return to_json(body)


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
        words = " ".join(str(cause).split()) or words
        cause = cause.__cause__ or cause.__context__
    return words or type(error).__name__
