"""The endpoint against a server that behaves, and against one that does not."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest
import respx
from starlette.testclient import TestClient

from heist.errors import ModelBroke, ModelBusy, ModelError, ModelOverflow, ModelTimeout, ModelUnreachable
from heist.llm import endpoint, server
from heist.llm.endpoint import LONGEST_SENTENCE, Endpoint, Patience
from heist.llm.faults import Kind, choose
from heist.llm.model import Ability, Call, Completion, Form, Message, Prompt, ToolSpec, Usage, guess
from tests.conftest import FakeModel
from tests.fake_server import WORDS
from tests.llm.test_server import Parrot, asking, serving

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S19")]
TOOL = ToolSpec("calculator", "reckons", {"type": "object", "properties": {"expression": {"type": "string"}}})


def prompt(text: str = "This is turn 1 of 30.", tools: tuple[ToolSpec, ...] = ()) -> Prompt:
    return Prompt((Message("system", "You plan."), Message("user", text)), tools, seed=7)


async def answer(model: Endpoint, asked: Prompt) -> tuple[list[str], Completion]:
    pieces: list[str] = []
    async for chunk in model.complete(asked):
        if isinstance(chunk, Completion):
            return pieces, chunk
        pieces.append(chunk)
    raise AssertionError("the completion is missing")


Connect = Callable[..., Endpoint]


@pytest.fixture
async def connect(fake_model: FakeModel) -> AsyncGenerator[Connect]:
    client = endpoint.client(fake_model.url)
    yield lambda name="fake-1", **given: Endpoint(client, name, "the fake server", **given)
    await client.close()


async def test_words_and_usage_come_from_the_stream(connect: Connect, fake_model: FakeModel) -> None:
    pieces, completion = await answer(connect(), prompt())
    assert completion.text == "".join(pieces) == "".join(word + " " for word in WORDS)
    assert completion.usage == Usage(400, len(WORDS), False, None)
    assert (completion.model, completion.calls) == ("fake-1", ())
    assert set(fake_model.seen[0]) == {
        "model", "messages", "temperature", "max_tokens", "seed", "stream", "stream_options",
    }  # fmt: skip


async def test_a_native_call_and_its_result_travel_in_the_wire_form(connect: Connect, fake_model: FakeModel) -> None:
    asked = prompt("This is turn 3 of 30.", (TOOL,))
    _, completion = await answer(connect(), asked)
    [call] = completion.calls
    assert (call.name, json.loads(call.arguments)) == ("calculator", {"expression": "45 * 60 / 12"})
    result = Message("tool", "225", call_id=call.id)
    _, spoken = await answer(connect(), asked.followed_by(Message("assistant", "", (call,)), result))
    assert spoken.text
    sent = fake_model.seen[1]["messages"]
    assert isinstance(sent, list)
    assert sent[2] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        ],
    }
    assert sent[3] == {"role": "tool", "content": "225", "tool_call_id": "call_1"}


@pytest.mark.mission("S18")
@pytest.mark.parametrize(
    ("fault", "error", "sentence"),
    [
        ("fault-500", ModelBroke, "the fake server answered 500: the fake server is broken"),
        ("fault-rubbish", ModelBroke, "sent what cannot be read"),
        ("fault-empty", ModelError, "answered with nothing"),
        ("fault-cut", ModelBroke, "broke off in the middle"),
        ("fault-late", ModelOverflow, "failed while it spoke: context window exceeded"),
    ],
)
async def test_a_fault_is_one_clear_error(connect: Connect, fault: str, error: type[ModelError], sentence: str) -> None:
    with pytest.raises(error, match=sentence) as raised:
        await answer(connect(fault), prompt())
    assert "\n" not in str(raised.value)


async def test_an_answer_is_bounded_in_time_and_size(connect: Connect) -> None:
    with pytest.raises(ModelTimeout, match="did not come to an end within 0"):
        await answer(connect(patience=Patience(answer=0)), prompt())
    with pytest.raises(ModelError, match="says more than max_tokens allows and does not stop"):
        await spoken(told(*[delta(content="x" * 1000)] * 1000))


async def test_a_server_that_hangs_is_given_up_on(connect: Connect) -> None:
    with pytest.raises(ModelTimeout, match=r"the fake server sent nothing for 0\.05 s"):
        await answer(connect("fault-hang", patience=Patience(first=0.05)), prompt())


async def test_a_server_that_is_down_is_named(unused_tcp_port: int) -> None:
    client = endpoint.client(f"http://127.0.0.1:{unused_tcp_port}/v1")
    with pytest.raises(ModelUnreachable, match=r"the server cannot be reached: .*Connect call failed"):
        await answer(Endpoint(client, "m", "the server"), prompt())
    await client.close()


@pytest.fixture
async def unused_tcp_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_a_server_without_tools_is_asked_again_without_and_remembered(
    connect: Connect, fake_model: FakeModel
) -> None:
    model = connect("fault-no-tools")
    _, completion = await answer(model, prompt(tools=(TOOL,)))
    assert completion.text == "It is 42."
    await answer(model, prompt(tools=(TOOL,)))
    assert ["tools" in request for request in fake_model.seen] == [True, False, False]
    assert (model.ability.tools, model.form) == (False, "schema")


async def test_native_is_native(connect: Connect) -> None:
    with pytest.raises(ModelError, match="400: tools are not supported"):
        await answer(connect("fault-no-tools", tools="native"), prompt(tools=(TOOL,)))


def told(*chunks: object, done: bool = True) -> bytes:
    lines = [chunk if isinstance(chunk, str) else f"data: {json.dumps(chunk)}" for chunk in chunks]
    return "\n\n".join([*lines, *(["data: [DONE]"] if done else [])]).encode()


def delta(**content: object) -> dict[str, object]:
    return {"model": "other", "choices": [{"index": 0, "delta": content}]}


async def spoken(body: bytes, status: int = 200) -> Completion:
    """What the endpoint makes of this body, over httpx2's own transport."""
    with respx.mock(using="httpcore2") as network:
        network.post("http://model/v1/chat/completions").respond(status, content=body)
        async with httpx2.AsyncClient() as http:
            client = openai.AsyncOpenAI(base_url="http://model/v1", api_key="k", http_client=http, max_retries=0)
            return (await answer(Endpoint(client, "asked", "the server"), prompt()))[1]


async def test_whoever_answers_is_named_even_if_another_was_asked() -> None:
    assert (await spoken(told(delta(content="hi")))).model == "other"


async def test_missing_usage_is_estimated_and_marked() -> None:
    completion = await spoken(told(delta(content="hello there")))
    assert completion.usage.estimated
    assert completion.usage.completion > 0


async def test_thoughts_never_come_out() -> None:
    body = told(
        delta(reasoning_content="secret"), delta(content="<thi"), delta(content="nk>I am the mole</think>Hello.")
    )
    assert (await spoken(body)).text == "Hello."


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (told(delta(reasoning_content="hm")), "only thought and said nothing: raise max_tokens"),
        (told({"choices": [{"delta": {}, "finish_reason": "length"}]}), "ran out of tokens .* raise max_tokens"),
        (told({"object": "error", "message": "no room"}), "failed while it spoke: no room"),
        (told({"error": "just a text"}), "failed while it spoke: just a text"),
        (b"<html>hello</html>", "sent what cannot be read"),
        (told({"choices": 7}), "sent what cannot be read"),
        (told({"model": 5, "choices": []}), "sent what cannot be read"),
        (told(delta(content=["a"])), "sent what cannot be read"),
        (told(delta(tool_calls=[{"function": {"name": 5, "arguments": ""}}])), "sent what cannot be read"),
        (b"", "answered with nothing"),
    ],
)
async def test_what_says_nothing_is_an_error_that_says_why(body: bytes, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        await spoken(body)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"error": {"message": "bad model", "code": 1}}', "answered 404: bad model"),
        (b'{"error": "no model"}', "answered 404: no model"),
        (b'{"object": "error", "message": "gone"}', "answered 404: gone"),
        (b"<html>nginx</html>", "answered 404: "),
    ],
)
async def test_each_shape_of_an_error_is_read(body: bytes, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        await spoken(body, 404)


async def test_a_call_in_pieces_is_put_together_by_index() -> None:
    pieces = [
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "second", "arguments": "{}"}}]),
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "first", "arguments": '{"x"'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
    ]
    assert (await spoken(told(*pieces))).calls == (("a", "first", '{"x": 1}'), ("b", "second", "{}"))


async def test_comments_keepalives_and_a_missing_end_do_no_harm() -> None:
    body = told(
        ": ping", "event: message", delta(content="a"), 'data:{"choices":[{"delta":{"content":"b"}}]}', done=False
    )
    assert (await spoken(body)).text == "ab"


class Script(httpx2.AsyncBaseTransport):
    """A server that answers one request after the other as it is told, and then with the last answer again and again,
    in pieces of `size` bytes. Keeps each request's path and body."""

    def __init__(self, *answers: httpx2.Response | Exception, size: int = 1 << 20) -> None:
        self._answers = list(answers)
        self._size = size
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.paths.append(request.url.path)
        self.bodies.append(json.loads(request.content))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=self._pieces(answer.content))

    async def _pieces(self, content: bytes) -> AsyncGenerator[bytes]:
        for start in range(0, len(content), self._size):
            yield content[start : start + self._size]

    @property
    def held(self) -> list[tuple[bool, bool]]:
        """(tools, response_format) of each request: whether they were sent."""
        return [("tools" in body, "response_format" in body) for body in self.bodies]


@contextlib.asynccontextmanager
async def scripted(script: Script, name: str = "asked", **given: Any) -> AsyncGenerator[Endpoint]:
    async with httpx2.AsyncClient(transport=script) as http:
        client = openai.AsyncOpenAI(base_url="http://model/v1", api_key="k", http_client=http, max_retries=0)
        yield Endpoint(client, name, "the server", **given)


def reply(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, content=content)


def refusal(message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    return reply(json.dumps({"error": {"message": message}}).encode(), status, headers)


FINE = reply(told(delta(content="Fine.")))
NO_TOOLS = refusal('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
NO_SCHEMA = refusal("Failed to initialize samplers: failed to parse grammar")
JSON = {"content-type": "application/json; charset=utf-8"}
SCHEMA = {"type": "object", "properties": {"message": {"type": "string"}}}
HELD = Prompt(prompt().messages, schema=SCHEMA)


async def test_the_form_goes_down_a_ladder_as_the_server_refuses_and_stays_there() -> None:
    script = Script(NO_TOOLS, FINE, NO_SCHEMA, FINE)
    async with scripted(script) as model:
        forms = [model.form]
        for asked in (prompt(tools=(TOOL,)), HELD, HELD, prompt(tools=(TOOL,))):
            assert (await answer(model, asked))[1].text == "Fine."
            forms.append(model.form)
    assert forms == ["native", "schema", "text", "text", "text"]
    assert script.held == [(True, False), (False, False), (False, True), (False, False), (False, False), (False, False)]


async def test_a_request_may_be_refused_for_its_schema_and_for_its_tools() -> None:
    script = Script(NO_SCHEMA, NO_TOOLS, FINE)
    async with scripted(script) as model:
        assert (await answer(model, replace(HELD, tools=(TOOL,))))[1].text == "Fine."
        assert model.form == "text"
    assert script.held == [(True, True), (True, False), (False, False)]


@pytest.mark.parametrize(
    ("ability", "form"),
    [
        (Ability("s"), "native"),
        (Ability("s", tools=True, schemas=False), "native"),
        (Ability("s", tools=False), "schema"),
        (Ability("s", tools=False, schemas=True), "schema"),
        (Ability("s", tools=False, schemas=False), "text"),
    ],
)
async def test_the_form_begins_with_what_the_server_is_known_for(ability: Ability, form: Form) -> None:
    async with scripted(Script(FINE), ability=ability) as model:
        assert model.form == form


@pytest.mark.parametrize("form", ["native", "schema", "text"])
async def test_a_fixed_form_is_kept_whatever_the_server_says(form: Form) -> None:
    script = Script(refusal("tools, functions, grammar and response_format are not supported"))
    async with scripted(script, tools=form) as model:
        for asked in (prompt(tools=(TOOL,)), HELD):
            with pytest.raises(ModelError, match="the server answered 400: tools, functions"):
                await answer(model, asked)
            assert model.form == form
    assert [tools for tools, _ in script.held] == [form == "native", False, False]


async def test_an_answer_is_held_to_a_schema_only_where_the_prompt_has_one() -> None:
    script = Script(FINE)
    async with scripted(script) as model:
        await answer(model, prompt())
        await answer(model, HELD)
    assert "response_format" not in script.bodies[0]
    held = script.bodies[1]["response_format"]
    assert (held["type"], held["json_schema"]["schema"], held["json_schema"]["strict"]) == ("json_schema", SCHEMA, True)


@pytest.mark.parametrize(
    "said",
    [
        "Failed to initialize samplers: failed to parse grammar",
        "'response_format.type' must be 'json_schema' or 'text'",
        "Structured output is not supported",
        "guided decoding backend is missing",
    ],
)
async def test_a_schema_that_was_refused_is_not_sent_again(said: str) -> None:
    script = Script(refusal(said), FINE)
    async with scripted(script) as model:
        for _ in range(2):
            assert (await answer(model, HELD))[1].text == "Fine."
    assert script.held == [(False, True), (False, False), (False, False)]


async def test_a_refusal_of_something_else_teaches_nothing() -> None:
    script = Script(refusal("temperature must be smaller"), refusal("the grammar of your tools", 404))
    async with scripted(script) as model:
        for _ in range(2):
            with pytest.raises(ModelError):
                await answer(model, replace(HELD, tools=(TOOL,)))
    assert script.held == [(True, True)] * 2


async def test_an_overflow_that_speaks_of_tools_is_an_overflow() -> None:
    """OpenAI's own words for it; they must not cost the tools."""
    said = (
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens (4900 in "
        "the messages, 100 in the functions). Please reduce the length of the messages or functions."
    )
    script = Script(refusal(said))
    async with scripted(script) as model:
        with pytest.raises(ModelOverflow):
            await answer(model, replace(HELD, tools=(TOOL,)))
        assert model.form == "native"
    assert script.held == [(True, True)]


async def test_a_call_that_could_not_be_read_does_not_cost_the_tools() -> None:
    """llama.cpp's answer to a prompt that repeats a call whose arguments are no JSON."""
    said = (
        "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, column 1"
    )
    call = Message("assistant", "", (Call("a", "calculator", "six times seven"),))
    asked = prompt(tools=(TOOL,)).followed_by(call, Message("tool", "expected JSON", call_id="a"))
    script = Script(refusal(said, 500), FINE)
    async with scripted(script) as model:
        with contextlib.suppress(ModelError):
            await answer(model, asked)
        assert model.form == "native"


async def test_what_is_sent_back_of_a_call_can_be_read() -> None:
    """Servers read the arguments of each call in a prompt, and refuse it when they are no JSON."""
    script = Script(FINE)
    async with scripted(script) as model:
        for arguments in ("six times seven", ""):
            call = Message("assistant", "", (Call("a", "calculator", arguments),))
            await answer(model, prompt(tools=(TOOL,)).followed_by(call, Message("tool", "no", call_id="a")))
    for body in script.bodies:
        json.loads(body["messages"][2]["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), (" 3 ", 3.0), ("-1", None), ("inf", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
async def test_a_busy_server_says_when_to_come_back(status: int, header: str, seconds: float | None) -> None:
    async with scripted(Script(refusal("later", status, {"retry-after": header}))) as model:
        with pytest.raises(ModelBusy, match=f"the server answered {status}: later") as raised:
            await answer(model, prompt())
    assert raised.value.retry_after == seconds


async def test_a_busy_server_need_not_say_when_to_come_back() -> None:
    async with scripted(Script(refusal("Loading model", 503))) as model:
        with pytest.raises(ModelBusy, match="Loading model") as raised:
            await answer(model, prompt())
    assert raised.value.retry_after is None


@pytest.mark.parametrize(
    ("status", "error"), [(400, ModelError), (401, ModelError), (404, ModelError), (500, ModelBroke), (502, ModelBroke)]
)
async def test_whose_fault_it_is_is_told_by_the_class(status: int, error: type[ModelError]) -> None:
    async with scripted(Script(refusal("no", status))) as model:
        with pytest.raises(ModelError) as raised:
            await answer(model, prompt())
    assert type(raised.value) is error


OVERFLOWS = [
    "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length "
    "of only 4096 tokens, which is not enough.",
    "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.",
    "The number of tokens to keep from the initial prompt is greater than the context length",
    "prompt is too long: 5000 tokens > 4096 maximum",
    "the prompt (5000) exceeds n_ctx (4096)",
    "the input length exceeds the context length",
]


@pytest.mark.parametrize("said", OVERFLOWS)
@pytest.mark.parametrize("status", [400, 500])
async def test_a_prompt_that_is_too_long_is_told_in_many_words(said: str, status: int) -> None:
    async with scripted(Script(refusal(said, status))) as model:
        with pytest.raises(ModelOverflow, match=f"the server answered {status}: "):
            await answer(model, prompt())


@pytest.mark.parametrize("said", OVERFLOWS)
@pytest.mark.parametrize("shape", [{"error": {"message": 0}}, {"error": 0}, {"object": "error", "message": 0}])
async def test_a_prompt_that_is_too_long_is_told_inside_a_stream(said: str, shape: dict[str, object]) -> None:
    late = json.loads(json.dumps(shape).replace("0", json.dumps(said)))
    async with scripted(Script(reply(told(delta(content="Well"), late)))) as model:
        with pytest.raises(ModelOverflow, match="other failed while it spoke"):
            await answer(model, prompt())


@pytest.mark.parametrize("kind", ["llamacpp", "vllm"])
async def test_tokens_are_counted_by_the_server_once_for_each_text(kind: Kind) -> None:
    async with (
        serving(Parrot(), kind) as url,
        asking(url, ability=Ability(kind, tokenizer=True)) as model,
    ):
        assert await model.count(["x" * 40, "x" * 8, "x" * 40, ""]) == ([10, 2, 10, 0], False)


COUNTS: list[dict[str, Any]] = [
    {"tokens": [1, 2, 3]},
    {"count": 3, "max_model_len": 4096, "tokens": [1, 2, 3]},
    {"count": 3, "tokens": None},
]


@pytest.mark.parametrize("told_of", COUNTS)
async def test_llama_cpp_and_vllm_count_in_two_shapes(told_of: dict[str, Any]) -> None:
    counted = httpx2.Response(200, json=told_of)
    script = Script(counted)
    async with scripted(script, ability=Ability("s", tokenizer=True)) as model:
        assert await model.count(["one two", "three", "one two"]) == ([3, 3, 3], False)
        assert await model.count(["three", "four", "one two"]) == ([3, 3, 3], False)
    assert script.paths == ["/tokenize"] * 3
    assert sorted(body["content"] for body in script.bodies) == ["four", "one two", "three"]
    assert all(body["prompt"] == body["content"] and body["model"] == "asked" for body in script.bodies)


@pytest.mark.parametrize(
    "counted",
    [
        refusal("not found", 404),
        httpx2.ConnectError("gone"),
        reply(b"<html>"),
        reply(b"{", headers=JSON),
        *(
            reply(body, headers=JSON)
            for body in (
                b"7",
                b"null",
                b"[]",
                b"{}",
                b'{"tokens": 7}',
                b'{"count": -1}',
                b'{"count": "many"}',
                b'{"count": 1e999}',
            )
        ),
    ],
)
async def test_who_does_not_count_is_not_asked_again(counted: httpx2.Response | Exception) -> None:
    script = Script(counted)
    async with scripted(script, ability=Ability("s", tokenizer=True)) as model:
        for _ in range(2):
            assert await model.count(["x" * 40]) == ([10], True)
        assert not model.ability.tokenizer
    assert len(script.bodies) == 1


async def test_who_is_not_known_to_count_is_not_asked() -> None:
    script = Script(FINE)
    async with scripted(script) as model:
        assert await model.count(["x" * 40, ""]) == ([10, 0], True)
    assert not script.bodies


class Slowly(Script):
    """Answers nobody who counts "slow" until `gate` is set."""

    def __init__(self) -> None:
        super().__init__(httpx2.Response(200, json={"count": 3}))
        self.gate = asyncio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if json.loads(request.content)["content"] == "slow":
            await self.gate.wait()
        return await super().handle_async_request(request)


async def test_counting_for_many_sessions_at_once_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "KNOWN_TEXTS", 2)
    script = Slowly()
    async with scripted(script, ability=Ability("s", tokenizer=True)) as model:
        await model.count(["shared"])
        first = asyncio.create_task(model.count(["shared", "slow"]))
        await asyncio.sleep(0)
        for others in (["a", "b", "c"], ["d"]):
            assert (await model.count(others))[1] is False
        script.gate.set()
        assert await first == ([3, 3], False)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
async def test_thoughts_that_no_mark_opens_are_never_said_however_the_bytes_come(size: int) -> None:
    """The body of our own server with its fault, cut anywhere."""
    with TestClient(server.create(Parrot(), faults=[choose("think-end")])) as client:
        body = {"model": "parrot-1", "messages": [{"role": "user", "content": "So be it."}], "stream": True}
        content = client.post("/v1/chat/completions", json=body).content
    async with scripted(Script(reply(content), size=size)) as model:
        with pytest.raises(ModelBroke, match="thought aloud"):
            await answer(model, prompt())
        pieces, completion = await answer(model, prompt())
    assert completion.text == "".join(pieces) == "So be it. "


async def test_two_calls_under_one_index_are_two() -> None:
    calls = [
        {"index": 0, "id": "a", "function": {"name": "first", "arguments": "{}"}},
        {"index": 0, "id": "b", "function": {"name": "second", "arguments": '{"x"'}},
        {"index": 0, "function": {"arguments": ": 1}"}},
        {"index": 1, "id": "c", "function": {"name": "third", "arguments": "{}"}},
        {"index": 1, "function": {"arguments": " "}},
        {"index": 0, "id": "d", "function": {"name": "fourth", "arguments": {"y": 2}}},
    ]
    expected = (("a", "first", "{}"), ("b", "second", '{"x": 1}'), ("c", "third", "{} "), ("d", "fourth", '{"y": 2}'))
    assert (await spoken(told(*(delta(tool_calls=[call]) for call in calls)))).calls == expected
    assert (await spoken(told(delta(tool_calls=calls)))).calls == expected


async def test_a_call_without_arguments_has_an_empty_object() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "look", "arguments": {}}}
    assert (await spoken(told(delta(tool_calls=[call])))).calls == (("a", "look", "{}"),)


@pytest.mark.parametrize(
    ("told_of", "usage"),
    [
        ('{"prompt_tokens": 12, "completion_tokens": 3}', (12, 3, False, None)),
        ('{"prompt_tokens": 12.0, "completion_tokens": 3.0}', (12, 3, False, None)),
        ('{"prompt_tokens": 12, "completion_tokens": null}', (12, 0, False, None)),
        ('{"prompt_tokens": 12}', (12, 0, False, None)),
        ('{"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": null}', (12, 3, False, None)),
        ('{"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {}}', (12, 3, False, None)),
        (
            '{"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 0}}',
            (12, 3, False, 0),
        ),
        (
            '{"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 8.0}}',
            (12, 3, False, 8),
        ),
    ],
)
async def test_usage_is_read_as_it_comes(told_of: str, usage: tuple[object, ...]) -> None:
    body = told(delta(content="hello there"), f'data: {{"choices": [], "usage": {told_of}}}')
    assert (await spoken(body)).usage == usage


@pytest.mark.parametrize(
    "told_of",
    [
        "null", "{}", "7", '"x"', "[1]", '{"prompt_tokens": null}', '{"prompt_tokens": 0}', '{"prompt_tokens": -5}',
        '{"prompt_tokens": 1.5}', '{"prompt_tokens": "12"}', '{"prompt_tokens": 1e30}', '{"prompt_tokens": 1e999}',
        '{"prompt_tokens": NaN}', '{"prompt_tokens": 12, "completion_tokens": -1}',
    ],
)  # fmt: skip
async def test_usage_that_makes_no_sense_is_estimated(told_of: str) -> None:
    completion = await spoken(told(delta(content="hello there"), f'data: {{"choices": [], "usage": {told_of}}}'))
    assert completion.text == "hello there"
    words = sum(guess(message.content) for message in prompt().messages)
    assert completion.usage == (words, guess("hello there") + 1, True, None)


WHOLE = {
    "model": "other",
    "choices": [{"message": {"role": "assistant", "content": "Hello,\nyou."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3},
}


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
async def test_an_answer_may_come_in_one_piece_however_it_is_printed(size: int, indent: int | None, bom: bytes) -> None:
    script = Script(reply(bom + json.dumps(WHOLE, indent=indent).encode(), headers=JSON), size=size)
    async with scripted(script) as model:
        pieces, completion = await answer(model, prompt())
    assert (pieces, completion.text, completion.model) == (["Hello,\nyou."], "Hello,\nyou.", "other")
    assert completion.usage == (12, 3, False, None)


async def test_an_answer_in_one_piece_may_be_calls_an_error_or_rubbish() -> None:
    call = {"id": "a", "function": {"name": "look", "arguments": "{}"}}
    body = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [call]}}]}, indent=1)
    async with scripted(Script(reply(body.encode(), headers=JSON))) as model:
        assert (await answer(model, prompt()))[1].calls == (("a", "look", "{}"),)
    for content, error in (
        (b'{"error": {"message": "no room"}}', "failed while it spoke: no room"),
        (b'{"choices": [', "sent what cannot be read"),
        (b"[]", "sent what cannot be read"),
    ):
        async with scripted(Script(reply(content, headers=JSON))) as model:
            with pytest.raises(ModelBroke, match=error):
                await answer(model, prompt())


@pytest.mark.parametrize("size", [1, 2, 1 << 20])
async def test_a_byte_order_mark_other_line_ends_and_what_follows_the_end_do_no_harm(size: int) -> None:
    body = b"\xef\xbb\xbf" + told(delta(content="Grüße "), delta(content="an alle.")) + b"\n\n<html>bye</html>\n\n"
    body += f"data: {json.dumps(delta(content=' and more'))}\n\n".encode() + b"data: [DONE]\n\n"
    for content in (body, body.replace(b"\n", b"\r\n")):
        async with scripted(Script(reply(content), size=size)) as model:
            pieces, completion = await answer(model, prompt())
        assert completion.text == "".join(pieces) == "Grüße an alle."


LONG = "first line\nsecond line\r\n\tthird\u2028line " + "x" * 5000


@pytest.mark.parametrize(
    "answered",
    [
        refusal(LONG),
        refusal(LONG, 500),
        refusal(LONG, 503),
        reply(LONG.encode(), 502),
        reply(json.dumps({"error": LONG}).encode(), 404),
        reply(json.dumps({"error": {"message": {"deep": LONG}}}).encode(), 400),
        reply(json.dumps({"detail": LONG}).encode(), 422),
        reply(told({"error": {"message": LONG}})),
        reply(told({"model": LONG, "choices": []}, {"error": "no"})),
        reply(told({"model": LONG, "choices": []})),
        reply(LONG.encode()),
        httpx2.ConnectError(LONG),
    ],
)
async def test_an_error_is_one_bounded_line(answered: httpx2.Response | Exception) -> None:
    async with scripted(Script(answered)) as model:
        with pytest.raises(ModelError) as raised:
            await answer(model, prompt())
    assert str(raised.value).splitlines() == [str(raised.value)]
    assert len(str(raised.value)) < LONGEST_SENTENCE + 100


@contextlib.asynccontextmanager
async def wired(*writes: bytes, pause: float = 0.0, **given: Any) -> AsyncGenerator[Endpoint]:
    """An endpoint whose server writes these bytes, with a pause between them, and hangs up."""

    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0]))
        for number, content in enumerate(writes):
            await asyncio.sleep(pause if number else 0)
            writer.write(content)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = endpoint.client(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1")
    try:
        yield Endpoint(client, "asked", "the server", **given)
    finally:
        listening.close()
        await asyncio.gather(*(task for task in served if task))
        await client.close()


async def test_a_refusal_that_breaks_off_is_an_error_like_others() -> None:
    head = b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    async with wired(head + b'{"error"') as model:
        with pytest.raises(ModelError):
            await answer(model, prompt())


async def test_the_first_word_may_take_as_long_as_the_first_byte() -> None:
    """vLLM sends its head at once, and reads the prompt then."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    async with wired(head, told(delta(content="Fine.")), pause=0.3, patience=Patience(5, 0.1, 5)) as model:
        assert (await answer(model, prompt()))[1].text == "Fine."
