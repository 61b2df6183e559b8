"""The endpoint against a server that behaves, and against one that does not."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable

import httpx2
import openai
import pytest
import respx

from heist.errors import ModelError, ModelTimeout, ModelUnreachable
from heist.llm import endpoint
from heist.llm.endpoint import Endpoint
from heist.llm.model import Completion, Message, Prompt, ToolSpec
from tests.conftest import FakeModel
from tests.fake_server import WORDS

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
    assert completion.usage == (400, len(WORDS), False)
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
        ("fault-500", ModelError, "the fake server answered 500: the fake server is broken"),
        ("fault-rubbish", ModelError, "sent what cannot be read"),
        ("fault-empty", ModelError, "answered with nothing"),
        ("fault-cut", ModelError, "broke off in the middle"),
        ("fault-late", ModelError, "failed while it spoke: context window exceeded"),
    ],
)
async def test_a_fault_is_one_clear_error(connect: Connect, fault: str, error: type[ModelError], sentence: str) -> None:
    with pytest.raises(error, match=sentence) as raised:
        await answer(connect(fault), prompt())
    assert "\n" not in str(raised.value)


async def test_an_answer_is_bounded_in_time_and_size(connect: Connect) -> None:
    with pytest.raises(ModelTimeout, match="did not come to an end within 0"):
        await answer(connect(answer_seconds=0), prompt())
    with pytest.raises(ModelError, match="says more than max_tokens allows and does not stop"):
        await spoken(told(*[delta(content="x" * 1000)] * 1000))


async def test_a_server_that_hangs_is_given_up_on(connect: Connect) -> None:
    with pytest.raises(ModelTimeout, match=r"the fake server sent nothing for 0\.05 s"):
        await answer(connect("fault-hang", first_seconds=0.05), prompt())


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
    with respx.mock(using="httpcore2") as server:
        server.post("http://model/v1/chat/completions").respond(status, content=body)
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
        (told({"choices": [], "usage": {"prompt_tokens": 10**30}}), "sent what cannot be read"),
        (told('data: {"choices": [], "usage": {"prompt_tokens": 1e999}}'), "sent what cannot be read"),
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
