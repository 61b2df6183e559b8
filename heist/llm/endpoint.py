"""A model behind an OpenAI-compatible server, by the `openai` client."""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import httpx2
import openai
from pydantic_core import from_json, to_json

from heist.errors import ModelBroke, ModelBusy, ModelError, ModelOverflow, ModelTimeout, ModelUnreachable
from heist.llm.model import Ability, Call, Completion, Form, Message, Prompt, Usage, estimate, guess
from heist.llm.passages import Passages

CONNECT_SECONDS = 2.0
_BOM = b"\xef\xbb\xbf"
_END_OF_THOUGHT = "</think>"
TOKENIZE_SECONDS = 2.0
KNOWN_TEXTS = 4096
_REFUSALS = (400, 422, 500, 501)
_NO_SCHEMA = re.compile(r"response_format|json_schema|json schema|grammar|structured|guided", re.IGNORECASE)
_UNREADABLE = re.compile(r"(parse|decode|read).{0,30}arguments|arguments.{0,40}(parse|json|valid)", re.IGNORECASE)
_NO_TOOLS = re.compile(r"\btools?\b|tool_choice|\bfunctions?\b", re.IGNORECASE)
LONGEST_SENTENCE = 300
_OVERFLOW = re.compile(
    r"context.{0,40}(length|size|window|exceed|overflow|limit)|exceed\w*.{0,40}context|n_ctx|"
    r"prompt is too long|too many tokens",
    re.IGNORECASE | re.DOTALL,
)
LONGEST_THOUGHTS = 20_000
"""Characters of an answer's thoughts that are kept."""
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


def client(base_url: str, key: str | None = None, login: str | None = None) -> openai.AsyncOpenAI:
    """The one client of a server: its connections are shared by every session. Nothing is retried in here. `login` is
    an Authorization header that takes the place of the key's."""
    opens = {"Authorization": login} if login else {}
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=key or "none",
        http_client=_Http(limits=httpx2.Limits(max_connections=0)),  # aiohttp reads 0 as no limit, and None as 100
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
        max_retries=0,
        default_headers={"Accept-Encoding": "identity", **opens},  # so that a stream can be read as it comes
    )


class Patience(NamedTuple):
    """Seconds: for the first byte, between two pieces, for a whole answer."""

    first: float = 120.0
    chunk: float = 60.0
    answer: float = 600.0


class Endpoint:
    """Streams chat completions. What the server sends is read by hand: that costs a fifth of building the client's
    objects for every chunk, and what servers really send (errors inside a stream, reasoning in three places, usage
    that never comes) does not fit those objects anyway.

    `tools` is native, schema, text, or auto: the best of them that the server is not known to lack. What it refuses
    once it is not asked for again."""

    simulated = False

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        name: str,
        server: str,
        ability: Ability = Ability("server"),  # noqa: B008 - it is frozen
        tools: Form | Literal["auto"] = "auto",
        patience: Patience = Patience(),  # noqa: B008 - it is frozen
    ) -> None:
        self.name = name
        self.server = server
        self.ability = ability
        self._client = client
        self._url = str(client.base_url.join("chat/completions"))
        self._wanted = tools
        self._patience = patience
        self._tokens: dict[str, int] = {}
        self._thinks = False
        self.warm = False

    @property
    def form(self) -> Form:
        if self._wanted != "auto":
            return self._wanted
        if self.ability.tools is not False:
            return "native"
        return "text" if self.ability.schemas is False else "schema"

    async def ready(self) -> None:
        """It may be asked at any time."""

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        """By the server's own tokenizer, if it has one to offer; each text is counted once."""
        if not self.ability.tokenizer:
            return [guess(text) for text in texts], True
        if len(self._tokens) > KNOWN_TEXTS:
            self._tokens.clear()
        known = {text: self._tokens[text] for text in texts if text in self._tokens}
        unknown = [text for text in dict.fromkeys(texts) if text not in known]
        try:
            counts = await asyncio.gather(*map(self._tokenize, unknown))
        except (openai.OpenAIError, ArithmeticError, ValueError, TypeError, KeyError, TimeoutError, httpx2.HTTPError):
            self.ability = self.ability._replace(tokenizer=False)
            return [guess(text) for text in texts], True
        known |= zip(unknown, counts, strict=True)
        self._tokens |= known
        return [known[text] for text in texts], False

    async def _tokenize(self, text: str) -> int:
        """llama.cpp and vLLM have it under one name, with two words for the text and for the answer."""
        url = str(self._client.base_url).removesuffix("/").removesuffix("/v1") + "/tokenize"
        async with asyncio.timeout(TOKENIZE_SECONDS):
            answer: Any = await self._client.post(
                url, body={"model": self.name, "content": text, "prompt": text}, cast_to=object
            )
        return _count(answer["count"] if "count" in answer else len(answer["tokens"]))

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        answer = _Answer(prompt, self.name, self._thinks)
        response = await self._ask(prompt)
        whole = b"" if "json" in response.headers.get("content-type", "") else None
        try:
            async with aclosing(self._reads(response, prompt.max_tokens)) as reads:
                async for read in reads:
                    self.warm = True
                    if whole is not None:
                        whole += read
                    elif piece := answer.read(read):
                        yield piece
            if whole is not None and (piece := answer.read_whole(whole)):
                yield piece
            if piece := answer.rest():
                yield piece
            self._thinks &= not answer.spoke_plainly
        finally:
            self._thinks |= answer.thought_aloud
            await response.aclose()
        yield answer.completion()

    async def _ask(self, prompt: Prompt) -> httpx2.Response:
        tools = bool(prompt.tools) and self.form == "native"
        schema = prompt.schema is not None and self.ability.schemas is not False
        try:
            return await self._post(_body(prompt, self.name, tools, schema))
        except openai.APIStatusError as error:
            said = _said(error)
            if self._learns(error.status_code, said, tools, schema):
                return await self._ask(prompt)
            raise self._refusal(error, said) from None

    def _learns(self, status: int, said: str, tools: bool, schema: bool) -> bool:
        """Whether the refusal was one of something that need not be sent, and will not be sent again."""
        if status not in _REFUSALS or _OVERFLOW.search(said):
            return False
        if schema and _NO_SCHEMA.search(said):
            self.ability = self.ability._replace(schemas=False)
            return True
        if tools and self._wanted == "auto" and _NO_TOOLS.search(said) and not _UNREADABLE.search(said):
            self.ability = self.ability._replace(tools=False)
            return True
        return False

    def _refusal(self, error: openai.APIStatusError, said: str) -> ModelError:
        sentence = f"{self.server} answered {error.status_code}: {said}"
        if error.status_code in (429, 503):
            return ModelBusy(sentence, _seconds(error.response.headers.get("retry-after")))
        if _OVERFLOW.search(said):
            return ModelOverflow(sentence)
        return ModelBroke(sentence) if error.status_code >= 500 else ModelError(sentence)

    async def _post(self, body: bytes) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._patience.first):
                return await self._client.post(
                    self._url,
                    content=body,
                    cast_to=httpx2.Response,
                    stream=True,
                    stream_cls=openai.AsyncStream[Any],
                )  # type: ignore[return-value]  # a response class in cast_to is answered as it is, stream or not
        except TimeoutError:
            raise ModelTimeout(f"{self.server} sent nothing for {self._patience.first:g} s") from None
        except (httpx2.HTTPError, OSError) as error:  # the body of a refusal, which the client reads itself
            raise ModelBroke(f"{self.server} broke off in the middle: {_cause(error)}") from None
        except openai.APIConnectionError as error:  # also its time-out, which here can only be the connection's
            raise ModelUnreachable(f"{self.server} cannot be reached: {_cause(error)}") from None

    async def _reads(self, response: httpx2.Response, max_tokens: int) -> AsyncGenerator[bytes]:
        """The body as it arrives, bounded in time and size. Patience begins anew with each piece."""
        pieces = response.aiter_raw()
        patience = self._patience.first  # a server may send its head at once, and read the prompt after that
        room = SMALLEST + BYTES_PER_TOKEN * max_tokens
        deadline = time.monotonic() + self._patience.answer
        while True:
            if time.monotonic() > deadline:
                raise ModelTimeout(f"{self.server} did not come to an end within {self._patience.answer:g} s")
            try:
                async with asyncio.timeout(patience):
                    piece = await anext(pieces, b"")
            except TimeoutError:
                raise ModelTimeout(f"{self.server} stopped in the middle for {patience:g} s") from None
            except (httpx2.HTTPError, OSError) as error:
                raise ModelBroke(f"{self.server} broke off in the middle: {_cause(error)}") from None
            if not piece:
                return
            patience = self._patience.chunk
            room -= len(piece)
            if room < 0:
                raise ModelError(f"{self.server} says more than max_tokens allows and does not stop")
            yield piece


class _Answer:
    """One answer while it comes in: text, tool calls by their index, usage, and whose model it was. `thinks` says that
    it begins with thoughts that no mark opens."""

    def __init__(self, prompt: Prompt, model: str, thinks: bool) -> None:
        self._prompt = prompt
        self._model = model
        self._thoughts = Passages({"<think>": _END_OF_THOUGHT})
        if thinks:
            self._thoughts.feed("<think>")
        self._text: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._moved: dict[int, int] = {}
        self._over = False
        self._tail = ""
        self._thinks = thinks
        self.thought_aloud = False
        self.spoke_plainly = False
        self._usage: Usage | None = None
        self._finish: str | None = None
        self._reasoning = ""
        self._rest = b""

    def read(self, piece: bytes) -> str:
        """The text that a piece of the body adds, however many lines it holds: what comes together is told together.
        Raises `ModelError` when it is an error or cannot be read."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return self._say("".join([self._line(line) for line in lines if line]))

    def _line(self, line: bytes) -> str:
        data = line.removeprefix(_BOM).removeprefix(b"data:").strip()
        if self._over or not data or data.startswith((b":", b"event:", b"id:", b"retry:")):
            return ""
        if data == b"[DONE]":
            self._over = True
            return ""
        try:
            return self._chunk(from_json(data))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise ModelBroke(f"{self._model} sent what cannot be read: {data[:80]!r}") from None

    def read_whole(self, body: bytes) -> str:
        """The text of an answer that came in one piece, from a server that does not stream."""
        try:
            return self._say(self._chunk(from_json(body.removeprefix(_BOM))))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise ModelBroke(f"{self._model} sent what cannot be read: {body[:80]!r}") from None

    def _chunk(self, chunk: dict[str, Any]) -> str:
        if chunk.get("error") is not None or chunk.get("object") == "error":
            said = _error_text(chunk)
            kind = ModelOverflow if _OVERFLOW.search(said) else ModelBroke
            raise kind(f"{self._model} failed while it spoke: {said}")
        if model := chunk.get("model"):
            self._model = " ".join(_text(model).split())[:200]
        if usage := chunk.get("usage"):
            self._usage = _usage(usage) or self._usage
        text = ""
        for choice in chunk.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            delta = choice.get("delta") or choice.get("message") or {}
            self._reasoning += str(delta.get("reasoning_content") or delta.get("reasoning") or "")
            for call in delta.get("tool_calls") or ():
                self._add_call(call)
            text += _text(delta.get("content") or "")
        return text

    def _add_call(self, piece: dict[str, Any]) -> None:
        """A piece of a call goes to the one of its index, unless it says that it is another by a new id."""
        place, id_ = int(piece.get("index") or 0), _text(piece.get("id") or "")
        place = self._moved.get(place, place)
        if id_ and self._calls.get(place, {}).get("id", id_) != id_:
            self._moved[int(piece.get("index") or 0)] = place = max(self._calls) + 1
        call = self._calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        call["id"] = id_ or call["id"]
        call["name"] += _text(function.get("name") or "")
        arguments = function.get("arguments")
        if arguments is not None:
            call["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _say(self, text: str) -> str:
        """What of the text is speech. Thinking that has no beginning is found out by its end, too late: the server's
        template had opened it. Then nothing that came before may be kept as said."""
        told = self._thoughts.feed(text)
        self._tail = self._tail[-len(_END_OF_THOUGHT) :] + told
        if _END_OF_THOUGHT in self._tail:
            self.thought_aloud = True
            raise ModelBroke(f"{self._model} thought aloud; from now on its answers begin where its thoughts end")
        return self._told(told)

    def _told(self, text: str) -> str:
        if not self._text:
            text = text.lstrip()
        if text:
            self._text.append(text)
        return text

    def rest(self) -> str:
        """What the body's end adds: a last line without a break, and what was held back."""
        last = self.read(b"\n")
        unclosed = self._thoughts.unclosed
        if self._thinks and unclosed and not self._thoughts.cut and self._finish in ("stop", "tool_calls"):
            self.spoke_plainly = True  # this answer had no thoughts in front, so it was all speech
            return last + self._told(unclosed)
        return last + self._told(self._thoughts.end())

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
            if self._reasoning or self._thoughts.cut:
                raise ModelError(f"{self._model} only thought and said nothing: raise max_tokens")
            raise ModelError(f"{self._model} answered with nothing; the prompt may be longer than its context")
        thoughts = "\n".join([self._reasoning, *(passage.text for passage in self._thoughts.cut)]).strip()
        usage = self._usage or estimate(self._prompt, text)
        return Completion(text, calls, usage, self._model, thoughts=thoughts[:LONGEST_THOUGHTS])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _usage(told: Any) -> Usage | None:
    """The tokens that a server tells of; None where it tells nothing that makes sense."""
    try:
        cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens")
        prompt, completion = _count(told["prompt_tokens"]), _count(told.get("completion_tokens"))
        return Usage(prompt, completion, False, None if cached is None else _count(cached)) if prompt else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _count(value: object) -> int:
    """A number of tokens that a database can hold."""
    if value is not None and not (isinstance(value, int | float) and 0 <= value < 2**31 and value == int(value)):
        raise ValueError("not a number of tokens")
    return int(value or 0)


def _seconds(header: str | None) -> float | None:
    """A `Retry-After` in seconds; the form with a date is not one that model servers use."""
    return float(header) if header and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", header.strip()) else None


def _body(prompt: Prompt, model: str, tools: bool, schema: bool) -> bytes:
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
    if schema:
        held = {"name": "answer", "strict": True, "schema": prompt.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": held}
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    if tools:
        body["tools"] = [{"type": "function", "function": tool._asdict()} for tool in prompt.tools]
    return to_json(body)


def _wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _readable(call.arguments)}}
            for call in message.calls
        ]
    if message.call_id:
        wire["tool_call_id"] = message.call_id
    return wire


def _readable(arguments: str) -> str:
    """The arguments of a call as a server can read them back, whatever the model wrote."""
    try:
        if isinstance(json.loads(arguments), dict):
            return arguments
    except (ValueError, RecursionError):
        pass
    return json.dumps({"argument": arguments} if arguments else {})


def _said(error: openai.APIStatusError) -> str:
    return _error_text(error.body) or _error_text(error.message)


def _error_text(body: object) -> str:
    """The sentence in an error, in whichever of its three shapes it comes, in one line."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        body = inner.get("message") or inner if isinstance(inner, dict) else inner
    return " ".join(str(body or "").split())[:LONGEST_SENTENCE]


def _cause(error: BaseException) -> str:
    """The innermost reason with any words in it."""
    words = ""
    cause: BaseException | None = error
    while cause is not None:
        words = " ".join(str(cause).split()) or words
        cause = cause.__cause__ or cause.__context__
    return (words or type(error).__name__)[:LONGEST_SENTENCE]
