"""Our own model server, asked by OpenAI's client, by our endpoint, by discovery, and by who asks wrongly."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from heist.cli import models
from heist.errors import ConfigError, HeistError, ModelBusy, ModelError, ModelOverflow, ModelTimeout
from heist.llm import discovery, endpoint, server
from heist.llm.cassette import Cassette
from heist.llm.endpoint import Endpoint
from heist.llm.faults import FAULTS, KINDS, Chosen, Kind
from heist.llm.model import Ability, Call, Completion, Form, Message, Prompt, ToolSpec, Usage, guess
from heist.llm.simulated import Simulated

pytestmark = [pytest.mark.anyio, pytest.mark.mission("S19")]
TOOL = ToolSpec("look", "looks it up", {"type": "object", "properties": {"where": {"type": "string"}}})
HELLO = Prompt((Message("system", "You are Nox."), Message("user", "Who was late?")), seed=3)
NAMES: dict[Kind, str] = {"lmstudio": "LM Studio", "ollama": "Ollama", "llamacpp": "llama.cpp", "vllm": "vLLM"}


class Parrot:
    """Says the last message word for word; calls each tool that it is offered, once, with what was said last. `seen`
    are the prompts, `gone` is set when an answer was given up."""

    name, server, simulated, warm = "parrot-1", "the test", False, True
    ability = Ability("the test")
    form: Form = "native"

    def __init__(self, *errors: ModelError, wait: bool = False) -> None:
        self.errors = list(errors)
        self.wait = wait
        self.seen: list[Prompt] = []
        self.gone = asyncio.Event()

    async def ready(self) -> None: ...

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        return [guess(text) for text in texts], True

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        self.seen.append(prompt)
        last = prompt.messages[-1]
        try:
            if self.errors and self.errors[0].args != ("late",):
                raise self.errors.pop(0)
            if prompt.tools and last.role != "tool":
                arguments = json.dumps({"where": last.content})
                calls = tuple(Call(f"call_{index}", tool.name, arguments) for index, tool in enumerate(prompt.tools))
                yield Completion("", calls, Usage(20, 5, False, 8), self.name)
                return
            pieces = [f"{word} " for word in last.content.split()]
            for piece in pieces:
                yield piece
                if self.wait:
                    await asyncio.Event().wait()
            if self.errors:
                raise self.errors.pop(0)
            yield Completion("".join(pieces), (), Usage(12, len(pieces), False, 8), self.name)
        except (asyncio.CancelledError, GeneratorExit):
            self.gone.set()
            raise


@contextlib.asynccontextmanager
async def serving(model: Any, kind: Kind | None = None, *faults: Chosen) -> AsyncGenerator[str]:
    """The server on a free port of the loopback; its base URL."""
    config = uvicorn.Config(
        server.create(model, kind, faults), port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    config.load()
    running = uvicorn.Server(config)
    running.lifespan = config.lifespan_class(config)
    await running.startup()  # not `serve`: it looks only ten times a second whether it is to end
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        for listening in running.servers:
            listening.close()
        for connection in list(running.server_state.connections):
            connection.transport.abort()
        if tasks := list(running.server_state.tasks):  # who is hung up on comes to an end
            assert not (await asyncio.wait(tasks, timeout=5))[1]


@contextlib.asynccontextmanager
async def asking(url: str, **given: Any) -> AsyncGenerator[Endpoint]:
    client = endpoint.client(url)
    try:
        yield Endpoint(client, Parrot.name, "the server", **given)
    finally:
        await client.close()


async def answer(model: Endpoint, prompt: Prompt) -> tuple[list[str], Completion]:
    pieces: list[str] = []
    completion = None
    async for chunk in model.complete(prompt):
        if isinstance(chunk, Completion):
            completion = chunk
        else:
            pieces.append(chunk)
    assert completion is not None
    return pieces, completion


async def test_openai_reads_a_whole_answer() -> None:
    async with serving(Parrot()) as url, openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["parrot-1"]
        told = await client.chat.completions.create(model="parrot-1", messages=[{"role": "user", "content": "one two"}])
    assert told.choices[0].message.content == "one two "
    assert (told.choices[0].finish_reason, told.model, told.object) == ("stop", "parrot-1", "chat.completion")
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total_tokens) == (12, 2, 14)
    assert told.usage.prompt_tokens_details is not None
    assert told.usage.prompt_tokens_details.cached_tokens == 8


@pytest.mark.parametrize("counted", [True, False])
async def test_openai_reads_a_stream_with_usage_only_if_it_asks(counted: bool) -> None:
    async with serving(Parrot()) as url, openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="parrot-1",
            messages=[{"role": "user", "content": "one two"}],
            stream=True,
            stream_options={"include_usage": counted},
        )
        chunks = [chunk async for chunk in stream]
    spoken = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert spoken == ["", "one ", "two ", None]
    assert [chunk.choices == [] for chunk in chunks] == [False] * 4 + [True] * counted
    assert (chunks[-1].usage is not None) == counted


async def test_openai_reads_calls_and_sends_results_back() -> None:
    parrot = Parrot()
    tools: Any = [{"type": "function", "function": {"name": name}} for name in ("look", "ask")]
    messages: list[Any] = [{"role": "user", "content": "vault"}]
    async with serving(parrot) as url, openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        told = await client.chat.completions.create(model="parrot-1", messages=messages, tools=tools)
        message = told.choices[0].message
        assert told.choices[0].finish_reason == "tool_calls"
        assert message.tool_calls is not None
        results = [{"role": "tool", "tool_call_id": call.id, "content": "steel"} for call in message.tool_calls]
        messages += [message.model_dump(exclude_none=True), *results]
        again = await client.chat.completions.create(model="parrot-1", messages=messages, tools=tools)
    assert again.choices[0].message.content == "steel "
    calls = (Call("call_0", "look", '{"where": "vault"}'), Call("call_1", "ask", '{"where": "vault"}'))
    assert parrot.seen[1].messages == (
        Message("user", "vault"),
        Message("assistant", "", calls),
        Message("tool", "steel", call_id="call_0"),
        Message("tool", "steel", call_id="call_1"),
    )


async def test_our_endpoint_gets_what_the_model_says() -> None:
    async with serving(Parrot()) as url, asking(url) as model:
        pieces, completion = await answer(model, HELLO)
    assert "".join(pieces) == completion.text == "Who was late? "
    assert (completion.usage, completion.model) == ((12, 3, False, 8), "parrot-1")


async def test_the_prompt_arrives_as_it_was_sent() -> None:
    parrot = Parrot()
    schema = {"type": "object", "properties": {"message": {"type": "string"}}}
    asked = Prompt(HELLO.messages, (TOOL,), 0.25, 77, 5, schema, ("\n[turn ",))
    async with serving(parrot) as url, asking(url) as model:
        _, first = await answer(model, asked)
        await answer(
            model, asked.followed_by(Message("assistant", "", first.calls), Message("tool", "x", (), "call_0"))
        )
    assert first.calls == (Call("call_0", "look", '{"where": "Who was late?"}'),)
    assert parrot.seen[0] == asked
    assert parrot.seen[1].messages[2:] == (
        Message("assistant", "", first.calls),
        Message("tool", "x", call_id="call_0"),
    )


async def test_other_forms_of_a_request_are_understood() -> None:
    parrot = Parrot()
    body = {
        "model": "parrot-1",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "assistant", "content": None},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": " two"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "tool_choice": "none",
        "max_completion_tokens": 9,
        "response_format": {"type": "json_object"},
        "stop": "END",
        "top_k": 3,
    }
    with TestClient(server.create(parrot)) as client:
        assert client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"] == "one two "
        del body["response_format"]
        client.post("/v1/chat/completions", json={**body, "response_format": {"type": "text"}})
    messages = (Message("system", "Be brief."), Message("assistant", ""), Message("user", "one two"))
    assert parrot.seen[0] == Prompt(messages, max_tokens=9, schema={"type": "object"}, stop=("END",))
    assert parrot.seen[1].schema is None


USER = {"role": "user", "content": "x"}
TOLD = {"role": "tool", "tool_call_id": "a", "content": "x"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "invalid JSON: "),
        (b"{not json", "invalid JSON: "),
        (b"\xff\xfe", "invalid JSON: "),
        (b"[" * 10_000, "invalid JSON: recursion limit exceeded"),
        ([], "input should be an object"),
        ({}, "model: field required"),
        ({"model": 5, "messages": [USER]}, "model: input should be a valid string"),
        ({"model": "parrot-1"}, "messages: field required"),
        ({"model": "parrot-1", "messages": []}, "messages: the list should have at least 1 item"),
        ({"model": "parrot-1", "messages": [{"role": "king", "content": ""}]}, "messages.0.role: input should be 'sys"),
        ({"model": "parrot-1", "messages": [{"role": "user", "content": 7}]}, "messages.0.content.str: "),
        ({"model": "parrot-1", "messages": [TOLD]}, "messages.0.tool_call_id: no message before it has a call 'a'"),
        (
            {
                "model": "parrot-1",
                "messages": [{**USER, "tool_calls": [{"id": "a", "function": {"name": "", "arguments": ""}}]}],
            },
            "messages.0.tool_calls: only an assistant calls tools, found role 'user'",
        ),
        ({"model": "parrot-1", "messages": [USER], "max_tokens": 0}, "max_tokens: input should be greater than or"),
        ({"model": "parrot-1", "messages": [USER], "max_tokens": "9"}, "max_tokens: input should be a valid integer"),
        ({"model": "parrot-1", "messages": [USER], "temperature": 3}, "temperature: input should be less than or"),
        ({"model": "parrot-1", "messages": [USER], "seed": 1.5}, "seed: input should be a valid integer"),
        ({"model": "parrot-1", "messages": [USER], "seed": 10**400}, "seed: "),
        ({"model": "parrot-1", "messages": [USER], "n": 2}, "n: input should be 1"),
        ({"model": "parrot-1", "messages": [USER], "tools": [{"type": "web"}]}, "tools.0.type: input should be 'func"),
        (
            {"model": "parrot-1", "messages": [USER], "response_format": {"type": "json_schema"}},
            "response_format.json_schema: field required",
        ),
        ({"model": "parrot-1", "messages": [USER], "response_format": {"type": "xml"}}, "response_format.type: "),
    ],
)
def test_what_is_wrong_in_a_request_is_said(body: object, sentence: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with TestClient(server.create(Parrot())) as client:
        response = client.post("/v1/chat/completions", content=content)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (400, "invalid_request_error", 400)
    assert error["message"].startswith(sentence), error


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    "model messages tools tool_choice response_format temperature max_tokens seed n stream stream_options stop".split()
)
almost = st.builds(
    lambda given: {"model": "parrot-1", "messages": [USER], **given}, st.dictionaries(fields, values, max_size=3)
)


@given(
    almost | values | st.fixed_dictionaries({"model": st.just("parrot-1"), "messages": st.lists(values, max_size=3)})
)
def test_no_request_is_too_odd_to_be_answered(body: object) -> None:
    client = TestClient(server.create(Parrot()))
    response = client.post("/v1/chat/completions", content=json.dumps(body))
    assert response.status_code in (200, 400, 404)
    if response.status_code != 200:
        assert "\n" not in response.json()["error"]["message"]


def test_other_paths_and_methods_are_refused_in_openais_form() -> None:
    with TestClient(server.create(Parrot())) as client:
        for response, status in (
            (client.get("/"), 404),
            (client.get("/v1/chat/completions"), 405),
            (client.post("/v1/models"), 405),
            (client.get("/version"), 404),
            (client.post("/v1/chat/completions", content=b" " * (server.LARGEST + 1)), 413),
        ):
            assert (response.status_code, response.json()["error"]["code"]) == (status, status)


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_model_that_is_not_there_is_refused_or_silently_replaced(kind: Kind | None) -> None:
    with TestClient(server.create(Parrot(), kind)) as client:
        response = client.post("/v1/chat/completions", json={"model": "gpt-9", "messages": [USER]})
    if kind in ("lmstudio", "llamacpp"):
        assert response.json()["model"] == "parrot-1"
    else:
        assert (response.status_code, response.json()["error"]["message"]) == (404, "The model `gpt-9` does not exist.")


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ModelError("no"), 502, None),
        (ModelTimeout("slow"), 504, None),
        (ModelBusy("later"), 503, None),
        (ModelBusy("later", 2.5), 503, "2.5"),
        (ModelOverflow("too long"), 400, None),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_model_that_fails_is_an_error(error: ModelError, status: int, retry_after: str | None, stream: bool) -> None:
    with TestClient(server.create(Parrot(error))) as client:
        asked = {"model": "parrot-1", "messages": [USER], "stream": stream}
        response = client.post("/v1/chat/completions", json=asked)
    assert (response.status_code, response.json()["error"]["message"]) == (status, str(error))
    assert response.headers.get("retry-after") == retry_after


async def test_a_model_that_fails_late_says_so_in_the_stream() -> None:
    async with serving(Parrot(ModelError("late"))) as url, asking(url) as model:
        with pytest.raises(ModelError, match="failed while it spoke: late"):
            await answer(model, HELLO)


async def test_who_goes_away_cancels_the_model() -> None:
    parrot = Parrot(wait=True)
    async with serving(parrot) as url:
        async with asking(url) as model:
            stream = model.complete(HELLO)
            assert await anext(stream) == "Who "
            assert not parrot.gone.is_set()
            await stream.aclose()
        await asyncio.wait_for(parrot.gone.wait(), 5)


async def test_who_goes_away_with_half_a_request_is_forgotten() -> None:
    parrot = Parrot()
    async with serving(parrot) as url:
        port = int(url.removesuffix("/v1").rsplit(":", 1)[1])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
    assert parrot.seen == []


async def test_who_goes_away_before_the_first_byte_of_a_whole_answer_cancels_the_model() -> None:
    parrot = Parrot(wait=True)
    async with serving(parrot) as url, httpx2.AsyncClient() as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(f"{url}/chat/completions", json={"model": "parrot-1", "messages": [USER]}, timeout=0.3)
        await asyncio.wait_for(parrot.gone.wait(), 5)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_known_by_its_fingerprint(kind: Kind) -> None:
    async with serving(Parrot(), kind) as url, httpx2.AsyncClient() as http:
        found = await discovery.ask(http, url)
    assert (found.kind, found.base_url) == (NAMES[kind], url)
    assert found.choose(None) == "parrot-1"
    assert found.ability("parrot-1").context is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_discovery_finds_each_kind_at_its_port(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Parrot(), kind) as url, httpx2.AsyncClient() as http:
        port = int(url.removesuffix("/v1").rsplit(":", 1)[1])
        monkeypatch.setattr(discovery, "PORTS", dict.fromkeys(discovery.PORTS, port))
        monkeypatch.setattr(discovery, "SECONDS", 5.0)
        found = await discovery.find(http)
    assert found is not None
    assert found.kind == NAMES[kind]


async def test_a_plain_server_is_of_no_kind() -> None:
    async with serving(Parrot()) as url, httpx2.AsyncClient() as http:
        assert (await discovery.ask(http, url)).kind == "the model server"


@pytest.mark.parametrize("kind", ["llamacpp", "vllm"])
async def test_tokens_are_counted_where_the_kind_counts_them(kind: Kind) -> None:
    async with serving(Parrot(), kind) as url, asking(url, ability=Ability(kind, tokenizer=True)) as model:
        assert await model.count(["twelve chars", ""]) == ([3, 0], False)
    with TestClient(server.create(Parrot(), kind)) as client:
        assert client.post("/tokenize", content=b"[]").status_code == 400


# The command


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from heist.cli.models import cli; cli()", *arguments]


def test_the_command_serves_and_prints_where_and_a_recording_is_served_again(tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    body = {"model": Simulated.name, "messages": [USER], "stream": False}
    said = []
    for arguments in (("--record", str(tape)), ("--model", f"cassette:{tape}", "--as", "llamacpp")):
        process = subprocess.Popen(
            command("serve", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx2.Client() as http:
            answer = http.post(f"{url}/chat/completions", json=body, timeout=20).json()
            said.append(answer["choices"][0]["message"]["content"])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (130, "", "")
    assert said[0] == said[1] != ""
    assert Cassette(tape).simulated


async def test_the_command_serves_another_server_with_faults(tmp_path: Path) -> None:
    async with serving(Parrot()) as url:
        process = await asyncio.create_subprocess_exec(
            *command("serve", "--model", url, "--as", "vllm", "--fault", "other-model", "--first", "1"),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        mine = (await process.stdout.readline()).decode().strip()
        body = {"model": "parrot-1", "messages": [USER]}
        async with httpx2.AsyncClient() as http:
            models = [
                (await http.post(f"{mine}/chat/completions", json=body, timeout=20)).json()["model"] for _ in "ab"
            ]
            tools = {**body, "tools": [{"type": "function", "function": {"name": "look"}}]}
            refused = await http.post(f"{mine}/chat/completions", json=tools, timeout=20)
        process.terminate()
        await process.wait()
    assert models == ["another-model", "parrot-1"]
    assert (refused.status_code, "--enable-auto-tool-choice" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--fault", "ghost"), "there is no fault 'ghost'; `heist model faults` lists them"),
        (("--fault", "hang=3"), "the fault hang takes no number, found '3'"),
        (("--fault", "cold=soon"), "the fault cold takes a number (seconds until the first byte), found 'soon'"),
        (("--fault", "cold=-1"), "the fault cold takes a number (seconds until the first byte), found '-1'"),
        (("--as", "gpt"), "--as: expected lmstudio, ollama, llamacpp or vllm, found 'gpt'"),
        (("--model", "gpt"), "--model: expected simulated, cassette:FILE or a base URL, found 'gpt'"),
        (("--model", "cassette:/none"), "/none: cannot be read: No such file or directory"),
        (("--model", "http://127.0.0.1:9/v1"), "the model server at http://127.0.0.1:9/v1 cannot be reached: "),
        (("--record", "/none/tape"), "/none/tape: cannot be recorded to: No such file or directory"),
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid:0: "),
    ],
)
def test_the_command_refuses_in_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HeistError) as raised:
        models.cli(["serve", *arguments], standalone_mode=False)
    assert str(raised.value).startswith(sentence)
    assert capsys.readouterr().out == ""


def test_the_command_says_when_a_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="another program uses it"):
        models.cli(["serve", "--port", str(taken.getsockname()[1])], standalone_mode=False)


def test_the_command_lists_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    models.cli(["faults"], standalone_mode=False)
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in listed for name in FAULTS)
    models.cli(["faults", "--as", "vllm"], standalone_mode=False)
    listed = capsys.readouterr().out
    assert "no-tools-vllm" in listed
    assert "no-tools-ollama" not in listed
